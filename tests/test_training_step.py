"""One iteration against a plain second implementation: every loss and every weight after all twelve updates."""

import copy
import dataclasses
import platform

import numpy as np
import pytest
import torch
from plain_step import PlainStep

from kdlib import devices
from kdlib.data import Batch, step_rng
from kdlib.errors import InputError
from kdlib.learner import diversity_weight, make_learner, rate_share, set_rates
from kdlib.networks import Networks, build_networks
from kdlib.settings import LossWeights, TrainingSettings
from kdlib.training_step import NonFiniteLoss, train_iteration

TRAINING = TrainingSettings(learning_rate=1e-3, mapping_learning_rate=1e-4, mapping_learning_rate_distilled=1e-3)
WEIGHTS = LossWeights(  # all different, so that no weight can stand in another's place unnoticed
    lambda_adv=1.1, lambda_r1=0.9, lambda_sty=0.8, lambda_ds=1.2, lambda_cyc=0.7, lambda_image_adv_latent=1.3,
    lambda_image_adv_reference=0.6, lambda_style_adv_target=1.4, lambda_style_adv_source=0.5, lambda_style_use_latent=1.5,
    lambda_style_use_reference=0.4, lambda_source_latent=1.6, lambda_source_reference=0.3,
)  # fmt: skip
STEP, ITERATIONS = 3, 10


def make_batch(seed: int = 0, n: int = 3) -> Batch:
    g = torch.Generator().manual_seed(seed)
    x, x_ref, x_ref2 = torch.rand(3, n, 3, 32, 32, generator=g) * 2 - 1
    y, y_ref = torch.randint(3, (2, n), generator=g)
    z, z2 = torch.randn(2, n, 16, generator=g)
    return Batch(x, y, x_ref, x_ref2, y_ref, z, z2)


def student(seed: int = 1) -> Networks:
    return build_networks(8, 3, True, 0, 32, base_width=8, seed=seed)


def frozen_teacher() -> Networks:
    return build_networks(16, 3, False, 0, 32, base_width=8, seed=2)


def all_weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize("distil", [False, True], ids=["stargan-v2", "distillation"])
def test_iteration_equals_the_plain_one(distil):
    nets, plain, teacher, batch = student(), student(), frozen_teacher(), make_batch()
    learner = make_learner(nets, TRAINING, WEIGHTS, ITERATIONS, teacher if distil else None)
    learner.step = STEP
    losses = train_iteration(learner, batch).read()
    expected = PlainStep(plain, TRAINING, WEIGHTS, ITERATIONS, teacher if distil else None).iteration(batch, STEP)

    assert list(losses) == list(expected)  # same updates in the same order
    assert len({name.rsplit("/", 1)[0] for name in losses}) == (12 if distil else 4)
    # float32, and twelve Adam steps that divide tiny gradients by their own size: later losses see rounded weights
    for name in losses:
        assert losses[name] == pytest.approx(expected[name], rel=2e-3, abs=1e-5), name
    # Whole networks, not single tensors: a bias before an instance norm has no gradient but rounding, whose sign Adam follows.
    for name in [n for n, _ in nets.modules()]:
        start, ours, theirs = (all_weights(getattr(n, name)) for n in (student(), nets, plain))
        assert (theirs - start).norm() > 0
        assert (ours - theirs).norm() <= 0.1 * (theirs - start).norm(), name


def test_twenty_iterations_give_the_plain_ones_losses():
    """Nothing that makes an iteration cheaper may change what it computes: pictures kept between updates, contents shared."""
    nets, plain, teacher = student(), student(), frozen_teacher()
    training = TrainingSettings(mapping_learning_rate_distilled=1e-4)
    learner, straight = make_learner(nets, training, WEIGHTS, ITERATIONS * 10, teacher), PlainStep(plain, training, WEIGHTS, ITERATIONS * 10, teacher)
    moved = None
    for step in range(20):
        losses, expected = train_iteration(learner, make_batch(step)).read(), straight.iteration(make_batch(step), step)
        for name in expected:
            # Adam divides a gradient by its own size: where it is nothing but rounding, a weight goes one way or the other.
            assert losses[name] == pytest.approx(expected[name], rel=1e-2, abs=1e-4), f"step {step}: {name}"
        moved = moved or expected
    assert max(abs(expected[name] / moved[name] - 1) for name in expected) > 0.1  # twenty steps that went somewhere


def test_first_average_is_the_closed_form():
    nets, batch = student(), make_batch()
    before = copy.deepcopy(nets.generator.state_dict())
    learner = make_learner(nets, dataclasses.replace(TRAINING, ema_decay=0.75), WEIGHTS, ITERATIONS)
    train_iteration(learner, batch)
    for key, a in learner.average.generator.state_dict().items():
        torch.testing.assert_close(a, 0.75 * before[key] + 0.25 * nets.generator.state_dict()[key])


def test_the_teacher_does_not_change():
    nets, teacher, batch = student(), frozen_teacher(), make_batch()
    before = copy.deepcopy({n: m.state_dict() for n, m in teacher.modules()})
    learner = make_learner(nets, TRAINING, WEIGHTS, ITERATIONS, teacher)
    train_iteration(learner, batch)
    for name, module in teacher.modules():
        for key, value in module.state_dict().items():
            assert torch.equal(value, before[name][key])


@pytest.mark.parametrize("off", [f.name for f in dataclasses.fields(LossWeights) if f.default > 0])
def test_a_weight_of_zero_leaves_its_term_out(off):
    terms = {
        "lambda_adv": ["D/latent/real", "D/reference/fake", "G/latent/adv", "G/reference/adv"],
        "lambda_r1": ["D/latent/r1", "KD/D/latent/r1"], "lambda_sty": ["G/latent/sty", "G/reference/sty"],
        "lambda_ds": ["G/latent/ds", "G/reference/ds"], "lambda_cyc": ["G/latent/cyc", "G/reference/cyc"],
        "lambda_image_adv_latent": ["KD/D/latent/real", "KD/G/latent/adv"],
        "lambda_image_adv_reference": ["KD/D/reference/real", "KD/G/reference/adv"],
        "lambda_style_adv_target": ["KD/Ds/target/real", "KD/F/target/adv"],
        "lambda_style_adv_source": ["KD/Ds/source/real", "KD/F/source/adv"],
        "lambda_style_use_latent": ["KD/G/latent/use"], "lambda_style_use_reference": ["KD/G/reference/use"],
        "lambda_source_latent": ["KD/G/latent/source"], "lambda_source_reference": ["KD/G/reference/source"],
    }  # fmt: skip
    every = set(train_iteration(make_learner(student(), TRAINING, LossWeights(), 10, frozen_teacher()), make_batch()).names)
    weights = dataclasses.replace(LossWeights(), **{off: 0.0})
    left = set(train_iteration(make_learner(student(), TRAINING, weights, 10, frozen_teacher()), make_batch()).names)
    gone = every - left
    assert set(terms[off]) <= gone
    assert {name.rsplit("/", 1)[1] for name in gone} <= {name.rsplit("/", 1)[1] for name in terms[off]} | {"real", "fake", "r1"}


def test_style_codes_can_be_matched_by_l1_in_place_of_the_style_discriminator():
    nets, teacher, batch = student(), frozen_teacher(), make_batch()
    weights = LossWeights(lambda_style_adv_target=0, lambda_style_adv_source=0, lambda_style_l1_target=2, lambda_style_l1_source=3)
    still = dataclasses.replace(TRAINING, learning_rate=0.0, mapping_learning_rate_distilled=0.0)  # so that the code is that of the start
    losses = train_iteration(make_learner(nets, still, weights, 10, teacher), batch).read()
    assert not any(name.startswith("KD/Ds/") or name == "KD/F/target/adv" for name in losses)
    for name, z, y in (("target", batch.z, batch.y_ref), ("source", batch.z2, batch.y)):
        expected = (nets.mapping_network(z, y) - teacher.mapping_network(z, y)).abs().mean()
        assert losses[f"KD/F/{name}/l1"] == pytest.approx(expected.item(), rel=1e-4), name


def test_the_discriminator_can_be_shown_real_pictures_in_place_of_the_teachers():
    nets, batch = student(), make_batch()
    still = dataclasses.replace(TRAINING, learning_rate=0.0, mapping_learning_rate_distilled=0.0)
    by_teacher = train_iteration(make_learner(student(), still, LossWeights(), 10, frozen_teacher()), batch).read()
    real = dataclasses.replace(still, distillation_real="data")
    losses = train_iteration(make_learner(nets, real, LossWeights(), 10, frozen_teacher()), batch).read()
    for name, x in (("latent", batch.x_ref2), ("reference", batch.x_ref)):
        logits = nets.discriminator(x, batch.y_ref)
        assert losses[f"KD/D/{name}/real"] == pytest.approx(float(torch.nn.functional.softplus(-logits).mean()), rel=1e-4), name
    changed = {name for name in losses if losses[name] != pytest.approx(by_teacher[name], rel=1e-4)}
    assert changed and all(name.startswith("KD/D/") and name.endswith(("real", "r1")) for name in changed)


def test_a_cycle_goes_back_from_a_noisy_picture_where_that_is_asked_for():
    nets, batch = student(), make_batch()
    noisy = dataclasses.replace(TRAINING, cycle_noise=20.0)  # so much, since the outputs of untrained networks hardly depend on their pictures
    learner = make_learner(student(), noisy, LossWeights(), 10)
    learner.step = STEP
    losses = train_iteration(learner, batch).read()
    with torch.no_grad():  # before any update of G: the first cycle of the iteration
        fake = nets.generator(batch.x, nets.mapping_network(batch.z, batch.y_ref))
        noise = torch.from_numpy(step_rng(TRAINING.seed, STEP, "cycle noise").standard_normal(tuple(fake.shape), dtype=np.float32))
        back = nets.generator(fake + 20.0 * noise, nets.style_encoder(batch.x, batch.y))
        expected, plain = ((picture - batch.x).abs().mean().item() for picture in (back, nets.generator(fake, nets.style_encoder(batch.x, batch.y))))
    assert losses["G/latent/cyc"] == pytest.approx(expected, rel=1e-4)
    assert expected != pytest.approx(plain, rel=1e-3)


def test_nothing_to_learn_is_an_error():
    nothing = dataclasses.replace(WEIGHTS, **{f.name: 0.0 for f in dataclasses.fields(LossWeights)})
    learner = make_learner(student(), TRAINING, nothing, ITERATIONS)
    with pytest.raises(InputError, match="every loss has a weight of 0"):
        train_iteration(learner, make_batch())


def test_non_finite_loss_names_step_and_loss():
    learner = make_learner(student(), TRAINING, WEIGHTS, ITERATIONS)
    batch = make_batch()
    batch.x[0, 0, 0, 0] = float("nan")
    with pytest.raises(NonFiniteLoss, match=r"step 1: loss D/latent/real is nan"):
        train_iteration(learner, batch).read()


def test_bfloat16_stays_close_to_float32(monkeypatch):
    """bfloat16 keeps 8 bits of mantissa: losses within a few per cent on the first iteration."""
    monkeypatch.setattr(devices, "has_bfloat16", lambda device: True)
    full = train_iteration(make_learner(student(), TRAINING, WEIGHTS, 10), make_batch()).read()
    low = train_iteration(make_learner(student(), dataclasses.replace(TRAINING, precision="bfloat16"), WEIGHTS, 10), make_batch()).read()
    assert list(full) == list(low)
    for name in ("D/latent/real", "D/latent/fake", "G/latent/cyc"):
        assert low[name] == pytest.approx(full[name], rel=0.1), name
        assert low[name] != full[name], name


def test_float32_stands_in_for_bfloat16_where_the_processor_has_none(monkeypatch):
    monkeypatch.setattr(devices, "has_bfloat16", lambda device: False)
    full, low = (train_iteration(make_learner(student(), dataclasses.replace(TRAINING, precision=precision), WEIGHTS, 10), make_batch()).read()
                 for precision in ("float32", "bfloat16"))  # fmt: skip
    assert low == full


@pytest.mark.skipif(platform.machine() != "x86_64", reason="PyTorch names the instructions of x86 alone")
def test_pytorch_says_itself_which_processors_have_bfloat16():
    assert devices.has_bfloat16(torch.device("cpu")) == torch.backends.cpu.get_cpu_capability().startswith("AVX512")


@pytest.mark.slow
def test_compiled_networks_give_the_same_losses():
    eager, compiled = (dataclasses.replace(TRAINING, compile=c) for c in (False, True))
    for step, (a, b) in enumerate(zip(*(two_iterations(training) for training in (eager, compiled)))):
        for name in a:  # one iteration of Adam amplifies rounding
            assert b[name] == pytest.approx(a[name], rel=1e-2, abs=1e-4), f"step {step}: {name}"


def two_iterations(training: TrainingSettings) -> list[dict[str, float]]:
    learner = make_learner(student(), training, WEIGHTS, ITERATIONS, frozen_teacher())
    return [train_iteration(learner, make_batch(step)).read() for step in range(2)]


def test_lazy_r1_comes_every_so_often_and_weighs_as_much_more():
    """Iteration 0 of every two: as with twice the weight. Iteration 1: as without the penalty."""
    lazy = dataclasses.replace(TRAINING, r1_every=2)
    for step, weight in ((0, 2 * WEIGHTS.lambda_r1), (1, 0.0)):
        nets, expected = student(), student()
        other = dataclasses.replace(WEIGHTS, lambda_r1=weight)
        for learner in (make_learner(nets, lazy, WEIGHTS, ITERATIONS), make_learner(expected, TRAINING, other, ITERATIONS)):
            learner.step = step
            names = train_iteration(learner, make_batch()).names
        assert ("D/latent/r1" in names) == (step == 0)
        for a, b in zip(nets.discriminator.parameters(), expected.discriminator.parameters()):
            assert torch.equal(a, b)


def test_style_warp_changes_what_the_style_encoder_sees_and_repeats_exactly():
    warped = dataclasses.replace(TRAINING, style_warp=1.0)
    first = train_iteration(make_learner(student(), warped, WEIGHTS, 10), make_batch()).read()
    again = train_iteration(make_learner(student(), warped, WEIGHTS, 10), make_batch()).read()
    plain = train_iteration(make_learner(student(), TRAINING, WEIGHTS, 10), make_batch()).read()
    assert first == again
    assert first["G/latent/sty"] != plain["G/latent/sty"]


def test_diversity_weight_reaches_the_objective():
    """At the last step before the end the weight is lambda_ds / iterations, at the end the term is gone."""
    assert diversity_weight(1.0, 9, 10) == pytest.approx(0.1)
    learner = make_learner(student(), TRAINING, WEIGHTS, ITERATIONS)
    learner.step = ITERATIONS
    assert "G/latent/ds" not in train_iteration(learner, make_batch()).names


def test_rates_fall_as_a_scheduler_of_pytorch_has_them_fall():
    learner = make_learner(student(), TRAINING, WEIGHTS, ITERATIONS)
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=TRAINING.learning_rate)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=4)
    for step in range(ITERATIONS):
        set_rates(learner, rate_share(step, ITERATIONS, 4))
        rates = {name: o.param_groups[0]["lr"] for name, o in learner.optimizers.items()}
        assert rates["generator"] == pytest.approx(optimizer.param_groups[0]["lr"])
        assert rates["mapping_network"] == pytest.approx(optimizer.param_groups[0]["lr"] / 10)  # its own rate, which is a tenth
        if step >= ITERATIONS - 4:
            optimizer.step()
            scheduler.step()
    assert rate_share(0, ITERATIONS, 0) == rate_share(ITERATIONS - 1, ITERATIONS, 0) == 1.0


def test_without_a_rate_nothing_is_learned():
    learner = make_learner(student(), TRAINING, WEIGHTS, ITERATIONS)
    before = copy.deepcopy({name: network.state_dict() for name, network in learner.nets.modules()})
    set_rates(learner, 0.0)
    train_iteration(learner, make_batch())
    for name, network in learner.nets.modules():
        assert all(torch.equal(value, before[name][key]) for key, value in network.state_dict().items()), name
