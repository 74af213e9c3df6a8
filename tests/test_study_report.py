"""Tables, figures and sentences of the reference study's pages, from a made-up study, a part of one, and none."""

import dataclasses
import json
import re

import numpy as np
import pytest
from made_up_study import STEP, made_frechet, made_scores, plain, write_run, write_study

from kdlib import paths
from kdlib.analysis import study_tables
from kdlib.analysis.ablation import VARIANTS, described
from kdlib.analysis.kept_study import REFERENCE, Study, load_study
from kdlib.book import ablation_report, report, study_report
from kdlib.book.ablation_report import PRESET as ABLATION
from kdlib.config import load_preset
from kdlib.headlines import headlines
from kdlib.overrides import notebook_parameters
from kdlib.profiling import network_costs
from kdlib.results import as_markdown
from kdlib.runs import TEACHER
from kdlib.study import students
from kdlib.views import run_views, study_figures

BOOK = paths.REPOSITORY / "book"
PAGES = {"study": ("reference_study", "what_distances_miss", "intro"), "ablation": ("ablation",)}


def fragments_of(study: Study, ablation: Study) -> dict[str, str]:
    """All fragments under the names of their files."""
    found = {"study": study_report.fragments(study), "ablation": ablation_report.fragments(ablation)}
    return {f"{prefix}_{name}": text for prefix, parts in found.items() for name, text in parts.items()}


def figures_in(text: str) -> list[dict]:
    return [json.loads(found) for found in re.findall(r'<script type="application/json">(\{"data".*?)</script>', text)]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Study, Study, dict[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "REPOSITORY", tmp_path_factory.mktemp("study"))
        for name in {REFERENCE, ABLATION}:
            write_study(paths.reference_folder(), name)
        study, ablation = load_study(), load_study(ABLATION)
        return study, ablation, {name: plain(text) for name, text in fragments_of(study, ablation).items()}


def test_pages_have_every_fragment_and_no_other(made):
    for prefix, pages in PAGES.items():
        text = "".join((BOOK / f"{page}.md").read_text(encoding="utf-8") for page in pages)
        included = re.findall(rf"\{{include\}} _generated/({prefix}_\w+)\.md", text)
        assert set(included) == {name for name in made[2] if name.startswith(prefix)}, pages


def test_every_planned_run_is_kept(made):
    study, _, fragments = made
    assert study.missing == () and f"All {len(students(study.preset)) + 1} runs are kept" in fragments["study_setup"]


def test_the_table_of_quality_says_mean_deviation_and_seeds(made):
    study, _, fragments = made
    main, seeds = study.preset.study.main, study.preset.study.seeds
    for distilled, name in ((True, f"| **{main}** | **distilled** |"), (False, f"| {main} | alone |")):
        values = {guide: [made_frechet(main, distilled, seed, guide) for seed in seeds] for guide in ("latent", "reference")}
        cells = " | ".join(f"{np.mean(v):.2f} ± {np.std(v, ddof=1):.2f}" for v in values.values())
        assert f"{name} {cells} |" in fragments["study_quality"]
    narrow = min(study.preset.study.alphas)
    line = next(line for line in fragments["study_quality"].splitlines() if line.startswith(f"| {narrow} | alone"))
    assert f"| {made_frechet(narrow, False, 777, 'latent'):.2f} |" in line and line.endswith("| 1 seed |") and "±" not in line
    scores = made_scores(narrow, True, 777, "reference")
    assert f"| **{narrow}** | **distilled** | {scores['domain_accuracy']:.2f} | {scores['content_correlation']:.2f} |" in fragments["study_factors"]
    assert "real pictures | 16.30 | 16.30 |" in fragments["study_quality"]


def test_the_course_of_the_teacher_s_scores_is_its_file_s(made):
    text = made[2]["study_course"]
    assert "at 2 moments, 150 sources in 10 styles" in text
    (figure,) = figures_in(text)
    first, moments = figure["data"][0], (STEP // 2, STEP)
    assert first["x"] == list(moments) and first["y"] == [made_frechet(140, True, step, "latent") for step in moments]
    assert any(shape["y0"] == 16.3 for shape in figure["layout"]["shapes"])  # real pictures


def test_a_smaller_distance_with_less_content_is_pointed_out():
    """By hand: the distance is smallest at 10, where less is kept than at the end; at 20 more is."""
    distance = headlines([{"feature_networks": {"f": {"frechet": "d", "kernel": "k", "diversity": "v"}}}])[0]
    moment = lambda step, d, kept: {  # noqa: E731
        "step": step, "latent": {"d": d, "content_correlation": kept, "content_correlation_size": kept / 2}, "reference": {"d": d / 2},
    }  # fmt: skip
    text = study_report._misled([moment(10, 41.13, 0.8), moment(30, 50.02, 0.9)], distance)
    assert "41.1 at iteration 10, content kept 0.80 (the size of the head 0.40). At the end it was 50.0 at iteration 30, content kept 0.90" in text
    assert text.endswith("Reference-guided, where it was 20.6 and 25.0 at these two, it misled as well.")
    assert study_report._misled([moment(20, 41.13, 0.95), moment(30, 50.02, 0.9)], distance).startswith("In the scores that are kept now")
    assert study_report._misled([moment(20, 61.13, 0.8), moment(30, 50.02, 0.9)], distance).startswith("In the scores that are kept now")


def test_costs_are_counted_and_stand_beside_the_thesis_ratios(made):
    study, _, fragments = made
    preset = study.preset
    counts = [
        int(network_costs(preset.architecture(3, alpha=alpha, student=student)).loc["total", "parameters"])
        for alpha, student in ((preset.networks.teacher_alpha, False), (preset.study.main, True))
    ]
    line = next(line for line in fragments["study_cost"].splitlines() if line.startswith(f"| {preset.study.main} |"))
    assert f"| 128 | {counts[1] / 1e6:.3f} M | {counts[0] / counts[1]:.1f}× | 21× |" in line  # Table 5.3, AFHQ


def test_measured_latency_is_a_column_where_the_networks_are_the_preset_s(tmp_path):
    preset = load_preset("mini")
    kinds = ((preset.networks.teacher_alpha, False), (24, True))
    teacher, narrow = (dataclasses.asdict(preset.architecture(3, alpha=alpha, student=student)) for alpha, student in kinds)
    models = {TEACHER: teacher, "α = 24": narrow, "of another size": {**narrow, "image_size": 32}}
    seconds = {TEACHER: 0.0421, "α = 24": 0.0042, "of another size": 9.0}
    rows = [
        {"model": name, "runtime": "onnxruntime", "precision": precision, "median_seconds": seconds[name] * factor}
        for name in models for precision, factor in (("int8", 0.5), ("fp32", 1.0))
    ]  # fmt: skip
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "latency_64.json").write_text(json.dumps({"models": models, "rows": rows}))
    joined = {"models": {name: {**model, "form": "joined"} for name, model in models.items()}, "rows": [{**row, "median_seconds": 7.0} for row in rows]}
    (tmp_path / "mini" / "latency_64_joined.json").write_text(json.dumps(joined))  # the same widths, in another order of operations
    found = study_tables.latencies(preset, tmp_path)
    assert found == {TEACHER: {"ONNX Runtime": 0.0421}, "24": {"ONNX Runtime": 0.0042}}
    assert study_tables.latencies(load_preset("quick"), tmp_path) == found and study_tables.latencies(load_preset("smoke"), tmp_path) == {}
    table = plain(study_tables.cost_table(preset, found))
    assert "| ONNX Runtime, a picture |" in table and "| 42.1 ms |" in table and "| 4.2 ms |" in table and table.count("| – |") == 3


def test_time_spent_is_summed(made):
    study, _, fragments = made
    hours, told = sum(row["seconds"] for row in study.rows) / 3600, fragments["study_compute"]
    assert f"**{len(study.rows)} runs** | **{STEP * len(study.rows):,}**" in told and f"**{hours:.1f}**" in told
    assert "Machine of all: Abacus 2000, cpu, 2 threads." in told and "`0123456789`" in told
    assert "2.00 s with distillation and 1.00 s without, 2.0 times as long" in fragments["study_price"]


def test_commands_name_every_run_and_only_parameters_that_notebooks_take(made):
    study, _, fragments = made
    text = fragments["study_commands"].replace("\\\n", " ")
    found = re.findall(r"papermill notebooks/(\w+)\.py runs/(\w+)/([\w.-]+)/\1\.ipynb\s+(.*)", text)
    assert {run for notebook, _, run, _ in found if notebook != "05_evaluation"} == set(study.planned)
    for notebook, preset, run, given in found:
        values = dict(re.findall(r"-p (\w+) (\S+)", given))
        assert set(values) <= notebook_parameters(notebook) and values["preset"] == preset == REFERENCE and values.get("run", run) == run


def test_the_tradeoff_figure_has_all_choices(made):
    study, _, fragments = made
    data = json.loads(re.search(r'class="kdchoose-data">(.*?)</script>', fragments["study_tradeoff"])[1])
    (figure,) = figures_in(fragments["study_tradeoff"])
    assert [trace["x"] for trace in figure["data"]] == next(iter(data["x"].values()))["values"]
    of_references = {"latent|style_correlation", "latent|leak_correlation"}  # what a latent has not
    assert set(data["y"]) == {f"{guide}|{h.key}" for guide in ("latent", "reference") for h in headlines(study.rows)} - of_references
    distance = data["y"]["reference|frechet_factor_network"]
    main = sorted(study.preset.study.alphas).index(study.preset.study.main)
    assert distance["errors"][2][main] == pytest.approx(1.0) and distance["errors"][2][0] is None  # seeds 777 to 779; a single one
    options = set(re.findall(r'<option value="([^"]+)"', fragments["study_tradeoff"]))
    assert options == set(data["y"])


def test_the_effect_figure_shows_paired_differences(made):
    (figure,) = figures_in(made[2]["study_effect"])
    means = [trace for trace in figure["data"] if trace.get("name") == "latent-guided" and trace["text"]]
    assert means[0]["x"] == pytest.approx([-20.0] * len(load_preset(REFERENCE).study.alphas))
    axes = [figure["layout"][name]["autorange"] for name in ("xaxis", "xaxis2", "xaxis3")]  # both distances, then domain accuracy
    assert axes == ["reversed", "reversed", True]  # better to the right


def test_the_ablation_shows_changes_against_the_full_recipe(made):
    _, ablation, fragments = made
    s = ablation.preset.study
    changes = [made_frechet(s.main, True, 777, "latent", name) - made_frechet(s.main, True, 777, "latent") for name in s.variants]
    (figure,) = figures_in(fragments["ablation_figure"])
    assert figure["data"][0]["x"] == pytest.approx(changes)
    bands = [shape for shape in figure["layout"]["shapes"] if shape["type"] == "rect"]
    assert bands[0]["x1"] == -bands[0]["x0"] == pytest.approx(1.0)
    large = next(change for name, change in zip(s.variants, changes) if name == "without_image_adversarial")
    assert f"| **+{large:.2f}** |" in fragments["ablation_table"] and "| +0.40 |" in fragments["ablation_table"]
    assert f"meant for:** {described('without_image_adversarial').change}" in fragments["ablation_summary"]


def test_the_curves_are_the_logs_means_of_both_guides(made):
    study = made[0]
    (figure,) = figures_in(made[2]["study_curves"])
    assert len(figure["data"]) == 2 * len(study.preset.study.seeds) * len(study_figures.CURVES)
    assert {trace["name"] for trace in figure["data"]} == {"alone", "distilled"}
    assert figure["data"][0]["x"][:2] == [20, 40] and figure["data"][0]["y"][0] == pytest.approx(200 / 120, abs=0.06)


def test_all_that_is_told_is_a_number_or_a_dash(made):
    for name, text in made[2].items():
        assert text.strip() and not re.search(r"\b(nan|None|inf)\b", re.sub(r"```\{raw\}.*?```", "", text, flags=re.DOTALL)), name


def test_sentences_follow_the_outcome(made, tmp_path, monkeypatch):
    told = plain(made[2]["study_summary"])
    for guide in ("latent", "reference"):
        means = [sum(made_frechet(48, distilled, seed, guide) for seed in (777, 778, 779)) / 3 for distilled in (False, True)]
        assert f"distillation lowers the {guide}-guided Fréchet distance ({means[0]:.1f} → {means[1]:.1f})" in told
    monkeypatch.setattr(paths, "REPOSITORY", tmp_path)
    for distilled in (False, True):
        run = write_run(paths.reference_folder(), REFERENCE, load_preset(REFERENCE).study.main, distilled, pictures=False)
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["reference"]["mean"]["frechet_factor_network"] = 500.0
    (run / "metrics.json").write_text(json.dumps(metrics))
    told = plain(study_report.summary(load_study()))
    assert re.search(r"lowers the latent-guided Fréchet distance \([\d.]+ → [\d.]+, 1 seed\); distillation does \*not\* lower the reference-guided", told)
    setup = study_report.setup(load_study())
    assert "2 are kept. **Not in this repository:**" in setup and f"`{TEACHER}`" in setup


@pytest.mark.parametrize("runs", [[], [(24, False)], [(48, True)], [(48, False), (24, True)]])
def test_pages_are_made_of_what_there_is(tmp_path, monkeypatch, runs):
    monkeypatch.setattr(paths, "REPOSITORY", tmp_path)
    for alpha, distilled in runs:
        write_run(paths.reference_folder(), REFERENCE, alpha, distilled, pictures=False)
    fragments = fragments_of(load_study(), load_study(ABLATION))
    assert all(isinstance(text, str) for text in fragments.values()) and fragments["study_cost"] and fragments["study_commands"]
    if not runs:
        waiting = [name for name, text in fragments.items() if "kept here yet" in text]
        assert {"study_summary", "study_quality", "study_tradeoff", "study_claims", "ablation_table"} <= set(waiting)


def test_variants_of_the_shipped_study_are_described():
    assert set(load_preset(ABLATION).study.variants) == set(VARIANTS)
    assert "my trick" in described("my_trick").claim


def test_many_runs_share_lines_in_tables(made):
    study = made[0]
    text = plain(study_tables.side_by_side(study.rows))
    assert len(text.splitlines()) == 2 + len(study.results.groups)
    assert f"| α = {study.preset.study.main}, distilled | {len(study.preset.study.seeds)} |" in text
    few = [{**row, "preset": "few"} for row in study.rows[:2]]
    assert study_tables.side_by_side(few) == as_markdown(few)
    main = study.results.student(study.preset.study.main, True)
    assert study_tables.side_by_side(main.rows[:2]).splitlines()[2].startswith(f"| {main.label} | 2 |")  # two, and still one line
    both = study_tables.by_preset({"mini": study.rows, few[0]["preset"]: few})
    assert both.startswith(f"Preset `{REFERENCE}`:") and "Preset `few`:" in both and "kernel" not in both


def test_own_runs_of_the_reference_study_beside_the_kept_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REPOSITORY", tmp_path)
    monkeypatch.delenv("KDLIB_RUNS", raising=False)
    write_study(paths.reference_folder(), pictures=False)
    own = [write_run(paths.runs_folder(), REFERENCE, 48, distilled, pictures=False) / "finished.json" for distilled in (False, True)]
    assert "the very ones that are kept" in report.results(REFERENCE)  # copies, by the time they took
    for finished in own:
        finished.write_text(json.dumps(json.loads(finished.read_text()) | {"seconds": 1.5}))
    text = plain(report.results(REFERENCE))
    value = made_frechet(48, True, 777, "latent")
    assert f"{value:.2f} → {value:.2f}" in text and "come out here as they do in the runs kept in git" in text
    assert "on a page of their own" in text


def test_views_of_the_comparison_notebook(made, monkeypatch):
    study = made[0]
    shown = []
    monkeypatch.setattr(run_views, "display", lambda *things: shown.extend(things))
    results = run_views.study_of(study.preset, study.rows)
    assert results.main == study.preset.study.main
    assert plain(run_views.comparison_table(study.rows).to_html()).count("<tr>") == 1 + len(study.results.groups)
    run_views.tradeoff_views(results)
    points = shown[0].data[2]  # latent-guided, distilled, by width
    main = sorted(study.preset.study.alphas).index(study.preset.study.main)
    assert points.error_y.array[main] == pytest.approx(1.0) and points.error_y.array[0] is None
    html = plain(run_views.distillation_table(results).to_html())
    assert f"α = {study.preset.study.main}, latent ({len(study.preset.study.seeds)} seeds)" in html
    assert len(run_views.factor_comparison(results).data) == len(results.grid) and run_views.effect_view(results) is not None
    claims = plain(run_views.claims_view(study.preset, results).to_html())
    assert "Distillation lowers the latent-guided" in claims and "again?" in claims
    assert run_views.effect_view(run_views.study_of(study.preset, study.rows[:1])) is None
