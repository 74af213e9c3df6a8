"""Whose style codes a distilled student speaks: its own, its own begun from the teacher's, or the teacher's (no part of the thesis).

In the thesis the student's mapping network F_S starts from noise and learns from a discriminator on codes (Eqs 33, 34) that its
codes should be distributed as the teacher's. One latent z means one thing to the teacher and another to the student then. To keep a
frozen part of the teacher and train the rest to fit is what Chen et al. ("Knowledge distillation with the reused teacher classifier",
2022) do with a classifier. F runs once a style and not once a pixel, so a wide one is cheap to run.

* ``own``: the thesis's.
* ``init``: F_S starts as F_T. Where F_S is narrower, every hidden layer keeps the units whose incoming weights have the largest
  sum of absolute values, in their order, with their weights from the units kept before them (magnitude pruning of whole units, Li
  et al. 2017, section 3.1). Where both are equally wide that is a copy. It is trained like the thesis's.
* ``teacher``: F_S is F_T at the teacher's width, frozen and shipped: what trains F_S (Eqs 33, 34) falls away. With
  ``lambda_style_match`` E_S learns to read codes that mean the same, see `kdlib.distillation_step`.
"""

import torch
from torch import Tensor, nn

from kdlib.checkpoints import layout_problems
from kdlib.errors import InputError
from kdlib.networks import MappingNetwork, Networks


def take_style_space(nets: Networks, teacher: Networks, style_space: str) -> None:
    """Give the student ``nets`` the mapping network that ``style_space`` says. Raises `InputError` where widths forbid it."""
    if style_space == "own":
        return
    mine, its = nets.mapping_network, teacher.mapping_network
    if style_space == "init":
        mine.load_state_dict(pruned(its, nets.arch.mapping_units))
        return
    problems = layout_problems({key: tuple(value.shape) for key, value in mine.state_dict().items()}, its.state_dict())
    if problems:
        raise InputError(
            "style_space = 'teacher': the teacher given has another mapping network than the preset's teacher_alpha says:\n  "
            + "\n  ".join(problems)
        )
    mine.load_state_dict(its.state_dict())
    mine.requires_grad_(False)
    nets.style_discriminator = None  # it would judge codes that are the teacher's


def pruned(network: MappingNetwork, width: int) -> dict[str, Tensor]:
    """Weights of a mapping network with ``width`` hidden units a layer, cut out of a wider ``network``'s."""
    whole = network.shared[0].out_features
    if width > whole:
        raise InputError(f"style_space = 'init': the student's mapping network has {width} units a layer, its teacher's {whole}; it cannot be cut out")
    weights, kept = _pruned_layers(network.shared, "shared", torch.arange(network.width_in), width)
    for i, branch in enumerate(network.branches):
        weights |= _pruned_layers(branch, f"branches.{i}", kept, width)[0]
    return weights


def _pruned_layers(layers: nn.Sequential, name: str, kept: Tensor, width: int) -> tuple[dict[str, Tensor], Tensor]:
    """Weights by name of a row of linear layers, given which inputs are ``kept``, and which units of the last one are."""
    weights = {}
    for i, layer in enumerate(layers):
        if not isinstance(layer, nn.Linear):
            continue
        is_output = i == len(layers) - 1  # every hidden layer has its activation behind it
        sizes, inputs = layer.weight.detach().abs().sum(1), kept.to(layer.weight.device)
        rows = torch.arange(len(sizes), device=inputs.device) if is_output else sizes.topk(width).indices.sort().values
        weights |= {f"{name}.{i}.weight": layer.weight.detach()[rows][:, inputs], f"{name}.{i}.bias": layer.bias.detach()[rows]}
        kept = rows
    return weights, kept
