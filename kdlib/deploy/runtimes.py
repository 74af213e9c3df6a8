"""One way to call a network, whatever runs it: PyTorch eager, compiled, ONNX Runtime or OpenVINO.

Each function gives a `Runner`: numpy arrays in the order of the network's inputs -> a numpy array, float32. ONNX files come from
`kdlib.deploy.export`; `kdlib.deploy.exported` makes networks of runners. This module loads PyTorch only for PyTorch's own two ways, so that what
the others need of memory can be measured without it.

ONNX Runtime and OpenVINO form the extra ``deploy``; where they are missing an `InputError` says so.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from kdlib.errors import InputError
from kdlib.runs import processor_says

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from torch import Tensor, nn

Runner = Callable[..., np.ndarray]

TORCH_TYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
OPENVINO_TYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}  # of the arithmetic; int8 files keep fp32 for what is not quantised


def deploy_module(name: str) -> ModuleType:
    """A module of the extra ``deploy``. Raises `InputError` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{name.partition('.')[0]} is not installed: make environment, or pip install -e '.[deploy]'") from error


def runtime_versions() -> dict[str, str]:
    """Versions of what runs exported networks, for results."""
    return {name: importlib.metadata.version(name) for name in ("onnx", "onnxruntime", "openvino")}


def arithmetic() -> list[str]:
    """What decides how fast 8 and 16 bits are here: OpenVINO's capabilities of the processor, and its flags, where Linux tells them."""
    capabilities = deploy_module("openvino").Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    flags = processor_says("flags").split()
    told = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16")
    return [*sorted(capabilities), *(flag for flag in told if flag in flags)]


def eager(network: nn.Module, precision: str = "fp32") -> Runner:
    """PyTorch as it is. ``precision`` "bf16" or "fp16": the network as it is under autocast, its weights in float32."""
    return _torch_runner(network, network, precision)


def compiled(network: nn.Module, precision: str = "fp32") -> Runner:
    """``torch.compile`` of the network; the first call compiles, which takes up to a minute and needs a C++ compiler."""
    import torch

    # A class that is compiled for many networks would be run as it is from the ninth on. With fullgraph it would at least say so.
    torch._dynamo.config.recompile_limit = 64
    return _torch_runner(network, torch.compile(network, fullgraph=True, dynamic=False), precision)


def _torch_runner(network: nn.Module, call: Callable[..., Tensor], precision: str) -> Runner:
    import torch

    if precision not in TORCH_TYPES:
        raise InputError(f"precision = {precision!r}: PyTorch runs {', '.join(TORCH_TYPES)} here")
    dtype = getattr(torch, TORCH_TYPES[precision])
    device = next((p.device for p in network.parameters()), torch.device("cpu"))

    def run(*inputs: np.ndarray) -> np.ndarray:
        tensors = [torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in inputs]
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=precision != "fp32"):
            return call(*tensors).float().cpu().numpy()

    return run


def onnxruntime(file: Path, threads: int = 0) -> Runner:
    """ONNX Runtime on the CPU. ``threads`` 0: its own choice."""
    session = onnxruntime_session(file, threads)
    names = [one.name for one in session.get_inputs()]

    def run(*inputs: np.ndarray) -> np.ndarray:
        return session.run(None, dict(zip(names, inputs, strict=True)))[0]

    return run


def onnxruntime_session(model: Path | bytes, threads: int = 0, trace: Path | None = None, optimised: bool = True) -> InferenceSession:
    """A session on the CPU for a file, or for a model's bytes. ``trace``: beginning of the path where it writes its profile.

    Not ``optimised``, it runs the graph as it is written.
    """
    ort = deploy_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors; at 2 it warns about every initializer that it folds away
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if trace is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(trace)
    source = model if isinstance(model, bytes) else _existing(model)
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # a class of its own for each fault, none of them public
        raise InputError(f"{'model' if isinstance(model, bytes) else model}: ONNX Runtime cannot read it ({error})") from error


def openvino(file: Path, threads: int = 0, precision: str = "fp32", batch: int | None = None) -> Runner:
    """OpenVINO on the CPU.

    ``precision`` is that of the arithmetic, which OpenVINO would otherwise choose itself: bfloat16 where the processor has it.
    ``batch``: fixes the number of pictures, which lets it plan its memory; None leaves it open.
    """
    ov = deploy_module("openvino")
    if precision not in OPENVINO_TYPES:
        raise InputError(f"precision = {precision!r}: OpenVINO computes in {', '.join(OPENVINO_TYPES)}")
    core = ov.Core()
    if precision != "fp32" and precision.upper() not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise InputError(f"precision = {precision!r}: this processor has no such arithmetic for OpenVINO to use")
    try:
        model = core.read_model(_existing(file))
    except RuntimeError as error:
        raise InputError(f"{file}: OpenVINO cannot read it ({str(error).splitlines()[0]})") from error
    if batch is not None:
        model.reshape({one: [batch, *list(one.partial_shape)[1:]] for one in model.inputs})
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": OPENVINO_TYPES[precision]}
    request = core.compile_model(model, "CPU", hints | ({"INFERENCE_NUM_THREADS": threads} if threads else {})).create_infer_request()

    def run(*inputs: np.ndarray) -> np.ndarray:
        return request.infer(list(inputs))[0].copy()  # the array belongs to the request, whose next run overwrites it

    return run


def _existing(file: Path) -> str:
    if not Path(file).is_file():
        raise InputError(f"{file}: no such file; `python -m kdlib export` makes it")
    return str(file)
