"""Scores of several judges and seeds on their way from an evaluation into tables and figures, under their own names."""

import pytest
from made_up_translation import TRANSLATE, FakeFeatures, networks, run
from test_judging import FakeLpips
from test_runs import finished_run, folder  # noqa: F401

from kdlib import results
from kdlib.analysis.seeds import StudyResults
from kdlib.book import report
from kdlib.headlines import distances, headlines, name_of
from kdlib.runs import TEACHER
from kdlib.views import run_views


class Fid(FakeFeatures):
    frechet_score, kernel_score = "fid_pytorch_fid", "kid_pytorch_fid"


@pytest.fixture(scope="module")
def metrics():
    judges = (FakeFeatures(name="squeezenet"), Fid(name="inception_pytorch_fid", seed=1))
    return run(networks(TRANSLATE), None, *judges, lpips=FakeLpips(), seed=5, seeds=3, sources_per_domain=4, outputs_per_source=3)


@pytest.fixture
def rows(folder, metrics):  # noqa: F811
    for name, role, distill in (("teacher", TEACHER, False), ("alpha8", "student", False), ("alpha8-kd", "student", True)):
        made = finished_run(folder / "runs" / "smoke" / name, role, 8, distill)
        made.write_json("metrics.json", {"cost": made.json("metrics.json")["cost"], **metrics})
    return results.rows_of_preset("smoke")


def test_published_metrics_bear_their_names_and_come_first(rows):
    assert [h.heading for h in distances(rows, "frechet")] == ["FID (pytorch-fid)", "Fréchet distance (squeezenet)"]
    assert [h.heading for h in headlines(rows)][2:7] == [
        "KID (pytorch-fid)", "kernel distance (squeezenet)", "LPIPS", "spectral distance (dB)", "domain accuracy",
    ]  # fmt: skip
    assert name_of("fid_torchvision").startswith("FID (torchvision") and name_of("style_diversity") == "style diversity"


def test_the_table_shows_mean_and_deviation_over_seeds(rows, metrics):
    _, lines = results.table(rows)
    cells = {line[0]: line[1] for line in lines}
    for key, heading, digits in (("fid_pytorch_fid", "FID (pytorch-fid)", 2), ("lpips", "LPIPS", 3)):
        parts = [f"{metrics[g]['mean'][key]:.{digits}f} ± {metrics[g]['deviation']['mean'][key]:.{digits}f}" for g in ("latent", "reference")]
        assert cells[heading] == " / ".join(parts)


def test_views_of_one_evaluation(metrics, capsys, monkeypatch):
    figures = []
    monkeypatch.setattr(run_views, "display", lambda *shown: figures.extend(shown))
    run_views.pair_views(metrics)
    assert [f.layout.title.text.split(" to the")[0] for f in figures] == ["FID (pytorch-fid)", "Fréchet distance (squeezenet)"]
    cell = metrics["latent"]["deviation"]["pairs"]["cat->dog"]["fid_pytorch_fid"]
    assert figures[0].data[0].text[0][1] == f"<br>± {cell:.3f}" and figures[0].data[0].text[0][0] == ""
    text = run_views.protocol_summary("teacher", metrics)
    assert "squeezenet (5 features), inception pytorch fid (5 features) and LPIPS" in text and "seeds 5 to 7" in text
    html = run_views.score_table(metrics).to_html()
    assert "FID (pytorch-fid)" in html and f"{metrics['latent']['mean']['lpips']:.4f} ± " in html


def test_views_of_several_runs(rows, monkeypatch):
    figures = []
    monkeypatch.setattr(run_views, "display", lambda *shown: figures.extend(shown))
    run_views.tradeoff_views(StudyResults.of(rows))
    assert [f.layout.title.text for f in figures] == ["FID (pytorch-fid)", "Fréchet distance (squeezenet)"]
    html = run_views.distillation_table(StudyResults.of(rows)).to_html()
    assert "FID (pytorch-fid) (lower is better)" in html and "LPIPS (higher is better)" in html
    text = report.findings("smoke")
    assert "FID (pytorch-fid)" in text and "LPIPS" in text and "Fréchet distance (squeezenet)" in text


def test_a_run_whose_settings_were_changed_on_the_way_says_so(folder):  # noqa: F811
    made = finished_run(folder / "runs" / "smoke" / "teacher", TEACHER)
    made.write_json("environment.json", [{"first_step": 0}, {"first_step": 4}])
    assert report.stages_of(made) == ""
    then = {"lambda_cyc": 1.0}
    starts = [{"first_step": 0, "settings_then": then}, {"first_step": 2, "settings_then": then}, {"first_step": 4}]
    made.write_json("environment.json", starts)
    assert "iterations 0 to 4 with `lambda_cyc` = 1; 4 to 6 with the settings of its preset." in report.stages_of(made)
