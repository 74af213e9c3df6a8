"""The study runner: which notebooks, in which order, what is skipped, what a failure leaves."""

import dataclasses
import json

import pytest

from kdlib import study
from kdlib.__main__ import main
from kdlib.checkpoints import save_weights
from kdlib.config import load_preset
from kdlib.runs import TEACHER, RunSettings, open_run
from kdlib.study import Job, run_study, study_jobs

NOTEBOOK = """# %% tags=["parameters"]
preset = ""
fail = False

# %%
from pathlib import Path
Path({mark!r}).open("a").write({name!r} + "\\n")
if {name!r} == "bad":
    raise RuntimeError("this notebook breaks")
"""


def test_quick_grid_is_two_widths_with_and_without_distillation():
    jobs = study_jobs(load_preset("quick"), "quick")
    students = {(j.parameters["alpha"], j.parameters["distill"]) for j in jobs if j.notebook == "04_student"}
    assert len(students) == 4 and len({alpha for alpha, _ in students}) == 2
    evaluated = [j.parameters["run"] for j in jobs if j.notebook == "05_evaluation"]
    assert len(evaluated) == 4 and "teacher" not in evaluated  # it is evaluated where it is at home, and shipped with its notebooks


def test_the_main_width_comes_with_every_seed_then_the_others_then_the_variants():
    preset = load_preset("ablation", alphas=[24, 48], main_alpha=48, seeds=[777, 5], seeds_of_variants=1)
    names = [student.name for student in study.students(preset)]
    assert names[:4] == ["alpha48-kd", "alpha48", "alpha48-kd-seed5", "alpha48-seed5"]
    assert names[4:6] == ["alpha24-kd", "alpha24"]
    assert names[6:] == [f"alpha48-kd-{variant}" for variant in preset.study.variants] and len(names) == 12
    assert len(set(names)) == len(names)
    jobs = {job.name: job for job in study_jobs(preset, "ablation") if job.notebook == "04_student"}
    assert list(jobs) == names
    assert jobs["alpha48-kd-seed5"].parameters == {"preset": "ablation", "alpha": 48, "distill": True, "seed": 5, "run": "alpha48-kd-seed5"}
    assert jobs["alpha48-kd-style_l1"].parameters == {"preset": "ablation", "alpha": 48, "distill": True, "variant": "style_l1"}


def test_a_study_of_variants_alone_trains_nothing_that_its_base_has(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    preset = load_preset("beyond", seeds_of_variants=2)
    names = [student.name for student in study.students(preset)]
    variants = list(preset.study.variants)
    assert names == [f"alpha48-kd-{v}" for v in variants] + [f"alpha48-kd-{v}-seed778" for v in variants]
    jobs = study_jobs(preset, "beyond")
    seen = set()
    for job in jobs:
        assert set(job.needs) <= seen, job
        seen.add(job.name)
    assert {job.run for job in jobs if job.notebook == "05_evaluation"} == set(names)  # the teacher is evaluated where it is at home
    (grids,) = [job for job in jobs if job.notebook == "grids"]
    assert (grids.parameters["teacher"], grids.parameters["student"]) == ("mini/teacher", f"beyond/alpha48-kd-{variants[0]}")
    assert grids.needs == (f"alpha48-kd-{variants[0]} evaluation",)


def test_a_student_that_begins_as_another_one_comes_after_it_seed_by_seed():
    jobs = study_jobs(load_preset("small", seeds_of_variants=2), "small")
    seen = []
    for job in jobs:
        assert set(job.needs) <= set(seen), job
        seen.append(job.name)
    needs = {job.name: job.needs for job in jobs if job.notebook == "04_student"}
    assert needs["alpha24-kd-encoder"] == ("teacher", "alpha24-kd-longer") and needs["alpha24-kd-longer"] == ("teacher",)
    assert needs["alpha24-kd-longest-seed778"] == ("teacher", "alpha24-kd-encoder-seed778")


def test_grids_show_the_teacher_beside_the_widest_distilled_student():
    (job,) = [j for j in study_jobs(load_preset("quick", alphas=[16, 100, 32]), "quick") if j.notebook == "grids"]
    assert (job.run, job.parameters["student"]) == ("grids", "quick/alpha100-kd")
    assert job.parameters["teacher"] == load_preset("quick").machine.teacher
    (job,) = [j for j in study_jobs(load_preset("smoke"), "smoke") if j.notebook == "grids"]
    assert job.parameters["teacher"] == "smoke/teacher"
    (job,) = [j for j in study_jobs(load_preset("quick", teacher="elsewhere/teacher"), "quick") if j.notebook == "grids"]
    assert job.parameters["teacher"] == "elsewhere/teacher"


@pytest.mark.parametrize("preset", ["smoke", "quick"])
@pytest.mark.parametrize("teacher", ["", "a_checkpoint.ckpt", "runs/{preset}/teacher-released", "elsewhere"])
def test_jobs_come_after_what_they_need(preset, teacher, tmp_path, monkeypatch):
    """A teacher of another name, or from elsewhere, has an evaluation of another name, or none."""
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    for folder in (f"runs/{preset}/teacher-released", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    given = str(tmp_path / teacher.format(preset=preset)) if teacher else ""
    seen = set()
    for job in study_jobs(load_preset(preset, teacher=given), preset):
        assert set(job.needs) <= seen, job
        seen.add(job.name)
    assert ("teacher-released evaluation" in seen) == ("released" in teacher)


@pytest.fixture
def little_study(tmp_path, monkeypatch):
    """Three notebooks without kdlib in them: ok -> after, and bad -> never."""
    (tmp_path / "notebooks").mkdir()
    mark = tmp_path / "ran.txt"
    for name in ("ok", "after", "bad", "never"):
        (tmp_path / "notebooks" / f"{name}.py").write_text(NOTEBOOK.format(mark=str(mark), name=name))
    jobs = [Job("ok", "ok", "a", {"preset": "smoke"}), Job("after", "after", "b", {"preset": "smoke"}, ("ok",))]
    jobs += [Job("bad", "bad", "c", {"preset": "smoke"}), Job("never", "never", "d", {"preset": "smoke"}, ("bad",))]
    monkeypatch.setattr(study, "REPOSITORY", tmp_path)
    monkeypatch.setattr(study, "study_jobs", lambda *_: jobs)
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    return tmp_path, mark, jobs


def test_another_teacher_makes_everything_new(tmp_path, monkeypatch):
    """One named by the preset, or other weights in the folder that it names."""
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path))
    settings = RunSettings(load_preset("smoke"), TEACHER, 24, False, ("cat", "dog", "fox"), "pictures")

    def teacher(name, seed):
        run = open_run(tmp_path / "smoke" / name, settings)
        nets = settings.build(seed)
        save_weights(run.weights, {n: getattr(nets, n) for n in nets.TRANSLATING}, {})
        run.write_json("finished.json", {})

    def prints(name):
        preset = load_preset("smoke")
        preset = dataclasses.replace(preset, machine=dataclasses.replace(preset.machine, teacher=name))
        return study._fingerprints(study_jobs(preset, "smoke"), preset)

    teacher("one", 1), teacher("two", 2)
    one, two = prints("smoke/one"), prints("smoke/two")
    assert one == prints("smoke/one")
    teacher("one", 3)
    retrained = prints("smoke/one")
    for name in ("teacher", "alpha8", "alpha8-kd", "alpha8-kd evaluation", "comparison"):
        assert len({one[name], two[name], retrained[name]}) == 3, name
    assert one["data"] == retrained["data"]


def test_failure_is_named_and_only_what_changed_is_redone(little_study, capsys):
    tmp_path, mark, jobs = little_study
    assert run_study("smoke", lanes=2, progress=False) == 1
    said = capsys.readouterr().err
    assert "bad failed" in said and "this notebook breaks" in said
    assert "not run, for want of what failed: never" in said
    assert sorted(mark.read_text().split()) == ["after", "bad", "ok"]  # never was not started
    assert set(json.loads((tmp_path / "runs" / "smoke" / "study.json").read_text())) == {"ok", "after"}

    jobs[2:] = []
    mark.unlink()
    assert run_study("smoke", lanes=1, progress=False) == 0
    assert not mark.exists()  # nothing to do

    source = tmp_path / "notebooks" / "after.py"
    source.write_text(source.read_text() + "\n# changed\n")
    assert run_study("smoke", lanes=1, progress=False) == 0
    assert mark.read_text().split() == ["after"]

    mark.unlink()
    (tmp_path / "runs" / "smoke" / "a" / "ok.ipynb").unlink()
    assert run_study("smoke", lanes=1, progress=False) == 0
    assert mark.read_text().split() == ["ok", "after"]  # what was made from it is made again


def test_command_line_exit_status(capsys):
    assert main(["study", "--preset", "no_such"]) == 2
    assert "no such preset" in capsys.readouterr().err
    assert main(["keep", "no/such/run"]) == 2


@pytest.mark.slow
def test_smoke_study_from_nothing(tmp_path, monkeypatch):
    """Every notebook runs headless; a second call finds everything done."""
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path / "data"))
    assert run_study("smoke", progress=False) == 0
    notebooks = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("*.ipynb")}
    assert len(notebooks) == len(study_jobs(load_preset("smoke"), "smoke"))
    assert run_study("smoke", progress=False) == 0
    assert {p: p.stat().st_mtime_ns for p in notebooks} == notebooks
