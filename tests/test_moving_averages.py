"""The benchmark of moving averages: it trains what the trainer trains, and keeps each average as its definition has it."""

import dataclasses
import json

import moving_averages as benchmark
import pytest
import torch
from made_up_study import plain
from test_start_variant import weights_of

from kdlib import session
from kdlib.book import gap_report
from kdlib.config import load_preset

SMALL = {
    "teacher_iterations": 2, "student_iterations": 4, "batch_size": 2, "teacher_alpha": 8, "device": "cpu", "threads": 1, "alphas": [6],
    "train_per_domain": 6, "val_per_domain": 4, "log_every": 1, "candidate_every": 1,
}  # fmt: skip


@pytest.fixture
def preset(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path / "data"))
    preset = load_preset("smoke", **SMALL)
    session.train_teacher(preset, progress=False)
    return preset


def test_averages_are_those_of_the_trainer_s_run(preset):
    """The preset's own is what its run ships; others follow from the same run's weights after every iteration, which decay 0 keeps."""
    settings = {"last": (0.0, False), "own": (0.999, True), "plain": (0.9, False)}
    averages = {name: dataclasses.replace(preset.training, ema_decay=decay, ema_ramp=ramp) for name, (decay, ramp) in settings.items()}
    dataset = session.open_data(preset, progress=False)
    found = {name: weights_of(nets) for name, nets in benchmark.trained(preset, dataset, averages).items()}
    shipped = weights_of(session.train_student(preset, 6, True, progress=False).load_networks())
    assert all(torch.equal(found["own"][name], shipped[name]) for name in shipped)

    still = load_preset("smoke", **SMALL, ema_decay=0.0, ema_ramp=False)
    run = session.train_student(still, 6, True, "still", progress=False)
    course = [weights_of(run.load_networks(weights=path)) for _, path in sorted(run.candidates().items())]
    for name in shipped:
        assert torch.equal(found["last"][name], course[-1][name])
        start = weights_of(session.RunSettings(preset, "student", 6, True, dataset.domains, "").build(preset.training.seed))[name]
        expected = 0.9**4 * start + sum(0.1 * 0.9 ** (3 - t) * weights[name] for t, weights in enumerate(course))
        torch.testing.assert_close(found["plain"][name], expected, rtol=1e-5, atol=1e-6)


def test_a_row_an_average_and_the_page_says_so(tmp_path, monkeypatch):
    scores = iter(range(1, 10))
    monkeypatch.setattr(benchmark, "load_preset", lambda name, **more: load_preset("smoke", alphas=[6], **more))
    monkeypatch.setattr(benchmark, "trained", lambda preset, dataset, averages: dict.fromkeys(averages))

    def scored(*_, **__):
        value = next(scores)
        return {"latent": {"frechet_factor_network": value}, "reference": {"frechet_factor_network": 2 * value}}

    for name, fake in {"open_data": lambda p: None, "judges_of": lambda p: None, "score": scored}.items():
        monkeypatch.setattr(benchmark.session, name, fake)
    monkeypatch.setattr(benchmark, "headline_scores", lambda result: result)
    path = tmp_path / gap_report.AVERAGES
    assert benchmark.main(["--iterations", "7", "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    assert [row["average"] for row in result["rows"]] == list(benchmark.AVERAGES) and result["iterations"] == 7
    text = plain(gap_report.averages(path))
    assert "| the last weights | 1.0 / 2.0 |" in text and "| over 1,000, from the start | 5.0 / 10.0 |" in text
    assert "at α = 6 for 7 iterations" in text
    assert gap_report.averages(tmp_path / "none.json").startswith("Not measured yet: `python benchmarks/moving_averages.py")
    assert benchmark.main(["--iterations", "0"]) == 2
