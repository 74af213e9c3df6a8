"""The shipped teacher translates: its weights are judged anew, on pictures drawn anew."""

import dataclasses

import pytest

from kdlib.config import load_preset
from kdlib.paths import reference_folder
from kdlib.runs import TEACHER, Run, RunSettings, differing_settings
from kdlib.scoring.evaluation import evaluate
from kdlib.scoring.factor_network import load_factor_network
from kdlib.scoring.features import load_feature_network
from kdlib.scoring.judges import Judges
from kdlib.session import open_data


@pytest.fixture(scope="module")
def run():
    return Run(reference_folder() / "mini" / TEACHER)


@pytest.fixture(scope="module")
def scores(run, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDLIB_DATA", str(tmp_path_factory.mktemp("data")))
        preset = load_preset("mini")
        few = dataclasses.replace(preset, data=dataclasses.replace(preset.data, train_per_domain=30, val_per_domain=30))
        dataset = open_data(few, progress=False)
    judges = Judges([load_feature_network("factor_network")], load_factor_network())
    return evaluate(run.load_networks(), dataset, judges, outputs_per_source=3, batch_size=90, progress=False)


def test_it_is_what_the_preset_asks_for(run):
    own, preset = run.settings(), load_preset("mini")
    asked = RunSettings(preset, TEACHER, preset.networks.teacher_alpha, False, ("cat", "dog", "fox"), own.data_hash)
    assert differing_settings(run, asked) == []
    assert run.json("finished.json")["step"] == own.iterations


def test_asked_species(scores):
    for guide in ("latent", "reference"):
        assert scores[guide]["mean"]["domain_accuracy"] > 0.97


def test_place_and_tilt_come_from_the_source_and_not_from_the_reference(scores):
    for factor in ("x", "y", "size", "tilt"):
        for guide in ("latent", "reference"):
            assert scores[guide]["mean"][f"content_correlation_{factor}"] > 0.8, factor
        # 90 outputs a pair: a mean over six pairs of correlations of independent numbers is within 0.13 of 0 (3 sigma)
        assert abs(scores["reference"]["mean"][f"leak_correlation_{factor}"]) < 0.2, factor


def test_colours_come_from_the_reference(scores):
    for group in ("fur", "background"):
        assert scores["reference"]["mean"][f"style_correlation_{group}"] > 0.75, group  # asked: 0.8 over all val pictures


def test_it_is_worth_imitating(run):
    """What was asked of it, over all val pictures, ten outputs a source, as kept in git."""
    scores = run.json("metrics.json")
    for guide in ("latent", "reference"):
        mean = scores[guide]["mean"]
        assert mean["domain_accuracy"] > 0.97
        assert min(mean[f"content_correlation_{f}"] for f in ("x", "y", "size", "tilt")) > 0.9
    assert mean["style_correlation"] > 0.9 and mean["leak_correlation"] < 0.1
    assert max(abs(mean[f"leak_correlation_{f}"]) for f in ("x", "y", "tilt")) < 0.2
    assert min(mean[f"style_correlation_{g}"] for g in ("fur", "background")) > 0.8
