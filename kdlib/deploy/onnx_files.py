"""ONNX files: read, written whole or not at all, with metadata inside; and weights stored in half precision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kdlib.deploy.runtimes import deploy_module
from kdlib.errors import InputError
from kdlib.files import write_atomically

if TYPE_CHECKING:
    import onnx

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # operators whose weights can be stored in fewer bits
LARGEST_HALF = 65504.0


def save_onnx(path: Path, model: onnx.ModelProto) -> None:
    """Write a model as one file, atomically."""
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(model.SerializeToString(deterministic=True)))


def load_onnx(path: Path) -> onnx.ModelProto:
    """Read an ONNX file. Raises `InputError` where it is none."""
    onnx = deploy_module("onnx")
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf's own classes
        raise InputError(f"{path}: not an ONNX file ({type(error).__name__})") from error


def with_metadata(model: onnx.ModelProto, about: dict[str, str]) -> onnx.ModelProto:
    """The model, its metadata replaced by ``about``."""
    del model.metadata_props[:]
    deploy_module("onnx").helper.set_model_props(model, about)
    return model


def metadata(path: Path) -> dict[str, str]:
    """What an exported ONNX file says about itself."""
    return {entry.key: entry.value for entry in load_onnx(path).metadata_props}


def half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a float32 model whose convolutions and linear layers have their weights and biases stored in float16.

    A cast before each use gives them back as float32, so all arithmetic, norms above all, stays what it was. Runtimes make the casts
    once, when they load the file: what is saved is half of its size, not time. OpenVINO stores its own models in this way.
    Raises `InputError` where a weight is beyond float16's range.
    """
    onnx = deploy_module("onnx")
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    wanted = {name for node in graph.node if node.op_type in WEIGHTED for name in node.input[1:]}
    casts = []
    for tensor in graph.initializer:
        if tensor.name not in wanted or tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if abs(values).max(initial=0) > LARGEST_HALF:
            raise InputError(f"{tensor.name}: holds a weight of {abs(values).max():.3g}, beyond float16's {LARGEST_HALF:g}; export in fp32")
        name, stored = tensor.name, f"{tensor.name}/fp16"
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype("float16"), stored))
        casts.append(onnx.helper.make_node("Cast", [stored], [name], f"{name}/Cast", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return model
