"""Whose style codes a distilled student speaks: its own, its own begun as the teacher's, or the teacher's (no part of the thesis).

In the thesis the student's mapping network F_S starts from noise and learns from a discriminator on codes (Eqs 33, 34) that its
codes should be distributed as the teacher's. One latent z means one thing to the teacher and another to the student then. To keep a
frozen part of the teacher and train the rest to fit is what Chen et al. ("Knowledge distillation with the reused teacher classifier",
2022) do with a classifier. F runs once a style and not once a pixel, so a wide one is cheap to run.

* ``own``: the thesis's.
* ``init``: before training F_S learns F_T's codes of latents drawn anew, as long as `Fit` says: seconds, for no picture is needed. It
  is the first stage of FitNets (Romero et al. 2015, section 2.2), on codes. Then it is trained like the thesis's. Cutting F_T down to
  F_S's width (Li et al. 2017) does not do: seven layers of which most units are gone leave codes that hardly depend on z.
* ``teacher``: F_S is F_T at the teacher's width, frozen and shipped: what trains F_S (Eqs 33, 34) falls away. With
  ``lambda_style_match`` E_S learns to read codes that mean the same, see `kdlib.distillation_step`.
"""

from dataclasses import dataclass

import torch

from kdlib.checkpoints import take_weights
from kdlib.losses import style_reconstruction_loss
from kdlib.networks import MappingNetwork, Networks


@dataclass(frozen=True)
class Fit:
    """How F_S learns F_T's codes before training: Adam at a rate that falls linearly to 0."""

    steps: int = 3000
    batch: int = 256
    learning_rate: float = 3e-3


def take_style_space(nets: Networks, teacher: Networks, style_space: str, seed: int) -> None:
    """Give the student ``nets`` the mapping network that ``style_space`` says. Raises `InputError` where widths forbid it."""
    if style_space == "own":
        return
    mine, its = nets.mapping_network, teacher.mapping_network
    if style_space == "init":
        fit(mine, its, nets.arch.domains, seed)
        return
    take_weights(mine, its, "style_space = 'teacher': the teacher given has another mapping network than the preset's teacher_alpha says")
    mine.requires_grad_(False)
    nets.style_discriminator = None  # it would judge codes that are the teacher's


def fit(mine: MappingNetwork, its: MappingNetwork, domains: int, seed: int, how: Fit = Fit()) -> None:
    """Train ``mine`` until it gives about ``its`` codes, by an L1 between the codes of equal latents and domains."""
    device = next(mine.parameters()).device
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(mine.parameters(), lr=how.learning_rate, fused=True)
    for step in range(how.steps):
        for group in optimizer.param_groups:
            group["lr"] = how.learning_rate * (1 - step / how.steps)
        z = torch.randn(how.batch, mine.width_in, generator=random).to(device)
        y = torch.randint(domains, (how.batch,), generator=random).to(device)
        with torch.no_grad():
            wanted = its(z, y)
        optimizer.zero_grad(set_to_none=True)
        style_reconstruction_loss(mine(z, y), wanted).backward()
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
