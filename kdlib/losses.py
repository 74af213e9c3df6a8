"""The objectives, as pure functions of tensors, in the order of the thesis's equations (2.4.3 and 4.3).

Adversarial terms are binary cross-entropy on logits, hence non-saturating for G, E and F (2.3.2, Eq 5); L1 terms are
means over all elements. All are computed in float32, whatever the networks ran in. Weights, networks and optimisers belong to `kdlib.training_step`.

``sample_weights`` [N], of mean 1, make a mean over the batch a weighted one (`kdlib.knowledge_filter`); None: all alike.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def weighted_mean(values: Tensor, sample_weights: Tensor | None = None) -> Tensor:
    """Mean of values [N] -> scalar."""
    return (values if sample_weights is None else sample_weights * values).mean()


def adversarial_loss(logits: Tensor, real: bool, sample_weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of logits [N] against all-real or all-fake (Eqs 3, 5, 7, 31 to 34) -> scalar."""
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)), sample_weights)


def r1_penalty(logits: Tensor, x: Tensor, sample_weights: Tensor | None = None) -> Tensor:
    """Zero-centred gradient penalty 0.5 E||grad_x D(x)||^2 (Eq 6; Mescheder et al. 2018) -> scalar.

    ``x`` [N ...] must have required gradients when ``logits`` [N] were computed from it. The factor 0.5, absent from
    the thesis's Eq 6, is in its code.
    """
    (gradient,) = torch.autograd.grad(logits.float().sum(), x, create_graph=True)
    return 0.5 * weighted_mean(gradient.square().flatten(1).sum(1), sample_weights)


def style_reconstruction_loss(s_predicted: Tensor, s: Tensor, sample_weights: Tensor | None = None) -> Tensor:
    """Mean |E(G(x, s)) - s| over styles [N S] (Eq 8; in distillation Eqs 35, 36) -> scalar."""
    differences = (s_predicted.float() - s.float()).abs()
    return differences.mean() if sample_weights is None else weighted_mean(differences.mean(1), sample_weights)


def diversity_loss(image1: Tensor, image2: Tensor) -> Tensor:
    """Mean |G(x, s1) - G(x, s2)| (Eq 9), to be MAXIMISED -> scalar.

    The second image is a constant: it is detached here, so that only the first learns.
    """
    return (image1.float() - image2.detach().float()).abs().mean()


def cycle_loss(x_reconstructed: Tensor, x: Tensor) -> Tensor:
    """Mean |G(G(x, s), E(x)) - x| over pictures [N 3 H W] (Eq 10; in distillation Eqs 37, 38) -> scalar."""
    return (x_reconstructed.float() - x).abs().mean()


def energy_distance(a: Tensor, b: Tensor) -> Tensor:
    """2 E|a - b| - E|a - a'| - E|b - b'| between two samples [N S] and [M S], N, M >= 2 -> scalar (Szekely and Rizzo 2013).

    At least 0 in the mean, and 0 only if both come from one distribution. No part of the thesis: it asks of codes what its style
    discriminator asks (Eqs 33, 34), without a second network.
    """
    return 2 * torch.cdist(a, b).mean() - torch.pdist(a).mean() - torch.pdist(b).mean()


def output_loss(student: Tensor, teacher: Tensor, sample_weights: Tensor | None = None) -> Tensor:
    """Mean |G_S(x, s) - G_T(x, s)| over pictures [N 3 H W] -> scalar. No part of the thesis: output
    distillation, the L1 term of Chen et al. (2020, "Distilling portable GANs for image translation")."""
    return weighted_mean((student.float() - teacher.float()).abs().flatten(1).mean(1), sample_weights)
