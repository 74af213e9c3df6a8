"""Clocks and counters of deployment: closed forms, counted calls, and the benchmarks at their smallest. No time is tested."""

import json
import tomllib

import latency as latency_benchmark
import layer_profile as profile_benchmark
import numpy as np
import pytest
import torch
from latency import SIZES, randomised
from tiny_export import tiny, tiny_model, tiny_networks

from kdlib import devices
from kdlib.analysis import deployment_tables
from kdlib.analysis.speed import milliseconds
from kdlib.architecture import Architecture, GeneratorDesign
from kdlib.book import deployment_report
from kdlib.deploy import layer_profile
from kdlib.deploy.export import example_inputs
from kdlib.deploy.forms import FORMS
from kdlib.deploy.latency import VARIANTS, Subject, Variant, case_of, memory_of, runners, statistics_of, take_turns
from kdlib.deploy.layer_profile import DEPTHWISE, LAYOUT, NORM, UPSAMPLING, by_kind, convolution_kind, profile_eager, profile_onnxruntime
from kdlib.deploy.onnx_files import half_weights, save_onnx
from kdlib.deploy.quantisation import measure_ranges, quantisable, quantise
from kdlib.errors import InputError
from kdlib.networks import Generator
from kdlib.paths import REPOSITORY
from kdlib.profiling import network_costs
from kdlib.views.latency_figures import macs_figure, share_figure


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    nets, model, folder = tiny_networks(), tiny_model(), tmp_path_factory.mktemp("tiny")
    inputs = tuple(t.numpy() for t in example_inputs("generator", nets.arch, 1))
    files = {precision: folder / f"{precision}.onnx" for precision in ("fp32", "fp16", "int8")}
    contents = (model, half_weights(model), quantise(model, measure_ranges(model, inputs), quantisable(model)))
    for file, content in zip(files.values(), contents, strict=True):
        save_onnx(file, content)
    return Subject("tiny", tiny("generator")[0], files, inputs), nets


def test_variants_take_turns():
    order = []
    calls = {Variant("m", "eager", p): lambda p=p: order.append(p) for p in ("fp32", "bf16")}
    seconds = take_turns(calls, rounds=3, timed=2, rest=0)
    assert order == ["fp32"] * 3 + ["bf16"] * 3 + ["fp32"] * 3 + ["bf16"] * 3 + ["fp32"] * 3 + ["bf16"] * 3  # one in three untimed
    assert [len(s) for s in seconds.values()] == [6, 6]


def test_statistics():
    assert statistics_of([0.1 * i for i in range(11)]) == {"median_seconds": 0.5, "p90_seconds": 0.9, "least_seconds": 0.0}


def test_what_runs_runs_and_what_does_not_says_why(made, monkeypatch):
    subject, _ = made
    monkeypatch.setattr(devices, "has_bfloat16", lambda device: True)
    found, refused = runners(Subject("tiny", subject.network, {"fp32": subject.files["fp32"]}, subject.inputs), ["eager", "onnxruntime"], 1)
    assert [(v.runtime, v.precision) for v in found] == [("eager", "fp32"), ("eager", "bf16"), ("onnxruntime", "fp32")] and refused == {}
    want = next(iter(found.values()))()
    assert all(np.abs(call() - want).mean() < 0.05 for call in found.values())
    monkeypatch.setattr(devices, "has_bfloat16", lambda device: False)
    found, refused = runners(Subject("tiny", subject.network, {}, subject.inputs), ["eager"], 1)
    assert [v.precision for v in found] == ["fp32"] and "no bfloat16 for this processor" in refused["tiny, PyTorch, bf16"]
    broken = subject.files["fp32"].with_name("broken.onnx")
    broken.write_text("none")
    found, refused = runners(Subject("tiny", subject.network, {"int8": broken}, subject.inputs), ["onnxruntime"], 1)
    assert found == {} and list(refused) == ["tiny, ONNX Runtime, int8"] and "broken.onnx" in refused["tiny, ONNX Runtime, int8"]


def test_every_variant_names_a_file_and_an_arithmetic():
    for runtime, kinds in VARIANTS.items():
        for precision, stored, arithmetic in kinds:
            variant = Variant("m", runtime, precision)
            assert (variant.stored, variant.arithmetic) == (stored, arithmetic)
            assert (stored is None) == (runtime in ("eager", "compiled"))


def test_memory_is_that_of_a_process_without_pytorch(made):
    subject, nets = made
    found = memory_of(Variant("tiny", "onnxruntime", "fp32"), subject, 1, case_of(nets.arch))
    # Python, numpy and ONNX Runtime take some 60 MiB; PyTorch alone would add hundreds.
    assert 20 * 2**20 < found["libraries_bytes"] <= found["peak_bytes"] < 250 * 2**20
    with pytest.raises(InputError, match="tiny, ONNX Runtime, fp32: .*no such file"):
        memory_of(Variant("tiny", "onnxruntime", "fp32"), Subject("tiny", None, {"fp32": subject.files["fp32"] / "no"}, subject.inputs), 1, {})


def test_a_profile_counts_the_macs_that_the_architecture_has(made):
    subject, nets = made
    eager = profile_eager(subject.network, [torch.from_numpy(a) for a in subject.inputs], rounds=1, warm_up=0)
    onnx = profile_onnxruntime(subject.files["fp32"], subject.inputs, eager, rounds=2, warm_up=1, threads=1)
    counted = network_costs(nets.arch, ["G"]).loc["G", "macs"]
    for rows in (eager, onnx):
        assert rows["macs"].sum() == counted
        assert {NORM, UPSAMPLING, DEPTHWISE, "3×3 convolution", "1×1 convolution"} <= set(rows["kind"])
        assert not (rows["seconds"] < 0).any() and rows["seconds"].sum() > 0
    assert LAYOUT not in set(eager["kind"]) and "other" not in set(eager["kind"]) | set(onnx["kind"])
    down, size = nets.arch.generator_down_blocks, nets.arch.image_size
    depthwise = eager[eager["kind"] == DEPTHWISE]
    assert len(depthwise) == 2 * (down + 2) and depthwise["size"].max() == size  # two in every encoder block
    assert set(depthwise["layer"]) == {f"encode.{i}.conv{j}.depthwise" for i in range(down + 2) for j in (1, 2)}
    assert (eager["kind"] == UPSAMPLING).sum() == 2 * down  # of the residual and of the shortcut


def test_a_profile_leaves_the_output_as_it_is():
    network, seen = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()), []
    network.register_forward_hook(lambda _, given, output: seen.append(output))
    profile_eager(network, [torch.ones(1, 3)], rounds=1, warm_up=0)
    clock = layer_profile._Clock(network)
    with torch.no_grad(), clock:
        assert torch.is_tensor(network(torch.ones(1, 3))) and torch.is_tensor(seen[0])
    clock.close()


def test_shares_add_up(made):
    subject, _ = made
    rows = profile_eager(subject.network, [torch.from_numpy(a) for a in subject.inputs], rounds=1, warm_up=0)
    for table in (by_kind(rows), by_kind(rows, sizes=True)):
        assert table["time_share"].sum() == pytest.approx(1) and table["mac_share"].sum() == pytest.approx(1)
        assert table["seconds"].is_monotonic_decreasing
        assert table["macs"].sum() == rows["macs"].sum()


def test_kinds_of_convolutions():
    assert [convolution_kind(3, 1), convolution_kind(1, 1), convolution_kind(3, 64)] == ["3×3 convolution", "1×1 convolution", DEPTHWISE]


@pytest.mark.slow
def test_the_benchmark_measures_every_variant(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(latency_benchmark, "SIZES", {32: (8, 8, (4,))})
    monkeypatch.setattr("kdlib.deploy.latency.REST", 0)
    out = tmp_path / "latency.json"
    assert latency_benchmark.main(["--size", "32", "--runtimes", "eager", "onnxruntime", "--rounds", "2", "--timed", "1", "--no-memory", "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    assert [(r["model"], r["runtime"], r["precision"]) for r in result["rows"]] == [
        (m, r, p) for m in ("teacher", "α = 4") for r in ("eager", "onnxruntime") for p, _, _ in VARIANTS[r]
        if p != "bf16" or devices.has_bfloat16(torch.device("cpu"))
    ]
    assert all(len(r["seconds"]) == 2 and r["median_seconds"] <= r["p90_seconds"] for r in result["rows"])
    assert result["models"]["α = 4"]["macs"] < result["models"]["teacher"]["macs"]
    assert {"onnxruntime", "openvino"} <= result["environment"]["runtimes"].keys() and "cores" in result["environment"]["machine_before"]
    printed = capsys.readouterr().out
    assert "α = 4: 32 px" in printed and "1.0x" in printed
    figure = macs_figure(result)
    assert [trace.name for trace in figure.data if trace.name] == ["PyTorch, fp32", "ONNX Runtime, fp32"]
    by_trace = {t.name: t for t in figure.data if t.name}
    assert list(by_trace["ONNX Runtime, fp32"].y) == [1e3 * r["median_seconds"] for r in result["rows"] if (r["runtime"], r["precision"]) == ("onnxruntime", "fp32")]


def test_forms_stand_side_by_side_and_lost_memory_loses_no_times(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(latency_benchmark, "SIZES", {32: (8, 8, (4,))})
    monkeypatch.setattr("kdlib.deploy.latency.REST", 0)

    def no_memory(variant, subject, threads, architecture):
        raise InputError("killed")

    monkeypatch.setattr(latency_benchmark, "memory_of", no_memory)
    out = tmp_path / "latency.json"
    asked = ["--size", "32", "--form", "plain", "joined", "--runtimes", "onnxruntime", "openvino", "--rounds", "1", "--timed", "1", "--json", str(out)]
    assert latency_benchmark.main(asked) == 0
    result = json.loads(out.read_text())
    assert {name: m["form"] for name, m in result["models"].items()} == {
        "teacher": "plain", "α = 4": "plain", "teacher, joined": "joined", "α = 4, joined": "joined"
    }  # fmt: skip
    assert not any("peak_bytes" in row for row in result["rows"]) and "not measured: memory of α = 4, joined" in capsys.readouterr().out
    text = deployment_report.forms(result)
    assert "| teacher: median, times faster | plain | joined |" in text and "| α = 4: median" in text and "ONNX Runtime, fp32" in text
    assert result["environment"]["arithmetic"] and deployment_tables.latency_table(result)


def test_the_profile_benchmark_prints_and_writes(made, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(profile_benchmark, "untrained", lambda size, alphas: {"tiny": made[1]})
    monkeypatch.setattr(profile_benchmark, "subject_of_networks", lambda name, nets, folder, form: made[0])
    out = tmp_path / "layers.json"
    assert profile_benchmark.main(["--rounds", "1", "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    assert [p["runtime"] for p in result["profiles"]] == ["PyTorch", "ONNX Runtime"]
    assert "tiny, ONNX Runtime" in capsys.readouterr().out
    bars = share_figure(result["profiles"][0]).data
    assert sum(bars[0].x) == pytest.approx(100) and sum(bars[1].x) == pytest.approx(100)


def test_a_model_that_is_not_exported_is_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path))
    assert latency_benchmark.main(["--model", "mini/teacher"]) == 2
    assert "no export there: python -m kdlib export mini/teacher" in capsys.readouterr().err


def test_biases_and_norms_of_untrained_networks_are_there_to_be_added():
    nets = latency_benchmark.untrained(64, [4])["α = 4"]
    assert all(p.std() > 0 for p in nets.generator.parameters() if p.ndim == 1)
    again = randomised(latency_benchmark.build_networks(4, student=True, domains=3, image_size=64, base_width=24, seed=0).generator)
    assert torch.equal(nets.generator.from_rgb.bias, again.from_rgb.bias)


@pytest.mark.parametrize(("seconds", "text"), [(0.00053, "0.53 ms"), (0.0076, "7.6 ms"), (0.0523, "52 ms"), (1.25, "1,250 ms")])
def test_milliseconds(seconds, text):
    assert milliseconds(seconds) == text


def test_candidates_come_from_a_file(tmp_path):
    file = tmp_path / "candidates.toml"
    file.write_text('[64]\n"α = 4" = { alpha = 4 }\n"half" = { alpha = 4, pixel_shuffle = 2, stage_widths = [3, 5], form = "joined" }\n')
    found = latency_benchmark.candidates(file, 64)
    assert {name: (nets.generator.arch.generator_widths, form) for name, (nets, form) in found.items()} == {
        "teacher": ([24, 48, 96], "plain"), "teacher, joined": ([24, 48, 96], "joined"), "α = 4": ([4, 4, 4], "plain"), "half": ([3, 5], "joined")
    }  # fmt: skip
    with pytest.raises(InputError, match=r"has no candidates at 256 px; write them in a table \[256\]"):
        latency_benchmark.candidates(file, 256)
    file.write_text('[64]\n"odd" = { alpha = 4, shuffle = 2 }\n')
    with pytest.raises(InputError, match="odd: .*'shuffle'.*settings are alpha, form, mapping_width, stage_widths"):
        latency_benchmark.candidates(file, 64)
    assert latency_benchmark.main(["--candidates", str(tmp_path / "none.toml")]) == 2


def test_the_shipped_candidates_can_be_built():
    for size in (64, 256):
        with torch.device("meta"):
            asked = tomllib.loads((REPOSITORY / "benchmarks" / "width_candidates.toml").read_text(encoding="utf-8"))[str(size)]
            for settings in asked.values():
                form, alpha, mapping = settings.pop("form", "plain"), settings.pop("alpha"), settings.pop("mapping_width", None)
                options = {"base_width": SIZES[size][0], "design": GeneratorDesign(**settings), "mapping_width": mapping}
                assert form in FORMS and Generator(Architecture(size, 3, alpha, True, **options))
