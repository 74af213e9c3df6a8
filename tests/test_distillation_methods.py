"""Methods of distillation that the thesis does not have: each against a plain second computation, and each left out by default."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_features import random_squeezenet
from test_training_step import TRAINING, all_weights, frozen_teacher, make_batch, student

from kdlib.architecture import Architecture, GeneratorDesign
from kdlib.config import load_preset
from kdlib.errors import InputError
from kdlib.feature_distillation import FeatureAdapters, stage_layout
from kdlib.knowledge_filter import kept_share
from kdlib.learner import asks_for_discriminator, make_learner
from kdlib.networks import networks_of
from kdlib.perceptual import SqueezeNetMaps, perceptual_distance
from kdlib.profiling import cost
from kdlib.settings import LossWeights, TrainingSettings
from kdlib.style_space import take_style_space
from kdlib.training_step import train_iteration

NOTHING = LossWeights(**{f.name: 0.0 for f in dataclasses.fields(LossWeights)})
STILL = dataclasses.replace(TRAINING, learning_rate=0.0, mapping_learning_rate_distilled=0.0)  # losses are those of the start
METHODS = {"output_l1": {"lambda_output_l1": 0.7}, "perceptual": {"lambda_output_perceptual": 1.3}, "feature": {"lambda_feature": 0.9}}
METHODS["together"] = {name: value for weights in METHODS.values() for name, value in weights.items()}
FILTERS = {"all": {}, "by_discriminator": {"filter_keep": 0.5}, "by_cycle": {"filter_keep": 0.5, "filter_score": "cycle"}}


# ---- left out by default ----


def test_by_default_nothing_is_added():
    """That the twelve updates are the thesis's, in names, numbers and weights, is tests/test_training_step.py's."""
    defaults = TrainingSettings()
    assert (defaults.style_space, defaults.distillation_real) == ("own", "teacher")
    assert (defaults.filter_keep, defaults.student_discriminator_alpha) == (1.0, 0)
    weights = LossWeights()
    assert {weights.lambda_output_l1, weights.lambda_output_perceptual, weights.lambda_feature, weights.lambda_style_match} == {0.0}
    assert not asks_for_discriminator(defaults, weights)
    nets, teacher = student(), frozen_teacher()
    teacher.discriminator = None  # nor is the teacher's discriminator asked for
    learner = make_learner(nets, TRAINING, weights, 10, teacher)
    assert learner.adapters is None and learner.perceptual is None
    assert [id(p) for p in learner.optimizers["generator"].param_groups[0]["params"]] == [id(p) for p in nets.generator.parameters()]
    losses = train_iteration(learner, make_batch())
    assert not any(name.rsplit("/", 1)[1] in ("output_l1", "output_perceptual", "feature", "match") for name in losses.names)


@pytest.mark.parametrize("inert", [{"filter_score": "cycle"}, {"perceptual_network": "squeezenet"}, {"feature_stages": ("decoder",)}])
def test_a_choice_without_its_switch_changes_no_bit(inert):
    """No SqueezeNet is loaded either: its weights are not there."""
    weights = []
    for training in (TRAINING, dataclasses.replace(TRAINING, **inert)):
        nets = student()
        train_iteration(make_learner(nets, training, LossWeights(), 10, frozen_teacher()), make_batch())
        weights.append(torch.cat([all_weights(network) for _, network in nets.modules()]))
    assert torch.equal(*weights)


# ---- output, perceptual and feature distillation, filtered or not ----


class Watched:
    """What chosen modules put out in the last pass, by forward hooks."""

    def __init__(self, modules):
        self.out = [None] * len(modules)
        for i, module in enumerate(modules):
            module.register_forward_hook(lambda _, __, output, i=i: self.out.__setitem__(i, output))


def plain_distance(a, b):
    """Per picture, map by map and position by position."""
    found = []
    for x, y in zip(a, b):
        x, y = x / x.norm(dim=1, keepdim=True), y / y.norm(dim=1, keepdim=True)
        found.append(((x - y) ** 2).sum(dim=1).mean(dim=(1, 2)))
    return sum(found) / len(found)


def best(scores, domains, keep):
    """Indices of the best share of every domain's pictures, domain by domain."""
    kept = []
    for domain in set(domains):
        members = sorted((i for i, d in enumerate(domains) if d == domain), key=lambda i: -scores[i])
        kept += members[: math.ceil(keep * len(members))]
    return sorted(kept)


def rms(features):
    return (features**2).mean(dim=(1, 2, 3), keepdim=True) ** 0.5


def plain_iteration(nets, teacher, adapters, batch, w, training):
    """Both guided updates of G in the order of the step: reference, then latent."""
    g, t = nets.generator, teacher.generator
    adam = torch.optim.Adam(
        [*g.parameters(), *adapters.parameters()], lr=training.learning_rate, betas=(training.beta1, training.beta2),
        weight_decay=training.weight_decay, foreach=False,
    )  # fmt: skip
    mine, its = (Watched([network.encode[-1], *network.decode]) for network in (g, t))
    seen = Watched(list(teacher.discriminator.shared[:-3]))
    log = {}
    for name, s in (("reference", teacher.style_encoder(batch.x_ref, batch.y_ref)), ("latent", teacher.mapping_network(batch.z, batch.y_ref))):
        wanted = t(batch.x, s).detach()
        logits = teacher.discriminator(wanted, batch.y_ref).tolist()
        maps = [m.detach() for m in seen.out]
        features = [f.detach() for f in its.out]
        if training.filter_score == "cycle":
            back = t(wanted, teacher.style_encoder(batch.x, batch.y))
            logits = [-float((picture - source).abs().mean()) for picture, source in zip(back, batch.x)]
        kept = best(logits, batch.y_ref.tolist(), training.filter_keep)
        count = len(kept)
        fake = g(batch.x, s)
        mean = lambda values: sum(values[i] for i in kept) / count  # noqa: E731
        teacher.discriminator(fake, batch.y_ref)
        errors = [
            ((adapt(f / rms(f).detach()) - h / rms(h)) ** 2).mean(dim=(1, 2, 3)) for adapt, f, h in zip(adapters.adapters, mine.out, features)
        ]
        terms = {
            "output_l1": (w.lambda_output_l1, mean((fake - wanted).abs().mean(dim=(1, 2, 3)))),
            "output_perceptual": (w.lambda_output_perceptual, mean(plain_distance(seen.out, maps))),
            "feature": (w.lambda_feature, mean(sum(errors) / len(errors))),
        }
        terms = {term: pair for term, pair in terms.items() if pair[0] > 0}
        log |= {f"KD/G/{name}/{term}": value.item() for term, (_, value) in terms.items()}
        adam.zero_grad()
        sum(weight * value for weight, value in terms.values()).backward()
        adam.step()
    return log


@pytest.mark.parametrize("filtered", FILTERS)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_s_update_is_the_plain_one(method, filtered):
    """Losses and every weight after both updates, with all of the thesis's terms off; of the batch's pictures a filter keeps some."""
    w, training = dataclasses.replace(NOTHING, **METHODS[method]), dataclasses.replace(TRAINING, **FILTERS[filtered])
    nets, plain, teacher, batch = student(), student(), frozen_teacher(), make_batch(n=5)
    assert batch.y_ref.bincount().tolist() == [1, 2, 2]  # there is something to choose in two domains
    learner = make_learner(nets, training, w, 10, teacher)
    adapters = FeatureAdapters(plain.arch, teacher.arch, training.feature_stages, training.seed)
    assert len(adapters.adapters) == 1 + len(plain.generator.decode)
    start = all_weights(plain.generator)
    expected = plain_iteration(plain, teacher, adapters, batch, w, training)
    losses = train_iteration(learner, batch).read()
    assert list(losses) == list(expected)
    for name in losses:  # float32; the latent-guided ones see weights after a step of Adam, which amplifies rounding
        assert losses[name] == pytest.approx(expected[name], rel=1e-3), name
    pairs = [(nets.generator, plain.generator)] + ([(learner.adapters, adapters)] if learner.adapters else [])
    assert bool(learner.adapters) == (w.lambda_feature > 0)
    for ours, theirs in pairs:
        first = start if ours is nets.generator else all_weights(FeatureAdapters(plain.arch, teacher.arch, training.feature_stages, training.seed))
        moved = (all_weights(theirs) - first).norm()
        assert moved > 0 and (all_weights(ours) - all_weights(theirs)).norm() <= 0.1 * moved  # as in tests/test_training_step.py


def test_adapters_are_a_1x1_convolution_a_stage_and_go_by_places():
    wide, narrow = Architecture(64, alpha=32, base_width=16), Architecture(64, alpha=12, base_width=16, student=True)
    assert stage_layout(wide, ("bottleneck", "decoder")) == [(32, 16), (32, 16), (32, 16), (32, 32), (16, 64)]
    assert stage_layout(narrow, ("decoder",)) == [(12, 16), (12, 16), (12, 32), (12, 64)]
    adapters = FeatureAdapters(narrow, wide, ("bottleneck", "decoder"), seed=1)
    assert [tuple(a.weight.shape) for a in adapters.adapters] == [(32, 12, 1, 1)] * 4 + [(16, 12, 1, 1)]
    shuffled = dataclasses.replace(narrow, design=GeneratorDesign(pixel_shuffle=2))  # its last stage has half the picture's side
    assert len(FeatureAdapters(shuffled, wide, ("decoder",), seed=1).adapters) == 3
    with pytest.raises(InputError, match="the student's bottleneck has 8 px a side, its teacher's 16"):
        FeatureAdapters(dataclasses.replace(narrow, down_blocks=3), wide, ("bottleneck",), seed=1)


def test_perceptual_distance_closed_form():
    """Unit vectors at right angles differ by 2 at a position, opposite ones by 4, parallel ones of any length by 0."""
    x = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).repeat(3, 1, 2, 2)
    y = torch.tensor([[0.0, 5.0], [-0.1, 0.0], [9.0, 0.0]]).view(3, 2, 1, 1).repeat(1, 1, 2, 2)
    assert perceptual_distance([x], [y]).tolist() == pytest.approx([2.0, 4.0, 0.0])
    assert perceptual_distance([x, x], [y, x]).tolist() == pytest.approx([1.0, 2.0, 0.0])


def test_squeezenet_s_maps_are_those_before_its_poolings(tmp_path, monkeypatch):
    network = random_squeezenet(0)
    torch.save(network.state_dict(), tmp_path / "squeezenet1_0.pth")
    monkeypatch.setenv("KDLIB_WEIGHTS", str(tmp_path))
    x = make_batch().x
    h, expected = (x + 1) * 127.5 - torch.tensor([123.0, 117.0, 104.0]).view(1, 3, 1, 1), []
    for layer in network.eval().features:
        if type(layer).__name__ == "MaxPool2d":
            expected.append(h)
        h = layer(h)
    for mine, plain in zip(SqueezeNetMaps()(x), [*expected, h], strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-4, atol=1e-3)  # channels last: sums in another order, features of order 100
    learner = make_learner(
        student(), dataclasses.replace(STILL, perceptual_network="squeezenet"), dataclasses.replace(NOTHING, lambda_output_perceptual=1.0), 10,
        frozen_teacher(),
    )  # fmt: skip
    assert set(train_iteration(learner, make_batch()).names) == {"KD/G/reference/output_perceptual", "KD/G/latent/output_perceptual"}


# ---- which pictures are taught ----


@pytest.mark.parametrize(("keep", "count"), [(1.0, 10), (0.7, 7), (0.71, 8), (0.5, 5), (0.01, 1)])
def test_the_best_share_is_kept_with_mean_one(keep, count):
    scores = torch.tensor(np.random.default_rng(1).permutation(10), dtype=torch.float32)
    weights = kept_share(scores, torch.zeros(10, dtype=torch.int64), keep)
    assert weights.tolist() == pytest.approx([10 / count if score >= 10 - count else 0.0 for score in scores.tolist()])


@pytest.mark.parametrize("keep", [0.3, 0.5, 1.0])
def test_the_best_are_chosen_within_each_domain(keep):
    """However far one domain's scores lie above another's."""
    rng = np.random.default_rng(2)
    domains = rng.integers(3, size=23)
    scores = rng.standard_normal(23) + 100.0 * domains
    kept = best(scores.tolist(), domains.tolist(), keep)
    weights = kept_share(torch.tensor(scores), torch.tensor(domains), keep)
    assert weights.tolist() == pytest.approx([23 / len(kept) if i in kept else 0.0 for i in range(23)])
    assert set(domains[kept]) == {0, 1, 2}
    equal = kept_share(torch.zeros(4), torch.tensor([1, 1, 1, 1]), 0.5)
    assert equal.tolist() == [2.0, 2.0, 0.0, 0.0]


def test_a_filter_weights_what_the_teacher_s_pictures_teach_and_nothing_else():
    nets, teacher, batch = student(), frozen_teacher(), make_batch(n=5)
    filtered = dataclasses.replace(STILL, filter_keep=0.5)
    plain = train_iteration(make_learner(student(), STILL, LossWeights(), 10, teacher), batch).read()
    losses = train_iteration(make_learner(nets, filtered, LossWeights(), 10, teacher), batch).read()
    with torch.no_grad():
        codes = {"latent": teacher.mapping_network(batch.z, batch.y_ref), "reference": teacher.style_encoder(batch.x_ref, batch.y_ref)}
        for guide, s in codes.items():
            picture = teacher.generator(batch.x, s)
            kept = torch.tensor(best(teacher.discriminator(picture, batch.y_ref).tolist(), batch.y_ref.tolist(), 0.5))
            assert len(kept) < 5
            y = batch.y_ref[kept]
            real = F.softplus(-nets.discriminator(picture[kept], y)).mean()
            use = (nets.style_encoder(nets.generator(batch.x, s)[kept], y) - s[kept]).abs().mean()
            assert losses[f"KD/D/{guide}/real"] == pytest.approx(real.item(), rel=1e-4)
            assert losses[f"KD/G/{guide}/use"] == pytest.approx(use.item(), rel=1e-4)
            if guide == "latent":
                example = F.softplus(-nets.style_discriminator(s[kept], y)).mean()
                assert losses["KD/Ds/target/real"] == pytest.approx(example.item(), rel=1e-4)
            x = picture[kept].clone().requires_grad_()
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(nets.discriminator(x, y).sum(), x)
            assert losses[f"KD/D/{guide}/r1"] == pytest.approx(float((gradient**2).sum((1, 2, 3)).mean() / 2), rel=1e-3)
    changed = {name for name in losses if losses[name] != pytest.approx(plain[name], rel=1e-6)}
    guided = {f"KD/{part}" for guide in codes for part in (f"D/{guide}/real", f"D/{guide}/r1", f"G/{guide}/use")}
    assert changed == guided | {"KD/Ds/target/real"}


def test_d_can_be_shown_both_kinds_of_real_pictures():
    nets, teacher, batch = student(), frozen_teacher(), make_batch()
    both = dataclasses.replace(STILL, distillation_real="both")
    losses = train_iteration(make_learner(nets, both, LossWeights(), 10, teacher), batch).read()
    for name, s, x in (
        ("latent", teacher.mapping_network(batch.z, batch.y_ref), batch.x_ref2),
        ("reference", teacher.style_encoder(batch.x_ref, batch.y_ref), batch.x_ref),
    ):  # fmt: skip
        halves = [F.softplus(-nets.discriminator(picture, batch.y_ref)).mean().item() for picture in (teacher.generator(batch.x, s), x)]
        assert losses[f"KD/D/{name}/real"] == pytest.approx(sum(halves) / 2, rel=1e-4)


# ---- whose style codes ----


def with_teachers_mapping_width():
    return networks_of(dataclasses.replace(student().arch, mapping_width=16), seed=1)


def test_the_teacher_s_mapping_network_is_taken_and_stays():
    nets, teacher, batch = with_teachers_mapping_width(), frozen_teacher(), make_batch()
    training = dataclasses.replace(TRAINING, style_space="teacher")
    learner = make_learner(nets, training, dataclasses.replace(LossWeights(), lambda_style_match=2.0), 10, teacher)
    assert set(learner.optimizers) == {"generator", "style_encoder", "discriminator"} and nets.style_discriminator is None
    losses = [train_iteration(learner, make_batch(step)).read() for step in range(2)]
    assert not any(name.startswith(("KD/Ds/", "KD/F/")) for name in losses[0])
    for network in (nets, learner.average):
        assert torch.equal(network.mapping_network(batch.z, batch.y), teacher.mapping_network(batch.z, batch.y))
    assert losses[0]["G/latent/sty"] != losses[1]["G/latent/sty"]


def test_the_style_encoder_learns_to_read_the_teacher_s_codes():
    nets, teacher, batch = student(), frozen_teacher(), make_batch()
    learner = make_learner(nets, STILL, dataclasses.replace(NOTHING, lambda_style_match=2.0), 10, teacher)
    losses = train_iteration(learner, batch).read()
    expected = [(nets.style_encoder(x, y) - teacher.style_encoder(x, y)).abs().mean() for x, y in ((batch.x, batch.y), (batch.x_ref, batch.y_ref))]
    assert list(losses) == ["KD/E/reference/match"]
    assert losses["KD/E/reference/match"] == pytest.approx((sum(expected) / 2).item(), rel=1e-5)
    seen = {}
    for warped in (True, False):
        training = dataclasses.replace(STILL, style_warp=1.0, style_match_warp=warped)
        again = make_learner(student(), training, dataclasses.replace(NOTHING, lambda_style_match=2.0), 10, teacher)
        seen[warped] = train_iteration(again, batch).read()["KD/E/reference/match"]
    assert seen[False] == losses["KD/E/reference/match"] != seen[True]  # as they are, whatever else is moved
    training = dataclasses.replace(STILL, style_match_of="both")
    both = train_iteration(make_learner(student(), training, dataclasses.replace(NOTHING, lambda_style_match=2.0), 10, teacher), batch).read()
    for style in (teacher.mapping_network(batch.z, batch.y_ref), teacher.style_encoder(batch.x_ref, batch.y_ref)):
        picture = teacher.generator(batch.x, style).clamp(-1, 1)
        expected.append((nets.style_encoder(picture, batch.y_ref) - teacher.style_encoder(picture, batch.y_ref)).abs().mean())
    assert both["KD/E/reference/match"] == pytest.approx((sum(expected) / 4).item(), rel=1e-4)
    before = copy.deepcopy(nets.generator.state_dict())
    moving = make_learner(nets, TRAINING, dataclasses.replace(NOTHING, lambda_style_match=2.0), 10, teacher)
    found = [train_iteration(moving, batch).read()["KD/E/reference/match"] for _ in range(8)]
    assert found[-1] < 0.9 * found[0]
    assert all(torch.equal(value, before[key]) for key, value in nets.generator.state_dict().items())


def test_a_mapping_network_can_begin_as_the_teacher_s():
    """Codes of latents it was not fitted on: far nearer to the teacher's than one code a domain is, which knows nothing of z."""
    nets, teacher = student(), frozen_teacher()
    start = all_weights(nets.mapping_network)
    learner = make_learner(nets, dataclasses.replace(TRAINING, style_space="init"), LossWeights(), 10, teacher)
    z, y = torch.randn(300, nets.arch.latent_dim, generator=torch.Generator().manual_seed(5)), torch.arange(300) % nets.arch.domains
    wanted, found = teacher.mapping_network(z, y), nets.mapping_network(z, y)
    constant = torch.stack([wanted[y == k].mean(0) for k in range(nets.arch.domains)])[y]
    assert (found - wanted).abs().mean() < 0.6 * (constant - wanted).abs().mean()
    assert torch.equal(all_weights(learner.average.mapping_network), all_weights(nets.mapping_network))
    before = all_weights(nets.mapping_network)
    train_iteration(learner, make_batch())
    assert "mapping_network" in learner.optimizers and not torch.equal(all_weights(nets.mapping_network), before)  # and it learns
    again = student()
    take_style_space(again, teacher, dataclasses.replace(TRAINING, style_space="init"), LossWeights())
    assert torch.equal(all_weights(again.mapping_network), before) and not torch.equal(before, start)  # a function of the seed


def spread(codes, y, domain):
    return codes[y == domain].std(0).norm()


def test_a_mapping_network_can_be_fitted_and_frozen():
    """With the energy distance its codes spread as the teacher's; an L1 alone leaves them nearer to the middle."""
    teacher, batch = frozen_teacher(), make_batch()
    z, y = torch.randn(900, 16, generator=torch.Generator().manual_seed(5)), torch.arange(900) % teacher.arch.domains
    shares = {}
    for weight in (0.0, 1.0):
        nets, w = student(), dataclasses.replace(LossWeights(), lambda_style_energy=weight)
        learner = make_learner(nets, dataclasses.replace(TRAINING, style_space="fitted", style_fit_iterations=500), w, 10, teacher)
        codes, its = nets.mapping_network(z, y), teacher.mapping_network(z, y)
        shares[weight] = min(float(spread(codes, y, k) / spread(its, y, k)) for k in range(teacher.arch.domains))
    assert shares[0.0] < 0.7 and 0.85 < shares[1.0] < 1.1
    assert "mapping_network" not in learner.optimizers and nets.style_discriminator is None
    before = all_weights(nets.mapping_network)
    losses = train_iteration(learner, batch).read()
    assert not any(name.startswith(("KD/Ds/", "KD/F/")) for name in losses)
    for network in (nets, learner.average):
        assert torch.equal(all_weights(network.mapping_network), before)


def test_a_student_of_its_teacher_alone_makes_no_update_of_its_own():
    """With all weights of StarGAN-v2's own terms at 0 nothing of them is computed."""
    w = LossWeights(lambda_adv=0, lambda_sty=0, lambda_ds=0, lambda_cyc=0)
    names = train_iteration(make_learner(student(), TRAINING, w, 10, frozen_teacher()), make_batch()).names
    assert names and all(name.startswith("KD/") for name in names)


def test_a_teacher_of_another_width_is_refused():
    with pytest.raises(InputError, match="another mapping network than the preset's teacher_alpha says"):
        make_learner(student(), dataclasses.replace(TRAINING, style_space="teacher"), LossWeights(), 10, frozen_teacher())


def test_the_student_s_discriminator_may_begin_as_the_teacher_s():
    teacher, training = frozen_teacher(), dataclasses.replace(TRAINING, discriminator_start="teacher")
    with pytest.raises(InputError, match="set student_discriminator_alpha to the teacher's width cap:"):
        make_learner(student(), training, LossWeights(), 10, teacher)
    arch = dataclasses.replace(student().arch, discriminator_alpha=teacher.arch.alpha)
    nets = networks_of(arch, seed=0)
    assert not torch.equal(all_weights(nets.discriminator), all_weights(teacher.discriminator))
    learner = make_learner(nets, training, LossWeights(), 10, teacher)
    assert torch.equal(all_weights(nets.discriminator), all_weights(teacher.discriminator))
    before = all_weights(teacher.discriminator)
    train_iteration(learner, make_batch())
    assert torch.equal(all_weights(teacher.discriminator), before)  # a copy: the teacher's stays what it is
    assert not torch.equal(all_weights(nets.discriminator), before)


@pytest.mark.parametrize("needs", [{"filter_keep": 0.5}, {"lambda_output_perceptual": 1.0}, {"discriminator_start": "teacher"}])
def test_a_teacher_without_its_discriminator_is_refused_where_it_is_needed(needs):
    teacher = frozen_teacher()
    teacher.discriminator = None
    training, weights = (
        dataclasses.replace(settings, **{k: v for k, v in needs.items() if hasattr(settings, k)}) for settings in (TRAINING, LossWeights())
    )
    with pytest.raises(InputError, match="the teacher given has no discriminator"):
        make_learner(student(), training, weights, 10, teacher)


# ---- networks of other widths ----


def test_what_is_shipped_is_what_is_counted():
    """The taken F is the teacher's, unit for unit; a wide D changes nothing of what is shipped."""
    preset = load_preset("methods", variant="style_space_teacher")
    teacher, alone, taken = (
        preset.architecture(3, alpha=alpha, student=alpha == 48, distilled=distilled) for alpha, distilled in ((192, False), (48, False), (48, True))
    )
    assert (teacher.mapping_units, alone.mapping_units, taken.mapping_units) == (192, 48, 192)
    nets = networks_of(taken, seed=0)
    count = lambda *modules: sum(p.numel() for m in modules for p in m.parameters())  # noqa: E731
    assert cost(nets)["parameters"] == count(nets.generator, nets.style_encoder, nets.mapping_network)
    assert cost(nets)["parameters_F"] == count(networks_of(teacher, seed=0).mapping_network)
    preset = load_preset("small", variant="trimmed")
    own = preset.architecture(3, alpha=24, student=True, distilled=True)
    assert (preset.architecture(3, alpha=192, student=False).mapping_units, own.mapping_units) == (192, 48)
    assert cost(networks_of(own, seed=0))["parameters_F"] == count(networks_of(alone, seed=0).mapping_network)
    wide = networks_of(load_preset("methods", variant="wide_discriminator").architecture(3, alpha=48, student=True, distilled=True), seed=0)
    assert cost(wide) == cost(networks_of(alone, seed=0))
    assert count(wide.discriminator) == count(networks_of(teacher, seed=0).discriminator)
