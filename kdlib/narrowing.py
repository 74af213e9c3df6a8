"""A generator with fewer channels in one of its stages, cut out of a trained one: structured pruning, without training after it.

No part of the thesis, which trains narrow networks from the start. What is lost when channels of one resolution go tells where width is
needed (`benchmarks/stage_sensitivity.py`). The channels of a stage are in several *groups* that can be cut apart from each other: what
flows from block to block through the shortcuts, in the encoder half and in the decoder half (one group where the two halves meet, and at
every stage of a model with a high-pass skip, which adds the one to the other), and what is between the two convolutions of each block.

Of every group those channels go that are read by the weights of the least L1 norm. Li et al. (2017) rank by the weights that write a
channel; here every convolution reads a normalised map, in which the scale of what was written is gone.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdlib.architecture import Architecture, GeneratorDesign
from kdlib.blocks import SeparableConv
from kdlib.errors import InputError
from kdlib.networks import Generator


class Group(NamedTuple):
    """Channels that are kept or cut together: of which stage (0: the finest), and where in it."""

    stage: int
    place: str


class BlockGroups(NamedTuple):
    """What enters a block, what is between its convolutions, what leaves it."""

    entering: Group
    inner: Group
    leaving: Group


def block_groups(arch: Architecture) -> dict[str, BlockGroups]:
    """The groups of every block of a generator, by the block's name."""
    depth = arch.generator_down_blocks

    def flow(stage: int, half: str) -> Group:
        return Group(stage, "flow" if stage == depth or arch.w_hpf > 0 else f"{half} flow")

    found = {}
    for i in range(depth + 2):
        name, stage = f"encode.{i}", min(i, depth)
        found[name] = BlockGroups(flow(stage, "encoder"), Group(stage, name), flow(min(i + 1, depth), "encoder"))
    for i in range(depth + 2):
        name, entered, left = f"decode.{i}", depth - max(0, i - 2), depth - max(0, i - 1)
        found[name] = BlockGroups(flow(entered, "decoder"), Group(left, name), flow(left, "decoder"))
    return found


def narrowed(generator: Generator, stage: int, width: int) -> Generator:
    """A copy whose ``stage`` (0: the finest resolution) has ``width`` channels; all that it keeps computes as before, but for what is gone.

    Its architecture has ``stage_widths``. Where two stages have become equally wide by this, their block keeps the shortcut's
    convolution that it had, which a network built so from the start has not. Raises `InputError` for a stage that there is not, or a
    width that is none or more than there is.
    """
    widths = generator.arch.generator_widths
    if not 0 <= stage < len(widths):
        raise InputError(f"stage = {stage}: this generator has {len(widths)}, 0 to {len(widths) - 1}")
    if not 1 <= width <= widths[stage]:
        raise InputError(f"width = {width}: stage {stage} has {widths[stage]} channels; keep 1 to all of them")
    kept = {
        group: torch.topk(importance, width).indices.sort().values if group.stage == stage else torch.arange(len(importance))
        for group, importance in importances(generator).items()
    }
    design = replace(generator.arch.design or GeneratorDesign(), stage_widths=(*widths[:stage], width, *widths[stage + 1 :]))
    with torch.random.fork_rng(devices=[]):
        made = Generator(replace(generator.arch, design=design)).to(generator.from_rgb.weight)
    every = torch.arange(generator.from_rgb.in_channels)
    first, last = _ends(generator.arch)
    _cut_convolution(generator.from_rgb, made.from_rgb, kept[first], every)
    for name, groups in block_groups(generator.arch).items():
        old, new = generator.get_submodule(name), made.get_submodule(name)
        new.shortcut = _shortcut(old.shortcut, kept[groups.entering], kept[groups.leaving], groups.entering == groups.leaving)
        _cut_convolution(old.conv1, new.conv1, kept[groups.inner], kept[groups.entering])
        _cut_convolution(old.conv2, new.conv2, kept[groups.leaving], kept[groups.inner])
        _cut_norm(old.norm1, new.norm1, kept[groups.entering])
        _cut_norm(old.norm2, new.norm2, kept[groups.inner])
    _cut_convolution(generator.to_rgb, made.to_rgb, every, kept[last])
    _cut_norm(generator.to_rgb_norm, made.to_rgb_norm, kept[last])
    return made.eval().requires_grad_(False)


def importances(generator: Generator) -> dict[Group, Tensor]:
    """Of every channel of every group the L1 norm of the weights that read it, [C]."""
    found: dict[Group, Tensor] = {}
    for group, importance in _readers(generator):
        found[group] = found[group] + importance if group in found else importance
    return found


def _readers(generator: Generator) -> Iterator[tuple[Group, Tensor]]:
    for name, groups in block_groups(generator.arch).items():
        block = generator.get_submodule(name)
        yield groups.entering, _reading(block.conv1)
        yield groups.inner, _reading(block.conv2)
        if isinstance(block.shortcut, nn.Conv2d):
            yield groups.entering, _reading(block.shortcut)
    yield _ends(generator.arch)[1], _reading(generator.to_rgb)


def _ends(arch: Architecture) -> tuple[Group, Group]:
    """What leaves from-RGB, and what enters to-RGB."""
    blocks = block_groups(arch)
    return blocks["encode.0"].entering, blocks[f"decode.{arch.generator_down_blocks + 1}"].leaving


def _reading(convolution: nn.Module) -> Tensor:
    """L1 norm of the weights that read each channel; of a separable convolution the product of its two parts'."""
    if isinstance(convolution, SeparableConv):
        return convolution.depthwise.weight.detach().abs().sum(dim=(1, 2, 3)) * _reading(convolution.pointwise)
    return convolution.weight.detach().abs().sum(dim=(0, 2, 3))


def _cut_convolution(old: nn.Module, new: nn.Module, leaving: Tensor, entering: Tensor) -> None:
    if isinstance(old, SeparableConv):
        _fill(new.depthwise, old.depthwise.weight[entering], old.depthwise.bias[entering])
        _cut_convolution(old.pointwise, new.pointwise, leaving, entering)
    else:
        _fill(new, old.weight[leaving][:, entering], old.bias[leaving])


def _cut_norm(old: nn.Module, new: nn.Module, kept: Tensor) -> None:
    if hasattr(old, "affine") and isinstance(old.affine, nn.Linear):  # AdaIN: gamma of every channel, then beta of every channel
        rows = torch.cat([kept, kept + len(old.affine.bias) // 2])
        _fill(new.affine, old.affine.weight[rows], old.affine.bias[rows])
    else:
        _fill(new, old.weight[kept], old.bias[kept])


def _shortcut(old: nn.Module, entering: Tensor, leaving: Tensor, same: bool) -> nn.Module:
    """A shortcut between what is left of two groups: a 1x1 convolution, unless every channel still goes to itself."""
    if isinstance(old, nn.Conv2d):
        weight = old.weight.detach()[leaving][:, entering]
    elif same or torch.equal(entering, leaving):
        return copy.deepcopy(old)
    else:
        weight = (leaving[:, None] == entering[None, :]).float()[:, :, None, None]
    made = nn.Conv2d(len(entering), len(leaving), 1, bias=False).to(weight)
    _fill(made, weight)
    return made


@torch.no_grad()
def _fill(layer: nn.Module, weight: Tensor, bias: Tensor | None = None) -> None:
    layer.weight.copy_(weight)
    if bias is not None:
        layer.bias.copy_(bias)
