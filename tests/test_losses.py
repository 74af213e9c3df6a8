"""Losses against closed forms."""

import math
import statistics

import scipy.stats
import torch

from kdlib.learner import average_decay, diversity_weight
from kdlib.losses import adversarial_loss, cycle_loss, diversity_loss, energy_distance, r1_penalty, style_reconstruction_loss
from kdlib.settings import TrainingSettings


def test_adversarial_loss_is_softplus():
    """-log sigmoid(l) = log(1 + e^-l) for real, -log(1 - sigmoid(l)) = log(1 + e^l) for fake."""
    logits = torch.tensor([-3.0, 0.0, 2.0])
    real = sum(math.log1p(math.exp(-v)) for v in logits.tolist()) / 3
    fake = sum(math.log1p(math.exp(v)) for v in logits.tolist()) / 3
    assert math.isclose(adversarial_loss(logits, True).item(), real, rel_tol=1e-6)  # float32
    assert math.isclose(adversarial_loss(logits, False).item(), fake, rel_tol=1e-6)


def test_r1_penalty_of_a_quadratic():
    """D(x) = a.x + x.x/2 has gradient a + x: the penalty is mean |a + x|^2 / 2, and its own gradient (a + x) / N."""
    torch.manual_seed(0)
    a, x = torch.randn(3, 4, 4), torch.randn(5, 3, 4, 4, requires_grad=True)
    penalty = r1_penalty((x * a).flatten(1).sum(1) + x.square().flatten(1).sum(1) / 2, x)
    expected = ((a + x).square().flatten(1).sum(1) / 2).mean()
    torch.testing.assert_close(penalty, expected)
    (gradient,) = torch.autograd.grad(penalty, x)
    torch.testing.assert_close(gradient, (a + x).detach() / 5)


def test_l1_terms_are_means_over_all_elements():
    a, b = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.25)
    for loss in (style_reconstruction_loss, diversity_loss, cycle_loss):
        assert loss(a, b).item() == 0.25


def test_energy_distance():
    """Of points on a line, by hand; in the mean 0 between samples of one distribution, and of normal ones so far apart as scipy says."""
    a, b = torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [5.0]])
    assert math.isclose(energy_distance(a, b).item(), 2 * (3 + 5 + 2 + 4) / 4 - 1 - 2, rel_tol=1e-6)
    random = torch.Generator().manual_seed(3)
    same = [energy_distance(*torch.randn(2, 40, 3, generator=random)).item() for _ in range(200)]
    mean, error = statistics.mean(same), statistics.stdev(same) / 200**0.5
    assert abs(mean) < 4 * error and min(same) < 0
    a, b = torch.randn(2000, 1, generator=random), 0.5 * torch.randn(2000, 1, generator=random)
    assert math.isclose(energy_distance(a, b).item(), scipy.stats.energy_distance(a[:, 0], b[:, 0]) ** 2, abs_tol=2e-3)


def test_second_diversity_image_is_a_constant():
    a, b = torch.zeros(1, 3, requires_grad=True), torch.ones(1, 3, requires_grad=True)
    diversity_loss(a, b).backward()
    assert a.grad is not None and b.grad is None


def test_bfloat16_inputs_are_scored_in_float32():
    logits = torch.tensor([0.1, 0.2], dtype=torch.bfloat16)
    assert adversarial_loss(logits, True).dtype == torch.float32


def test_diversity_weight_is_linear_and_ends_at_zero():
    assert [diversity_weight(2.0, step, 4) for step in range(6)] == [2.0, 1.5, 1.0, 0.5, 0.0, 0.0]


def test_average_decay_ramps_to_the_preset():
    ramped = TrainingSettings(ema_ramp=True)
    assert average_decay(ramped, 0) == 0.1  # (1 + 0) / (10 + 0)
    assert average_decay(ramped, 10**6) == 0.999
    assert average_decay(TrainingSettings(), 0) == 0.999
