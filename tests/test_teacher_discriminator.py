"""A teacher's discriminator: kept by its training, written from a checkpoint where it was not, asked for only where it teaches."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from kdlib import reference, session
from kdlib.__main__ import main
from kdlib.checkpoints import load_checkpoint
from kdlib.config import load_preset
from kdlib.errors import InputError
from kdlib.runs import Run
from kdlib.trainer import checkpoints_of

SMALL = {
    "teacher_iterations": 2, "student_iterations": 2, "batch_size": 2, "teacher_alpha": 8, "device": "cpu", "threads": 1,
    "train_per_domain": 6, "val_per_domain": 4, "log_every": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A teacher of two iterations, trained on the command line's way."""
    place = tmp_path_factory.mktemp("discriminator")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDLIB_RUNS", str(place / "runs"))
        patch.setenv("KDLIB_DATA", str(place / "data"))
        session.train_teacher(load_preset("smoke", **SMALL), progress=False)
        yield place


@pytest.fixture
def places(folders, tmp_path, monkeypatch):
    """A copy of it, to spoil."""
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("KDLIB_DATA", str(folders / "data"))
    shutil.copytree(folders / "runs", tmp_path / "runs")
    return tmp_path


@pytest.fixture
def teacher(places) -> Run:
    return Run(places / "runs" / "smoke" / "teacher")


def test_a_teacher_s_training_keeps_it_as_it_was_at_the_end(teacher):
    trained = load_checkpoint(checkpoints_of(teacher)[-1])["networks"]["discriminator"]
    kept = load_file(teacher.discriminator)
    assert kept.keys() == {f"discriminator.{key}" for key in trained}
    assert all(torch.equal(kept[f"discriminator.{key}"], value) for key, value in trained.items())
    network = teacher.load_discriminator()
    assert not any(p.requires_grad for p in network.parameters()) and not network.training
    assert all(torch.equal(value, trained[key]) for key, value in network.state_dict().items())
    assert not any("discriminator" in key for key in load_file(teacher.weights))


def test_it_is_written_from_the_last_checkpoint_with_the_same_bytes(teacher, capsys):
    whole = teacher.discriminator.read_bytes()
    teacher.discriminator.unlink()
    assert main(["discriminator", str(teacher.path)]) == 0
    assert teacher.discriminator.read_bytes() == whole
    assert capsys.readouterr().out.strip().endswith("discriminator.safetensors")
    checkpoints_of(teacher)[-1].unlink()
    assert main(["discriminator", str(teacher.path)]) == 2
    assert "step_0000002.pt: no such file; only the last checkpoint of the training holds the discriminator" in capsys.readouterr().err
    (teacher.path / "finished.json").unlink()
    assert main(["discriminator", str(teacher.path)]) == 2
    assert "not the folder of a finished teacher" in capsys.readouterr().err


def test_a_student_is_bound_to_it_only_where_it_learns_from_it(teacher, capsys):
    """Without the file a student that needs it is refused, with the command that writes it; others do not miss it."""
    filtered = load_preset("smoke", **SMALL, filter_keep=0.5)
    run = session.train_student(filtered, 8, True, "filtered", progress=False)
    assert run.settings().teacher_hash == f"{teacher.weights_hash()}, {teacher.weights_hash(teacher.discriminator)}"
    assert not run.discriminator.exists()  # a student's is not kept
    teacher.discriminator.unlink()
    with pytest.raises(InputError, match=r"discriminator.safetensors: no such file.*python -m kdlib discriminator .*teacher` writes it"):
        session.train_student(filtered, 8, True, "another", progress=False)
    assert not (teacher.path.parent / "another").exists()
    plain = session.train_student(load_preset("smoke", **SMALL), 8, True, "plain", progress=False)
    assert plain.settings().teacher_hash == teacher.weights_hash()
    by_cycle = load_preset("smoke", **SMALL, filter_keep=0.5, filter_score="cycle")
    assert session.train_student(by_cycle, 8, True, "by_cycle", progress=False).finished


def test_a_student_in_its_teacher_s_style_space_ships_the_teacher_s_mapping_network(teacher):
    preset = load_preset("smoke", **SMALL, style_space="teacher", teacher="smoke/teacher")  # named as a run
    run = session.train_student(preset, 4, True, "taken", progress=False)
    its, mine = (load_file(r.weights) for r in (teacher, run))
    names = [key for key in its if key.startswith("mapping_network.")]
    assert names and names == [key for key in mine if key.startswith("mapping_network.")]
    assert all(torch.equal(mine[key], its[key]) for key in names)
    assert run.load_networks().arch.mapping_units == 8
    alone = session.train_student(preset, 4, False, "alone", progress=False)  # has no teacher whose codes it could take
    assert alone.load_networks().arch.mapping_units == 4


def test_released_weights_come_without_one(teacher):
    (teacher.path / "imported.json").write_text("{}")
    teacher.discriminator.unlink()
    with pytest.raises(InputError, match="released weights come without one"):
        teacher.load_discriminator()


def test_a_teacher_by_name_is_found_where_runs_are(teacher, places):
    assert session.teacher_run(load_preset("mini", teacher="smoke/teacher")).path == teacher.path
    with pytest.raises(InputError, match="no finished run 'nobody' of preset 'smoke'"):
        session.teacher_run(load_preset("mini", teacher="smoke/nobody"))


def test_it_is_kept_with_a_teacher_s_weights(teacher, places, monkeypatch):
    monkeypatch.setattr(reference, "reference_folder", lambda: places / "kept")
    (teacher.path / "metrics.json").write_text("{}")
    reference.keep(teacher.path, weights=True)
    assert (places / "kept" / "smoke" / "teacher" / "discriminator.safetensors").read_bytes() == teacher.discriminator.read_bytes()
