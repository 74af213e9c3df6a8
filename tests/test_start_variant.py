"""A student that begins as another variant's, with networks that stay as they are: no bit of them moves, and the others learn as ever."""

import copy
import dataclasses
import re

import pytest
import torch
from test_distillation_methods import NOTHING
from test_training_step import TRAINING, all_weights, frozen_teacher, make_batch, student

from kdlib import session
from kdlib.architecture import Architecture
from kdlib.config import load_preset
from kdlib.errors import InputError
from kdlib.learner import make_learner
from kdlib.networks import Networks, networks_of
from kdlib.training_step import train_iteration

MATCH = {"lambda_style_match": 2.0}
G_LEARNS = {"lambda_output_l1": 1.0, "lambda_image_adv_latent": 1.0, "lambda_image_adv_reference": 1.0}
SMALL = {
    "teacher_iterations": 2, "student_iterations": 3, "batch_size": 2, "teacher_alpha": 8, "device": "cpu", "threads": 1,
    "train_per_domain": 6, "val_per_domain": 4, "log_every": 1, "checkpoint_every": 1, "sample_every": 3,
}  # fmt: skip


def begun(frozen, losses, seed=1, **more):
    training = dataclasses.replace(TRAINING, start_variant="first", frozen=frozen, style_warp=1.0, style_match_warp=False, **more)
    return make_learner(student(seed), training, dataclasses.replace(NOTHING, **losses), 10, frozen_teacher(), start=student(seed=5))


def weights_of(nets):
    return {name: all_weights(getattr(nets, name)) for name in Networks.TRANSLATING}


@pytest.mark.parametrize(
    ("frozen", "losses"),
    [(("generator",), MATCH), (("style_encoder", "mapping_network"), G_LEARNS), ((), {**MATCH, **G_LEARNS, "lambda_style_adv_target": 1.0})],
    ids=["E", "G", "all"],
)
def test_it_begins_as_the_other_and_what_is_frozen_stays_so(frozen, losses):
    learner, start = begun(frozen, losses), weights_of(student(seed=5))
    for nets in (learner.nets, learner.average):
        assert all(torch.equal(found, start[name]) for name, found in weights_of(nets).items())
    for _ in range(3):
        seen = train_iteration(learner, make_batch()).read()
    taught = {"generator"} if "style_encoder" in frozen else {"style_encoder"} if frozen else set(Networks.TRANSLATING)
    for nets in (learner.nets, learner.average):
        assert {name for name, found in weights_of(nets).items() if not torch.equal(found, start[name])} == taught
    assert not set(frozen) & learner.optimizers.keys()
    if frozen == ("generator",):
        assert list(seen) == ["KD/E/reference/match"]  # nothing is drawn by the student or judged


@pytest.mark.parametrize("pictures", ["data", "both"])
def test_an_encoder_learns_beside_a_finished_generator_what_it_learns_beside_one_in_training(pictures):
    """So that a path may teach E by itself, and G without it: bit by bit the same E, and the same G."""
    whole = begun((), {**MATCH, **G_LEARNS}, style_match_of=pictures)
    alone, drawing = begun(("generator",), MATCH, style_match_of=pictures), begun(("style_encoder", "mapping_network"), G_LEARNS)
    for step in range(3):
        for learner in (whole, alone, drawing):
            train_iteration(learner, make_batch(step))
    assert torch.equal(all_weights(alone.nets.style_encoder), all_weights(whole.nets.style_encoder))
    assert torch.equal(all_weights(drawing.nets.generator), all_weights(whole.nets.generator))


def test_a_mapping_network_made_from_the_teacher_s_is_made_as_ever():
    """Whatever the student begins as: its fit begins from noise."""
    whole = make_learner(student(), dataclasses.replace(TRAINING, style_space="fitted", style_fit_iterations=5), NOTHING, 10, frozen_teacher())
    other = begun(("generator",), MATCH, style_space="fitted", style_fit_iterations=5)
    assert torch.equal(all_weights(other.nets.mapping_network), all_weights(whole.nets.mapping_network))
    assert not torch.equal(all_weights(other.nets.generator), all_weights(whole.nets.generator))


def test_other_widths_are_refused():
    wider = networks_of(Architecture(32, 3, 12, True, 0.0, 8), seed=1)
    training = dataclasses.replace(TRAINING, start_variant="first")
    with pytest.raises(InputError, match="start_variant = 'first': its generator has other widths than this student's:\n"):
        make_learner(student(), training, NOTHING, 10, frozen_teacher(), start=wider)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A preset file of two variants, the second of which begins as the first, and its teacher."""
    place = tmp_path_factory.mktemp("start")
    off = "\n".join(f"{name} = 0.0" for name, value in dataclasses.asdict(NOTHING).items() if name != "lambda_r1")
    (place / "path.toml").write_text(
        f'base = "smoke"\n[study]\nalphas = [6]\nseeds = [777, 778]\n[study.variants.first]\nlambda_style_match = 1.0\n'
        f'[study.variants.second]\nstart_variant = "first"\nfrozen = ["generator"]\n{off.replace("lambda_style_match = 0.0", "lambda_style_match = 1.0")}\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDLIB_RUNS", str(place / "runs"))
        patch.setenv("KDLIB_DATA", str(place / "data"))
        session.train_teacher(load_preset(place / "path.toml", **SMALL), progress=False)
        yield place / "path.toml"


def trained(study, variant, seed=777, **more):
    name = f"alpha6-kd-{variant}-seed{seed}" if seed != 777 else None
    return session.train_student(load_preset(study, variant=variant, seed=seed, **{**SMALL, **more}), 6, True, name, progress=False)


def test_runs_of_a_path_are_bound_to_each_other_seed_by_seed(study):
    """The second goes on from the first of its own seed, says so by the hash of its weights, and is not to be had without it."""
    with pytest.raises(InputError, match="start_variant = 'first': no finished run 'alpha6-kd-first' of preset 'path'"):
        trained(study, "second")
    first = {seed: trained(study, "first", seed) for seed in (777, 778)}
    second = {seed: trained(study, "second", seed) for seed in (777, 778)}
    for seed, run in second.items():
        assert run.settings().start_hash == first[seed].weights_hash() and first[seed].settings().start_hash == ""
        mine, its = (weights_of(r.load_networks()) for r in (run, first[seed]))
        assert [torch.equal(mine[name], its[name]) for name in ("generator", "style_encoder")] == [True, False]
    assert not torch.equal(*(weights_of(run.load_networks())["generator"] for run in first.values()))
    with pytest.raises(InputError, match="is of distilled students; give distill = True"):
        session.train_student(load_preset(study, variant="second", **SMALL), 6, False, "alone", progress=False)


def test_one_that_was_stopped_ends_with_the_same_weights(study):
    whole = trained(study, "second")
    expected = copy.deepcopy(weights_of(whole.load_networks()))
    for name in ("finished.json", "weights.safetensors", "checkpoints/step_0000003.pt"):
        (whole.path / name).unlink()
    again = weights_of(trained(study, "second").load_networks())
    assert all(torch.equal(again[name], expected[name]) for name in expected)


def test_only_a_variant_above_can_be_begun_as(study, tmp_path):
    text = study.read_text()
    for other in ("second", "third"):
        (tmp_path / "odd.toml").write_text(text.replace('start_variant = "first"', f'start_variant = "{other}"'))
        said = f"variant second: start_variant = '{other}': must be a variant above it in the preset: first"
        with pytest.raises(InputError, match=re.escape(said)):
            load_preset(tmp_path / "odd.toml")
