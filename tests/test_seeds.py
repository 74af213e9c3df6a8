"""Runs that differ in their seed only, taken together."""

import json

import numpy as np
import pytest
from made_up_study import made_frechet, write_run, write_study
from test_imports import loaded

from kdlib import paths, results
from kdlib.analysis.seeds import Spread, StudyResults, groups, paired, seeds_text
from kdlib.config import load_preset
from kdlib.results import kept_rows, result_rows
from kdlib.runs import list_runs

KEY = "frechet_factor_network"
frechet = lambda row: row["latent_frechet_factor_network"]  # noqa: E731


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REPOSITORY", tmp_path)
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    return paths.reference_folder()


def test_a_spread_is_numpys_mean_and_sample_deviation():
    values = (81.2, 79.9, 84.4)
    spread = Spread(values)
    assert spread.mean == pytest.approx(np.mean(values)) and spread.deviation == pytest.approx(np.std(values, ddof=1))
    assert spread.text(2).replace("\N{NO-BREAK SPACE}", " ") == "81.83 ± 2.32"
    assert Spread((-3.0,)).text(1, signed=True) == "−3.0" and Spread((3.0,)).deviation is None
    assert seeds_text(1).split() == ["1", "seed"] and seeds_text(3).split() == ["3", "seeds"]


def test_a_study_in_groups(kept):
    write_study(kept, pictures=False)
    study = load_preset("mini").study
    found = StudyResults.of(kept_rows("mini"), study.main)
    assert found.teacher["role"] == "teacher" and found.alphas == tuple(sorted(study.alphas)) and set(found.variants) == set(study.variants)
    main, other = found.student(study.main, True), found.student(min(study.alphas), True)
    assert main.seeds == study.seeds and main.label == f"α = {study.main}, distilled" and len(other.rows) == 1
    expected = [made_frechet(study.main, True, seed, "latent") for seed in study.seeds]
    assert main.score("latent", KEY) == Spread(tuple(expected))
    assert len(found.grid) == 1 + 2 * len(study.alphas)
    assert StudyResults.of(kept_rows("mini")).main == study.main  # the width with the most seeds


def test_what_differs_in_more_than_the_seed_is_no_group(kept):
    write_run(kept, "mini", 48, True)
    second = write_run(kept, "mini", 48, True, seed=778)
    settings = json.loads((second / "settings.json").read_text())
    settings["preset"]["losses"]["lambda_ds"] = 3.0
    (second / "settings.json").write_text(json.dumps(settings))
    assert [g.seeds for g in groups(kept_rows("mini"))] == [(777,), (778,)]
    settings["preset"]["losses"]["lambda_ds"] = 1.0
    settings["preset"]["machine"]["threads"] = 7  # where it ran, and how often it wrote, do not matter
    settings["preset"]["logging"]["checkpoint_every"] = 9
    settings["teacher_hash"] = "the same training of the teacher, on another machine"
    (second / "settings.json").write_text(json.dumps(settings))
    assert [g.seeds for g in groups(kept_rows("mini"))] == [(777, 778)]
    metrics = json.loads((second / "metrics.json").read_text())
    metrics["protocol"]["outputs_per_source"] = 4
    (second / "metrics.json").write_text(json.dumps(metrics))
    assert [g.seeds for g in groups(kept_rows("mini"))] == [(777,), (778,)]


def test_ones_own_run_and_the_kept_one_of_the_same_seed_are_two_groups(kept):
    write_run(kept, "mini", 48, True)
    write_run(paths.runs_folder(), "mini", 48, True)
    found = groups(result_rows(list_runs(paths.runs_folder())))  # runs/reference lies in runs/
    assert sorted(group["kept_in_git"] for group in found) == [False, True]
    assert results.own_rows("mini")[0]["recipe"] == kept_rows("mini")[0]["recipe"]


def test_a_run_of_another_name_stays_beside_the_studys_own(kept):
    write_run(kept, "mini", 48, True)
    other = write_run(kept, "mini", 48, True, seed=778)
    other.rename(other.with_name("tried-by-hand"))
    found = StudyResults.of(kept_rows("mini"))
    assert [g.label for g in found.groups] == ["α = 48, distilled", "α = 48, distilled (tried-by-hand)"]
    assert found.student(48, True).seeds == (777,)


def test_differences_are_paired_by_seed(kept):
    for distilled, seeds in ((False, (777, 778, 780)), (True, (777, 778, 779))):
        for seed in seeds:
            write_run(kept, "mini", 48, distilled, seed)
    alone, distilled = (StudyResults.of(kept_rows("mini")).student(48, kind) for kind in (False, True))
    assert paired(alone, distilled, frechet) == Spread((-20.0, -20.0))
    assert paired(alone, distilled, lambda row: None) is None


def test_no_rows_no_groups():
    nothing = StudyResults.of([])
    assert not nothing and nothing.teacher is None and nothing.grid == () and nothing.student(24, True) is None


def test_taking_seeds_together_loads_nothing_heavy():
    assert loaded("import kdlib.analysis.seeds") == set()
