"""Resuming: a run killed with SIGKILL and started again ends with the bits of one that never stopped."""

import dataclasses
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from kdlib import style_space
from kdlib.checkpoints import load_checkpoint, read_weights, save_checkpoint
from kdlib.config import load_preset
from kdlib.critters import generate
from kdlib.data import open_dataset
from kdlib.errors import InputError
from kdlib.runs import STUDENT, TEACHER, Run, RunSettings, open_run
from kdlib.trainer import checkpoints_of, train
from kdlib.training_step import NonFiniteLoss

ITERATIONS = 7
CHANGES = dict(
    student_iterations=ITERATIONS, teacher_iterations=ITERATIONS, checkpoint_every=2, log_every=3, sample_every=100,
    batch_size=2, base_width=8, teacher_alpha=8, device="cpu", threads=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = generate(tmp_path_factory.mktemp("data") / "critters", image_size=32, train_per_domain=6, val_per_domain=4, seed=1)
    return open_dataset(root, 32)


def settings(dataset, distill=True, **changes):
    preset = load_preset("smoke", **{**CHANGES, **changes})
    return RunSettings(preset, STUDENT, 8, distill, dataset.domains, dataset.train.content_hash, "t" if distill else "")


def teacher(dataset):
    return dataclasses.replace(settings(dataset, False), role=TEACHER).build(seed=5)


def fingerprint(run: Run) -> dict[str, str]:
    """Hashes of everything that must agree: log, final weights, and each part of the last checkpoint."""
    last = load_checkpoint(checkpoints_of(run)[-1])
    parts = {"log": (run.path / "log.jsonl").read_bytes(), "weights": run.weights.read_bytes()}
    for part in ("networks", "average", "optimizers"):
        tensors, rest = [], []
        flatten(last[part], tensors, rest)
        parts[part] = b"".join(t.contiguous().numpy().tobytes() for t in tensors) + repr(rest).encode()
    return {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}


def flatten(value, tensors, rest):
    if isinstance(value, torch.Tensor):
        tensors.append(value)
    elif isinstance(value, dict):
        for key in value:
            rest.append(key)
            flatten(value[key], tensors, rest)
    elif isinstance(value, (list, tuple)):
        for item in value:
            flatten(item, tensors, rest)
    else:
        rest.append(value)


@pytest.fixture(scope="module")
def unbroken_run(dataset, tmp_path_factory):
    """A distilled student trained without a stop."""
    run = open_run(tmp_path_factory.mktemp("unbroken") / "run", settings(dataset))
    return train(run, settings(dataset), dataset, teacher(dataset), progress=False)


@pytest.fixture(scope="module")
def unbroken(unbroken_run):
    return fingerprint(unbroken_run)


@pytest.fixture
def finished_run(unbroken_run, tmp_path):
    """A copy of it, to spoil."""
    return Run(Path(shutil.copytree(unbroken_run.path, tmp_path / "run")))


SCRIPT = textwrap.dedent("""
    import sys
    sys.path.insert(0, {tests!r})
    import test_resume as t
    dataset = t.open_dataset({root!r}, 32)
    s = t.settings(dataset)
    t.train(t.open_run({run!r}, s), s, dataset, t.teacher(dataset), progress=False)
""")


def test_killed_at_any_moment_and_resumed_is_bit_identical(dataset, unbroken, tmp_path):
    """Three kills at different moments: after the first note of progress, within a later iteration, around a checkpoint."""
    path = tmp_path / "run"
    script = SCRIPT.format(tests=str(Path(__file__).parent), root=str(dataset.report.root), run=str(path))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for wanted in (1, 3, 5):  # log lines and checkpoints come between these
        process = subprocess.Popen([sys.executable, "-c", script], env=environment)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            steps = [int(p.stem.split("_")[1]) for p in (path / "checkpoints").glob("step_*.pt")]
            if (path / "progress.json").exists() and max(steps, default=0) >= wanted - 1:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    run = open_run(path, settings(dataset))
    resumed_from = max((int(p.stem.split("_")[1]) for p in checkpoints_of(run)), default=0)
    assert 0 < resumed_from, "the kills came before any checkpoint: nothing was resumed"
    train(run, settings(dataset), dataset, teacher(dataset), progress=False)
    assert fingerprint(run) == unbroken
    starts = run.json("environment.json")  # every start is on record, and what it computed in
    assert len(starts) >= 3 and {start["precision"] for start in starts} == {"float32"}


@pytest.mark.parametrize("forget", ["optimizers", "average", "step", "nothing"])
def test_negative_control(dataset, unbroken, finished_run, forget):
    """A checkpoint that forgets a part of the state gives other bits, so the test above can fail; a whole one does not."""
    run = finished_run
    first, last = checkpoints_of(run)
    last.unlink()
    run.weights.unlink()
    (run.path / "finished.json").unlink()
    content = load_checkpoint(first)
    if forget == "optimizers":
        for state in content["optimizers"].values():
            for moments in state["state"].values():
                moments["exp_avg_sq"].zero_()
    elif forget == "average":
        content["average"] = {name: content["networks"][name] for name in content["average"]}
    elif forget == "step":
        content["step"] -= 1  # the batches, augmentations, warps and latents of another step
    save_checkpoint(first, {k: v for k, v in content.items() if k != "format"})
    train(run, settings(dataset), dataset, teacher(dataset), progress=False)
    differing = {name for name, value in fingerprint(run).items() if value != unbroken[name]}
    assert differing == {
        "nothing": set(),
        "average": {"average", "weights"},
        "optimizers": {"log", "weights", "networks", "average", "optimizers"},
        "step": {"log", "weights", "networks", "average", "optimizers"},
    }[forget]


@pytest.mark.parametrize("space", ["init", "fitted"])
def test_a_resumed_run_fits_nothing_again(dataset, tmp_path, monkeypatch, space):
    """The mapping network that was fitted before the first iteration comes from the checkpoint."""
    asked = settings(dataset, style_space=space, style_fit_iterations=5)
    run = train(open_run(tmp_path / "run", asked), asked, dataset, teacher(dataset), progress=False)
    unbroken = fingerprint(run)
    checkpoints_of(run)[-1].unlink()
    (run.path / "finished.json").unlink()
    monkeypatch.setattr(style_space, "fit", lambda *_, **__: pytest.fail("fitted again"))
    train(run, asked, dataset, teacher(dataset), progress=False)
    assert fingerprint(run) == unbroken


@pytest.mark.parametrize("forgotten", [False, True], ids=["whole", "without adapters"])
def test_adapters_of_features_resume_too(dataset, tmp_path, forgotten):
    """They are no part of the networks; a checkpoint that gives others back ends elsewhere."""
    asked = settings(dataset, lambda_feature=1.0)
    run = train(open_run(tmp_path / "run", asked), asked, dataset, teacher(dataset), progress=False)
    unbroken, (first, last) = fingerprint(run), checkpoints_of(run)
    trained = load_checkpoint(last)["adapters"]
    last.unlink()
    (run.path / "finished.json").unlink()
    content = load_checkpoint(first)
    assert any(not torch.equal(content["adapters"][key], value) for key, value in trained.items())
    assert not any("adapter" in key for key in read_weights(run.weights)[0])
    if forgotten:
        content["adapters"] = {key: torch.zeros_like(value) for key, value in content["adapters"].items()}
        save_checkpoint(first, {k: v for k, v in content.items() if k != "format"})
    train(run, asked, dataset, teacher(dataset), progress=False)
    again = load_checkpoint(checkpoints_of(run)[-1])["adapters"]
    assert all(torch.equal(again[key], value) for key, value in trained.items()) != forgotten
    assert (fingerprint(run) == unbroken) != forgotten


def test_a_finished_run_is_not_redone(dataset, finished_run):
    run = finished_run
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*") if p.is_file()}
    train(open_run(run.path, settings(dataset)), settings(dataset), dataset, teacher(dataset), progress=False)
    assert {p: p.stat().st_mtime_ns for p in run.path.rglob("*") if p.is_file()} == before


def test_other_settings_are_refused_with_the_differences(dataset, finished_run):
    run = finished_run
    with pytest.raises(InputError) as caught:
        open_run(run.path, settings(dataset, lambda_cyc=0.5, batch_size=3))
    assert "losses.lambda_cyc: 1.0 in the run folder, 0.5 asked for" in str(caught.value)
    assert "training.batch_size: 2 in the run folder, 3 asked for" in str(caught.value)
    open_run(run.path, settings(dataset, threads=2, evaluation_seed=3))  # neither decides how a run ends
    with pytest.raises(InputError, match="data_hash"):
        open_run(run.path, dataclasses.replace(settings(dataset), data_hash="other pictures"))


def test_two_processes_cannot_train_one_run(dataset, finished_run):
    """flock is per open file, so a second opening in this process stands for another process."""
    import fcntl

    (finished_run.path / "finished.json").unlink()
    with open(finished_run.path / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is training this run"):
            train(finished_run, settings(dataset), dataset, teacher(dataset), progress=False)
    train(finished_run, settings(dataset), dataset, teacher(dataset), progress=False)
    assert finished_run.finished


def test_non_finite_loss_leaves_the_last_checkpoint(dataset, tmp_path, monkeypatch):
    import kdlib.training_step as training_step

    run, calls = open_run(tmp_path / "run", settings(dataset, False)), []
    original = training_step.cycle_loss

    def breaks_in_step_four(*args):
        calls.append(1)
        return original(*args) * (float("inf") if len(calls) > 6 else 1.0)  # two cycle terms a step

    monkeypatch.setattr(training_step, "cycle_loss", breaks_in_step_four)
    with pytest.raises(NonFiniteLoss, match=r"step 4: loss G/latent/cyc is inf"):
        train(run, settings(dataset, False), dataset, progress=False)
    assert [p.name for p in checkpoints_of(run)] == ["step_0000002.pt"]
    assert all(torch.isfinite(t).all() for t in load_checkpoint(checkpoints_of(run)[-1])["networks"]["generator"].values())
    assert not run.finished
    monkeypatch.undo()
    train(run, settings(dataset, False), dataset, progress=False)  # the same command goes on from there
    assert run.finished


def test_full_disk_leaves_the_last_checkpoint(finished_run):
    """A file-size limit makes writes fail half-way, as a full disk does."""
    older, whole = checkpoints_of(finished_run)
    content, size = whole.read_bytes(), whole.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
        with pytest.raises(OSError):
            save_checkpoint(whole, {"networks": {"w": torch.zeros(size // 4)}})
        with pytest.raises(OSError):
            save_checkpoint(whole.with_name("step_0000008.pt"), {"networks": {"w": torch.zeros(size // 4)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert whole.read_bytes() == content
    assert sorted(finished_run.checkpoint_folder.iterdir()) == [older, whole]  # no half file, no temporary one


def test_the_log_holds_no_clock(finished_run):
    run = finished_run
    rows = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 6, 7]
    assert all(name == "step" or name == "lambda_ds" or "/" in name for row in rows for name in row)
    timing = run.json("finished.json")
    assert timing["step"] == ITERATIONS and timing["seconds"] > 0 and timing["peak_memory_bytes"] > 2**20
