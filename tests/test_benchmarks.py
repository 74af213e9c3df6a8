"""The benchmarks at their smallest: they run, what they compare computes the same, and their arithmetic is right. No time is tested."""

import json
from types import SimpleNamespace

import common
import cost
import evaluation
import import_time
import loading
import pytest
import step_changes
import torch
import training_step
from training_step import Case

from kdlib.devices import has_bfloat16
from kdlib.networks import build_networks
from kdlib.paths import REPOSITORY

TINY = Case(size=32, base_width=8, teacher_alpha=16, alpha=8, batch=2)
CPU = torch.device("cpu")


def test_loading(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "FILE_SIZE", 48)
    files = loading.draw_files(tmp_path, 3)
    written = sorted(tmp_path.rglob("*.jpg"))
    assert files["files"] == len(written) == 3 * (3 + 2)
    assert files["mean_bytes"] == round(sum(p.stat().st_size for p in written) / len(written))
    result = loading.measure(tmp_path, TINY, batch=4, count=3, rounds=1, iterations=1, device=CPU)
    assert set(result["loading"]) == set(loading.LOADERS) and result["pictures_a_batch"] == 12
    step, kinds = result["step"], result["iterations"]
    assert step["scaled"] and step["seconds_at_batch"] == pytest.approx(2 * step["seconds"], rel=0.02)  # rounded to milliseconds
    assert kinds[loading.NO_LOADING]["ratio"] == 1 and set(kinds) == {loading.NO_LOADING, loading.IN_BACKGROUND, loading.IN_LINE}
    assert "32 px, batch 4 (12 pictures)" in loading.text({"files": files, "sizes": {"32": result}})


def test_batches_in_the_background_are_those_made_in_line(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "FILE_SIZE", 48)
    loading.draw_files(tmp_path, 2)
    batches = loading.TrainingBatches(loading.open_dataset(tmp_path, 32, cache_bytes=0).train, 2, 16, seed=1)
    sources = loading.feeds(batches, 2, pin=False)
    lines = [[next(feed).x for _ in range(3)] for feed in (sources[name]() for name in (loading.IN_BACKGROUND, loading.IN_LINE))]
    assert all(torch.equal(a, b) for a, b in zip(*lines, strict=True))


def test_evaluation_gives_the_scores_of_the_plain_one(tmp_path):
    """`measure` compares them itself."""
    nets = build_networks(16, 3, image_size=32, base_width=16, seed=0)
    case = evaluation.Case(("factor_network",), train=8, val=3, sources=2, outputs=3)
    result = evaluation.measure(case, nets, 32, rounds=1, folder=tmp_path)
    assert result["outputs"] == 6 * 2 * 2 * 3  # pairs, kinds of guidance, sources, outputs
    files = list((tmp_path / "files0").rglob("*.png"))
    assert len(files) == result["outputs"] and sum(p.stat().st_size for p in files) == result["png_bytes"]
    assert result["kinds"][evaluation.PLAIN]["times_faster_than_plain"] == 1
    assert "72 outputs" in evaluation.text({"cases": {"factor network": result}})


def test_a_score_that_differs_is_noticed():
    same = {"latent": {"cat->dog": {"frechet": 200.0, "kernel": 0.5}}}
    other = {"latent": {"cat->dog": {"frechet": 201.0, "kernel": 0.503}}}
    assert evaluation.largest_difference(same, same) == 0
    assert evaluation.largest_difference(other, same) == pytest.approx(0.005)


def test_every_rung_computes_the_same_losses():
    losses = {name: make(TINY, CPU)(0) for name, make in step_changes.RUNGS.items() if name != "bfloat16"}
    plain = losses.pop("plain")
    for name, found in losses.items():
        assert list(found) == list(plain), name
        # float32 in another order, and twelve Adam steps that divide tiny gradients by their own size
        assert list(found.values()) == pytest.approx(list(plain.values()), rel=5e-3, abs=1e-4), name


def test_changes_save_operations_in_order():
    rows = step_changes.measure(TINY, CPU, rounds=1, warm_up=0)
    flops = {row["name"]: row["flops_a_picture"] for row in rows}
    low = flops.pop("bfloat16", None)
    assert (low is not None) == has_bfloat16(CPU) and [*flops, "bfloat16"] == list(step_changes.RUNGS)
    plain, layout, fused, needed, ours = flops.values()
    assert plain == layout == fused > needed > ours
    assert low in (None, ours)


def test_hours_of_an_estimate():
    assert cost.hours(3.6e18, 10.0, 0.5) == pytest.approx(200.0)  # 3.6e18 / 5e12 a second / 3600
    found = cost.estimates(1e18)
    assert set(found) == set(cost.GPUS) and set(found["T4"]) == {"float32"}
    assert found["A100 (SXM4)"]["tf32"] == pytest.approx([1e18 / 156e12 / share / 3600 for share in (0.3, 0.1)], abs=0.05)


def test_domains_add_heads_and_branches(monkeypatch):
    monkeypatch.setattr(cost, "DOMAINS", (2, 20))
    few, many = cost.heads(32, 8, 16, 8)
    assert (few["domains"], many["domains"]) == (2, 20)
    for name, width in (("teacher", 16), ("student", 8)):
        added = {n: many[name]["parameters"][n] - few[name]["parameters"][n] for n in ("G", "E", "F", "D", "D^s")}
        branch = 3 * (width * width + width)
        # a linear head on the trunk's 4x4 convolution's width; three layers and a linear output; the last convolution's one channel
        assert added == {"G": 0, "E": 18 * (width * 64 + 64), "F": 18 * (branch + width * 64 + 64), "D": 18 * (width + 1), "D^s": 18 * (branch + width + 1)}


def test_a_sweep_varies_one_thing():
    for sweep, values in cost.SWEEPS.items():
        points = cost.sweep_points(sweep)
        assert [point[sweep] for point in points] == list(values[sweep])
        assert all(len({point[k] for point in points}) == 1 for k in points[0] if k != sweep)


@pytest.mark.slow
def test_a_point_of_a_sweep(monkeypatch):
    monkeypatch.setattr(cost, "TEACHER_ALPHA", 16)
    monkeypatch.setattr(cost, "BASE_WIDTH", 8)
    point = {"image_size": 32, "batch": 2, "alpha": 8, "domains": 2}
    row = cost.measure_point(point, 1, {"device": "cpu", "threads": 1})
    assert {k: row[k] for k in point} == point
    assert row["seconds"] > 0 and row["bytes"] > cost.libraries_bytes() * 0.9
    assert row["flops"] == 2 * cost.iteration_flops(cost.run_settings(cost.load_preset("afhq", image_size=32, teacher_alpha=16, base_width=8), 8, 2))


def test_import_time():
    statements = import_time.imports_of(import_time.NOTEBOOK)
    assert "from kdlib.config import load_preset" in statements and "=" not in statements
    commands = {name: command for name, command in import_time.processes().items() if name in ("Python itself", "import kdlib")}
    found = import_time.measure(commands, 2, {})
    assert all(len(row["all_seconds"]) == 2 for row in found.values())
    with pytest.raises(SystemExit, match="(?s)broken: .*no_such_module"):
        import_time.measure({"broken": lambda i: [import_time.sys.executable, "-c", "import no_such_module"]}, 1, {})


@pytest.mark.slow
def test_import_time_of_notebooks(tmp_path):
    """The commands are Papermill's, and an empty notebook runs."""
    command = import_time.notebooks(tmp_path)["an empty notebook"]
    import_time.measure({"an empty notebook": command}, 1, dict(import_time.os.environ))
    assert json.loads((tmp_path / "out1.ipynb").read_text())["cells"][-1]["outputs"] == []


def test_a_processor_without_bfloat16_is_compared_in_float32(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(common, "has_bfloat16", lambda device: False)
    monkeypatch.setattr(training_step, "take_turns", lambda variants, *_: {name: [2.0, 1.0, 3.0] for name in variants})
    told = SimpleNamespace(stdout='{"before": 1, "peak": 3}')
    monkeypatch.setattr(training_step.subprocess, "run", lambda *_, **__: told)
    assert training_step.main(["--device", "cpu", "--json", str(tmp_path / "step.json")]) == 0
    rows = json.loads((tmp_path / "step.json").read_text())["variants"]
    assert rows and all("bfloat16" not in name and row["median_seconds"] == 2.0 for name, row in rows.items())
    assert "left out: bfloat16" in capsys.readouterr().err


def test_every_benchmark_says_how_it_is_called():
    for script in sorted((REPOSITORY / "benchmarks").glob("*.py")):
        if not script.name.startswith("plain_") and script.name not in ("common.py", "browsers.py"):  # shared parts
            text = script.read_text(encoding="utf-8")
            assert f"python benchmarks/{script.name}" in text.split('"""')[1], script.name
            assert "runs/reference/" in text.split('"""')[1], script.name
