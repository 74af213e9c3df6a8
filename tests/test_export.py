"""Exported files against PyTorch, against a second implementation of the networks, against ONNX's own checker."""

import copy

import numpy as np
import onnx
import pytest
import torch
from plain_networks import generator as plain_generator
from tiny_export import ABOUT, tiny, tiny_model, tiny_networks

from kdlib.deploy.export import OPSET, OUTPUTS, example_inputs, exportable, input_names, load_program, save_program, to_onnx, trace
from kdlib.deploy.exported import exported_networks
from kdlib.deploy.onnx_files import half_weights, load_onnx, metadata, save_onnx, with_metadata
from kdlib.deploy.quantisation import in_memory
from kdlib.deploy.runtimes import onnxruntime, onnxruntime_session
from kdlib.errors import InputError
from kdlib.landmark_network import LandmarkNetwork
from kdlib.landmarks import LandmarkMasks
from kdlib.networks import Networks

NAMES = Networks.TRANSLATING
# float32 in another order of operations, on outputs of size 1; norms divide by deviations and carry it on
ROUNDING = {"rtol": 1e-4, "atol": 2e-5}


def numpy_inputs(name, count, seed=3):
    return tuple(t.numpy() for t in example_inputs(name, tiny(name)[2], count, seed))


@pytest.mark.parametrize("count", [1, 5])  # traced with 2
@pytest.mark.parametrize("name", NAMES)
def test_onnx_computes_what_pytorch_computes_at_any_batch_size(name, count):
    inputs = numpy_inputs(name, count)
    want = tiny(name)[0](*map(torch.from_numpy, inputs)).numpy()
    np.testing.assert_allclose(in_memory(tiny_model(name))(*inputs), want, **ROUNDING)


def test_onnx_generator_agrees_with_a_plain_implementation():
    network, _, arch = tiny("generator")
    x, s = example_inputs("generator", arch, 3, seed=4)
    want = plain_generator({k: v.double() for k, v in network.state_dict().items()}, arch, x.double(), s.double())
    np.testing.assert_allclose(in_memory(tiny_model())(x.numpy(), s.numpy()), want.numpy(), **ROUNDING)


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_is_what_a_program_elsewhere_expects(name):
    model, arch = tiny_model(name), tiny(name)[2]
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")] == [OPSET] and OPSET >= 18
    assert {entry.domain for entry in model.opset_import} <= {"", "ai.onnx"}  # nothing that only one runtime knows
    shape = lambda value: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]  # noqa: E731
    kinds = {value.name: (shape(value), value.type.tensor_type.elem_type) for value in (*model.graph.input, *model.graph.output)}
    size, real, whole = arch.image_size, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    known = {"x": (["batch", 3, size, size], real), "s": (["batch", 64], real), "z": (["batch", 16], real), "y": (["batch"], whole),
             "image": (["batch", 3, size, size], real), "style": (["batch", 64], real)}  # fmt: skip
    assert kinds == {n: known[n] for n in (*input_names(name, arch), *OUTPUTS[name])}
    assert [value.name for value in model.graph.input] == list(input_names(name, arch))


@pytest.mark.parametrize("name", NAMES)
def test_nodes_are_named_after_layers(name):
    layers = dict(tiny(name)[0].named_modules())
    names = [node.name for node in tiny_model(name).graph.node]
    assert len(set(names)) == len(names)
    found = {node.rpartition("/")[0] for node in names}
    assert found <= set(layers)
    assert {n for n, m in layers.items() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))} <= found


def test_no_trace_of_the_exporting_machine(tmp_path):
    model, (_, program, _) = tiny_model(), tiny("generator")
    save_onnx(tmp_path / "g.onnx", model)
    save_program(tmp_path / "g.pt2", program, ABOUT)
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        for trace_left in (b"site-packages", b"kdlib/", b".py"):
            assert trace_left not in content, (file.name, trace_left)


def test_one_file_whose_size_is_its_weights(tmp_path):
    network = tiny("generator")[0]
    weights = 4 * sum(p.numel() for p in network.parameters())
    save_onnx(tmp_path / "g.onnx", tiny_model())
    assert [p.name for p in tmp_path.iterdir()] == ["g.onnx"]
    # Weights are all there, as numbers, once; about 150 bytes for each of some 120 nodes and as many names and shapes besides.
    assert weights < (tmp_path / "g.onnx").stat().st_size < weights + 40_000


def test_two_exports_are_the_same_bytes():
    network, _, arch = tiny("mapping_network")
    again = to_onnx("mapping_network", trace("mapping_network", network, arch), arch, ABOUT)
    assert again.SerializeToString(deterministic=True) == tiny_model("mapping_network").SerializeToString(deterministic=True)


def test_what_is_exported_is_a_copy_in_eval_mode():
    nets = tiny_networks()
    nets.generator.train().to(memory_format=torch.channels_last)
    found = exportable(nets)
    assert not any(network.training for network in found.values()) and nets.generator.training
    assert all(p.is_contiguous() for p in found["generator"].parameters())
    assert found["generator"].from_rgb.weight.data_ptr() != nets.generator.from_rgb.weight.data_ptr()


def test_metadata_is_inside(tmp_path):
    save_onnx(tmp_path / "f.onnx", with_metadata(tiny_model("mapping_network"), {"licence": "MIT", "commit": "abc"}))
    assert metadata(tmp_path / "f.onnx") == {"licence": "MIT", "commit": "abc"}


def test_an_exported_program_is_the_network_and_says_what_it_is(tmp_path):
    network, program, arch = tiny("style_encoder")
    save_program(tmp_path / "e.pt2", program, ABOUT)
    loaded, about = load_program(tmp_path / "e.pt2")
    inputs = example_inputs("style_encoder", arch, 3)
    assert about == ABOUT
    assert torch.equal(loaded(*inputs), network(*inputs))
    (tmp_path / "broken.pt2").write_bytes(b"not an archive")
    with pytest.raises(InputError, match="broken.pt2: not a file of torch.export"):
        load_program(tmp_path / "broken.pt2")


def test_half_precision_is_the_network_with_its_weights_rounded(tmp_path):
    network, _, arch = tiny("generator")
    rounded = copy.deepcopy(network)
    for module in rounded.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            for p in module.parameters():
                p.copy_(p.half().float())
    inputs = numpy_inputs("generator", 2)
    want = rounded(*map(torch.from_numpy, inputs)).numpy()
    half = half_weights(tiny_model())
    np.testing.assert_allclose(in_memory(half)(*inputs), want, **ROUNDING)
    assert not np.allclose(network(*map(torch.from_numpy, inputs)).numpy(), want, **ROUNDING)
    kept = {t.name: t.data_type for t in half.graph.initializer}
    assert kept["to_rgb_norm.weight"] == onnx.TensorProto.FLOAT  # norms stay as they were
    assert half.ByteSize() < 0.8 * tiny_model().ByteSize()  # weights are two thirds of so small a file


def test_a_weight_beyond_half_precision_is_named():
    model = tiny_model("mapping_network")
    tensor = next(t for t in model.graph.initializer if t.name == "shared.2.weight")
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[0, 0] = 1e5
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    with pytest.raises(InputError, match="shared.2.weight: holds a weight of 1e"):
        half_weights(model)


def test_files_that_are_none(tmp_path):
    (tmp_path / "text.onnx").write_text("no protobuf")
    for read in (load_onnx, onnxruntime):
        with pytest.raises(InputError, match="text.onnx"):
            read(tmp_path / "text.onnx")
    with pytest.raises(InputError, match="nothing.onnx: no such file"):
        onnxruntime(tmp_path / "nothing.onnx")


@pytest.mark.slow
def test_a_face_generator_takes_its_masks_as_inputs():
    nets = tiny_networks(domains=2, w_hpf=1.0, image_size=256, alpha=4, base_width=2)
    network = exportable(nets)["generator"]
    model = to_onnx("generator", trace("generator", network, nets.arch), nets.arch, ABOUT)
    x, s, *masks = example_inputs("generator", nets.arch, 1, seed=5)
    exported = exported_networks(nets, {"generator": in_memory(model)}).generator
    for given in (tuple(masks), None):
        want = nets.generator(x, s, given)
        # 256 px and random norms: twice the layers, and single pixels where a high-pass of features nearly cancels
        np.testing.assert_allclose(exported(x, s, given).numpy(), want.numpy(), rtol=1e-4, atol=3e-4)
    assert not torch.allclose(nets.generator(x, s, tuple(masks)), nets.generator(x, s), atol=1e-2)
    assert "decode.3.conv1/Conv" in {node.name for node in model.graph.node}  # as in a generator without masks


@pytest.mark.slow
def test_the_landmark_network_gives_the_masks_of_pytorch():
    nets = tiny_networks(domains=2, w_hpf=1.0, image_size=256, alpha=4, base_width=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nets.landmarks = LandmarkMasks(LandmarkNetwork())
    nets.landmarks.network.to_heatmaps.bias -= 0.1  # untrained responses hardly differ; so, part of each map is below the threshold
    model = to_onnx("landmarks", trace("landmarks", exportable(nets)["landmarks"], nets.arch), nets.arch, ABOUT)
    (x,) = example_inputs("landmarks", nets.arch, 1, seed=6)
    found = onnxruntime_session(model.SerializeToString()).run(["mask0", "mask1"], {"x": x.numpy()})
    for mask, want in zip(found, nets.masks(x)):
        assert 0.01 < want.mean() < 0.99
        # Heatmaps are cut off at a threshold: rounding may put a pixel on its other side.
        assert np.mean(np.abs(mask - want.numpy()) > 1e-3) < 1e-3
