"""Networks as files for other runtimes: ONNX (Open Neural Network Exchange) and PyTorch's ExportedProgram.

Not in the thesis, whose aim, networks for small devices, ends with counts of weights and MACs. Each network becomes one file: eval
mode, float32, contiguous layout, any batch size. Inputs and outputs:

    generator        x [N 3 H W], s [N 64]  (with a high-pass skip also mask0, mask1 [N 1 H W])  -> image [N 3 H W]
    style_encoder    x [N 3 H W], y [N] int64                                                      -> style [N 64]
    mapping_network  z [N 16],    y [N] int64                                                      -> style [N 64]
    landmarks        x [N 3 256 256], of models with a high-pass skip                              -> mask0, mask1 [N 1 256 256]

A node of the ONNX graph, and what it gives, is named after the layer that it belongs to ("decode.0.conv1/Conv"), so that what is
measured or quantised there can be told in the words of `kdlib.networks`. No path of the machine that exported stays in a file.
"""

import ast
import contextlib
import copy
import io
import json
import logging
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kdlib.architecture import MASK_SIZE, Architecture
from kdlib.deploy.inference_form import inference_form
from kdlib.deploy.onnx_files import with_metadata
from kdlib.deploy.runtimes import deploy_module
from kdlib.errors import InputError
from kdlib.files import write_atomically
from kdlib.landmark_network import LANDMARKS
from kdlib.landmarks import LandmarkMasks, masks_from_heatmaps
from kdlib.networks import Networks

if TYPE_CHECKING:
    import onnx

OPSET = 18  # what ONNX Runtime, also in browsers, and OpenVINO have supported for years
LANDMARKS_NAME = "landmarks"
INPUTS = {"generator": ("x", "s"), "style_encoder": ("x", "y"), "mapping_network": ("z", "y"), LANDMARKS_NAME: ("x",)}
MASKS = ("mask0", "mask1")
OUTPUTS = {"generator": ("image",), "style_encoder": ("style",), "mapping_network": ("style",), LANDMARKS_NAME: MASKS}
ABOUT_FILE = "about.json"  # metadata inside a .pt2 file


class _Masks(nn.Module):
    """`LandmarkMasks` without its autocast region, which neither format knows; the arithmetic is float32 in any case."""

    def __init__(self, landmarks: LandmarkMasks):
        super().__init__()
        self.network = landmarks.network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return masks_from_heatmaps(self.network(x * 0.5 + 0.5)[:, :LANDMARKS])


class _MaskedGenerator(nn.Module):
    """A generator whose two masks are two inputs."""

    def __init__(self, generator: nn.Module):
        super().__init__()
        self.generator = generator

    def forward(self, x: Tensor, s: Tensor, mask0: Tensor, mask1: Tensor) -> Tensor:
        return self.generator(x, s, (mask0, mask1))


def input_names(name: str, arch: Architecture) -> tuple[str, ...]:
    """Names of the inputs of network ``name`` in their order."""
    return INPUTS[name] + (MASKS if name == "generator" and arch.w_hpf > 0 else ())


def example_inputs(name: str, arch: Architecture, count: int = 2, seed: int = 0) -> tuple[Tensor, ...]:
    """Inputs of network ``name`` for ``count`` pictures or codes: noise, a pure function of the seed. Masks are in [0, 1]."""
    random = torch.Generator().manual_seed(seed)
    size = MASK_SIZE if name == LANDMARKS_NAME else arch.image_size
    makers = {
        "x": lambda: torch.rand(count, 3, size, size, generator=random) * 2 - 1,
        "s": lambda: torch.randn(count, arch.style_dim, generator=random),
        "z": lambda: torch.randn(count, arch.latent_dim, generator=random),
        "y": lambda: torch.randint(arch.domains, (count,), generator=random),
        **dict.fromkeys(MASKS, lambda: torch.rand(count, 1, size, size, generator=random)),
    }
    return tuple(makers[one]() for one in input_names(name, arch))


def exportable(nets: Networks, form: str = "plain") -> dict[str, nn.Module]:
    """What is exported of a set of networks, by name: copies on the CPU, frozen, in eval mode, weights in contiguous layout.

    ``form``: of the generator's up blocks, see `kdlib.deploy.inference_form`.
    """
    found = {name: getattr(nets, name) for name in Networks.TRANSLATING}
    if nets.landmarks is not None:
        found[LANDMARKS_NAME] = _Masks(nets.landmarks)
    for name, network in found.items():
        network = copy.deepcopy(network).cpu().float().to(memory_format=torch.contiguous_format)
        if name == "generator":
            network = inference_form(network, form)
            network = _MaskedGenerator(network) if nets.arch.w_hpf > 0 else network
        found[name] = network.eval().requires_grad_(False)
    return found


def trace(name: str, network: nn.Module, arch: Architecture) -> torch.export.ExportedProgram:
    """A network of `exportable` as an ExportedProgram with any batch size."""
    inputs = example_inputs(name, arch)
    batch = torch.export.Dim("batch")
    with torch.no_grad():
        # strict: through dynamo, which reads len(x) as the symbol that it is; the other tracer would take it for the number 2.
        program = torch.export.export(network, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs), strict=True)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # holds paths of this machine
    return program


def save_program(path: Path, program: torch.export.ExportedProgram, about: dict[str, str]) -> None:
    """Write an ExportedProgram (.pt2) with its metadata inside; `torch.export.load` reads it."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={ABOUT_FILE: json.dumps(about)})
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(buffer.getvalue()))


def load_program(path: Path) -> tuple[nn.Module, dict[str, str]]:
    """The network in a .pt2 file, and its metadata. Raises `InputError` where it cannot be read."""
    extra = {ABOUT_FILE: ""}
    try:
        program = torch.export.load(str(path), extra_files=extra)
    except Exception as error:  # of a broken archive in nearly any form
        raise InputError(f"{path}: not a file of torch.export ({type(error).__name__}); export it again") from error
    return program.module(), json.loads(extra[ABOUT_FILE])


def to_onnx(name: str, program: torch.export.ExportedProgram, arch: Architecture, about: dict[str, str]) -> "onnx.ModelProto":
    """An ExportedProgram of `trace` as an ONNX model in float32, checked, with ``about`` as its metadata."""
    onnx = deploy_module("onnx")
    deploy_module("onnxscript")  # the exporter's own, whose absence it reports in other words
    names = {"input_names": list(input_names(name, arch)), "output_names": list(OUTPUTS[name])}
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, external_data=False, verbose=False, custom_translation_table=_translations(), **names
        )
    model = made.model_proto
    _name_by_layer(model.graph, "generator" if name == "generator" and arch.w_hpf > 0 else "")
    model.doc_string = ""
    with_metadata(model, about)
    onnx.checker.check_model(model, full_check=True)
    return model


def _translations() -> dict[Any, Any]:
    """What the exporter lacks: hypot, with which the landmark network's coordinates are made."""
    op = deploy_module("onnxscript").opset18

    def hypot(a, b):
        return op.Sqrt(op.Add(op.Mul(a, a), op.Mul(b, b)))

    return {torch.ops.prims.hypot.default: hypot}


@contextlib.contextmanager
def _quiet():
    """Without the exporter's messages about versions of operators, which it settles itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def _name_by_layer(graph: "onnx.GraphProto", wrapper: str) -> None:
    """Rename nodes and values to "layer/Operator", the batch dimension to "batch"; drop what the exporter noted about its sources.

    ``wrapper``: name of the layer that holds all others, which is left out.
    """
    new = {value.name: value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    taken, layers = Counter(), {}
    for node in graph.node:
        notes = {entry.key: entry.value for entry in node.metadata_props}
        scopes = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]"))
        # The last scope is the operation's own. A node that the exporter made without notes goes with what it reads.
        layer = scopes[-2] if len(scopes) > 1 else next((layers[name] for name in node.input if name in layers), "")
        layer = "" if layer.startswith("_") else layer.removeprefix(wrapper).removeprefix(".")
        layers |= dict.fromkeys(node.output, layer)
        base = f"{layer}/{node.op_type}" if layer else node.op_type
        taken[base] += 1
        node.name = base if taken[base] == 1 else f"{base}_{taken[base]}"
        node.doc_string = ""
        del node.metadata_props[:]
        for i, name in enumerate(node.output):
            new.setdefault(name, node.name if i == 0 else f"{node.name}:{i}")
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new[name] for name in node.output]
    for value in graph.value_info:
        value.name = new.get(value.name, value.name)
    for value in (*graph.input, *graph.output, *graph.value_info):
        del value.metadata_props[:]
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = "batch"
    for tensor in graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    del graph.metadata_props[:]
    graph.doc_string = ""
