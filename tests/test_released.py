"""Released checkpoints: layouts against the published ones, outputs against golden values, refusals.

`data/layouts.json` holds tensor names and shapes of released files. `data/released_golden.json` holds outputs that the
two public code bases (StarGAN-v2, TinyStarGAN-v2) gave with the weights of `formula` below, loaded strictly by name; a
tensor that went to the wrong place would change them.
"""

import dataclasses
import importlib
import io
import json
import pickle
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

import kdlib
from kdlib.errors import InputError
from kdlib.landmarks import LandmarkMasks
from kdlib.networks import Architecture, Networks, build_networks, networks_of
from kdlib.released import (
    FILTER,
    detect_architecture,
    load_landmarks,
    load_released,
    released_layout,
    save_released,
)

DATA = Path(__file__).parent / "data"
GOLDEN = json.loads((DATA / "released_golden.json").read_text(encoding="utf-8"))
LAYOUTS = {
    kind: {net: {name: tuple(map(int, s.split("x"))) if s else () for name, s in t.items()} for net, t in nets.items()}
    for kind, nets in json.loads((DATA / "layouts.json").read_text(encoding="utf-8")).items()
}
RELEASED = {
    "official_afhq": Architecture(256, 3, 512),
    "official_celeba_hq": Architecture(256, 2, 512, w_hpf=1),
    "tiny_afhq_a128": Architecture(256, 3, 128, student=True),
    "tiny_afhq_a64": Architecture(256, 3, 64, student=True),
    "tiny_celeba_hq_a128": Architecture(256, 2, 128, student=True, w_hpf=1),
}
KINDS = {
    "teacher-afhq": Architecture(256, 3, 64),
    "teacher-celeba_hq": Architecture(256, 2, 64, w_hpf=1),
    "student-afhq": Architecture(256, 3, 64, student=True),
    "student-celeba_hq": Architecture(256, 2, 64, student=True, w_hpf=1),
}
KERNEL = torch.tensor([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]])


def formula(name: str, shape: tuple[int, ...], gain: float = 2) -> torch.Tensor:
    """Weights that depend on the tensor's released name only (numpy's legacy stream is frozen for good)."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    v = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var"):
        v = 1 + 0.1 * np.abs(v)
    elif len(shape) == 1:
        v = 0.1 * v + name.endswith("weight")
    else:
        v = v * np.sqrt(gain / np.prod(shape[1:]))
    return torch.tensor(v, dtype=torch.float32)


def formula_state(layout: dict[str, tuple[int, ...]], gain: float = 2) -> dict[str, torch.Tensor]:
    return {name: formula(name, shape, gain) for name, shape in layout.items()}


def formula_checkpoint(arch: Architecture) -> dict[str, dict[str, torch.Tensor]]:
    return {network: formula_state(layout) for network, layout in released_layout(arch).items()}


@pytest.fixture(scope="module")
def fan() -> dict[str, torch.Tensor]:
    return formula_state(LAYOUTS["fan"]["fan"], gain=1)


@pytest.fixture(scope="module")
def wing(fan, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("wing") / "wing.ckpt"
    torch.save({"state_dict": fan}, path)
    return path


SMALL = Architecture(32, 2, 8, student=True, base_width=4, style_dim=6, latent_dim=5)


@pytest.fixture
def small() -> dict[str, dict[str, torch.Tensor]]:
    return formula_checkpoint(SMALL)


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def outputs(nets: Networks) -> dict[str, torch.Tensor]:
    """What the golden values are of: inputs of a frozen random stream, styles of domains 1 and 0."""
    rng = np.random.RandomState(1)

    def draw(values):
        return torch.tensor(values, dtype=torch.float32)

    x, z, y = draw(rng.uniform(-1, 1, (2, 3, 256, 256))), draw(rng.standard_normal((2, 16))), torch.tensor([1, 0])
    masks = tuple(draw(rng.uniform(0, 1, (2, 1, 256, 256))) for _ in range(2)) if nets.arch.w_hpf > 0 else None
    with torch.no_grad():
        style = nets.mapping_network(z, y)
        encoded, translated = nets.style_encoder(x, y), nets.generator(x, style, masks)
    return {"style": style[:, :3], "encoded": encoded[:, :3], "translated": translated[:, :, 100, 100]}


@pytest.mark.parametrize("kind", RELEASED)
def test_layouts_are_the_published_ones(kind):
    assert released_layout(RELEASED[kind]) == LAYOUTS[kind]


@pytest.mark.parametrize("kind", RELEASED)
def test_released_networks_are_recognised(kind):
    shapes = {net: {name: torch.empty(s, device="meta") for name, s in t.items()} for net, t in LAYOUTS[kind].items()}
    assert detect_architecture(Path("x"), shapes) == RELEASED[kind]


@pytest.mark.parametrize(
    "arch",
    [
        SMALL,
        Architecture(64, 5, 48, base_width=24),
        Architecture(128, 4, 96, style_dim=32, latent_dim=8),
        Architecture(64, 2, 512),  # 256 channels at once, StarGAN-v2's own rule
        Architecture(32, 2, 512, base_width=16),  # no convolution as wide as the cap: the linear layers tell it
        Architecture(64, 2, 640, base_width=64),  # linear layers stop at 512: the convolutions tell it
        Architecture(256, 2, 32, student=True, w_hpf=1),
    ],
)
def test_other_networks_are_recognised(arch):
    shapes = {n: {name: torch.empty(s, device="meta") for name, s in t.items()} for n, t in released_layout(arch).items()}
    assert detect_architecture(Path("x"), shapes) == arch


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_those_of_the_public_code(kind, tmp_path, fan):
    content = formula_checkpoint(KINDS[kind])
    if KINDS[kind].w_hpf:
        content["fan"] = fan
    nets = load_released(saved(tmp_path / "100000_nets_ema.ckpt", content))
    assert nets.arch == KINDS[kind]
    for name, got in outputs(nets).items():
        # Golden values have 5 decimals; float32 over some 30 layers differs by 3e-5 between orders of summation.
        np.testing.assert_allclose(got.numpy(), GOLDEN[kind][name], rtol=0, atol=2e-4, err_msg=name)


@pytest.mark.slow
def test_outputs_of_the_official_network_are_those_of_the_public_code(tmp_path, fan):
    arch = RELEASED["official_celeba_hq"]
    content = {**formula_checkpoint(arch), "fan": fan}
    content["generator"][FILTER] = KERNEL
    nets = load_released(saved(tmp_path / "100000_nets_ema.ckpt", content))
    for name, got in outputs(nets).items():
        np.testing.assert_allclose(got.numpy(), GOLDEN["official-celeba_hq"][name], rtol=0, atol=2e-4, err_msg=name)


def test_heatmaps_are_those_of_the_public_code(wing):
    masks = load_landmarks(wing)
    x = torch.tensor(np.random.RandomState(1).uniform(-1, 1, (1, 3, 256, 256)), dtype=torch.float32)
    with torch.no_grad():
        heatmaps = masks.network(x * 0.5 + 0.5)
    assert heatmaps.shape == (1, 99, 64, 64)
    got = [[heatmaps[0, c, row, column].item() for row, column in ((0, 0), (20, 30), (63, 5))] for c in (0, 50, 98)]
    np.testing.assert_allclose(got, GOLDEN["landmarks"], rtol=0, atol=2e-4)  # 5 decimals, and 1e-5 by summation order


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_what_was_loaded(kind, tmp_path, wing, fan):
    arch = dataclasses.replace(KINDS[kind], alpha=16)
    built = build_networks(arch.alpha, arch.domains, arch.student, arch.w_hpf, seed=5)
    if arch.w_hpf:
        built.landmarks = load_landmarks(wing)
    path = tmp_path / "deeper" / "000001_nets_ema.ckpt"
    save_released(path, built)
    assert [p.name for p in path.parent.iterdir()] == [path.name]

    content = torch.load(path, weights_only=True)
    assert content.pop("fan", {}).keys() == (fan.keys() if arch.w_hpf else set())
    assert {n: {k: tuple(t.shape) for k, t in state.items()} for n, state in content.items()} == released_layout(arch)

    random_state = torch.get_rng_state()
    loaded = load_released(path)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert loaded.arch == arch and loaded.discriminator is None
    for name, network in loaded.modules():
        assert not network.training and not any(p.requires_grad for p in network.parameters())
        for key, tensor in getattr(built, name).state_dict().items():
            assert torch.equal(tensor, network.state_dict()[key]), key
    built_outputs, loaded_outputs = outputs(built), outputs(loaded)
    assert all(torch.equal(built_outputs[name], loaded_outputs[name]) for name in built_outputs)
    if arch.w_hpf:
        for key, tensor in built.landmarks.state_dict().items():
            assert torch.equal(tensor, loaded.landmarks.state_dict()[key]), key
    else:
        assert loaded.landmarks is None


def test_saved_tensors_bear_the_right_names(small, tmp_path):
    """Not only a round trip: a swap that loading and saving share would pass that."""
    save_released(tmp_path / "a.ckpt", load_released(saved(tmp_path / "b.ckpt", small)))
    again = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert again.keys() == small.keys()
    for network, state in small.items():
        assert all(torch.equal(again[network][name], tensor) for name, tensor in state.items())


def test_prefixes_counters_and_kernel_may_be_there_or_not(tmp_path, fan):
    arch = Architecture(256, 2, 8, student=True, w_hpf=1)
    plain = {**formula_checkpoint(arch), "fan": fan}
    dressed = {n: {f"module.{name}": t.double() for name, t in state.items()} for n, state in plain.items()}
    dressed["generator"][f"module.{FILTER}"] = KERNEL
    dressed["fan"] = {name: tensor for name, tensor in dressed["fan"].items() if "num_batches" not in name}
    a, b = load_released(saved(tmp_path / "a.ckpt", plain)), load_released(saved(tmp_path / "b.ckpt", dressed))
    assert a.arch == b.arch == arch
    for (_, one), (_, other) in zip([*a.modules(), ("", a.landmarks)], [*b.modules(), ("", b.landmarks)]):
        for key, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[key]) and tensor.dtype == other.state_dict()[key].dtype


def test_the_kernel_tells_its_weight(tmp_path, wing):
    arch = Architecture(256, 2, 8, student=True, w_hpf=4)
    nets = build_networks(8, 2, True, 4, seed=0)
    nets.landmarks = load_landmarks(wing)
    with pytest.raises(InputError, match="with_filter"):
        save_released(tmp_path / "a.ckpt", nets)
    save_released(tmp_path / "a.ckpt", nets, with_filter=True)
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert torch.equal(content["generator"][FILTER], KERNEL / 4)
    assert load_released(tmp_path / "a.ckpt").arch == arch

    content["generator"][FILTER] = -KERNEL
    with pytest.raises(InputError, match="not the high-pass kernel"):
        load_released(saved(tmp_path / "b.ckpt", content))


def test_landmarks_come_from_the_file_named_else_from_the_checkpoint(tmp_path, wing, fan):
    arch = Architecture(256, 2, 8, student=True, w_hpf=1)
    content = formula_checkpoint(arch)
    path = saved(tmp_path / "a.ckpt", content)
    with pytest.raises(InputError, match="give wing.ckpt"):
        load_released(path)
    other = {name: tensor + 1 if name == "l0.bias" else tensor for name, tensor in fan.items()}
    both = saved(tmp_path / "b.ckpt", {**content, "fan": other})
    for nets, bias in [
        (load_released(path, landmarks=wing), fan["l0.bias"]),
        (load_released(both), other["l0.bias"]),
        (load_released(both, landmarks=str(wing)), fan["l0.bias"]),
    ]:
        assert isinstance(nets.landmarks, LandmarkMasks)
        assert torch.equal(nets.landmarks.network.to_heatmaps.bias, bias)
    assert torch.equal(load_landmarks(both).network.to_heatmaps.bias, other["l0.bias"])
    nets.landmarks = None
    with pytest.raises(InputError, match="set nets.landmarks"):
        save_released(tmp_path / "c.ckpt", nets)
    assert not (tmp_path / "c.ckpt").exists()


def test_models_without_the_skip_leave_landmarks_alone(small, tmp_path):
    """The released AFHQ file holds a landmark network that nothing uses."""
    small["fan"] = {"anything": torch.zeros(1)}
    assert load_released(saved(tmp_path / "a.ckpt", small), landmarks=tmp_path / "absent").landmarks is None


def test_wing_file_may_hold_more_but_not_less(tmp_path, fan):
    more = {**fan, "m1.coordconv.conv.weight": torch.zeros(1)}
    load_landmarks(saved(tmp_path / "wing.ckpt", {"state_dict": more, "epoch": 3}))
    less = {name: tensor[:98] if name == "l0.bias" else tensor for name, tensor in fan.items() if name != "bn1.weight"}
    with pytest.raises(InputError) as error:
        load_landmarks(saved(tmp_path / "wing.ckpt", {"state_dict": less}))
    assert "missing bn1.weight [64]" in str(error.value) and "l0.bias is [98], should be [99]" in str(error.value)
    with pytest.raises(InputError, match="neither state_dict"):
        load_landmarks(saved(tmp_path / "wing.ckpt", {"model": fan}))


def test_every_tensor_that_does_not_fit_is_listed(small, tmp_path):
    del small["generator"]["encode.1.conv2.conv.0.bias"]
    small["generator"][FILTER] = KERNEL  # and no block more, as the skip would have
    small["style_encoder"]["shared.9.weight"] = torch.zeros(2, 2)
    small["mapping_network"]["unshared.1.4.weight"] = torch.zeros(8, 9)
    del small["mapping_network"]["unshared.0.2.bias"]
    with pytest.raises(InputError) as error:
        load_released(saved(tmp_path / "odd.ckpt", small))
    head, *lines = str(error.value).split("\n  ")
    assert "odd.ckpt" in head and "student of width cap 8, 2 domains, 32 px" in head
    assert lines == [
        "generator: missing encode.1.conv2.conv.0.bias [8]",
        "generator: extra hpf.filter [3, 3]",
        "mapping_network: missing unshared.0.2.bias [8]",
        "mapping_network: unshared.1.4.weight is [8, 9], should be [8, 8]",
        "style_encoder: extra shared.9.weight [2, 2]",
    ]


class Dangerous:
    ran = False

    def __reduce__(self):
        return (setattr, (Dangerous, "ran", True))


def damaged(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()[: buffer.tell() // 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"<!DOCTYPE html><html>Too many downloads</html>", "not a file of torch.save"),
        (b"", "not a complete file"),
        (damaged({"generator": {"a": torch.zeros(1000)}}), "not a complete file|not a file of torch.save"),
        (pickle.dumps({"generator": Dangerous()}, protocol=2), "not a file of torch.save"),
        ({"generator": Dangerous()}, "could run code"),
        (torch.zeros(3), "holds a Tensor"),
        ({}, "holds nothing; a released checkpoint"),
        ({"state_dict": {}}, "holds state_dict; .* 100000_nets_ema.ckpt, holds generator, mapping_network, style_encoder"),
        ({"generator": [], "mapping_network": {}, "style_encoder": {}}, "entry generator is not a dictionary"),
        ({"generator": {"a": 1}, "mapping_network": {}, "style_encoder": {}}, "entry generator is not a dictionary"),
        ({"generator": {}, "mapping_network": {}, "style_encoder": {}}, "0 downsampling blocks"),
    ],
    ids=str.split("absent page empty cut pickle code tensor nothing other list number hollow"),
)
def test_files_that_are_refused(content, message, tmp_path):
    path = tmp_path / "100000_nets_ema.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    for load in (load_released, load_landmarks) if "could run" in message or content is None else (load_released,):
        with pytest.raises(InputError, match=message) as error:
            load(path)
        assert str(path) in str(error.value)
    assert not Dangerous.ran


def test_networks_that_cannot_be_are_refused(small, tmp_path):
    with pytest.raises(InputError, match="style_encoder, discriminator; a released checkpoint of moving averages"):
        load_released(saved(tmp_path / "a.ckpt", {**small, "discriminator": {}}))
    first = {"shared.0.weight": small["style_encoder"]["shared.0.weight"]}  # and no block at all
    with pytest.raises(InputError, match="a.ckpt: 1 downsampling blocks in the generator and 0 in the style encoder"):
        load_released(saved(tmp_path / "a.ckpt", {**small, "style_encoder": first}))
    one = {name: t for name, t in small["mapping_network"].items() if not name.startswith("unshared.1.")}
    with pytest.raises(InputError, match="a.ckpt: domains = 1"):
        load_released(saved(tmp_path / "a.ckpt", {**small, "mapping_network": one}))
    del small["generator"]["from_rgb.weight"]
    with pytest.raises(InputError, match="generator has no tensor from_rgb.weight"):
        load_released(saved(tmp_path / "a.ckpt", small))


def test_a_failed_write_leaves_the_old_file(small, tmp_path, monkeypatch):
    nets = load_released(saved(tmp_path / "a.ckpt", small))
    before = (tmp_path / "a.ckpt").read_bytes()

    def full_disk(content, path, **options):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_released(tmp_path / "a.ckpt", nets)
    assert (tmp_path / "a.ckpt").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_package_exports_without_waiting_for_torch():
    code = "import sys, kdlib; assert 'torch' not in sys.modules; assert 'load_released' in dir(kdlib); kdlib.InputError"
    subprocess.run([sys.executable, "-c", code + "; assert 'torch' not in sys.modules"], check=True)
    for name, module in [("build_networks", "networks"), ("load_released", "released"), ("save_released", "released")]:
        assert getattr(kdlib, name) is getattr(importlib.import_module(f"kdlib.{module}"), name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kdlib.nothing


def test_a_generator_of_another_depth_is_not_saved_in_a_format_that_cannot_say_so(tmp_path):
    deeper = build_networks(8, 2, image_size=32, base_width=8, down_blocks=2)
    with pytest.raises(InputError, match="generator_down_blocks = 2 is not StarGAN-v2's rule"):
        save_released(tmp_path / "deeper.ckpt", deeper)
    assert not (tmp_path / "deeper.ckpt").exists()


@pytest.mark.parametrize("units", [4, 16])
def test_a_mapping_network_of_another_width_is_not_saved_either(units, tmp_path):
    other = networks_of(Architecture(32, 2, 8, True, base_width=8, mapping_width=units))
    with pytest.raises(InputError, match=f"mapping_width = {units} is not StarGAN-v2's rule, 8 here"):
        save_released(tmp_path / "other.ckpt", other)
    assert not (tmp_path / "other.ckpt").exists()
