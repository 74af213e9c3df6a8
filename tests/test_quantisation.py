"""Static 8-bit quantisation against the arithmetic of its definition in numpy, and the choice of layers against made-up verdicts."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_export import tiny, tiny_model, tiny_networks

from kdlib.deploy.export import example_inputs, exportable, to_onnx, trace
from kdlib.deploy.onnx_files import save_onnx
from kdlib.deploy.parity import output_errors
from kdlib.deploy.quantisation import choose, float_counts, in_memory, measure_ranges, quantisable, quantise, sensitivity
from kdlib.errors import InputError


def one_layer(weights, bias):
    """image -> 1x1 convolution -> out, as an ONNX model."""
    tensors = [numpy_helper.from_array(weights[:, :, None, None], "w"), numpy_helper.from_array(bias, "b")]
    node = helper.make_node("Conv", ["x", "w", "b"], ["out"], "layer/Conv")
    kinds = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", c, 4, 4]) for n, c in (("x", weights.shape[1]), ("out", weights.shape[0]))]
    graph = helper.make_graph([node], "one", kinds[:1], kinds[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def unsigned(values, low, high):
    """uint8 levels over a range that holds 0: (levels, scale, zero point)."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32(high - low) / 255
    zero = np.round(-low / scale)
    return np.clip(np.round(values / scale) + zero, 0, 255), scale, zero


def test_a_layer_computes_on_integers_as_defined():
    random = np.random.default_rng(0)
    weights, bias = random.normal(size=(5, 3)).astype(np.float32), random.normal(size=5).astype(np.float32)
    weights[2] *= 100  # one scale a channel: the others must not lose their digits to this one
    x = random.normal(size=(6, 3, 4, 4)).astype(np.float32)
    model = one_layer(weights, bias)
    ranges = measure_ranges(model, (x,), batch_size=4)
    assert [float(v) for v in np.ravel(ranges["x"].range_value)] == [x.min(), x.max()]

    levels, x_scale, x_zero = unsigned(x, x.min(), x.max())
    w_scale = np.abs(weights).max(axis=1) / np.float32(64)  # seven bits
    w_levels = np.round(weights / w_scale[:, None])
    b_levels = np.round(bias / (x_scale * w_scale))
    sums = np.einsum("nchw,dc->ndhw", levels - x_zero, w_levels) + b_levels[:, None, None]
    real = sums * (x_scale * w_scale)[:, None, None]
    exact = np.einsum("nchw,dc->ndhw", x, weights) + bias[:, None, None]
    out_levels, out_scale, out_zero = unsigned(real, exact.min(), exact.max())

    found = in_memory(quantise(model, ranges, ["layer/Conv"]))(x)
    # All is integers until the last rounding, where a value half-way between two levels may fall to either side.
    assert np.abs(found - (out_levels - out_zero) * out_scale).max() <= 1.01 * out_scale
    assert np.mean(np.abs(found - (out_levels - out_zero) * out_scale) < 1e-3 * out_scale) > 0.99


def test_no_processor_cuts_sums_off():
    """All weights and all inputs at their largest: pairs of products are 2 * 255 * 64, and 2 * 255 * 127 with eight bits, over 2**15."""
    weights, x = np.ones((8, 32), np.float32), np.ones((1, 32, 4, 4), np.float32)
    model = one_layer(weights, np.zeros(8, np.float32))
    ranges = measure_ranges(model, (np.concatenate([0 * x, x]),))
    made = quantise(model, ranges, ["layer/Conv"])
    np.testing.assert_allclose(in_memory(made)(x), 32.0, rtol=1e-3)
    for bits, largest in ((7, 64), (8, 127)):
        made = quantise(model, ranges, ["layer/Conv"], bits)
        (stored,) = [numpy_helper.to_array(t) for t in made.graph.initializer if t.name == "w_quantized"]
        assert stored.max() == largest
        np.testing.assert_allclose(in_memory(made, optimised=False)(x), 32.0, rtol=1e-3)


def calibrated(count=6):
    arch = tiny("generator")[2]
    model = tiny_model()
    return model, measure_ranges(model, tuple(t.numpy() for t in example_inputs("generator", arch, count, seed=1)), 4)


def other_inputs(count=3):
    return tuple(t.numpy() for t in example_inputs("generator", tiny("generator")[2], count, seed=2))


def test_every_weighted_layer_can_be_quantised_at_any_batch_size():
    model, ranges = calibrated()
    nodes = quantisable(model)
    assert sorted(nodes) == sorted(n.name for n in model.graph.node if n.op_type in ("Conv", "Gemm"))
    made = quantise(model, ranges, nodes)
    onnx.checker.check_model(made, full_check=True)
    inputs = other_inputs()
    together = in_memory(made)(*inputs)
    for i in range(3):  # ranges are fixed, so a picture's result does not depend on its neighbours
        np.testing.assert_allclose(in_memory(made)(*(a[i : i + 1] for a in inputs)), together[i : i + 1], atol=1e-5)
    want = in_memory(model)(*inputs)
    assert 0 < output_errors(together, want)["relative"] < 0.5
    assert {t.data_type for t in made.graph.initializer if t.name.endswith("weight_quantized")} == {TensorProto.INT8}
    stored = lambda m: sum(numpy_helper.to_array(t).nbytes for t in m.graph.initializer)  # noqa: E731
    assert stored(made) < 0.4 * stored(model)  # a quarter, and scales: of a real network the whole file shrinks so
    assert quantise(model, ranges, nodes).SerializeToString() == made.SerializeToString()


def test_what_is_quantised_is_computed_on_integers_and_nothing_else_is(tmp_path):
    """By ONNX Runtime's own account of the graph that it runs. It has no integer arithmetic for transposed convolutions."""
    nets = tiny_networks()
    model = to_onnx("generator", trace("generator", exportable(nets, "joined")["generator"], nets.arch), nets.arch, {})
    kinds = Counter(node.op_type for node in model.graph.node)
    inputs = tuple(t.numpy() for t in example_inputs("generator", nets.arch, 2))
    save_onnx(tmp_path / "int8.onnx", quantise(model, measure_ranges(model, inputs), quantisable(model)))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "run.onnx"), 3
    onnxruntime.InferenceSession(tmp_path / "int8.onnx", options, providers=["CPUExecutionProvider"])
    run = onnx.load(tmp_path / "run.onnx").graph
    found = Counter(node.op_type for node in run.node)
    assert (found["QLinearConv"], found["QGemm"], found["Conv"], found["Gemm"]) == (kinds["Conv"], kinds["Gemm"], 0, 0)
    made_by = {name: node.op_type for node in run.node for name in node.output}
    (weights,) = [node.input[1] for node in run.node if node.op_type == "ConvTranspose"]
    assert kinds["ConvTranspose"] == 1 and weights not in made_by  # a constant: not turned back from integers at every run


def test_nothing_asked_for_changes_nothing():
    model, ranges = calibrated()
    assert quantise(model, ranges, []).SerializeToString() == model.SerializeToString()
    with pytest.raises(InputError, match="no/Conv: no such convolution"):
        quantise(model, ranges, ["no/Conv"])
    with pytest.raises(InputError, match="no calibration inputs"):
        measure_ranges(model, tuple(a[:0] for a in other_inputs()))


def test_sensitivity_finds_the_layer_that_suffers():
    model, ranges = calibrated()
    name = "decode.0.conv1/Conv"
    spoiled = ranges[model.graph.node[[n.name for n in model.graph.node].index(name)].input[0]]
    low, high = spoiled.range_value
    spoiled.lowest, spoiled.highest = np.float32(1000 * low), np.float32(1000 * high)  # as an outlier would have it
    rows = sensitivity(model, ranges, other_inputs())
    assert rows[0]["layer"] == name and rows[0]["relative"] > 3 * rows[1]["relative"]
    assert [row["relative"] for row in rows] == sorted((row["relative"] for row in rows), reverse=True)
    assert [row["layer"] for row in sorted(rows, key=lambda row: row["place"])] == quantisable(model)


@pytest.mark.parametrize(("layers", "counts"), [(1, [0, 1]), (2, [0, 1, 2]), (5, [0, 1, 2, 3, 4, 5]), (20, [0, 1, 2, 3, 4, 6, 8, 12, 16, 20])])
def test_candidates_leave_more_and_more_in_float(layers, counts):
    assert float_counts(layers) == counts


def in_float(candidate):
    """Layers of a candidate whose weights are no integers."""
    kept = {t.name for t in candidate.graph.initializer}
    return {node.name for node in tiny_model().graph.node if node.op_type in ("Conv", "Gemm") and node.input[1] in kept}


def test_the_first_candidate_within_the_tolerance_is_taken():
    model, ranges = calibrated()
    order = quantisable(model)[::-1]
    needed = set(order[:5])
    chosen, record = choose(model, ranges, order, lambda candidate: [] if needed <= in_float(candidate) else ["too far"])
    assert in_float(chosen) == set(order[:6]) and record["in_float"] == order[:6]
    assert [(c["in_float"], c["violations"]) for c in record["candidates"]] == [*((n, ["too far"]) for n in (0, 1, 2, 3, 4)), (6, [])]
    assert record["candidates"][-1]["bytes"] == chosen.ByteSize()


def test_if_no_candidate_will_do_all_stays_in_float():
    model, ranges = calibrated()
    order = quantisable(model)
    chosen, record = choose(model, ranges, order, lambda candidate: ["never"])
    assert chosen.SerializeToString() == model.SerializeToString()
    assert record["in_float"] == order and record["candidates"][-1]["violations"] == []
