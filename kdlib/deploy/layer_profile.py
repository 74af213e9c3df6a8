"""Where a network's time goes, layer by layer and kind by kind, beside where its multiply-accumulates (MACs) go.

The thesis (5.2.3) counts MACs. Norms, activations, upsampling and sums have none and still read and write every element; a depthwise
convolution has few and reads as much as any other. Two clocks: PyTorch's operations one by one, as eager mode runs them, and ONNX
Runtime's own profiler, after its optimisations, which also moves data between layouts ("layout").
"""

import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from kdlib.deploy.onnx_files import load_onnx
from kdlib.deploy.runtimes import deploy_module, onnxruntime_session

COLUMNS = ["layer", "kind", "size", "seconds", "macs"]
DEPTHWISE, NORM, SCALING, ACTIVATION = "depthwise convolution", "instance norm", "AdaIN scale and shift", "activation"
TRANSPOSED, UPSAMPLING, POOLING, SUM = "transposed convolution", "upsampling", "average pool", "sum"
LINEAR, LAYOUT, OTHER = "linear", "layout", "other"

_EAGER = {
    "native_batch_norm": NORM, "_native_batch_norm_legit": NORM, "addcmul": SCALING, "leaky_relu": ACTIVATION, "relu": ACTIVATION,
    "upsample_nearest2d": UPSAMPLING, "upsample_bilinear2d": UPSAMPLING, "avg_pool2d": POOLING, "add": SUM, "mul": SUM,
    "addmm": LINEAR, "mm": LINEAR, "clone": LAYOUT, "copy_": LAYOUT, "_to_copy": LAYOUT,
    "pixel_shuffle": LAYOUT, "pixel_unshuffle": LAYOUT,
}  # fmt: skip
_ONNX = {
    "InstanceNormalization": NORM, "LeakyRelu": ACTIVATION, "Relu": ACTIVATION, "Resize": UPSAMPLING, "Upsample": UPSAMPLING,
    "AveragePool": POOLING, "ConvTranspose": TRANSPOSED, "Add": SUM, "Mul": SUM, "Gemm": LINEAR, "ReorderInput": LAYOUT,
    "ReorderOutput": LAYOUT, "Transpose": LAYOUT, "Reshape": LAYOUT, "DepthToSpace": LAYOUT, "SpaceToDepth": LAYOUT,
}  # fmt: skip


def convolution_kind(kernel: int, groups: int) -> str:
    """'3×3 convolution' and the like; more than one group is a depthwise one here."""
    return DEPTHWISE if groups > 1 else f"{kernel}×{kernel} convolution"


def profile_eager(network: nn.Module, inputs: Sequence[Tensor], rounds: int = 5, warm_up: int = 2) -> pd.DataFrame:
    """A row for every operation of a forward pass in PyTorch, in order: `COLUMNS`.

    ``layer``: the module that called it; ``size``: height of what it gives (0 for codes); ``seconds``: median over ``rounds``;
    ``macs``: PyTorch's own count for convolutions and matrix products, 0 for all else. On the CPU, where operations run one after
    the other. Views, which touch no data, are left out.
    """
    passes = []
    for i in range(warm_up + rounds):
        clock = _Clock(network)
        with torch.no_grad(), clock:
            network(*inputs)
        clock.close()
        if i >= warm_up:
            passes.append(clock.rows)
    rows = [{**same[0], "seconds": statistics.median(row["seconds"] for row in same)} for same in zip(*passes, strict=True)]
    return pd.DataFrame(rows, columns=COLUMNS)


class _Clock(TorchDispatchMode):
    """Times every operation that reaches the dispatcher, and notes which module it belongs to."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.rows: list[dict[str, Any]] = []
        self._layers = [""]
        self._hooks = []
        for name, module in network.named_modules():
            self._hooks.append(module.register_forward_pre_hook(lambda *_, name=name: self._layers.append(name)))
            self._hooks.append(module.register_forward_hook(self._leave))

    def _leave(self, *_: Any) -> None:
        self._layers.pop()  # not returned: what a hook returns takes the place of the module's output

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        start = time.perf_counter()
        out = function(*args, **(kwargs or {}))
        seconds = time.perf_counter() - start
        if not function.is_view:
            self._note(function, args, kwargs or {}, out, seconds)
        return out

    def _note(self, function, args, kwargs, out, seconds: float) -> None:
        first = out[0] if isinstance(out, (tuple, list)) else out
        name, rule = function.overloadpacket.__name__, flop_registry.get(function.overloadpacket)
        if name == "convolution":
            kind = TRANSPOSED if args[6] else convolution_kind(args[1].shape[2], args[8])
        elif name in ("add", "mul") and first.ndim == 4 and first.shape[2] == 1:
            kind = SCALING  # 1 + gamma
        else:
            kind = _EAGER.get(name, NORM if "norm" in self._layers[-1] else OTHER)
        macs = rule(*args, **kwargs, out_val=out) // 2 if rule is not None else 0
        size = first.shape[2] if first.ndim == 4 else self.rows[-1]["size"] if kind == NORM and self.rows else 0  # a norm readies its weights
        self.rows.append({"layer": self._layers[-1], "kind": kind, "size": size, "seconds": seconds, "macs": macs})


def profile_onnxruntime(
    file: Path, inputs: Sequence[np.ndarray], counted: pd.DataFrame, rounds: int = 5, warm_up: int = 2, threads: int = 0
) -> pd.DataFrame:
    """A row for every node that ONNX Runtime executes, in order, as `profile_eager` has them.

    ``file`` is one of `kdlib.deploy.export`, whose nodes bear their layers' names. ``counted``: what `profile_eager` found, from which the
    MACs of each layer are taken.
    """
    nodes = _layers_of(file)
    macs = counted.groupby("layer")["macs"].sum()
    with tempfile.TemporaryDirectory() as folder:
        session = onnxruntime_session(file, threads, Path(folder) / "trace")
        names = [one.name for one in session.get_inputs()]
        for _ in range(warm_up + rounds):
            session.run(None, dict(zip(names, inputs, strict=True)))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    seconds: dict[str, list[float]] = defaultdict(list)
    details = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            seconds[name].append(event["dur"] / 1e6)
            details[name] = event["args"]
    rows = []
    for name, all_of in seconds.items():
        layer, kind = nodes.get(name.removesuffix("_nchwc"), ("", _ONNX.get(details[name]["op_name"], OTHER)))
        has_macs = kind.endswith("convolution") or kind == LINEAR
        rows.append({"layer": layer, "kind": kind, "size": _height(details[name]), "seconds": statistics.median(all_of[warm_up:]),
                     "macs": int(macs.get(layer, 0)) if has_macs else 0})  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _layers_of(file: Path) -> dict[str, tuple[str, str]]:
    """Layer and kind by node name, and by the name of its output, after which ONNX Runtime names what it puts in its place."""
    model, onnx, found = load_onnx(file), deploy_module("onnx"), {}
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        layer = node.name.rpartition("/")[0]
        if node.op_type == "Conv":
            groups = next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == "group"), 1)
            kind = convolution_kind(shapes[node.input[1]][2], groups)
        elif node.op_type in ("Add", "Mul", "Unsqueeze", "Split") and ".norm" in layer:
            kind = SCALING
        else:
            kind = _ONNX.get(node.op_type, OTHER)
        found |= dict.fromkeys((node.name, node.output[0]), (layer, kind))
    return found


def _height(details: dict[str, Any]) -> int:
    (shape,) = details["output_type_shape"][0].values()
    return shape[2] if len(shape) == 4 else 0


def by_kind(rows: pd.DataFrame, sizes: bool = False) -> pd.DataFrame:
    """Sums of a profile by kind, slowest first: ``seconds``, ``macs``, and the shares of both. ``sizes``: by kind and size."""
    keys = ["kind", "size"] if sizes else ["kind"]
    sums = rows.groupby(keys, sort=False)[["seconds", "macs"]].sum().reset_index()
    sums["time_share"] = sums["seconds"] / sums["seconds"].sum()
    sums["mac_share"] = sums["macs"] / max(1, sums["macs"].sum())
    return sums.sort_values("seconds", ascending=False, ignore_index=True)
