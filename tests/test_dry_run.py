"""The dry run: what it prints against published counts, its extrapolation against a line known beforehand, its times against a run."""

import dataclasses
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kdlib import dry_run, session, step_cost
from kdlib.__main__ import main
from kdlib.config import load_preset, preset_names
from kdlib.dry_run import study_runs
from kdlib.errors import InputError
from kdlib.runs import STUDENT, TEACHER, RunSettings, open_run
from kdlib.step_cost import DoesNotFit, StepCost, measure
from kdlib.study import study_jobs

CPU = torch.device("cpu")
SPECIES = ("cat", "dog", "fox")


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path / "data"))
    return tmp_path


def on_a_line(calls, seconds=(1.0, 3.0), size=(2**30, 2**28)):
    """A machine whose iteration costs a + b * batch."""

    def measured(settings, batch, steps):
        calls.append(batch)
        return StepCost(batch, seconds[0] + seconds[1] * batch, int(size[0] + size[1] * batch))

    return measured


def run_of(**overrides):
    return RunSettings(load_preset("smoke", batch_size=8, **overrides), TEACHER, 24, False, SPECIES, "")


@pytest.mark.parametrize(
    "line, device, batches, measured, seconds, gib, extrapolated",
    [
        ((1.0, 3.0), CPU, None, [1, 2], 25.0, 3.0, True),  # 1 + 3 * 8; 1 + 8 / 4
        ((0.1, 0.1), CPU, None, [1, 8], 0.9, 3.0, False),  # quick: measured as it is
        ((1.0, 3.0), torch.device("cuda"), None, [8], 25.0, 3.0, False),
        ((1.0, 3.0), CPU, [4, 1, 2], [1, 2, 4], 25.0, 3.0, True),
        ((1.0, 3.0), CPU, [2, 8], [8], 25.0, 3.0, False),
        ((1.0, 3.0), CPU, [4], [4], 26.0, 4.0, True),  # twice the cost of half the batch
    ],
)
def test_costs_are_read_off_a_straight_line(line, device, batches, measured, seconds, gib, extrapolated):
    calls = []
    found = dry_run.estimate(run_of(), device, 1, batches, on_a_line(calls, line))
    assert calls == measured
    assert found.seconds == pytest.approx(seconds) and found.bytes / 2**30 == pytest.approx(gib)
    assert found.extrapolated is extrapolated


@pytest.mark.parametrize("seconds, low, high", [((9.0, 8.0), 8.0, 9.0), ((24.0, 224.0), 8 * 24.0, 8 * 112.0)])
def test_other_work_on_the_machine_cannot_turn_the_line_round(seconds, low, high):
    """A larger batch is neither cheaper than a small one nor dearer than as many small ones; and it is said."""
    spoilt = lambda settings, batch, steps: StepCost(batch, seconds[batch - 1], 2**30)  # noqa: E731
    found = dry_run.estimate(run_of(), CPU, 1, [1, 2], spoilt)
    assert low <= found.seconds <= high and found.doubtful
    assert not dry_run.estimate(run_of(), CPU, 1, [1, 2, 4], on_a_line([])).doubtful


# G + E + F of Table 5.3 in millions (AFHQ, alpha = 128: it prints 2.71, a sum of rounded numbers), and to the last weight, as the
# released checkpoints have them.
@pytest.mark.parametrize(
    "preset, teacher, student, table",
    [("afhq", "58,101,827", "2,704,707", (58.10, 2.70)), ("celeba_hq", "66,822,595", "3,003,203", (66.82, 3.00))],
)
def test_networks_are_the_thesis_networks(preset, teacher, student, table):
    text = dry_run.networks_text(load_preset(preset), len(session.domain_names(load_preset(preset))))
    lines = [line.split() for line in text.splitlines()[2:]]
    cells = {" ".join(line[:-6]): line[-6:] for line in lines}  # G, E, F, G + E + F, D, D^s
    assert cells["teacher"][3] == teacher and cells["student, alpha = 128"][3] == student
    assert [round(int(n.replace(",", "")) / 1e6, 2) for n in (teacher, student)] == pytest.approx(table)
    assert len(cells) == 5 and cells["teacher"][5] == "-" and cells["student, alpha = 64"][5] != "-"


def test_everything_is_printed_and_nothing_written(places, capsys, monkeypatch):
    """Without its data, too: they are reported missing, and the rest stands."""
    monkeypatch.setattr(dry_run, "estimate", lambda s, d, steps, batches: dry_run.Estimate(36.0, 2**30, (StepCost(1, 4.5, 2**30),), True))
    assert main(["study", "--preset", "afhq", "--dry-run", "-p", "data_root", str(places / "absent"), "-p", "alphas", "64,128"]) == 0
    text = capsys.readouterr().out
    assert "* lambda_ds = 2.0" in text and "  lambda_cyc = 1.0" in text and "* alphas = [64, 128]" in text
    assert "absent is not a folder" in text
    assert "student, alpha = 128" in text and "2,704,707" in text
    rows = [line.split() for line in text.splitlines() if line.startswith(("teacher", "alpha")) or "to train" in line]
    trainings = {row[0]: row for row in rows if "train" in row}
    assert set(trainings) == {"teacher", "alpha64-kd", "alpha64", "alpha128-kd", "alpha128"}
    # 5 runs of 100,000 iterations at 36 s: 1,000 hours each.
    assert all("1,000.0 h (41.7 days)" in " ".join(row) for row in trainings.values())
    assert "Total of what is to be trained: 5,000.0 h (208.3 days)" in text and "Extrapolated" in text
    assert "2.95 GiB of main memory more for 16,130 pictures" in text  # Table 5.1's counts times 3 * 256^2 bytes
    assert not (places / "runs").exists() and not (places / "data").exists()


def test_what_does_not_fit_is_said_and_left_out_of_the_sum(places, capsys, monkeypatch):
    def only_small(settings, device, steps, batches):
        if settings.role == TEACHER:
            raise DoesNotFit("teacher at batch 8 does not fit into memory")
        return dry_run.Estimate(3.6, 2**30, (StepCost(4, 3.6, 2**30),), False)

    monkeypatch.setattr(dry_run, "estimate", only_small)
    dry_run.dry_run("smoke", {"alphas": [8]})
    text = capsys.readouterr().out
    assert "does not fit into memory" in text and "Total of what is to be trained: 43 s, without teacher" in text
    assert "not drawn yet" in text and "Extrapolated" not in text


def test_a_run_that_is_there_is_not_counted(places, capsys, monkeypatch):
    """The teacher of `mini` is shipped, unless another one is asked for; a folder with other settings is named."""
    monkeypatch.setattr(dry_run, "estimate", lambda *_: dry_run.Estimate(36.0, 2**30, (StepCost(8, 36.0, 2**30),), False))

    def states(**overrides):
        dry_run.dry_run("mini", {"alphas": [24], "main_alpha": 24, "seeds": [777], "student_iterations": 100, **overrides})
        text = capsys.readouterr().out
        return dict(re.findall(r"^ *(teacher|alpha\S+) +(finished|to train|name taken)", text, re.M)), text

    found, text = states()
    assert found == {"teacher": "finished", "alpha24-kd": "to train", "alpha24": "to train"}
    assert "Total of what is to be trained: 2.0 h" in text  # 100 iterations of each
    assert states(lambda_ds=0.0)[0]["teacher"] == "to train"

    own = RunSettings(load_preset("mini", student_iterations=100), STUDENT, 24, False, SPECIES, "pictures")
    run = open_run(places / "runs" / "mini" / "alpha24", own)
    assert states()[0]["alpha24"] == "to train"  # begun
    run.write_json("finished.json", {})
    run.weights.touch()
    assert states()[0]["alpha24"] == "finished"
    found, text = states(seed=778, seeds=[778])
    assert found["alpha24"] == "name taken" and "other settings" in text


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["-p", "lamda_ds", "1"], "lamda_ds: no notebook of the study takes it"),
        (["-p", "lambda_ds", "many"], "lambda_ds = 'many'"),
        (["--steps", "0"], "at least 1"),
        (["--batch", "0"], "at least 1"),
    ],
)
def test_wrong_arguments_are_named(arguments, said, capsys):
    assert main(["study", "--preset", "smoke", "--dry-run", *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", preset_names())
def test_every_training_of_the_study_is_listed(name):
    preset = load_preset(name, **({"data_root": "."} if name in ("afhq", "celeba_hq") else {}))
    listed = study_runs(preset, ("a", "b", "c"))
    assert [run for run in listed if run != "teacher"] == [job.run for job in study_jobs(preset, name) if job.notebook == "04_student"]


def test_runs_that_differ_in_their_seed_only_are_measured_once(places, monkeypatch, capsys):
    measured = []

    def estimate(settings, *_):
        measured.append(settings)
        return dry_run.Estimate(36.0, 2**30, (StepCost(8, 36.0, 2**30),), False)

    monkeypatch.setattr(dry_run, "estimate", estimate)
    dry_run.dry_run("mini", {"alphas": [24], "main_alpha": 24, "seeds": [777, 778, 779], "student_iterations": 100})
    assert len(measured) == 3 and "Total of what is to be trained: 6.0 h" in capsys.readouterr().out  # of 3 seeds, alone and distilled


def test_a_study_of_variants_is_measured_variant_by_variant():
    preset = load_preset("beyond")
    runs = study_runs(preset, ("cat", "dog", "fox"))
    assert list(runs) == ["teacher", *(f"alpha48-kd-{name}" for name in preset.study.variants)]
    for name, varied in list(runs.items())[1:]:
        assert varied.preset == load_preset("beyond", variant=name.removeprefix("alpha48-kd-"))


def test_durations_suit_their_size():
    assert [dry_run.duration(s) for s in (0.2, 59, 90, 7200, 360000)] == ["0 s", "59 s", "1.5 min", "2.0 h", "100.0 h (4.2 days)"]


def test_a_measurement_is_of_the_real_iteration(monkeypatch):
    """In this process, with the clock and the training step replaced: one warm-up at batch 1, then the median of the timed ones."""
    seen, ticks = [], iter([0.0, 5.0, 10.0, 11.0, 20.0, 22.0])

    def step(learner, batch):
        seen.append((len(batch.x), learner.teacher is not None, learner.nets.arch.student))
        return SimpleNamespace(read=dict)

    monkeypatch.setattr(step_cost, "train_iteration", step)
    monkeypatch.setattr(step_cost.time, "perf_counter", lambda: next(ticks))
    preset = load_preset("smoke", device="cpu")
    cost = step_cost.measure_here(RunSettings(preset, STUDENT, 8, True, SPECIES, ""), 3, 3)
    assert seen == [(1, True, True)] + [(3, True, True)] * 3
    assert cost.seconds == np.median([5.0, 1.0, 2.0]) and cost.bytes > 2**20


def test_a_measurement_comes_from_a_process_of_its_own():
    cost = measure(RunSettings(load_preset("smoke", device="cpu", threads=1), STUDENT, 8, True, SPECIES, ""), 2)
    assert cost.batch == 2 and cost.seconds > 0 and 2**27 < cost.bytes < 2**34


@pytest.mark.parametrize(
    "status, stderr, kind, said",
    [
        (-9, "", DoesNotFit, "alpha8-kd at batch 2 does not fit"),  # ended by the system, for want of memory
        (1, "Traceback\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate", DoesNotFit, "does not fit"),
        (1, "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried", DoesNotFit, "does not fit"),
        (1, "Traceback\nkdlib.errors.InputError: device = 'cuda:99'", InputError, "alpha8-kd at batch 2 failed: .*cuda:99"),
    ],
)
def test_how_a_measurement_ended_is_told(status, stderr, kind, said, monkeypatch):
    ended = SimpleNamespace(returncode=status, stdout="", stderr=stderr)
    monkeypatch.setattr(step_cost.subprocess, "run", lambda *_, **__: ended)
    with pytest.raises(InputError, match=said) as error:
        measure(RunSettings(load_preset("smoke"), STUDENT, 8, True, SPECIES, ""), 2)
    assert error.type is kind


@pytest.mark.slow
def test_faces_are_measured_without_a_landmark_file():
    preset = load_preset("celeba_hq", teacher_alpha=8, device="cpu")
    cost = measure(RunSettings(preset, STUDENT, 8, True, ("female", "male"), ""), 1)
    assert cost.seconds > 0


@pytest.mark.slow
@pytest.mark.parametrize("distill", [True, False])
def test_an_estimate_is_near_a_real_run(distill):
    """Within a factor of 3 both ways: other load on the machine, and the pictures, come on top."""
    preset = load_preset("smoke", device="cpu", threads=1, student_iterations=12, teacher_iterations=12, log_every=12, sample_every=100)
    preset = dataclasses.replace(preset, logging=dataclasses.replace(preset.logging, checkpoint_every=100))
    session.train_teacher(preset, progress=False)
    finished = session.train_student(preset, 8, distill, progress=False).json("finished.json")
    settings = RunSettings(preset, STUDENT, 8, distill, SPECIES, "")
    direct, by_line = (dry_run.estimate(settings, CPU, 3, batches) for batches in ([4], [1, 2]))
    for found in (direct, by_line):
        assert 1 / 3 < found.seconds / finished["seconds_per_iteration"] < 3
        assert 1 / 3 < found.bytes / finished["peak_memory_bytes"] < 3
