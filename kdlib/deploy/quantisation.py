"""Static 8-bit integers for an exported network, with the layers left in float that measured quality asks for.

Convolutions and linear layers compute on integers: activations uint8, one scale a tensor, its range measured on calibration inputs;
weights int8, of which seven bits are used, one scale an output channel (the QDQ format of ONNX, ONNX Runtime's quantiser). Norms,
activations, sums and upsampling stay in float32, and so do transposed convolutions (`kdlib.deploy.inference_form`), for which neither
ONNX Runtime nor OpenVINO has integer arithmetic: quantised, they would compute in float between conversions. Any batch size remains possible.

Which layers suffer is measured, not guessed: each is quantised alone and the error of the network's output is its *sensitivity*.
Then the most sensitive 0, 1, 2, 3, 4, 6, 8, 12, ... layers are left in float, and the first such network whose scores are within a `Tolerance`
of the float network's is taken. Everything is a function of the inputs given.

Why seven bits. x86 processors without 8-bit dot products (VNNI) multiply uint8 by int8 and add neighbours in 16 bits: 2 * 255 * 127 is
more than these hold and is cut off, 2 * 255 * 64 is not. A file with weights of eight bits computes something else on such a machine than
where its layers were chosen; benchmarks/integer_sums.py measures how much. ONNX Runtime's name for it is ``reduce_range``.

Not in the thesis.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlib.deploy.onnx_files import save_onnx
from kdlib.deploy.parity import Inputs, output_errors, run_in_batches
from kdlib.deploy.runtimes import Runner, deploy_module, onnxruntime_session
from kdlib.errors import InputError

if TYPE_CHECKING:
    import onnx
    from onnxruntime.quantization.calibrate import TensorsData

QUANTISED = ("Conv", "Gemm")


def quantisable(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that can be quantised, in the order of the graph: those with constant weights."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type in QUANTISED and node.input[1] in constants]


def measure_ranges(model: onnx.ModelProto, inputs: Inputs, batch_size: int = 8) -> TensorsData:
    """Smallest and largest value of everything that enters or leaves a quantisable node, over ``inputs``."""
    calibrate = deploy_module("onnxruntime.quantization.calibrate")
    names = [one.name for one in model.graph.input]
    batches = [{n: a[i : i + batch_size] for n, a in zip(names, inputs, strict=True)} for i in range(0, len(inputs[0]), batch_size)]
    if not batches:
        raise InputError("no calibration inputs: ranges need at least one")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        save_onnx(file, model)
        # Its default notes each output's range batch by batch, so memory does not grow with the number of inputs.
        calibrator = calibrate.create_calibrator(file, list(QUANTISED), augmented_model_path=str(Path(folder) / "augmented.onnx"))
        calibrator.collect_data(_Reader(batches))
        return calibrator.compute_data()


class _Reader:
    """The quantiser's way of asking for inputs."""

    def __init__(self, batches: list[dict[str, Any]]):
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)


def quantise(model: onnx.ModelProto, ranges: TensorsData, nodes: Sequence[str], weight_bits: int = 7) -> onnx.ModelProto:
    """A copy of a float32 model in which the named nodes compute on integers. Raises `InputError` for a name it does not have.

    ``weight_bits``: 7 or 8; files with 8 are not for every processor, see above.
    """
    onnx = deploy_module("onnx")
    unknown = sorted(set(nodes) - set(quantisable(model)))
    if unknown:
        raise InputError(f"{', '.join(unknown)}: no such convolution or linear layer in this model")
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    if not nodes:
        return copy  # to the quantiser, no names at all mean every one
    types = deploy_module("onnxruntime.quantization.quant_utils").QuantType
    quantizer = deploy_module("onnxruntime.quantization.qdq_quantizer").QDQQuantizer
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it warns, on the root logger, of scales that it adjusts as it should
    try:
        work = quantizer(copy, True, weight_bits < 8, types.QInt8, types.QUInt8, ranges, list(nodes), None, list(QUANTISED), {})
        made = work.quantize_model()
        work.model.topological_sort()  # it appends what it adds
    finally:
        root.setLevel(level)
    made.producer_name, made.producer_version = model.producer_name, model.producer_version
    onnx.checker.check_model(made, full_check=True)
    return made


def in_memory(model: onnx.ModelProto, threads: int = 0, optimised: bool = True) -> Runner:
    """A model that is in no file yet, run by ONNX Runtime.

    Not ``optimised``, each node is run by itself, as ONNX defines it: integers are turned back into floats before they are multiplied.
    """
    session = onnxruntime_session(model.SerializeToString(), threads, optimised=optimised)
    names = [one.name for one in session.get_inputs()]
    return lambda *inputs: session.run(None, dict(zip(names, inputs, strict=True)))[0]


def sensitivity(model: onnx.ModelProto, ranges: TensorsData, inputs: Inputs, batch_size: int = 8, threads: int = 0) -> list[dict[str, Any]]:
    """For each quantisable node, most sensitive first: ``layer``, its ``place`` in the graph, the error of the output with it alone quantised.

    ``inputs`` should be others than those of the ranges. Errors: `kdlib.deploy.parity.output_errors`; the order is that of ``relative``.
    """
    want = run_in_batches(in_memory(model, threads), inputs, batch_size)
    rows = []
    for place, node in enumerate(quantisable(model)):
        got = run_in_batches(in_memory(quantise(model, ranges, [node]), threads), inputs, batch_size)
        rows.append({"layer": node, "place": place, **output_errors(got, want)})
    return sorted(rows, key=lambda row: (-row["relative"], row["layer"]))


def float_counts(layers: int) -> list[int]:
    """How many layers are left in float, candidate by candidate: 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, ..., and at last all."""
    steps = {2**i for i in range(layers.bit_length())} | {3 * 2**i for i in range(layers.bit_length())}
    return [0, *sorted(step for step in steps if step < layers), layers]


def choose(
    model: onnx.ModelProto, ranges: TensorsData, by_sensitivity: Sequence[str], violations: Callable[[onnx.ModelProto], list[str]]
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The most quantised candidate without violations, and how it was found.

    ``by_sensitivity``: all quantisable nodes, most sensitive first. ``violations(candidate)`` measures it and says what is worse
    than tolerated. The record: ``in_float``, names of the layers left in float, and ``candidates`` ({in_float, bytes, violations},
    in_float a number). With every layer in float, nothing is quantised and nothing violated: the search always ends.
    """
    candidates: list[dict[str, Any]] = []
    for count in float_counts(len(by_sensitivity)):
        candidate = quantise(model, ranges, by_sensitivity[count:])
        broken = violations(candidate) if count < len(by_sensitivity) else []
        candidates.append({"in_float": count, "bytes": candidate.ByteSize(), "violations": broken})
        if not broken:
            break
    return candidate, {"in_float": list(by_sensitivity[:count]), "layers": len(by_sensitivity), "candidates": candidates}
