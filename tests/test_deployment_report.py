"""The deployment page's fragments, from made-up results."""

import dataclasses
import json
import re

import pytest
from made_up_study import plain

from kdlib.architecture import Architecture
from kdlib.book.deployment_report import TIMED, card, commands, fragments, latency_table, sizes, summary
from kdlib.paths import REPOSITORY

ENVIRONMENT = {
    "processor": "Abacus 2000", "device": "cpu", "threads": 3, "packages": {"torch": "9.9"}, "runtimes": {"onnxruntime": "8.8", "openvino": "7.7"},
    "machine_before": {"cores": 4, "load": 0.1}, "machine_after": {"cores": 4, "load": 1.25},
}  # fmt: skip


def row(model, runtime, precision, median):
    measured = {"median_seconds": median, "p90_seconds": 2 * median, "least_seconds": median, "seconds": [median] * 6}
    return {"model": model, "runtime": runtime, "precision": precision, "file_bytes": 2**20, "peak_bytes": 2**26, **measured}


def macs(count, alpha=512):
    return {**dataclasses.asdict(Architecture(256, 3, alpha, alpha < 512)), "parameters": 10**6, "macs": count}


LATENCY = {
    "rounds": 2, "timed": 3, "threads": 2, "models": {"teacher": macs(50 * 10**9), "α = 128": macs(10 * 10**9, 128)},
    "rows": [
        row("teacher", "eager", "fp32", 0.6), row("α = 128", "eager", "fp32", 0.3), row("teacher", "openvino", "fp32", 0.4),
        row("α = 128", "openvino", "fp32", 0.1), row("α = 128", "openvino", "int8", 0.04), row("teacher", "openvino", "int8", 0.25),
    ],
    "refused": {"teacher, PyTorch, compiled, fp32": "no compiler"},
}  # fmt: skip
KINDS = [
    {"kind": "3×3 convolution", "seconds": 0.003, "macs": 90, "time_share": 0.6, "mac_share": 0.9},
    {"kind": "depthwise convolution", "seconds": 0.0005, "macs": 10, "time_share": 0.1, "mac_share": 0.1},
    {"kind": "instance norm", "seconds": 0.0015, "macs": 0, "time_share": 0.3, "mac_share": 0.0},
]
LAYERS = {
    "threads": 2, "rounds": 15,
    "profiles": [{"model": "α = 48", "runtime": "PyTorch", "seconds": 0.005, "kinds": KINDS, "kinds_and_sizes": [{**k, "size": 256} for k in KINDS]}],
}  # fmt: skip
DEMO = {
    "browser": "Chromium 1", "rounds": 2, "median_seconds": 2.1, "seconds": [1.9, 2.3], "times": [{"teacher": "9 ms · 6 MB", "student": "4 ms · 1 MB"}],
}  # fmt: skip
NAMES = ("generator", "style_encoder", "mapping_network")
COARSE, ROUNDING = {"max": 0.25, "mean": 0.013}, {"max": 8.24e-6, "mean": 1.3e-7}
EXPORT = {
    "model": "mini/teacher", "about": {"form": "plain"},
    "bytes": {f"{p}/{n}.{'pt2' if p == 'pt2' else 'onnx'}": i * 2**20 for i, p in enumerate(("fp32", "int8", "pt2"), 1) for n in NAMES},
    "errors": [{"network": n, "runtime": r, "precision": "int8", "relative": 0.1, **(ROUNDING if n == "style_encoder" else COARSE)} for r in ("ONNX Runtime", "OpenVINO") for n in NAMES],
    "quantisation": {
        n: {
            "sensitivity": [{"layer": f"decode.{i}.conv2/Conv", "relative": 0.1 / (i + 1)} for i in range(6)], "in_float": ["decode.0.conv2/Conv"],
            "layers": 22, "candidates": [{"in_float": 0, "bytes": 5, "violations": ["PSNR 26.6 < 30 dB"]}, {"in_float": 1, "bytes": 6, "violations": []}],
        }
        for n in NAMES
    },
    "scores": {
        "protocol": {"outputs": 1200, "feature_networks": [{"name": "x", "scores": {"frechet": "frechet_x", "kernel": "kernel_x", "diversity": "diversity_x"}}]},
        "of": {n: {"latent": {"frechet_x": f}, "reference": {"frechet_x": f + 1, "style_correlation": 0.9}} for n, f in (("PyTorch", 34.1), ("int8", 34.4))},
        "psnr": {"int8": 31.25}, "violations": {"PyTorch": [], "int8": ["reference leak too large"]},
    },
}  # fmt: skip


SUMS = {"pictures": 12, "rows": [{"model": "mini/teacher", "network": "style_encoder", "bits": b, "file": f, "definition": d}
                                 for b, f, d in ((8, 0.25, 0.0625), (7, 0.125, 0.125))]}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deployment")
    (folder / "amx").mkdir()
    for name, result in {"latency_256": LATENCY, "layers_64": LAYERS, "export_teacher": EXPORT, "demo": DEMO, "integer_sums": SUMS}.items():
        (folder / ("amx" if name in TIMED else "") / f"{name}.json").write_text(json.dumps({**result, "environment": ENVIRONMENT}))
    return fragments(folder)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("latency_256", ["| OpenVINO, fp32 | 400 ms (800 ms) | 100 ms (200 ms), 4.0× |", "| OpenVINO, int8 | 250 ms (500 ms) | 40 ms (80 ms), 6.2× |",
                         "α = 128: 5.0 times fewer MACs; times faster in float32: 2.0 in PyTorch, 4.0 in OpenVINO",
                         "10 times the teacher's speed in the same runtime, 30 pictures a second and 20 times fewer weights",
                         "α = 128 in OpenVINO (fp32) makes 10.0 pictures a second with 21.5 times fewer weights; the largest gain", "is 4.0 times (α = 128", "| OpenVINO, fp32 | 1.00 MiB, 64 MiB | 1.00 MiB, 64 MiB |",
                         "6 timed calls", "Abacus 2000, 2 threads; PyTorch 9.9, ONNX Runtime 8.8, OpenVINO 7.7; load of its 4 cores at most 1.2", "no compiler"]),
        ("demo", ["**2.1 s** after", "median of 2 starts", "1.9 to 2.3 s, in Chromium 1 without", "same machine. Abacus 2000, 3 threads"]),
        ("layers_64", ["| instance norm | 30.0 % / 0.0 % |", "30 % of the time goes to layers that the count does not know", "instance norm at 256 px", "medians of 15 passes"]),
        ("sizes", ["| mini/teacher, float32 | 1.00 MiB | 1.00 MiB | 1.00 MiB | 3.00 MiB |", "| mini/teacher, 8-bit integers | 2.00 MiB |"]),
        ("errors", ["| mini/teacher, OpenVINO, int8 | 0.25 (0.013) | 8.2e−6 (1.3e−7) |"]),
        ("scores", ["| mini/teacher, latent / reference | PyTorch | 8-bit integers |", "| 34.10 / 35.10 | 34.40 / 35.40 |", "– / 0.900", "| – | 31.2 dB |", "1,200 translations each",
                    "Beyond the tolerance: 8-bit integers (reference leak too large)."]),
        ("integer_sums", ["| mini/teacher, $E$ | 0.250 / 0.062 | 0.125 / 0.125 |", "12 translations of validation pictures. Abacus 2000"]),
        ("quantisation", ["| $G$ | 1 of 22 | `decode.0.conv2` (0.100), `decode.1.conv2` (0.050)", "0 in float: PSNR 26.6 < 30 dB; 1 in float: within the tolerance"]),
    ],
)  # fmt: skip
def test_what_a_part_says(made, part, said):
    for words in said:
        assert words in plain(made[part]), made[part]


def test_figures_hold_the_measured_numbers(made):
    for part, values in (("latency_256", {50e9, 10e9, 600.0, 100.0, 40.0}), ("layers_64", {60.0, 90.0, 30.0})):
        figures = re.findall(r'<script type="application/json">(.*?)</script>', made[part])
        shown = {round(v, 6) for f in figures for trace in json.loads(f)["data"] for axis in ("x", "y") for v in trace[axis] if not isinstance(v, str)}
        assert values <= shown, part


def test_what_is_not_measured_is_named(tmp_path, made):
    empty = fragments(tmp_path)
    assert empty["latency_64"] == "Not measured yet: `python benchmarks/latency.py --size 64 --threads 2 --json runs/reference/deployment/MACHINE/latency_64.json`.\n"
    assert "kdlib export mini/teacher" in empty["scores"] and set(empty) == set(made)
    assert "kdlib export mini/alpha48-kd" in made["scores"] and "kdlib export mini/teacher" not in made["scores"]  # of two, one is there


def test_the_model_card_has_files_and_times(tmp_path):
    assert card(tmp_path) == ""
    rows = [{"model": "mini/teacher", "runtime": r, "precision": p, "median_seconds": s, "p90_seconds": s, "seconds": [s]}
            for r, p, s in (("eager", "fp32", 0.5), ("onnxruntime", "fp32", 0.25), ("openvino", "int8", 0.125))]  # fmt: skip
    of = {"mini/teacher": macs(50 * 10**9)}
    slower = [{**one, "median_seconds": 2 * one["median_seconds"]} for one in rows[:-1]]
    named = {**ENVIRONMENT, "arithmetic": ["FP32", "avx2", "amx_int8"]}
    for name, result, environment in (("export_teacher", EXPORT, ENVIRONMENT), ("amx/latency_trained", {**LATENCY, "models": of, "rows": rows, "refused": {}}, named),
                                      ("old/latency_trained", {**LATENCY, "models": of, "rows": slower, "refused": {}}, {**ENVIRONMENT, "processor": "Slide rule"})):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.json").write_text(json.dumps({**result, "environment": environment}))
    assert "ONNX Runtime, fp32 | OpenVINO, int8 |" in card(tmp_path)
    assert "| `mini/teacher` | 3.00 MiB | – | 6.00 MiB | 250 ms / 500 ms | 125 ms / – |" in card(tmp_path)
    assert card(tmp_path).endswith("medians: Abacus 2000 (AMX), 2 threads / Slide rule, 2 threads.")
    both = fragments(tmp_path)["latency_trained"]
    assert both.index("**Abacus 2000 (AMX).**") < both.index("| OpenVINO, int8 |") < both.index("**Slide rule.**") < both.rindex("| PyTorch, fp32 |")


def test_the_first_page_has_a_sentence_a_machine(tmp_path):
    assert summary(tmp_path).startswith("Not measured yet: `python benchmarks/latency.py --size 256")
    for name, rows in (("a", LATENCY["rows"]), ("b", LATENCY["rows"][:2])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "latency_256.json").write_text(json.dumps({**LATENCY, "rows": rows, "environment": ENVIRONMENT}))
    first, second = summary(tmp_path).split("\n\n")
    assert "takes the thesis's teacher 400 ms in OpenVINO and its student of α = 128, with 5.0 times fewer" in first
    assert first.endswith("100 ms: **4.0 times faster** (2.0 in PyTorch).") and second.endswith("300 ms: **2.0 times faster**.")


def test_every_command_is_on_the_page(made):
    page = (REPOSITORY / "book" / "deployment.md").read_text(encoding="utf-8")
    assert set(re.findall(r"_generated/deployment_(\w+)\.md", page)) == set(made)
    assert all(command in made["commands"] for command in commands().values()) and len(commands()) == made["commands"].count("python ")


def test_a_reason_is_given_once():
    every = [f"{model}, PyTorch{kind}, bf16" for model in ("teacher", "α = 128", "α = 128, joined") for kind in ("", ", compiled")]
    refused = dict.fromkeys(every, "no bfloat16") | {"α = 128, joined, OpenVINO, int8": "no such layer", "memory of teacher, PyTorch, fp32": "killed"}
    result = {**LATENCY, "models": {**LATENCY["models"], "α = 128, joined": macs(10)}, "refused": refused, "environment": ENVIRONMENT}
    told = (
        "Not measured here: PyTorch, bf16 and PyTorch, compiled, bf16 (no bfloat16); OpenVINO, int8 of α = 128, joined (no such layer); "
        "peak memory of PyTorch, fp32 of teacher (killed)."
    )
    assert told in latency_table(result)
    del result["models"]
    result |= {"rows": LATENCY["rows"][:1], "refused": {"teacher, OpenVINO, fp16": "no such arithmetic"}}
    assert "Not measured here: OpenVINO, fp16 (no such arithmetic)." in latency_table(result)


def test_an_export_in_another_form_is_named_by_it():
    assert sizes([{**EXPORT, "about": {"form": "joined"}}]).count("| mini/teacher, joined, float32 |") == 1


def test_results_in_git_make_a_page():
    for name, text in fragments().items():
        assert "nan" not in text.lower().split() and "None" not in text, name
