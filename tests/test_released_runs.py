"""Released checkpoints as run folders: what is in them is what was in the file, and everything that works on runs works on them."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kdlib import released_runs, results, runs, session
from kdlib.__main__ import main
from kdlib.checkpoints import save_weights
from kdlib.config import load_preset
from kdlib.errors import InputError
from kdlib.landmark_network import LandmarkNetwork
from kdlib.landmarks import LandmarkMasks
from kdlib.networks import Networks, build_networks
from kdlib.paths import runs_folder
from kdlib.released import load_released, released_name, save_landmarks, save_released
from kdlib.runs import STUDENT, Run, RunSettings
from kdlib.settings import Preset
from kdlib.study import run_study
from kdlib.use.models import load_model
from kdlib.views import run_views

# Critters at 32 px, networks of width 8: what a released file holds does not depend on either.
SMALL = """
[data]
source = "critters"
image_size = 32
train_per_domain = 6
val_per_domain = 2
[networks]
teacher_alpha = 8
base_width = 8
[training]
teacher_iterations = 2
student_iterations = 1
batch_size = 2
[evaluation]
outputs_per_source = 2
[study]
alphas = [4]
"""
FACES = """
[data]
source = "folder"
data_root = "nowhere"
image_size = 256
expected_train = { male = 3, female = 3 }
[networks]
teacher_alpha = 8
w_hpf = 1.0
[evaluation]
feature_networks = ["squeezenet"]
"""


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def places(tmp_path, monkeypatch, data_folder):
    """Run folders of their own, and two presets: critters and faces."""
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("KDLIB_DATA", str(data_folder))
    (tmp_path / "critters.toml").write_text(SMALL)
    (tmp_path / "faces.toml").write_text(FACES)
    return tmp_path


@pytest.fixture
def critters(places):
    return load_preset(places / "critters.toml")


def with_machine(preset: Preset, **settings: str) -> Preset:
    return dataclasses.replace(preset, machine=dataclasses.replace(preset.machine, **settings))


def released(path: Path, alpha=8, domains=3, student=False, size=32, base_width=8, seed=1) -> Path:
    save_released(path, build_networks(alpha, domains, student, 0, size, base_width=base_width, seed=seed))
    return path


def faces_checkpoint(path: Path, student=False, with_fan=True) -> Path:
    nets = build_networks(8, 2, student, 1.0, seed=2)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        nets.landmarks = LandmarkMasks(LandmarkNetwork())
    save_released(path, nets)
    if not with_fan:
        content = torch.load(path, weights_only=True)
        del content["fan"]
        torch.save(content, path)
    return path


@pytest.mark.parametrize("student, name", [(False, "teacher"), (True, "alpha8-kd-released")])
def test_every_tensor_of_the_file_is_in_the_run_and_nothing_more_is_said(places, critters, student, name):
    file = released(places / "100000_nets_ema.ckpt", student=student)
    run = session.import_released(critters, file)
    assert run.path == places / "runs" / "critters" / name and run.finished and run.imported
    theirs, ours = torch.load(file, weights_only=True), load_file(run.weights)
    assert len(ours) == sum(map(len, theirs.values()))
    for key, tensor in ours.items():
        network, _, tensor_name = key.partition(".")
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, theirs[network][released_name(network, tensor_name)]), key
    record = run.json("imported.json")
    assert record["file"] == "100000_nets_ema.ckpt"
    assert record["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert record["detected"]["alpha"] == 8 and record["detected"]["student"] is student
    settings = run.settings()
    assert (settings.role, settings.alpha, settings.distill) == ("student" if student else "teacher", 8, student)
    assert settings.domains == ("cat", "dog", "fox") and settings.data_hash == settings.teacher_hash == ""
    known = run.json("finished.json")
    assert [known[k] for k in ("step", "seconds", "seconds_per_iteration", "peak_memory_bytes")] == [None] * 4
    assert not (run.path / "environment.json").exists() and not (run.path / "log.jsonl").exists()


def test_tables_and_summaries_say_released_and_invent_nothing(places, critters):
    run = session.import_released(critters, released(places / "a.ckpt"))
    own = RunSettings(critters, STUDENT, 4, True, ("cat", "dog", "fox"), "pictures")
    trained = runs.open_run(places / "runs" / "critters" / "alpha4-kd", own)
    trained.write_json("finished.json", {"step": 1, "seconds": 1.0, "seconds_per_iteration": 1.0, "peak_memory_bytes": 1})
    rows = results.result_rows(runs.list_runs(places / "runs"))
    row = next(r for r in rows if r["run"] == "teacher")
    assert [row[k] for k in ("released", "iterations", "seed", "seconds_per_iteration")] == [True, None, None, None]
    _, lines = results.table(rows)
    cells = {line[0]: line[1:] for line in lines}
    assert sorted(cells["made"]) == ["here", "released"] and sorted(cells["iterations"]) == ["1", "unknown"]
    text = run_views.summary(run)
    assert "released" in text and "a.ckpt" in text and "777" not in text and "min" not in text
    assert "without a log" in run_views.losses(run).data
    assert json.loads(results.as_json(rows))


def test_what_works_on_runs_works_on_released_ones(places, critters):
    run = session.import_released(critters, released(places / "a.ckpt"))
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    y = torch.tensor([0, 2])
    with torch.no_grad():
        nets, theirs = run.load_networks(), load_released(places / "a.ckpt")
        s = nets.style_encoder(x, y)
        assert torch.equal(nets.generator(x, s), theirs.generator(x, theirs.style_encoder(x, y)))
    assert load_model("critters/teacher").label == "teacher"
    metrics = session.evaluate_run(critters, "teacher", progress=False)
    assert "selection" not in metrics and metrics["cost"]["parameters"] == sum(t.numel() for t in load_file(run.weights).values())
    assert results.rows_of_preset("critters")[0]["selection"] == "released"


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"domains": 2}, "domains: 2 in the file, 3 in the preset"),
        ({"size": 64}, "image_size: 64 in the file, 32 in the preset"),
        ({"alpha": 16}, "teacher_alpha: 16 in the file, 8 in the preset"),
        ({"base_width": 4}, "first_width: 4 in the file, 8 in the preset"),
    ],
)
def test_a_file_that_does_not_fit_the_preset_is_refused(places, critters, changes, said):
    with pytest.raises(InputError, match=said) as error:
        session.import_released(critters, released(places / "a.ckpt", **changes))
    assert "a.ckpt" in str(error.value) and "preset critters" in str(error.value)
    assert not (places / "runs").exists()


def test_a_high_pass_skip_must_fit_the_preset(places):
    preset = load_preset(places / "faces.toml", w_hpf=0.0)
    with pytest.raises(InputError, match=r"w_hpf: 1.0 in the file, 0.0 in the preset"):
        session.import_released(preset, faces_checkpoint(places / "a.ckpt"))


def test_nothing_is_overwritten_and_the_same_file_is_not_imported_twice(places, critters):
    first, other = released(places / "a.ckpt"), released(places / "b.ckpt", seed=2)
    run = session.import_released(critters, first)
    before = {p: p.stat().st_mtime_ns for p in run.path.iterdir()}
    assert session.import_released(critters, first) == session.import_released(critters, first, "teacher") == run
    assert {p: p.stat().st_mtime_ns for p in run.path.iterdir()} == before
    for name in (None, "teacher"):
        with pytest.raises(InputError, match="holds a.ckpt .*not b.ckpt.*--name"):
            session.import_released(critters, other, name)
    assert session.import_released(critters, other, "teacher2").weights_hash() != run.weights_hash()

    own = runs.open_run(places / "runs" / "critters" / "mine", RunSettings(critters, STUDENT, 8, False, ("a", "b"), ""))
    with pytest.raises(InputError, match="mine: holds a run that was trained here"):
        session.import_released(critters, first, own.name)


def test_a_student_is_no_teacher(places, critters):
    preset = with_machine(critters, teacher=str(released(places / "s.ckpt", student=True)))
    with pytest.raises(InputError, match="s.ckpt: holds a student of width cap 8, not a teacher"):
        session.teacher_run(preset)
    assert not (places / "runs").exists()
    run = session.import_released(critters, places / "s.ckpt")
    with pytest.raises(InputError, match="alpha8-kd-released: the run of a student"):
        session.teacher_run(with_machine(critters, teacher=str(run.path)))


def test_an_interrupted_import_is_completed(places, critters, monkeypatch):
    file = released(places / "a.ckpt")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(released_runs, "save_weights", full_disk)
        with pytest.raises(OSError, match="No space"):
            session.import_released(critters, file)
    run = Run(runs_folder() / "critters" / "teacher")
    assert not run.finished
    assert session.import_released(critters, file).finished


def test_the_one_command_distils_from_a_released_teacher(places, critters):
    """Import on first use, bound by the weights' hash, the same teacher for evaluation and for the next student."""
    preset = with_machine(critters, teacher=str(released(places / "a.ckpt")))
    run = session.train_student(preset, 4, distill=True, progress=False)
    teacher = Run(places / "runs" / "critters" / "teacher")
    assert teacher.imported and run.settings().teacher_hash == teacher.weights_hash()
    assert session.train_student(preset, 4, distill=True, progress=False) == run  # finished: not redone
    assert session.train_teacher(preset, progress=False) == teacher
    assert session.train_teacher(critters, progress=False) == teacher  # nor is another one trained in its place
    with pytest.raises(InputError, match="teacher = .*not the folder of a finished run"):
        session.teacher_run(with_machine(preset, teacher=str(places)))
    assert session.teacher_run(with_machine(preset, teacher=str(teacher.path))).path == teacher.path

    other = session.import_released(critters, released(places / "b.ckpt", seed=9), "other")
    with pytest.raises(InputError, match="teacher_hash"):
        session.train_student(with_machine(preset, teacher=str(other.path)), 4, distill=True, progress=False)


@pytest.mark.slow
def test_a_study_from_a_released_teacher(places, critters):
    """Every notebook, with the best of two candidates; the teacher is not trained, and the tables say whose it is."""
    file = released(places / "100000_nets_ema.ckpt")
    given = {"teacher": str(file), "student_iterations": 2, "candidate_every": 1, "selection": "best_candidate"}
    assert run_study(str(places / "critters.toml"), lanes=1, progress=False, overrides=given) == 0
    rows = {row["run"]: row for row in results.rows_of_preset("critters")}
    evaluated = {name: row["selection"].split(":")[0] for name, row in rows.items()}
    assert evaluated == {"teacher": "released", "alpha4": "best of 2", "alpha4-kd": "best of 2"}
    evaluation = (places / "runs" / "critters" / "alpha4-kd" / "05_evaluation.ipynb").read_text()
    assert "optimistic" in evaluation and "(chosen)" in evaluation
    assert "optimistic" not in (places / "runs" / "critters" / "teacher" / "05_evaluation.ipynb").read_text()
    assert "SHA-256" in (places / "runs" / "critters" / "teacher" / "03_teacher.ipynb").read_text()


def masks_of(nets: Networks) -> torch.Tensor:
    x = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return torch.cat(nets.masks(x))


def test_landmarks_stay_with_the_teacher_and_out_of_the_weights(places):
    preset = load_preset(places / "faces.toml")
    file = faces_checkpoint(places / "celeba.ckpt")
    expected = masks_of(load_released(file))
    teacher = session.import_released(preset, file)
    assert teacher.settings().domains == ("female", "male")  # the data are not there; the preset says what to expect
    file.unlink()
    assert torch.equal(masks_of(teacher.load_networks()), expected)
    assert {key.split(".")[0] for key in load_file(teacher.weights)} == set(Networks.TRANSLATING)

    # A student trained here: its settings name the teacher's file, and it is found even when that name has gone stale.
    named = session._with_landmarks_of_teacher(preset)
    assert Path(named.machine.landmarks) == teacher.path / "wing.ckpt"
    settings = RunSettings(named, STUDENT, 8, True, ("female", "male"), "")
    run = runs.open_run(places / "runs" / "faces" / "alpha8-kd", settings)
    nets = settings.build(seed=4)
    save_weights(run.weights, {n: getattr(nets, n) for n in nets.TRANSLATING}, {})
    assert torch.equal(masks_of(run.load_networks()), expected)
    values = run.json("settings.json")
    values["preset"]["machine"]["landmarks"] = "gone/wing.ckpt"
    run.write_json("settings.json", values)
    assert torch.equal(masks_of(run.load_networks()), expected)
    assert {key.split(".")[0] for key in load_file(run.weights)} == set(Networks.TRANSLATING)


def test_a_face_model_without_landmarks_asks_for_them(places, capsys):
    file = faces_checkpoint(places / "student.ckpt", student=True, with_fan=False)
    arguments = ["import-released", str(file), "--preset", str(places / "faces.toml")]
    assert main(arguments) == 2
    assert "wing.ckpt" in capsys.readouterr().err
    save_landmarks(places / "wing.ckpt", LandmarkMasks(LandmarkNetwork()))
    assert main([*arguments, "--landmarks", str(places / "wing.ckpt")]) == 0
    run = Run(Path(capsys.readouterr().out.strip()))
    assert run.name == "alpha8-kd-released"
    theirs, ours = (torch.load(p / "wing.ckpt", weights_only=True)["state_dict"] for p in (places, run.path))
    assert theirs.keys() == ours.keys() and all(torch.equal(theirs[key], ours[key]) for key in theirs)


def test_command_line_names_the_run_and_the_error(places, capsys):
    file = released(places / "a.ckpt")
    arguments = ["import-released", str(file), "--preset", str(places / "critters.toml")]
    assert main([*arguments, "--name", "choi"]) == 0
    assert capsys.readouterr().out.strip() == str(places / "runs" / "critters" / "choi")
    assert main([*arguments, "--name", "../x"]) == 2
    assert main(["import-released", str(places / "absent"), "--preset", str(places / "critters.toml")]) == 2
    assert "no such file" in capsys.readouterr().err
