"""Seconds of one evaluation: `kdlib.scoring.evaluation` against the same protocol with PNG files between its steps (`plain_evaluation.py`).

    python benchmarks/evaluation.py --json runs/reference/cost/evaluation.json

The shipped teacher of preset mini translates Critters of 64 px. The two give the same scores, which is checked. They take turns in
one process. kdlib's part has the data set's opening in it, once without and once with the real pictures' statistics in the cache,
and scores besides that the plain one leaves out: of real pictures, of factors, of reconstruction.
Where SqueezeNet's weights are found (KDLIB_WEIGHTS, or data/weights), a second case is judged by it besides, from fewer pictures.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from common import options_of, write_result
from plain_evaluation import PlainEvaluation

from kdlib.critters import generate
from kdlib.data import open_dataset
from kdlib.devices import prepare
from kdlib.errors import InputError
from kdlib.networks import Networks
from kdlib.progress import progress_bar
from kdlib.runs import TEACHER, describe_environment, find_run
from kdlib.scoring.evaluation import evaluate
from kdlib.scoring.factor_network import load_factor_network
from kdlib.scoring.features import load_feature_network
from kdlib.scoring.judges import Judges
from kdlib.scoring.protocol import Draws
from kdlib.settings import MachineSettings

PLAIN, FIRST, SECOND = "plain, PNG files", "kdlib, first time", "kdlib, real statistics cached"
# Outputs made one at a time differ from those made in batches in the last bits of float32, so that a level of 255 differs here and
# there; and a kernel distance is a small difference of large sums.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Case:
    """Who judges, and how many pictures of each domain there are, are translated, and come of each."""

    networks: tuple[str, ...]
    train: int
    val: int
    sources: int
    outputs: int = 10


CASES = {
    "factor network": Case(("factor_network",), train=1000, val=50, sources=10),
    "factor network and SqueezeNet": Case(("factor_network", "squeezenet"), train=300, val=20, sources=5),
}


def largest_difference(a: dict, b: dict) -> float:
    """Largest difference between two sets of scores of every pair, relative to the larger of 1 and the score."""
    return max(
        abs(a[mode][pair][name] - value) / max(1.0, abs(value))
        for mode in b for pair, scores in b[mode].items() for name, value in scores.items()
    )  # fmt: skip


def measure(case: Case, nets: Networks, image_size: int, rounds: int, folder: Path) -> dict:
    """Seconds of every kind, taking turns; raises AssertionError where the scores of kdlib and of the plain evaluation differ."""
    root = generate(folder / "critters", image_size=image_size, train_per_domain=case.train, val_per_domain=case.val)
    judges = Judges([load_feature_network(name) for name in case.networks], load_factor_network())
    draws = Draws(777, case.outputs, case.sources, nets.arch.latent_dim)
    dataset = open_dataset(root, image_size)  # for the plain one: names of files and domains
    sizes = {"outputs_per_source": case.outputs, "sources_per_domain": case.sources}
    seconds: dict[str, list[float]] = {PLAIN: [], FIRST: [], SECOND: []}
    parts, difference = [], 0.0
    for turn in progress_bar(range(rounds), desc=", ".join(case.networks)):
        for kind in (FIRST, PLAIN, SECOND):
            files = folder / f"files{turn}"
            files.mkdir(exist_ok=True)
            plain = PlainEvaluation(nets, dataset, judges.feature_networks, judges.factor_network, draws, files)
            start = time.perf_counter()
            if kind == PLAIN:
                expected = plain.run()
            else:
                result = evaluate(nets, open_dataset(root, image_size), judges, **sizes, cache_dir=folder / f"cache{turn}", progress=False)
            seconds[kind].append(time.perf_counter() - start)
            if kind == PLAIN:
                parts.append(plain)
        difference = max(difference, largest_difference({mode: result[mode]["pairs"] for mode in expected}, expected))
    assert difference < TOLERANCE, f"kdlib's scores differ from the plain evaluation's by {difference:.2g}"
    medians = {kind: statistics.median(values) for kind, values in seconds.items()}
    return {
        "case": asdict(case),
        "outputs": parts[0].files,
        "png_bytes": parts[0].bytes,
        "largest_difference": difference,
        "kinds": {
            kind: {"seconds": round(median, 3), "times_faster_than_plain": round(medians[PLAIN] / median, 2)} for kind, median in medians.items()
        },
        "seconds_of_plain": {what: round(statistics.median(part.seconds[what] for part in parts), 3) for what in parts[0].seconds},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of(__doc__, device=False)
    parser.add_argument("--rounds", type=int, default=3, help="evaluations of each kind (default: %(default)s)")
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=list(CASES), help="(default: all whose weights are found)")
    options = parser.parse_args(arguments)
    device = prepare(MachineSettings(device="cpu", threads=options.threads))
    run = find_run("mini", TEACHER)
    nets, cases = run.load_networks(), {}
    for name in options.cases:
        try:
            for network in CASES[name].networks:
                load_feature_network(network)
        except InputError as error:
            print(f"left out: {name}: {error}", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as folder:
            cases[name] = measure(CASES[name], nets, run.settings().preset.data.image_size, options.rounds, Path(folder))
    result = {"model": "mini/teacher", "rounds": options.rounds, "cases": cases, "environment": describe_environment(device)}
    print(text(result))
    write_result(result, options.json)
    return 0


def text(result: dict) -> str:
    """The result as a table."""
    lines = []
    for name, case in result["cases"].items():
        lines.append(f"{name}: {case['outputs']:,} outputs, {case['png_bytes'] / 2**20:.1f} MiB of PNG files, scores within {case['largest_difference']:.1g}")
        lines += [f"  {kind:<32} {row['seconds']:8.2f} s {row['times_faster_than_plain']:6.2f}x" for kind, row in case["kinds"].items()]
        lines += [f"    of plain: {what:<32} {seconds:8.2f} s" for what, seconds in case["seconds_of_plain"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
