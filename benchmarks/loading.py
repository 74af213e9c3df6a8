"""Does training ever wait for its pictures? Seconds to make a batch, beside those of the iteration that it is made for.

    python benchmarks/loading.py --json runs/reference/cost/loading.json

Pictures are JPEG files of 512 px, Critters drawn here with grain laid over them: flat drawings would decode faster than photographs
of that size do. Batches are the training's own, augmentation included, made by one background thread (`kdlib.data.prefetch`) from
pictures that are kept in memory at the training size, or that are read and decoded again every time. The files have been read
once before, so they come from the system's file cache, not from a disk.

Then iterations of distillation take turns in one process: on one batch over and over, on batches made in the background, and on
batches made in line, for which each iteration waits. At 256 px the iteration is measured at batch 1 and multiplied.
"""

import dataclasses
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from common import options_of, write_result
from PIL import Image
from training_step import CASES, DECAY, Case

from kdlib.critters import SPECIES, critter_at, render
from kdlib.data import CACHE_BYTES, Batch, TrainingBatches, open_dataset, prefetch, step_rng
from kdlib.devices import prepare
from kdlib.learner import Learner, make_learner
from kdlib.progress import progress_bar
from kdlib.runs import describe_environment
from kdlib.settings import LossWeights, MachineSettings, TrainingSettings
from kdlib.training_step import train_iteration

FILE_SIZE, QUALITY, GRAIN = 512, 90, 8.0  # pixels, JPEG's quality, standard deviation in levels of 255
LOADERS = {"kept in memory": CACHE_BYTES, "streamed from files": 0}
NO_LOADING, IN_BACKGROUND, IN_LINE = "no loading", "made in the background", "made in line"


def draw_files(root: Path, per_domain: int) -> dict:
    """JPEG files {train,val}/{species}/NNNNN.jpg under ``root``; what there is to say about them."""
    sizes = []
    for kind, species in enumerate(progress_bar(SPECIES, desc="drawing")):
        for split, count in (("train", per_domain), ("val", 2)):
            folder = root / split / species
            folder.mkdir(parents=True)
            for i in range(count):
                levels = np.asarray(render(critter_at(species, i, split=split, seed=1), FILE_SIZE), dtype=np.float64)
                levels += step_rng(kind, i, split).normal(0.0, GRAIN, (FILE_SIZE, FILE_SIZE, 1))
                file = io.BytesIO()
                Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(file, "jpeg", quality=QUALITY)
                (folder / f"{i:05d}.jpg").write_bytes(file.getvalue())
                sizes.append(len(file.getvalue()))
    return {"files": len(sizes), "pixels": FILE_SIZE, "mean_bytes": round(statistics.mean(sizes)), "quality": QUALITY, "grain": GRAIN}


def time_batches(batches: TrainingBatches, count: int) -> tuple[float, float]:
    """Where nothing else is done: median seconds between batches, and mean processor seconds a batch, of all threads."""
    stamps, start = [], time.process_time()
    with closing(prefetch(batches, 0, count + 2)) as made:
        for _ in made:
            stamps.append(time.perf_counter())
    busy = (time.process_time() - start) / (count + 2)
    return statistics.median(np.diff(stamps)[1:]), busy  # the first two were begun at once


def turn(learner: Learner, feed: Iterator[Batch], device: torch.device, count: int) -> list[tuple[float, float, float]]:
    """Of each iteration but the first: seconds, seconds of them spent waiting for its batch, processor seconds of all threads."""
    rows = []
    for i in range(count + 1):
        start, busy = time.perf_counter(), time.process_time()
        batch = next(feed)
        waited = time.perf_counter() - start
        train_iteration(learner, batch.to(device)).read()  # ends by reading the losses, so it waits for the device
        if i:
            rows.append((time.perf_counter() - start, waited, time.process_time() - busy))
    return rows


def feeds(batches: TrainingBatches, count: int, pin: bool) -> dict[str, Callable[[], Iterator[Batch]]]:
    """Where the iterations of a turn take their batches from."""

    def repeated() -> Iterator[Batch]:
        one = batches.batch(0)
        while True:
            yield one

    def in_background() -> Iterator[Batch]:
        with closing(prefetch(batches, 0, count + 4, pin=pin)) as made:  # more than are asked for: the thread never runs out of work
            for _, batch in made:
                yield batch

    def in_line() -> Iterator[Batch]:
        return (batches.batch(step) for step in range(count + 1))

    return {NO_LOADING: repeated, IN_BACKGROUND: in_background, IN_LINE: in_line}


def hiding(case: Case, batches: TrainingBatches, device: torch.device, rounds: int, count: int) -> dict[str, dict]:
    """Median seconds of an iteration by where its batch comes from, all taking turns; ratios to the iteration without loading."""
    student, teacher = case.networks()
    learner = make_learner(student.to(device), TrainingSettings(), LossWeights(), DECAY, teacher.to(device))
    sources, seen = feeds(batches, count, device.type == "cuda"), {}
    for _ in progress_bar(range(rounds), desc=f"{case.size} px, iterations"):
        for name, feed in sources.items():
            with closing(feed()) as pictures:
                seen.setdefault(name, []).extend(turn(learner, pictures, device, count))
    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in seen.items()}
    bare = medians[NO_LOADING][0]
    return {
        name: {
            "seconds": round(seconds, 4), "ratio": round(seconds / bare, 4), "waited_seconds": round(waited, 5), "processor_seconds": round(busy, 4)
        }
        for name, (seconds, waited, busy) in medians.items()
    }


def measure(root: Path, case: Case, batch: int, count: int, rounds: int, iterations: int, device: torch.device) -> dict:
    """Loading at ``batch`` from the files in ``root``, the iteration of ``case`` at its own batch, and the two together."""
    loading, own = {}, None
    for name, cache_bytes in LOADERS.items():
        start = time.perf_counter()
        split = open_dataset(root, case.size, cache_bytes=cache_bytes).train
        opening = time.perf_counter() - start
        seconds, busy = time_batches(TrainingBatches(split, batch, 16, seed=1), count)
        loading[name] = {
            "seconds_a_batch": round(seconds, 5), "batches_a_second": round(1 / seconds, 2),
            "pictures_a_second": round(3 * batch / seconds, 1), "processor_seconds": round(busy, 5), "seconds_to_open": round(opening, 2),
        }  # fmt: skip
        own = TrainingBatches(split, case.batch, 16, seed=1)  # the last: streamed
    together = hiding(case, own, device, rounds, iterations)
    step = together[NO_LOADING]["seconds"]
    return {
        "batch": batch,
        "pictures_a_batch": 3 * batch,
        "loading": loading,
        "step": {**dataclasses.asdict(case), "seconds": step, "seconds_at_batch": round(step * batch / case.batch, 3), "scaled": batch != case.batch},
        "iterations": together,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", choices=tuple(CASES), default=list(CASES), help="pixels (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="of the loading alone (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=40, help="training files a domain (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=40, help="batches to time (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each kind of iteration (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=4, help="iterations a turn (default: %(default)s)")
    options = parser.parse_args(arguments)
    device = prepare(MachineSettings(device=options.device, threads=options.threads))
    with tempfile.TemporaryDirectory() as folder:
        files = draw_files(Path(folder), options.pictures)
        sizes = {
            str(size): measure(Path(folder), CASES[size], options.batch, options.batches, options.rounds, options.iterations, device)
            for size in options.sizes
        }
    result = {"files": files, "rounds": options.rounds, "iterations": options.iterations, "sizes": sizes, "environment": describe_environment(device)}
    print(text(result))
    write_result(result, options.json)
    return 0


def text(result: dict) -> str:
    """The result as a table."""
    lines = [f"{result['files']['files']} JPEG files of {FILE_SIZE} px, {result['files']['mean_bytes'] / 1024:.0f} KiB each"]
    for size, row in result["sizes"].items():
        lines.append(f"{size} px, batch {row['batch']} ({row['pictures_a_batch']} pictures)")
        for name, load in row["loading"].items():
            lines.append(f"  {name:<24} {load['seconds_a_batch']:9.4f} s a batch {load['pictures_a_second']:9.0f} pictures/s")
        step = row["step"]
        how = f", {step['seconds']:.3f} s at batch {step['batch']}" if step["scaled"] else ""
        lines.append(f"  {'the iteration':<24} {step['seconds_at_batch']:9.3f} s{how}")
        for name, iteration in row["iterations"].items():
            shares = f"{iteration['ratio']:.3f}x, waited {1e3 * iteration['waited_seconds']:.2f} ms"
            lines.append(f"  {name:<24} {iteration['seconds']:9.4f} s at batch {step['batch']}, {shares}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
