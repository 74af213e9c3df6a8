"""What every benchmark's command line has: where it runs, and where its result is written."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from kdlib.devices import has_bfloat16
from kdlib.errors import InputError
from kdlib.files import write_text
from kdlib.settings import Preset
from kdlib.use.models import Model


def options_of(doc: str, *, device: bool = True, threads: bool = True) -> argparse.ArgumentParser:
    """A parser described by the first line of ``doc``, with --json and, if asked for, --device and --threads."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    if device:
        parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: %(default)s)")
    if threads:
        parser.add_argument("--threads", type=int, default=0, help="of the CPU (default: PyTorch's choice)")
    parser.add_argument("--json", type=Path, help="write the result there")
    return parser


def preset_of(model: Model) -> Preset:
    """The preset whose pictures a model is judged on. Raises `InputError` for a released checkpoint, which has none."""
    if model.preset is None:
        raise InputError(f"{model.name}: a released checkpoint brings no pictures; make a run of it, python -m kdlib import-released")
    return model.preset


def with_outputs(preset: Preset, outputs: int) -> Preset:
    """The preset, scored once, on so many outputs of each source for each other domain."""
    return dataclasses.replace(preset, evaluation=dataclasses.replace(preset.evaluation, outputs_per_source=outputs, evaluation_seeds=1))


def computable(variants: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The variants that compute what their names say: without those of bfloat16 where training falls back to float32."""
    if has_bfloat16(device):
        return variants
    print("left out: bfloat16, which this processor does not have", file=sys.stderr)
    return {name: variant for name, variant in variants.items() if "bfloat16" not in name}


def write_result(result: dict[str, Any], path: Path | None) -> None:
    """Write a result as JSON, if there is a ``path``."""
    if path is not None:
        write_text(path, json.dumps(result, indent=1) + "\n")


def report(measured: Callable[[], dict[str, Any]], text: Callable[[dict[str, Any]], str], path: Path | None) -> int:
    """Measure, print the result as ``text`` and write it; the exit status, 2 with one line on stderr where the input is bad."""
    try:
        result = measured()
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(text(result))
    write_result(result, path)
    return 0
