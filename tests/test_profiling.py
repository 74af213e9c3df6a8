"""Counts of parameters and MACs: two programs, closed forms, and the thesis's convention."""

import pandas as pd
import pytest
import torch
from torch import nn

from kdlib.blocks import AdaIN, SeparableConv
from kdlib.landmark_network import LandmarkNetwork
from kdlib.landmarks import LandmarkMasks
from kdlib.networks import Architecture, build_networks
from kdlib.profiling import (
    KINDS,
    cost,
    landmark_costs,
    layer_costs,
    meta_network,
    network_costs,
    savings,
    stage_costs,
    stages,
    sweep,
)

SMALL = Architecture(64, 3, 24, base_width=8)


@pytest.mark.parametrize(
    "layer, shape, macs",
    [
        (nn.Conv2d(5, 7, 3, padding=1), (1, 5, 8, 8), 9 * 5 * 7 * 64),
        (nn.Conv2d(6, 6, 3, padding=1, groups=6), (1, 6, 8, 8), 9 * 6 * 64),
        (nn.Conv2d(4, 8, 4), (1, 4, 4, 4), 16 * 4 * 8),
        (nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False), (1, 4, 16, 16), 9 * 4 * 8 * 64),
        (nn.Linear(16, 10), (1, 16), 160),
        (SeparableConv(6, 10), (1, 6, 8, 8), (9 * 6 + 6 * 10) * 64),
    ],
)
def test_both_programs_count_what_the_formula_says(layer, shape, macs):
    table = layer_costs(layer, torch.zeros(shape))
    assert table["macs"].sum() == table["macs_thop"].sum() == macs
    assert table["parameters"].sum() == sum(p.numel() for p in layer.parameters())


@pytest.mark.parametrize("norm, operations", [(nn.InstanceNorm2d(4, affine=True), 4), (nn.InstanceNorm2d(4), 2), (nn.BatchNorm2d(4), 4)])
def test_thop_counts_norms_and_pytorch_does_not(norm, operations):
    row = layer_costs(norm, torch.zeros(1, 4, 8, 8)).iloc[0]
    assert (row["macs_thop"], row["macs"]) == (operations * 4 * 64, 0)


def test_adain_is_counted_as_thop_counts_its_modules():
    class AdaINOfModules(nn.Module):
        """The layer as StarGAN-v2 has it, its norm a module that thop knows."""

        def __init__(self):
            super().__init__()
            self.norm, self.affine = nn.InstanceNorm2d(6), nn.Linear(5, 12)

        def forward(self, x, s):
            gamma, beta = self.affine(s)[:, :, None, None].chunk(2, dim=1)
            return (1 + gamma) * self.norm(x) + beta

    class Wrapped(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x, s):
            return self.layer(x, s)

    inputs = torch.zeros(1, 6, 8, 8), torch.zeros(1, 5)
    ours, theirs = (layer_costs(Wrapped(layer), *inputs)[["macs_thop", "macs", "parameters"]].sum() for layer in (AdaIN(6, 5), AdaINOfModules()))
    pd.testing.assert_series_equal(ours, theirs)
    assert ours["macs_thop"] == 2 * 6 * 64 + 5 * 12


def test_a_layer_used_twice_is_counted_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.conv(self.conv(x))

    row = layer_costs(Twice(), torch.zeros(1, 3, 4, 4)).iloc[0]
    assert row["macs"] == row["macs_thop"] == 2 * 9 * 16


def test_counting_leaves_the_module_alone():
    net = build_networks(4, 2, True, 0, 32, base_width=2, seed=0).generator.train()
    before = set(net.state_dict())
    layer_costs(net, torch.zeros(1, 3, 32, 32), torch.zeros(1, 64))
    assert net.training and set(net.state_dict()) == before
    assert not any(m._forward_hooks for m in net.modules())


def generator_macs(widths, size, separable, before, style_dim=64):
    """Convolutions and linear layers of a generator without high-pass skip, from its widths alone."""
    total, conv = 9 * 3 * widths[0] * size**2, lambda a, b: 9 * a + a * b if separable else 9 * a * b
    for a, b in zip(widths, widths[1:]):  # conv1 and a shortcut, where there is one, before the pooling, conv2 after it
        total += size**2 * (conv(a, a) + (a * b if a != b else 0)) + (size // 2) ** 2 * conv(a, b)
        size //= 2
    c = widths[-1]
    total += 2 * size**2 * 2 * conv(c, c)
    total += 2 * (size**2 * 2 * 9 * c * c + 2 * style_dim * 2 * c)
    for a, b in zip(widths[:0:-1], widths[-2::-1]):
        total += (size**2 if before else 4 * size**2) * 9 * a * b + style_dim * 2 * (a + b)
        size *= 2
        total += size**2 * (9 * b * b + (a * b if a != b else 0))
    return total + size**2 * widths[0] * 3


@pytest.mark.parametrize(
    "size, alpha, base, blocks", [(256, 512, 64, None), (256, 128, 64, None), (64, 24, 8, None), (32, 10, 16, None), (32, 64, 16, 2)]
)
@pytest.mark.parametrize("student", [False, True])
def test_generator_macs_have_a_closed_form(size, alpha, base, blocks, student):
    arch = Architecture(size, 2, alpha, student, base_width=base, down_blocks=blocks)
    widths = arch.widths(arch.generator_down_blocks)
    for before in (False, True):
        counted = network_costs(arch, ["G"], conv_before_upsampling=before).loc["G", "macs"]
        assert counted == generator_macs(widths, size, student, before)


@pytest.mark.parametrize("network", KINDS)
@pytest.mark.parametrize(
    "arch", [SMALL, Architecture(64, 3, 24, True, base_width=8), Architecture(256, 2, 8, True, w_hpf=1), Architecture(32, 5, 3, True),
             Architecture(32, 3, 24, base_width=8, down_blocks=3)], ids=str  # fmt: skip
)
def test_stages_hold_every_parameter_once_and_norms_explain_the_difference(network, arch):
    table = stage_costs(arch, [network])
    module = meta_network(network, arch)
    assert table["parameters"].sum() == sum(p.numel() for p in module.parameters())
    layers = [layer for stage in stages(network, arch) for layer in stage.layers]
    assert len(set(layers)) == len(layers)
    assert (table["macs_thop"] - table["macs"]).tolist() == table["norm_operations"].tolist()
    assert table["stage"].is_unique


def test_layer_outputs():
    table = layer_costs(SeparableConv(4, 6), torch.zeros(1, 4, 8, 8))
    assert dict(zip(table["layer"], table["output"])) == {"depthwise": (4, 8, 8), "pointwise": (6, 8, 8)}


def test_totals_and_what_a_run_records():
    arch = Architecture(32, 3, 12, True, base_width=8)
    nets = build_networks(12, 3, True, 0, 32, base_width=8, seed=0)
    found = cost(nets)
    translating = (nets.generator, nets.style_encoder, nets.mapping_network)
    assert found["parameters"] == sum(p.numel() for n in translating for p in n.parameters())
    assert found["parameters"] == sum(found[f"parameters_{n}"] for n in "GEF")
    assert found["macs"] == sum(found[f"macs_{n}"] for n in "GEF") == network_costs(arch).loc["total", "macs_thop"]
    assert found["macs_conv_linear"] < found["macs"]
    assert not any("landmarks" in name for name in found)
    assert all(type(value) is int for value in found.values())  # they go into JSON


def test_the_landmark_network_is_counted_when_there_is_one():
    masks = LandmarkMasks(LandmarkNetwork())
    nets = build_networks(2, 2, True, 1, 256, base_width=2, seed=0)
    nets.landmarks = masks
    found = cost(nets)
    assert found["parameters_with_landmarks"] - found["parameters"] == 6_333_603  # the released wing.ckpt
    extra = landmark_costs(masks)
    assert found["macs_with_landmarks"] - found["macs"] == extra["macs_thop"]
    # Its batch norms are affine; the functional count leaves them out. 9 G would be out of proportion for 6 M weights at 64x64.
    assert 0 < extra["macs_thop"] - extra["macs"] < 0.01 * extra["macs"]


def test_a_sweep_grows_with_alpha_and_agrees_with_single_counts():
    table = sweep(SMALL, [1, 4, 24])
    totals = table[table["network"] == "total"]
    assert totals["parameters"].is_monotonic_increasing and totals["macs_thop"].is_monotonic_increasing
    single = network_costs(Architecture(64, 3, 4, True, base_width=8))
    assert totals.set_index("alpha").loc[4, "parameters"] == single.loc["total", "parameters"]
    after = sweep(SMALL, [4], conv_before_upsampling=False).set_index("network")
    before = table[table["alpha"] == 4].set_index("network")
    assert after.loc["total", "parameters"] == before.loc["total", "parameters"]
    # Upsampling first costs conv1 of the up block three times over again: 64 -> 16 has two, of 3 x 9 x 4 x 4 MACs a small pixel.
    assert after.loc["G", "macs"] - before.loc["G", "macs"] == 3 * 9 * 4 * 4 * (16**2 + 32**2)


def test_savings_lead_from_teacher_to_student():
    table = savings(SMALL, 12)
    student = network_costs(Architecture(64, 3, 12, True, base_width=8)).loc["total"]
    assert table["macs_thop"].is_monotonic_decreasing
    assert table["parameters"].iloc[1] == table["parameters"].iloc[2]  # the order of layers holds no weights
    assert table.iloc[0]["macs_thop"] == network_costs(SMALL).loc["total", "macs_thop"]
    assert (table.iloc[-1]["parameters"], table.iloc[-1]["macs_thop"]) == (student["parameters"], student["macs_thop"])
