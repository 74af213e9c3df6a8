"""Generators whose width lies elsewhere: hand formulas of weights and MACs, the plain implementation, settings, exports."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from plain_networks import generator as plain_generator
from test_networks import CLOSE, noise, randomised
from tiny_export import tiny_networks

from kdlib.architecture import Architecture, GeneratorDesign
from kdlib.config import load_preset, preset_from_dict, preset_names
from kdlib.deploy.export import example_inputs, exportable, to_onnx, trace
from kdlib.deploy.layer_profile import profile_eager, profile_onnxruntime
from kdlib.deploy.onnx_files import save_onnx
from kdlib.deploy.quantisation import in_memory, measure_ranges, quantisable, quantise
from kdlib.errors import InputError
from kdlib.networks import Generator, build_networks
from kdlib.profiling import network_costs, stage_costs
from kdlib.released import save_released
from kdlib.runs import STUDENT, TEACHER, RunSettings, binding

EVERYTHING = GeneratorDesign(stage_widths=(10, 14), separable_up=True, separable_bottleneck=True, pixel_shuffle=2)


def hand_count(size: int, widths: list[int], r: int = 1, separable_up: bool = False, separable_bottleneck: bool = False) -> tuple[int, int]:
    """Weights and MACs (convolutions, linear layers) of a student's generator with styles of 64 numbers, added up layer by layer."""
    sides, weights, macs = [size // r >> i for i in range(len(widths))], 0, 0

    def convolution(a, b, side, kernel=3, bias=True, groups=1):
        nonlocal weights, macs
        weights += kernel**2 * a * b // groups + bias * b
        macs += kernel**2 * a * b // groups * side**2

    def apart(a, b, side):
        convolution(a, a, side, groups=a)
        convolution(a, b, side, kernel=1)

    def adain(width):
        nonlocal weights, macs
        weights += 64 * 2 * width + 2 * width
        macs += 64 * 2 * width

    up, deep = (apart if separable else convolution for separable in (separable_up, separable_bottleneck))
    convolution(3 * r * r, widths[0], sides[0])
    for a, b, side in zip(widths, widths[1:], sides):
        apart(a, a, side)
        apart(a, b, side // 2)
        up(b, a, side // 2)
        up(a, a, side)
        adain(a)
        adain(b)
        weights += 4 * a  # two affine norms
        for pair in ((a, b), (b, a)) if a != b else ():
            convolution(*pair, side, kernel=1, bias=False)
    for _ in range(2):
        for layer in (apart, apart, deep, deep):
            layer(widths[-1], widths[-1], sides[-1])
        adain(widths[-1])
        adain(widths[-1])
        weights += 4 * widths[-1]
    weights += 2 * widths[0]
    convolution(widths[0], 3 * r * r, sides[0], kernel=1)
    return weights, macs


@pytest.mark.parametrize(
    "arch",
    [
        Architecture(256, 3, 128, True),
        Architecture(64, 3, 48, True, base_width=24),
        Architecture(64, 3, 48, True, base_width=24, design=GeneratorDesign((16, 44, 64))),
        Architecture(64, 3, 48, True, base_width=24, design=GeneratorDesign((32, 68, 68), separable_up=True)),
        Architecture(64, 3, 24, True, base_width=24, design=GeneratorDesign((24, 48, 56), separable_up=True, separable_bottleneck=True)),
        Architecture(64, 3, 24, True, base_width=24, design=GeneratorDesign((24, 32, 40), separable_bottleneck=True)),
        Architecture(64, 3, 48, True, base_width=24, design=GeneratorDesign(pixel_shuffle=2)),
        Architecture(256, 3, 128, True, design=GeneratorDesign((96, 128, 160), pixel_shuffle=4)),
        Architecture(64, 3, 5, True, design=EVERYTHING),
    ],
    ids=str,
)
def test_weights_and_macs_are_those_of_the_hand_formula(arch):
    counted = network_costs(arch, ["G"]).loc["G"]
    separable = arch.separable_up, arch.separable_bottleneck
    assert (counted["parameters"], counted["macs"]) == hand_count(arch.image_size, arch.generator_widths, arch.pixel_shuffle, *separable)
    table = stage_costs(arch, ["G"])
    assert table["macs"].sum() == counted["macs"] and (table["macs"] > 0).all()  # every layer is in a stage


def test_the_thesis_s_widths_written_out_are_the_thesis_s_networks():
    default = build_networks(12, 2, True, 0, 64, base_width=5, seed=3)
    written = build_networks(12, 2, True, 0, 64, base_width=5, design=GeneratorDesign(stage_widths=(5, 10, 12)), seed=3)
    for (name, ours), (_, theirs) in zip(default.modules(), written.modules(), strict=True):
        assert ours.state_dict().keys() == theirs.state_dict().keys(), name
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)), name


def test_other_networks_stay_as_they_are():
    shapes = [
        {k: v.shape for name, network in nets.modules() if name != "generator" for k, v in network.state_dict().items()}
        for nets in (build_networks(6, 2, True, 0, 64, base_width=3, seed=0), build_networks(6, 2, True, 0, 64, base_width=3, design=EVERYTHING, seed=0))
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("design", [EVERYTHING, GeneratorDesign((3, 7, 5)), GeneratorDesign(separable_up=True), GeneratorDesign(separable_bottleneck=True)], ids=str)
@pytest.mark.parametrize("student", [True, False])
def test_generator_agrees_with_a_plain_implementation(design, student):
    arch = Architecture(64, 2, 6, student, base_width=4, design=design)
    net, r = randomised(Generator(arch)), design.pixel_shuffle
    x, s = noise(2, 3, 64, 64), noise(2, 64, seed=2)
    small = 64 // r
    squares = x.reshape(2, 3, small, r, small, r).permute(0, 1, 3, 5, 2, 4).reshape(2, 3 * r * r, small, small)  # colour, row, column
    inside = SimpleNamespace(image_size=small, down_blocks=arch.generator_down_blocks, student=student, w_hpf=0)
    with torch.no_grad():
        out = plain_generator(net.state_dict(), inside, squares, s)
        expected = out.reshape(2, 3, r, r, small, small).permute(0, 1, 4, 2, 5, 3).reshape(2, 3, 64, 64)
        torch.testing.assert_close(net(x, s), expected, **CLOSE)


def test_nothing_runs_at_full_resolution():
    net, sides = Generator(Architecture(64, 2, 6, True, base_width=4, design=GeneratorDesign(pixel_shuffle=2))), []
    for layer in net.modules():
        layer.register_forward_hook(lambda layer, given, out: sides.append(out.shape[-1]) if layer is not net else None)
    with torch.no_grad():
        assert net(torch.zeros(1, 3, 64, 64), torch.zeros(1, 64)).shape == (1, 3, 64, 64)
    assert max(sides) == 32


def test_the_pixels_of_a_square_start_alike():
    net = build_networks(6, 2, True, 0, 64, base_width=4, design=GeneratorDesign(pixel_shuffle=2), seed=0).generator
    with torch.no_grad():
        out = net(noise(1, 3, 64, 64).float(), noise(1, 64, seed=2).float())
    assert out.std() > 0
    for row, column in ((0, 1), (1, 0), (1, 1)):
        assert torch.equal(out[..., row::2, column::2], out[..., ::2, ::2])


@pytest.mark.parametrize(
    "size, design, message",
    [
        (64, {"stage_widths": (8, 8)}, "stage_widths = \\[8, 8\\]: this generator has 3 stages, at 64, 32, 16 px; give a width for each"),
        (64, {"stage_widths": (8, 8, 8), "pixel_shuffle": 2}, "has 2 stages, at 32, 16 px"),
        (64, {"stage_widths": (8, 0, 8)}, "stage_widths = \\[8, 0, 8\\]: each must be at least 1"),
        (64, {"pixel_shuffle": 3}, "pixel_shuffle = 3: must be 1 \\(none\\), 2 or 4"),
        (32, {"pixel_shuffle": 2}, "pixel_shuffle = 2 with image_size = 32: leaves no down block, since the bottleneck is 16x16"),
    ],
)
def test_impossible_designs_are_refused(size, design, message):
    with pytest.raises(InputError, match=message):
        Architecture(size, 2, 8, True, design=GeneratorDesign(**design))


def test_a_design_comes_back_from_json():
    arch = Architecture(64, 2, 8, True, design=EVERYTHING)
    assert Architecture(**json.loads(json.dumps(dataclasses.asdict(arch)))) == arch
    hash(arch)


# ---- settings ----


def test_settings_concern_students_alone():
    preset = load_preset("quick", image_size=64, stage_widths="24,40,64", separable_up=True, separable_bottleneck=True)
    student = preset.architecture(3, alpha=48, student=True)
    assert student.generator_widths == [24, 40, 64] and student.separable_up and student.separable_bottleneck
    assert preset.architecture(3, alpha=48, student=False).design is None
    assert load_preset("quick").architecture(3, alpha=48, student=True).design is None
    assert preset_from_dict(preset.as_dict()) == preset
    bound = {}
    for role in (TEACHER, STUDENT):
        runs = [RunSettings(p, role, 48, False, ("a", "b", "c"), "") for p in (preset, load_preset("quick", image_size=64))]
        bound[role] = [binding(run.as_dict()) for run in runs]
    assert bound[TEACHER][0] == bound[TEACHER][1] and bound[STUDENT][0] != bound[STUDENT][1]
    run = RunSettings(preset, STUDENT, 48, False, ("a", "b", "c"), "")
    assert run.without_masks(seed=0).generator.arch == student


def test_runs_from_before_these_settings_are_the_thesis_s():
    old = load_preset("quick").as_dict()
    old.pop("student_generator")
    assert preset_from_dict(old) == load_preset("quick")


def test_bad_settings_are_named():
    for given, message in (
        ({"stage_widths": "24,many"}, "stage_widths = '24,many': must be"),
        ({"stage_widths": "24,24"}, "has 3 stages, at 64, 32, 16 px"),
        ({"pixel_shuffle": 8}, "pixel_shuffle = 8"),
        ({"separable_up": "yes"}, "separable_up = 'yes'"),
    ):
        with pytest.raises(InputError, match=message):
            load_preset("quick", image_size=64, **given)


@pytest.mark.parametrize("name", [name for name in preset_names() if load_preset(name).study.variants])
def test_every_variant_of_every_preset_can_be_built(name):
    for variant in load_preset(name).study.variants:
        preset = load_preset(name, variant=variant)
        preset.architecture(3, alpha=preset.study.main, student=True)


def test_allocations_of_preset_width_cost_what_its_comments_say():
    preset = load_preset("width")
    start = network_costs(preset.architecture(3, alpha=48, student=True), ["G"]).loc["G", "macs"]
    for variant in preset.study.variants:
        arch = load_preset("width", variant=variant).architecture(3, alpha=48, student=True)
        share = network_costs(arch, ["G"]).loc["G", "macs"] / start
        assert share == pytest.approx({"fast": 2 / 3, "half_same_time": 1.2}.get(variant, 1), abs=0.05), variant


# ---- files ----


def test_the_released_layout_refuses_a_design(tmp_path):
    nets = build_networks(8, 2, True, 0, 64, base_width=8, design=EVERYTHING, seed=0)
    with pytest.raises(InputError, match="stage_widths, separable_up, separable_bottleneck and pixel_shuffle are no part of this format"):
        save_released(tmp_path / "nets.ckpt", nets)
    assert not (tmp_path / "nets.ckpt").exists()


def test_exports_compute_the_same(tmp_path):
    nets = tiny_networks(image_size=64, design=EVERYTHING)
    network = exportable(nets, "joined")["generator"]
    model = to_onnx("generator", trace("generator", network, nets.arch), nets.arch, {})
    inputs = example_inputs("generator", nets.arch, 3, seed=4)
    with torch.no_grad():
        want = nets.generator(*inputs).numpy()
    arrays = tuple(t.numpy() for t in inputs)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    got = session.run(None, dict(zip(("x", "s"), arrays, strict=True)))[0]
    np.testing.assert_allclose(got, want, atol=2e-5)  # float32, some dozens of layers in another order; pictures are of the order of 1
    integers = in_memory(quantise(model, measure_ranges(model, arrays), quantisable(model)), 1)
    assert 0 < np.abs(integers(*arrays) - want).mean() < 0.2 * want.std()
    save_onnx(tmp_path / "generator.onnx", model)
    eager = profile_eager(network, inputs, rounds=1, warm_up=0)
    onnx = profile_onnxruntime(tmp_path / "generator.onnx", arrays, eager, rounds=1, warm_up=0, threads=1)
    assert "other" not in set(eager["kind"]) | set(onnx["kind"])
