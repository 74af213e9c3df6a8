"""Whose style codes a distilled student speaks: its own, its own begun as the teacher's, or the teacher's (no part of the thesis).

In the thesis the student's mapping network F_S starts from noise and learns from a discriminator on codes (Eqs 33, 34) that its
codes should be distributed as the teacher's. One latent z means one thing to the teacher and another to the student then. To keep a
frozen part of the teacher and train the rest to fit is what Chen et al. ("Knowledge distillation with the reused teacher classifier",
2022) do with a classifier. F runs once a style and not once a pixel, so a wide one is cheap to run.

* ``own``: the thesis's.
* ``init``: before training F_S learns F_T's codes of latents drawn anew, as long as `Fit` says: seconds, for no picture is needed. It
  is the first stage of FitNets (Romero et al. 2015, section 2.2), on codes. Then it is trained like the thesis's. Cutting F_T down to
  F_S's width (Li et al. 2017) does not do: seven layers of which most units are gone leave codes that hardly depend on z.
* ``fitted``: the same and no more: F_S stays what the fit made of it. An L1 alone draws codes towards the middle, so that styles come out
  paler than the teacher's; ``lambda_style_energy`` adds the energy distance between both networks' codes of each domain, which an
  F_S of too little spread does not bring to 0.
* ``teacher``: F_S is F_T at the teacher's width, frozen and shipped: what trains F_S (Eqs 33, 34) falls away. With
  ``lambda_style_match`` E_S learns to read codes that mean the same, see `kdlib.distillation_step`.
"""

from dataclasses import dataclass

import torch

from kdlib.checkpoints import take_weights
from kdlib.losses import energy_distance, style_reconstruction_loss
from kdlib.networks import MappingNetwork, Networks
from kdlib.settings import LossWeights, TrainingSettings


@dataclass(frozen=True)
class Fit:
    """How F_S learns F_T's codes before training: Adam at a rate that falls linearly to 0."""

    steps: int = 3000
    batch: int = 256
    learning_rate: float = 3e-3
    lambda_energy: float = 0.0


def take_style_space(nets: Networks, teacher: Networks, training: TrainingSettings, losses: LossWeights, resumed: bool = False) -> None:
    """Give the student ``nets`` the mapping network that ``style_space`` says. Raises `InputError` where widths forbid it.

    ``resumed``: its weights come from a checkpoint afterwards, so that none have to be fitted.
    """
    if training.style_space == "own":
        return
    mine, its = nets.mapping_network, teacher.mapping_network
    if training.style_space == "teacher":
        take_weights(mine, its, "style_space = 'teacher': the teacher given has another mapping network than the preset's teacher_alpha says")
    elif not resumed:
        fit(mine, its, nets.arch.domains, training.seed, Fit(steps=training.style_fit_iterations, lambda_energy=losses.lambda_style_energy))
    if training.style_space != "init":
        mine.requires_grad_(False)
        nets.style_discriminator = None  # it would judge codes that nobody changes


def fit(mine: MappingNetwork, its: MappingNetwork, domains: int, seed: int, how: Fit = Fit()) -> None:
    """Train ``mine`` until it gives about ``its`` codes, by an L1 between the codes of equal latents and domains.

    And where that is asked for, by the energy distance between the codes that each gives to a domain.
    """
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
        given = mine(z, y)
        loss = style_reconstruction_loss(given, wanted)
        if how.lambda_energy > 0:
            sets = [of for k in range(domains) if (of := y == k).sum() > 1]  # of many domains one may hardly be drawn
            loss = loss + how.lambda_energy * sum(energy_distance(given[of], wanted[of]) for of in sets) / domains
        loss.backward()
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
