"""The networks against a plain functional re-implementation, published parameter counts, and closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F
from plain_networks import discriminator, generator, perceptron, style_encoder
from torch import nn

from kdlib.blocks import AdaIN, AdaINResBlk, HighPass, SeparableConv
from kdlib.errors import InputError
from kdlib.networks import (
    Architecture,
    Discriminator,
    Generator,
    MappingNetwork,
    Networks,
    StyleDiscriminator,
    StyleEncoder,
    build_networks,
    select_domain,
)

# Float64 and a few dozen layers in another order of operations: far above rounding (1e-13), far below any mistake.
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def count(network):
    return sum(p.numel() for p in network.parameters())


def randomised(network, seed=0):
    """Every parameter drawn, norms and biases too: a network at its initial values would hide a forgotten term."""
    generator = torch.Generator().manual_seed(seed)
    network = network.double().eval()
    with torch.no_grad():
        for p in network.parameters():
            fan_in = max(1, p[0].numel()) if p.ndim > 1 else 4
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype) / math.sqrt(fan_in))
    return network


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- forward passes agree with it ----

ARCHITECTURES = [
    Architecture(64, 3, 12, False, 0, 5),
    Architecture(64, 3, 12, True, 0, 5),
    Architecture(32, 2, 7, True, 0, 16),  # cap below the first width
    Architecture(256, 2, 5, False, 1.0, 2),
    Architecture(256, 2, 5, True, 2.0, 2),
    Architecture(32, 2, 6, False, 0, 3, down_blocks=2),
    Architecture(64, 2, 6, True, 0, 3, down_blocks=5),  # a bottleneck of 2x2
    Architecture(256, 2, 5, False, 1.0, 2, down_blocks=6),
]


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=str)
def test_generator_agrees_with_a_plain_implementation(arch):
    net = randomised(Generator(arch))
    x, s = noise(2, 3, arch.image_size, arch.image_size), noise(2, arch.style_dim, seed=2)
    with torch.no_grad():
        torch.testing.assert_close(net(x, s), generator(net.state_dict(), arch, x, s), **CLOSE)


@pytest.mark.parametrize("arch", [a for a in ARCHITECTURES if a.w_hpf > 0], ids=str)
def test_high_pass_skip_agrees_with_a_plain_implementation(arch):
    net = randomised(Generator(arch))
    x, s = noise(2, 3, arch.image_size, arch.image_size), noise(2, arch.style_dim, seed=2)
    masks = tuple(noise(2, 1, arch.image_size, arch.image_size, seed=i).sigmoid() for i in (3, 4))
    with torch.no_grad():
        out = net(x, s, masks)
        torch.testing.assert_close(out, generator(net.state_dict(), arch, x, s, masks), **CLOSE)
        # Both masks, and their order, matter.
        assert not torch.allclose(out, net(x, s), **CLOSE)
        assert not torch.allclose(out, net(x, s, masks[::-1]), **CLOSE)
        zero = torch.zeros_like(masks[0])
        torch.testing.assert_close(net(x, s, (zero, zero)), net(x, s), **CLOSE)


@pytest.mark.parametrize("arch", ARCHITECTURES[:3], ids=str)
@pytest.mark.parametrize("kind, plain", [(StyleEncoder, style_encoder), (Discriminator, discriminator)])
def test_picture_encoders_agree_with_a_plain_implementation(arch, kind, plain):
    net = randomised(kind(arch))
    x, y = noise(4, 3, arch.image_size, arch.image_size), torch.tensor([0, 1, arch.domains - 1, 0])
    with torch.no_grad():
        torch.testing.assert_close(net(x, y), plain(net.state_dict(), arch, x, y), **CLOSE)


@pytest.mark.parametrize("kind, slope", [(MappingNetwork, 0.0), (StyleDiscriminator, 0.01)])
def test_perceptrons_agree_with_a_plain_implementation(kind, slope):
    arch = Architecture(64, 4, 11)
    net = randomised(kind(arch))
    code, y = noise(5, 16 if kind is MappingNetwork else 64), torch.tensor([3, 0, 1, 2, 3])
    expected = perceptron(net.state_dict(), code, y, slope)
    with torch.no_grad():
        torch.testing.assert_close(net(code, y), expected if kind is MappingNetwork else expected[:, 0], **CLOSE)


def test_discriminator_keeps_ordinary_convolutions_in_a_student():
    arch = Architecture(64, 2, 8, student=True, base_width=4)
    assert not any(isinstance(m, SeparableConv) for m in Discriminator(arch).modules())
    assert any(isinstance(m, SeparableConv) for m in StyleEncoder(arch).modules())


# ---- parameters ----

# data set's domains and w_hpf, alpha (512: the teacher), then G, E, F, D. The teachers' G, E and F and the students' at 64 and 128
# (AFHQ) and 128 (CelebA-HQ) are also the sums of the tensor shapes in the released checkpoints; all sums of G, E and F are Table 5.3's.
COUNTS = [
    (3, 0, 512, 33892995, 20949760, 3259072, 20852803),
    (3, 0, 64, 604227, 137472, 63488, 510723),
    (3, 0, 96, 1199267, 288512, 132000, 1078499),
    (3, 0, 128, 1990915, 488704, 225088, 1859267),
    (3, 0, 160, 2851171, 743488, 342752, 2728035),
    (2, 1, 512, 43467395, 20916928, 2438272, 20852290),
    (2, 1, 64, 704579, 133312, 46848, 510658),
    (2, 1, 96, 1411235, 282304, 97856, 1078402),
    (2, 1, 128, 2355459, 480448, 167296, 1859138),
    (2, 1, 160, 3409251, 733184, 255168, 2727874),
]


@pytest.mark.parametrize("domains, w_hpf, alpha, g, e, f, d", COUNTS)
def test_parameter_counts_are_the_published_ones(domains, w_hpf, alpha, g, e, f, d):
    arch = Architecture(256, domains, alpha, student=alpha != 512, w_hpf=w_hpf)
    with torch.device("meta"):
        networks = [kind(arch) for kind in (Generator, StyleEncoder, MappingNetwork, Discriminator, StyleDiscriminator)]
    assert [count(n) for n in networks[:4]] == [g, e, f, d]
    square = alpha**2 + alpha
    assert count(networks[4]) == 64 * alpha + alpha + 3 * square + domains * (3 * square + alpha + 1)


# ---- shapes ----


@pytest.mark.parametrize(
    "size, domains, alpha, student, w_hpf",
    [(32, 2, 1, True, 0), (64, 3, 3, False, 0), (128, 5, 2, True, 0), (256, 4, 2, True, 1), (512, 2, 2, True, 0), (512, 2, 1, False, 0)],
)
def test_shapes(size, domains, alpha, student, w_hpf):
    nets = build_networks(alpha, domains, student, w_hpf, size, base_width=1, seed=0)
    x, y = torch.zeros(2, 3, size, size), torch.tensor([0, domains - 1])
    with torch.no_grad():
        s = nets.mapping_network(torch.zeros(2, 16), y)
        assert s.shape == (2, 64)
        assert nets.generator(x, s).shape == x.shape
        assert nets.style_encoder(x, y).shape == (2, 64)
        assert nets.discriminator(x, y).shape == (2,)
        assert nets.style_discriminator(s, y).shape == (2,)


@pytest.mark.parametrize("size, w_hpf, bottleneck", [(32, 0, 16), (64, 0, 16), (256, 0, 16), (256, 1, 8), (512, 1, 8)])
def test_bottleneck_resolution(size, w_hpf, bottleneck):
    arch = Architecture(size, 2, 2, w_hpf=w_hpf, base_width=1)
    assert size >> arch.generator_down_blocks == bottleneck
    assert size >> arch.encoder_down_blocks == 4


@pytest.mark.parametrize("student", [False, True])
@pytest.mark.parametrize("size, down_blocks, bottleneck", [(32, None, 16), (32, 1, 16), (32, 2, 8), (32, 4, 2), (64, 3, 8), (64, 1, 32)])
def test_down_blocks_decide_the_bottleneck_and_nothing_else(size, down_blocks, bottleneck, student):
    """Widths 2, 4, 8, ... up to the cap of 6, so the bottleneck has min(2 * 2^blocks, 6) channels."""
    built = build_networks(6, 2, student, image_size=size, base_width=2, down_blocks=down_blocks, seed=0)
    ruled = build_networks(6, 2, student, image_size=size, base_width=2, seed=0)
    x = noise(2, 3, size, size).float()
    with torch.no_grad():
        content = built.generator.content(x)
        assert content.features.shape == (2, min(2 * size // bottleneck, 6), bottleneck, bottleneck)
        assert built.generator.render(content, torch.zeros(2, 64)).shape == x.shape
    for name in ("style_encoder", "mapping_network", "discriminator", "style_discriminator"):
        shapes = [{k: v.shape for k, v in getattr(nets, name).state_dict().items()} for nets in (built, ruled)]
        assert shapes[0] == shapes[1]


def test_the_narrowest_bottleneck_is_the_last_that_can_be_normalised():
    """One picture of one pixel has no variance: PyTorch's instance norm refuses it, and so does the architecture."""
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        nn.InstanceNorm2d(2)(torch.zeros(1, 2, 1, 1))
    Architecture(32, down_blocks=4)
    with pytest.raises(InputError, match="generator_down_blocks = 5 with image_size = 32: must be 1 to 4, for a bottleneck of 16x16 to 2x2;"):
        Architecture(32, down_blocks=5)


@pytest.mark.parametrize("alpha, widths", [(512, [64, 128, 256, 512, 512]), (96, [64, 96, 96, 96, 96]), (16, [16] * 5)])
def test_widths_double_up_to_the_cap(alpha, widths):
    assert Architecture(256, alpha=alpha).widths(4) == widths


def test_another_style_and_latent_size():
    nets = build_networks(4, 2, True, 0, 32, base_width=2, style_dim=9, latent_dim=5, seed=0)
    s = nets.mapping_network(torch.zeros(1, 5), torch.tensor([1]))
    assert s.shape == (1, 9)
    assert nets.generator(torch.zeros(1, 3, 32, 32), s).shape == (1, 3, 32, 32)


def test_select_domain_takes_each_rows_own():
    values = torch.arange(24).reshape(2, 3, 4)
    assert select_domain(values, torch.tensor([2, 0])).tolist() == [[8, 9, 10, 11], [12, 13, 14, 15]]


# ---- blocks in closed form ----


def test_adain_gives_every_channel_the_asked_mean_and_deviation():
    layer, x, s = AdaIN(3, 4).double(), noise(2, 3, 32, 32) * 5 + 2, noise(2, 4, seed=2)
    with torch.no_grad():
        out, h = layer(x, s), layer.affine(s)
    torch.testing.assert_close(out.mean(dim=(2, 3)), h[:, 3:], **CLOSE)
    # 1e-6: the norm's epsilon, 1e-5, beside variances of about 25, under a square root.
    torch.testing.assert_close(out.std(dim=(2, 3), correction=0), (1 + h[:, :3]).abs(), rtol=1e-6, atol=0)


def test_adain_starts_as_a_plain_norm():
    layer = AdaIN(3, 4)
    nn.init.zeros_(layer.affine.bias)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x, torch.zeros(2, 4)), nn.InstanceNorm2d(3)(x))


def test_student_and_teacher_decoder_blocks_differ_in_order_alone():
    blocks = [AdaINResBlk(4, 4, 3, upsample=True, conv_before_upsampling=order).double() for order in (False, True)]
    blocks[1].load_state_dict(blocks[0].state_dict())
    x, s = noise(1, 4, 8, 8), noise(1, 3, seed=2)
    with torch.no_grad():
        assert not torch.allclose(blocks[0](x, s), blocks[1](x, s), **CLOSE)
        # A first convolution that looks at one pixel cannot tell the orders apart.
        for block in blocks:
            block.conv1.weight.copy_(F.pad(block.conv1.weight[:, :, 1:2, 1:2], (1, 1, 1, 1)))
        torch.testing.assert_close(blocks[0](x, s), blocks[1](x, s), **CLOSE)


def test_high_pass_kernel():
    filtered = HighPass(2.0)
    constant = filtered(torch.full((1, 3, 6, 6), 4.0))
    assert constant[..., 1:-1, 1:-1].abs().max() == 0
    assert constant[0, 0, 0, 0] == (8 - 3) * 4 / 2  # a corner has 3 neighbours, an edge 5
    assert constant[0, 0, 0, 2] == (8 - 5) * 4 / 2
    impulse = torch.zeros(1, 2, 5, 5)
    impulse[0, 1, 2, 2] = 1
    response = filtered(impulse)
    assert response[0, 1, 1:4, 1:4].tolist() == [[-0.5, -0.5, -0.5], [-0.5, 4.0, -0.5], [-0.5, -0.5, -0.5]]
    assert response[0, 0].abs().max() == 0


# ---- initialisation, averages, errors ----


@pytest.fixture(scope="module")
def nets() -> Networks:
    return build_networks(48, 2, True, 0, 64, base_width=16, seed=5)


def test_he_initialisation(nets):
    for _, network in nets.modules():
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                w = module.weight
                if w.numel() >= 2000:
                    # 5 standard errors of a mean and of a standard deviation of n normal numbers; about 60 tensors are drawn.
                    expected = math.sqrt(2 / w[0].numel())
                    assert abs(w.mean()) < 5 * expected / math.sqrt(w.numel())
                    assert abs(w.std() / expected - 1) < 5 / math.sqrt(2 * w.numel())
                assert module.bias is None or module.bias.abs().max() == 0
            elif isinstance(module, nn.InstanceNorm2d):
                assert (module.weight == 1).all() and (module.bias == 0).all()


def test_a_seed_fixes_the_weights_and_leaves_the_global_state_alone(nets):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    again = build_networks(48, 2, True, 0, 64, base_width=16, seed=5)
    other = build_networks(48, 2, True, 0, 64, base_width=16, seed=6)
    assert torch.equal(torch.get_rng_state(), before)
    for (name, a), (_, b) in zip(nets.modules(), again.modules(), strict=True):
        assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True)), name
    assert not torch.equal(nets.generator.from_rgb.weight, other.generator.from_rgb.weight)


def test_averaged_copy_is_frozen_and_separate():
    nets = build_networks(4, 2, True, 0, 32, base_width=2, seed=0)
    copy = nets.averaged_copy()
    assert [name for name, _ in copy.modules()] == ["generator", "style_encoder", "mapping_network"]
    kept = copy.generator.from_rgb.weight.clone()
    with torch.no_grad():
        nets.generator.from_rgb.weight.add_(1)
    assert torch.equal(copy.generator.from_rgb.weight, kept)
    for _, network in copy.modules():
        assert not network.training
        assert not any(p.requires_grad for p in network.parameters())
    assert all(p.requires_grad for p in nets.generator.parameters())


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"image_size": 48}, "image_size = 48.*32, 64, 128"),
        ({"image_size": 1024}, "image_size = 1024"),
        ({"domains": 1}, "domains = 1.*at least 2"),
        ({"alpha": 0}, "alpha = 0.*at least 1"),
        ({"base_width": -1}, "base_width = -1"),
        ({"style_dim": 0}, "style_dim = 0"),
        ({"w_hpf": -1.0}, "w_hpf = -1"),
        ({"down_blocks": 0}, "generator_down_blocks = 0 with image_size = 256: must be 1 to 7, for a bottleneck of 128x128 to 2x2"),
        ({"down_blocks": -1}, "generator_down_blocks = -1"),
        ({"down_blocks": 8}, "generator_down_blocks = 8"),
        ({"down_blocks": 3, "w_hpf": 1.0}, "must be 4 to 7, .* 16x16 to 2x2, since the high-pass skip needs one smaller than 32x32"),
    ],
)
def test_impossible_architectures_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Architecture(**settings)


@pytest.mark.parametrize("size", [32, 64, 128, 512])
def test_a_set_with_the_skip_is_built_where_masks_exist_only(size):
    """A generator alone needs no landmark network: its masks may come from elsewhere."""
    with pytest.raises(InputError, match=f"image_size = {size}: .*face masks, which exist at 256 px only"):
        build_networks(2, 2, w_hpf=1.0, image_size=size)
    assert build_networks(1, 2, w_hpf=1.0, image_size=256).arch.w_hpf == 1.0
    Generator(Architecture(size, 2, 1, w_hpf=1.0))


def test_wrong_inputs_are_named(nets):
    x, y, s, z = torch.zeros(2, 3, 64, 64), torch.tensor([0, 1]), torch.zeros(2, 64), torch.zeros(2, 16)
    cases = [
        (nets.generator, (torch.zeros(2, 3, 32, 32), s), r"\[2, 3, 32, 32\].*\[N 3 64 64\]"),
        (nets.generator, (torch.zeros(2, 1, 64, 64), s), r"\[2, 1, 64, 64\]"),
        (nets.generator, (x, torch.zeros(1, 64)), r"\[1, 64\] for 2 pictures"),
        (nets.generator, (x, s, (x[:, :1], x[:, :1])), "w_hpf > 0"),
        (nets.style_encoder, (x[0], y), r"\[3, 64, 64\]"),
        (nets.style_encoder, (x, y[:, None]), r"domain labels of shape \[2, 1\]"),
        (nets.discriminator, (x, torch.zeros(2)), "float32.*integers from 0 to 1"),
        (nets.mapping_network, (torch.zeros(2, 17), y), r"\[2, 17\].*\[N 16\]"),
        (nets.style_discriminator, (z, y), r"\[2, 16\].*\[N 64\]"),
        (nets.mapping_network, (z, y.float()), "integers"),
    ]
    for network, inputs, message in cases:
        with pytest.raises(InputError, match=message):
            network(*inputs)
