"""The cost page's fragments and figures, from made-up results of the benchmarks."""

import json
import re

import pytest

from kdlib.book import cost_report, report
from kdlib.book.cost_report import fragments
from kdlib.paths import REPOSITORY

ENVIRONMENT = {"processor": "Abacus 2000", "device": "cpu", "threads": 3, "packages": {"torch": "9.9"}}
CASE = {"size": 64, "base_width": 24, "teacher_alpha": 192, "alpha": 48, "batch": 8}


def variant(seconds, times):
    return {"median_seconds": seconds, "times_faster_than_plain": times, "peak_memory_bytes": 3 * 2**30, "memory_of_the_iteration_bytes": 2**29, "seconds": [1, 2]}


def heads(size, domains):
    def counts(e, f):
        parameters = {"G": 9e6, "E": e * domains, "F": f * domains, "G + E + F": 9e6 + (e + f) * domains, "D": 7 * domains, "D^s": 11 * domains}
        return {"alpha": 5, "parameters": parameters, "macs": dict.fromkeys(("G", "E", "F", "D", "Ds"), 10**9)}

    return {"domains": domains, "image_size": size, "teacher": counts(1000, 2000), "student": counts(30, 40)}


POINT = {"image_size": 64, "batch": 8, "alpha": 48, "domains": 3, "seconds": 1.234, "bytes": 2**31, "flops": 5e9}
RUN = {"flops_a_picture": 1.5e12, "batch": 8, "iterations": 100_000, "flops": 1.2e18}
HOURS = {
    "Tesla V100 (SXM2)": {"float32": [53.1, 106.2]}, "GeForce RTX 3090": {"float32": [23.4, 46.8]},
    "A100 (SXM4)": {"tf32": [7.1, 21.4]}, "H100 (SXM5)": {"bfloat16": [1.1, 3.4]},
}  # fmt: skip
RESULTS = {
    "training_step_64": {"case": CASE, "variants": {"plain, float32": variant(2.5, 1.0), "kdlib, float32": variant(1.25, 2.0)}},
    "step_changes": {
        "case": CASE,
        "rungs": [{"name": n, "seconds": s, "times_faster_than_plain": 2 / s, "flops_a_picture": 2e10, "all_seconds": [s] * 4} for n, s in (("plain", 2.0), ("all", 1.6))],
    },
    "lazy_r1": {
        name: {
            "alpha": 24, "image_size": 32, "iterations": 300, "seeds": [1, 2], "environment": ENVIRONMENT,
            "scores": {"latent_frechet": {"mean": 80.5, "deviation": deviation}},
        }
        for name, deviation in (("every 1", 1.25), ("every 16", None))
    },
    "full_width_afhq": {
        "preset": "afhq", "alpha": 128, "batch": 2, "precision": "float32", "pictures": {"train": 28, "val": 15}, "untrained": ["teacher"],
        "seconds_of_iterations": [45.0, 32.5], "peak_memory_bytes": 4 * 2**30,
    },
    "loading": {
        "files": {"files": 126, "pixels": 512, "mean_bytes": 98304}, "rounds": 2, "iterations": 3,
        "sizes": {
            "256": {
                "batch": 8, "pictures_a_batch": 24,
                "loading": {
                    "kept in memory": {"seconds_a_batch": 0.01, "pictures_a_second": 2400.0},
                    "streamed from files": {"seconds_a_batch": 0.1, "pictures_a_second": 240.0},
                },
                "step": {**CASE, "size": 256, "batch": 1, "seconds": 10.0, "seconds_at_batch": 80.0, "scaled": True},
                "iterations": {
                    "no loading": {"seconds": 10.0, "ratio": 1.0, "waited_seconds": 0.0},
                    "made in the background": {"seconds": 9.9, "ratio": 0.99, "waited_seconds": 0.0004},
                },
            }
        },
    },
    "evaluation": {
        "model": "mini/teacher", "rounds": 3,
        "cases": {
            "factor network": {
                "case": {"networks": ["factor_network"], "train": 1000}, "outputs": 1200, "png_bytes": 2**21, "largest_difference": 3e-5,
                "kinds": {"plain, PNG files": {"seconds": 30.0, "times_faster_than_plain": 1.0}, "kdlib, first time": {"seconds": 6.0, "times_faster_than_plain": 5.0}},
                "seconds_of_plain": {"generating": 10.0, "features of real pictures": 20.0},
            }
        },
    },
    "import_time": {
        "processes": {"import kdlib": {"seconds": 0.031, "all_seconds": [0.03] * 7}}, "notebooks": {name: {"seconds": s, "all_seconds": [s] * 7} for name, s in (("an empty notebook", 1.25), ("imports", 3.0), ("04_student", 12.0), ("again", 5.0))},
    },
    "cost": {
        "widths": {"teacher_alpha": 192, "alpha": 48, "base_width": 24}, "libraries_bytes": 2**29,
        "sweeps": {"batch": [POINT, {**POINT, "batch": 16, "seconds": None, "bytes": None}], "domains": [POINT]},
        "heads": [heads(size, d) for size in (64, 256) for d in (2, 20)],
        "estimates": {
            "peaks_tflops": {"Tesla V100 (SXM2)": {"float32": 15.7, "tf32": None, "bfloat16": None}},
            "utilisation": {"float32": [0.2, 0.4]},
            "runs": {f"{d} {run}": {**RUN, "hours": HOURS} for d in ("afhq", "celeba_hq") for run in ("teacher", "alpha128-kd")},
            "author": {"gpu": "Tesla V100 (SXM2)", "days": 3.0, "plain_flops_a_picture": 1.9e12, "share_of_float32_peak": 0.3777},
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cost")
    for name, result in RESULTS.items():
        (folder / f"{name}.json").write_text(json.dumps({**result, **({} if name == "lazy_r1" else {"environment": ENVIRONMENT})}))
    return fragments(folder)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("step_64", ["| kdlib, float32 | 1.25 s | 2.00 | 0.50 GiB | 3.00 GiB |", "student at 48", "medians of 2 iterations on Abacus 2000, 3 threads, PyTorch 9.9"]),
        ("changes", ["| all | 1.60 s | 1.25 | 20.00 |", "medians of 4"]),
        ("lazy_r1", ["| gradient penalty | every iteration | every 16 iterations |", "| latent-guided frechet | 80.500 ± 1.250 | 80.500 |", "seeds 1, 2"]),
        ("full_width_afhq", ["on 43 real pictures: 32.5 s an iteration, 4.00 GiB", "teacher untrained"]),
        ("loading", ["| 256 px, streamed from files | 0.10 s | 240 | 800 |", "| 256 px, kept in memory | 0.01 s | 2,400 | 8,000 |", "96 KiB on average",
                     "multiplied at 256 px (batch 1)", "| 256 px, batch 1, made in the background | 9.90 s | 0.990 | 0.4 ms |", "Medians of 6", "0.990, say how much"]),
        ("evaluation", ["| kdlib, first time | 6.00 s | 5.0 |", "1,200 outputs", "within 3e-05", "2.0 MiB", "features of real pictures (20.0 s), generating (10.0 s)"]),
        ("import_time", ["| `import kdlib` | 0.031 s |", "| an empty notebook | 1.25 s |", "Medians of 7",
                         "overhead is 3.00 s: 1.25 s for Papermill and the kernel, 1.75 s for", "25 % of a student's notebook", "figures take 2.00 s more"]),
        ("sweeps", ["| 64 | **8** | 48 | 3 | 1.23 s | 2.00 GiB | 5.0 |", "| 64 | **16** | 48 | 3 | does not fit | – | 5.0 |", "0.50 GiB"]),
        ("domains", ["| 20 | 9.06 M | 3.000 G | 9.00 M |", "adds 1,000 weights to the teacher's $E$ and 2,000 to its $F$, 30 to the student's $E$, 40 to its $F$, 7 to $D$ and 11 to $D^s$"]),
        ("gpus", ["| Tesla V100 (SXM2) | est. 53 to 106 | – | – | 15.7 / – / – |", "1.20 EFLOP", "est. 7.1 to 21.4 h", "38 % of the float32 peak (estimate)", "20 to 40 % in float32"]),
    ],
)  # fmt: skip
def test_what_a_part_says(made, part, said):
    for words in said:
        assert words in made[part], made[part]


def test_every_number_of_hours_is_marked_as_an_estimate(made):
    cells = re.findall(r"\|([^|]*\d to \d[^|]*)", made["gpus"])
    assert len(cells) > 10 and all("est." in cell for cell in cells)


def test_figures_hold_the_measured_numbers(made):
    for part, values in (("loading", {0.01, 0.1, 80.0}), ("sweeps", {1.234, 2.0}), ("domains", {9e6, 20_000})):
        (found,) = re.findall(r"```\{raw\} html\n(.*)\n```", made[part])
        assert found.startswith('<div class="kdplot"') and "\n" not in found
        figure = json.loads(re.search(r'<script type="application/json">(.*)</script>', found)[1])
        shown = {v for trace in figure["data"] for axis in ("x", "y") for v in trace[axis] if not isinstance(v, str)}
        assert values <= shown, part


def test_what_is_not_measured_is_named_or_left_out(tmp_path):
    empty = fragments(tmp_path)
    assert empty["loading"] == "Not measured yet: `python benchmarks/loading.py --json runs/reference/cost/loading.json`.\n"
    assert empty["gpus"] == empty["sweeps"] and "benchmarks/cost.py" in empty["gpus"]
    assert empty["step_64"] == empty["step_256"] == empty["full_width_afhq"] == ""
    partial = {k: v for k, v in RESULTS["cost"].items() if k != "estimates"}
    (tmp_path / "cost.json").write_text(json.dumps({**partial, "environment": ENVIRONMENT}))
    assert "Not estimated yet" in fragments(tmp_path)["gpus"]


def test_the_page_has_every_part_and_no_other(tmp_path, made):
    page = (REPOSITORY / "book" / "cost.md").read_text(encoding="utf-8")
    assert re.findall(r"\{include\} _generated/cost_(\w+)\.md", page) == list(made)
    report.write_fragments("no-such-preset", tmp_path)
    assert {p.stem.removeprefix("cost_") for p in tmp_path.glob("cost_*.md")} == set(made)


def test_results_in_git_make_a_page():
    for name, text in cost_report.fragments().items():
        assert "nan" not in text.lower().split() and "None" not in text, name
