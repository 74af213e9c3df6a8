"""Two processes that share every batch against one that has all of it: batches, losses, weights, and resuming with another number."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.run import parse_args

from kdlib.__main__ import parser
from kdlib.critters import generate
from kdlib.data import TrainingBatches, open_dataset
from kdlib.errors import InputError
from kdlib.parallel import Workers

REPOSITORY = Path(__file__).parents[1]
DISTILLED = ("--alpha", "8", "--distill", "-p", "filter_keep", "0.5")  # the best half of the whole batch is chosen together


def test_parts_of_a_batch_make_the_batch(tmp_path):
    split = open_dataset(generate(tmp_path / "critters", image_size=32, train_per_domain=6, val_per_domain=4, seed=1), 32).train
    whole = TrainingBatches(split, 6, 16, seed=5)
    parts = [TrainingBatches(split, 6, 16, seed=5, workers=Workers(rank, 3)) for rank in range(3)]
    for step in range(4):
        expected = whole.batch(step)
        found = [part.batch(step) for part in parts]
        for name, value in vars(expected).items():
            assert torch.equal(torch.cat([getattr(batch, name) for batch in found]), value), name


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(InputError, match="batch_size = 8 .* among 3 processes"):
        Workers(0, 3).part(8)


@pytest.mark.parametrize("given", [["--name", "x"], ["--preset", "smoke"], ["--alpha", "8"], ["--distill"], ["-p", "seed", "1"]])
def test_torchrun_leaves_the_options_of_train_alone(given):
    """Its parser, which reads on after the name of the module, takes the beginning of a name of its own for that name."""
    command = ["train", *given]
    assert parse_args(["--nproc-per-node", "2", "-m", "kdlib", *command]).training_script_args == command
    parser().parse_args(command)


def train(runs: Path, processes: int, *arguments: str) -> Path:
    """Train on the command line, with the smallest preset; the run's folder."""
    command = [sys.executable, "-m"]
    command += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"] if processes > 1 else []
    command += ["kdlib", "train", "--preset", "smoke", "-p", "checkpoint_every", "2", "-p", "keep_checkpoints", "3", *arguments]
    environment = {**os.environ, "KDLIB_RUNS": str(runs), "KDLIB_DATA": str(runs.parent / "data"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.split()[-1])


def losses(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def distance(a: Path, b: Path) -> float:
    """Of two runs' weights, relative to their size."""
    a, b = (load_file(run / "weights.safetensors") for run in (a, b))
    assert a.keys() == b.keys()
    return float(sum((a[k] - b[k]).square().sum() for k in a).sqrt() / sum(b[k].square().sum() for k in b).sqrt())


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path):
    """Sums in another order, and Adam, which divides a gradient by its own size: a few parts in a thousand after six iterations."""
    teacher = train(tmp_path / "one", 1)
    shutil.copytree(teacher, tmp_path / "two" / "smoke" / "teacher")
    alone, shared = (train(tmp_path / name, count, *DISTILLED) for name, count in (("one", 1), ("two", 2)))
    assert len(losses(alone)) == len(losses(shared)) == 3
    for expected, found in zip(losses(alone), losses(shared)):
        assert found == pytest.approx(expected, rel=5e-3, abs=1e-4)
    assert distance(shared, alone) < 1e-3
    assert json.loads((shared / "environment.json").read_text())[0]["processes"] == 2
    assert sorted(p.name for p in shared.glob("checkpoints/*")) == sorted(p.name for p in alone.glob("checkpoints/*"))  # written once

    # Interrupted after four of six iterations, gone on with by one process.
    (shared / "finished.json").unlink()
    (shared / "checkpoints" / "step_0000006.pt").unlink()
    (shared / "weights.safetensors").rename(tmp_path / "weights.safetensors")
    again = train(tmp_path / "two", 1, *DISTILLED)
    assert [start["processes"] for start in json.loads((again / "environment.json").read_text())] == [2, 1]
    assert [row["step"] for row in losses(again)] == [2, 4, 6]
    assert distance(again, alone) < 1e-3


@pytest.mark.slow
def test_a_run_of_another_seed_is_far_away(tmp_path):
    """So that the comparison above can fail."""
    one, other = (train(tmp_path / name, 1, "-p", "seed", seed) for name, seed in (("a", "777"), ("b", "778")))
    assert distance(one, other) > 0.1
