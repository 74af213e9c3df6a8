"""Seconds and memory of a network in each runtime and precision, measured side by side.

All variants take turns in one process, so that a machine that is busy elsewhere slows all of them; between turns the process rests,
so that one runtime's threads, which go on looking for work for a moment, are no part of another's time. In a turn one call warms the
caches and the next ones are timed. Peak memory is that of a process of its own that loads nothing which the variant does not need.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdlib.deploy.runtimes import Runner, compiled, eager, onnxruntime, openvino
from kdlib.errors import InputError
from kdlib.memory import peak_memory

if TYPE_CHECKING:
    from torch import nn

REST = 0.05  # seconds between turns
RUNTIMES = {"eager": "PyTorch", "compiled": "PyTorch, compiled", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
# What each runtime is measured in: (name of the variant's precision, precision of the file, precision of the arithmetic).
VARIANTS = {
    "eager": [("fp32", None, "fp32"), ("bf16", None, "bf16")],
    "compiled": [("fp32", None, "fp32"), ("bf16", None, "bf16")],
    "onnxruntime": [("fp32", "fp32", "fp32"), ("fp16 weights", "fp16", "fp32"), ("int8", "int8", "fp32")],
    "openvino": [
        ("fp32", "fp32", "fp32"), ("fp16 weights", "fp16", "fp32"), ("bf16", "fp32", "bf16"), ("fp16", "fp32", "fp16"),
        ("int8", "int8", "fp32"), ("int8 and bf16", "int8", "bf16"),
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A network to measure: under PyTorch the module, elsewhere its files by precision ("fp32", "fp16", "int8")."""

    name: str
    network: nn.Module
    files: dict[str, Path]
    inputs: tuple[np.ndarray, ...]
    form: str = "plain"  # of the generator, see `kdlib.deploy.inference_form`


@dataclass(frozen=True)
class Variant:
    """One way to run a subject."""

    subject: str
    runtime: str
    precision: str

    @property
    def label(self) -> str:
        return f"{self.subject}, {RUNTIMES[self.runtime]}, {self.precision}"

    @property
    def _parts(self) -> tuple[str, str | None, str]:
        return next(parts for parts in VARIANTS[self.runtime] if parts[0] == self.precision)

    @property
    def stored(self) -> str | None:
        """Precision of the file; None for PyTorch's, which has none."""
        return self._parts[1]

    @property
    def arithmetic(self) -> str:
        """Precision of what is not quantised, while it runs."""
        return self._parts[2]


def runners(subject: Subject, runtimes: list[str], threads: int) -> tuple[dict[Variant, Callable[[], Any]], dict[str, str]]:
    """The variants that can be run here, each as a call without arguments; and why others cannot, by label."""
    found, refused = {}, {}
    for runtime in runtimes:
        for precision, stored, arithmetic in VARIANTS[runtime]:
            if stored is not None and stored not in subject.files:
                continue
            variant = Variant(subject.name, runtime, precision)
            try:
                run = _open(runtime, arithmetic, threads, subject.network, subject.files.get(stored))
                run(*subject.inputs)  # compiles, and meets what cannot be run
            except Exception as error:  # each runtime has its own; one that fails must not end the measurement of the others
                refused[variant.label] = (str(error).strip().splitlines() or [type(error).__name__])[0]
                continue
            found[variant] = lambda run=run: run(*subject.inputs)
    return found, refused


def _open(runtime: str, arithmetic: str, threads: int, network: nn.Module | None = None, file: Path | None = None) -> Runner:
    if runtime == "onnxruntime":
        return onnxruntime(file, threads)
    if runtime == "openvino":
        return openvino(file, threads, arithmetic, batch=1)
    if runtime not in RUNTIMES:
        raise InputError(f"runtime = {runtime!r}: must be one of {', '.join(RUNTIMES)}")
    if arithmetic == "bf16" and not _has_bfloat16():
        raise InputError("PyTorch has no bfloat16 for this processor: it would convert number by number, tens of times as slow as float32")
    return (compiled if runtime == "compiled" else eager)(network, arithmetic)


def _has_bfloat16() -> bool:
    import torch

    from kdlib.devices import has_bfloat16

    return has_bfloat16(torch.device("cpu"))


def take_turns(calls: dict[Variant, Callable[[], Any]], rounds: int, timed: int = 1, rest: float = REST) -> dict[Variant, list[float]]:
    """Seconds of every timed call: ``rounds`` turns of each variant, ``timed`` calls in each after one that is not timed."""
    seconds: dict[Variant, list[float]] = {variant: [] for variant in calls}
    for _ in range(rounds):
        for variant, call in calls.items():
            time.sleep(rest)
            call()
            for _ in range(timed):
                start = time.perf_counter()
                call()
                seconds[variant].append(time.perf_counter() - start)
    return seconds


def statistics_of(seconds: list[float]) -> dict[str, float]:
    """``median_seconds``, ``p90_seconds`` (nine of ten calls were faster) and ``least_seconds``."""
    median, p90 = np.percentile(seconds, [50, 90])
    return {"median_seconds": round(float(median), 6), "p90_seconds": round(float(p90), 6), "least_seconds": round(min(seconds), 6)}


def memory_of(variant: Variant, subject: Subject, threads: int, architecture: dict[str, Any]) -> dict[str, int]:
    """Bytes of memory of a fresh process: ``libraries_bytes`` with its runtime loaded, ``peak_bytes`` at the peak of three calls.

    For PyTorch's variants the process builds a generator of ``architecture`` (fields of `Architecture`) in the subject's form, with
    weights of its own.
    """
    task = {
        "runtime": variant.runtime, "arithmetic": variant.arithmetic, "threads": threads, "architecture": architecture,
        "form": subject.form, "file": str(subject.files[variant.stored]) if variant.stored else None,
        "inputs": [[list(a.shape), str(a.dtype)] for a in subject.inputs],
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-m", __name__], input=json.dumps(task), capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{variant.label}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    """Measure the memory of what standard input asks for; one line of JSON on standard output."""
    task = json.load(sys.stdin)
    network = None
    if task["runtime"] in ("eager", "compiled"):
        import torch

        from kdlib.architecture import Architecture
        from kdlib.deploy.inference_form import inference_form
        from kdlib.networks import Generator

        if task["threads"]:
            torch.set_num_threads(task["threads"])
        network = inference_form(Generator(Architecture(**task["architecture"])), task["form"]).eval().requires_grad_(False)
    else:
        __import__(task["runtime"])
    libraries = peak_memory()
    run = _open(task["runtime"], task["arithmetic"], task["threads"], network, task["file"] and Path(task["file"]))
    inputs = [np.zeros(shape, dtype) for shape, dtype in task["inputs"]]
    for _ in range(3):
        run(*inputs)
    print(json.dumps({"libraries_bytes": libraries, "peak_bytes": peak_memory()}))
    return 0


def machine_load() -> dict[str, Any]:
    """How busy the machine is: cores that this process may use, and the mean number of processes that wanted one in the last minute."""
    return {"cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(), "load": round(os.getloadavg()[0], 2)}


def case_of(arch: Any) -> dict[str, Any]:
    """Fields of an architecture, as results and ``memory_of`` want them."""
    return dataclasses.asdict(arch)


if __name__ == "__main__":
    sys.exit(main())
