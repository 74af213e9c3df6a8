"""``study -p name value``: which notebooks get it, what it changes, what is refused."""

import re

import pytest

from kdlib import overrides, study
from kdlib.__main__ import main
from kdlib.config import load_preset
from kdlib.errors import InputError
from kdlib.overrides import check_taken, notebook_parameters, parse_overrides
from kdlib.study import study_jobs


def test_values_are_read_as_papermill_reads_them():
    from papermill.cli import _resolve_type

    for text in ("True", "False", "None", "778", "-3", "1e-4", "0.5", "cuda:1", "true", "1_000", "runs/x", ""):
        assert parse_overrides([("seed", text)]) == {"seed": _resolve_type(text)}, text
    assert parse_overrides([("alphas", "64,128")]) == {"alphas": [64, 128]}
    assert parse_overrides([("alphas", "64")]) == {"alphas": [64]}
    assert parse_overrides([("main_alpha", "48"), ("variants_only", "True")]) == {"main_alpha": 48, "variants_only": True}
    with pytest.raises(InputError, match="seed: given twice"):
        parse_overrides([("seed", "1"), ("seed", "2")])


@pytest.mark.parametrize(
    "name, text, value",
    [("alphas", "24", (24,)), ("main_alpha", "24", 24), ("seeds", "5,6", (5, 6)), ("seeds_of_others", "2", 2), ("seeds_of_variants", "2", 2), ("variants_only", "False", False)],
)
def test_every_setting_of_the_study_but_its_variants_can_be_given(name, text, value):
    given = parse_overrides([("main_alpha", "24"), *([("alphas", "24")] if name != "alphas" else []), *([(name, text)] if name != "main_alpha" else [])])
    assert getattr(load_preset("mini", **given).study, name) == value


def test_a_path_is_found_from_where_the_command_is_given(tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    found = parse_overrides([("data_root", "pictures"), ("landmarks", "absent.ckpt"), ("device", "pictures")])
    assert found == {"data_root": str(tmp_path / "pictures"), "landmarks": "absent.ckpt", "device": "pictures"}


def test_parameters_are_those_of_the_tagged_cell():
    assert {"preset", "alpha", "distill", "teacher", "lambda_source_latent"} <= notebook_parameters("04_student")
    assert "settings" not in notebook_parameters("04_student") and "alpha" not in notebook_parameters("03_teacher")


def test_each_notebook_gets_what_it_takes():
    given = {"seed": 778, "student_iterations": 5, "data_root": "/pictures", "alphas": [24]}
    jobs = {job.name: job for job in study_jobs(load_preset("quick", **given), "quick", given)}
    assert {name for name, job in jobs.items() if "student_iterations" in job.parameters} == {"alpha24", "alpha24-kd"}
    assert {name for name, job in jobs.items() if job.parameters.get("seed") == 778} >= {"teacher", "alpha24", "alpha24-kd"}
    assert "seed" not in jobs["data"].parameters and jobs["data"].parameters["data_root"] == "/pictures"
    assert all("alphas" not in job.parameters for job in jobs.values())
    assert jobs["alpha24-kd"].parameters["distill"] is True


def test_overrides_are_part_of_the_fingerprints():
    def prints(given):
        preset = load_preset("smoke", **given)
        return study._fingerprints(study_jobs(preset, "smoke", given), preset)

    plain, again, other = prints({}), prints({}), prints({"student_iterations": 7})
    assert plain == again and all(plain[name] != other[name] for name in ("alpha8", "alpha8-kd evaluation", "comparison"))
    assert prints({"device": "cpu"})["alpha8"] != plain["alpha8"]


@pytest.mark.parametrize("name", ["lamda_ds", "preset", "run", "alpha", "distill", "image_size", "data_seed", "w_hpf", "expected_train"])
def test_what_no_notebook_takes_is_refused(name):
    """`image_size` is a parameter of the architecture notebook, for its figures; no training takes it."""
    with pytest.raises(InputError, match=f"-p {name}: no notebook of the study takes it; they take .*lambda_ds.*write a preset"):
        check_taken({name: 1})
    assert main(["study", "--preset", "smoke", "-p", name, "1"]) == 2


def test_settings_of_every_training_can_be_overridden():
    training = ("seed", "generator_down_blocks", "lambda_ds", "precision", "teacher", "landmarks", "data_root", "device", "candidate_every")
    check_taken(dict.fromkeys([*training, "selection", "alphas"]))


def test_the_list_of_notebooks_is_the_study_s():
    jobs = {job.notebook for job in study_jobs(load_preset("quick"), "quick")}
    assert jobs - set(overrides.NOTEBOOKS) <= {"grids"} and set(overrides.NOTEBOOKS) <= jobs


def test_a_teacher_elsewhere_is_not_evaluated_as_the_preset_s_own(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path))
    (tmp_path / "smoke" / "choi").mkdir(parents=True)
    (tmp_path / "other").mkdir()

    def evaluated(teacher):
        return [j.parameters["run"] for j in study_jobs(load_preset("smoke", teacher=teacher), "smoke") if j.notebook == "05_evaluation"]

    students = [name for name in evaluated("") if re.match("alpha", name)]
    assert evaluated("") == ["teacher", *students] == evaluated(str(tmp_path / "a_file.ckpt"))
    assert evaluated(str(tmp_path / "smoke" / "choi")) == ["choi", *students]
    assert evaluated(str(tmp_path / "other")) == students
