"""The page of methods beyond the thesis, from a made-up study, a part of one, and none."""

import json
import re
import statistics
from types import SimpleNamespace

import made_up_study
import pytest
import torch
from made_up_study import made_frechet, made_scores, plain, tables_of, write_run

from kdlib import paths
from kdlib.analysis import control
from kdlib.analysis.claims import distance, scatter
from kdlib.analysis.kept_study import load_study
from kdlib.book import gap_report
from kdlib.book.ablation_report import PRESET as ABLATION
from kdlib.config import load_preset
from kdlib.critters import CONTENT_FACTORS
from kdlib.networks import build_networks
from kdlib.results import rows_of_study
from kdlib.runs import TEACHER
from kdlib.scoring.factor_scores import STYLE_GROUPS

BOOK = paths.REPOSITORY / "book"
VARIANTS = load_preset(gap_report.PRESET).study.variants
MAIN = load_preset(gap_report.PRESET).study.main
BASE = load_preset(gap_report.PRESET).base


def fragments(folder=None) -> dict[str, str]:
    return gap_report.fragments(*map(load_study, (gap_report.PRESET, gap_report.TOGETHER)), folder)


@pytest.fixture
def started(repository):
    """A repository that keeps the ablation's full recipe, with three seeds, besides the reference study: where methods are compared."""
    for seed in (777, 778, 779):
        write_run(repository, BASE, MAIN, True, seed, pictures=False)
    return repository


def write_control(repository, precision: str) -> None:
    """What benchmarks/moving_averages.py leaves: the recipe once more in these numbers, its Frechet distances 10 lower."""
    scores = {guide: {"frechet_factor_network": made_frechet(MAIN, True, 777, guide) - 10} for guide in ("latent", "reference")}
    recipe = load_preset(BASE)
    shipped = {"average": "as shipped", "ema_decay": recipe.training.ema_decay, "ema_ramp": recipe.training.ema_ramp, "scores": scores}
    other = {**shipped, "average": "another", "ema_decay": 0.5, "scores": {guide: {"frechet_factor_network": 0.0} for guide in scores}}
    result = {"preset": BASE, "alpha": MAIN, "iterations": made_up_study.STEP, "seed": 777, "outputs_per_source": 10, "rows": [other, shipped]}
    (repository / gap_report.PRESET / control.FILE).write_text(json.dumps({**result, "environment": {"precision": precision}}))


def lines_of(text: str, guide: str) -> dict[str, dict[str, str]]:
    """One guide's table, its names as they are without Markdown's stars."""
    (table,) = [lines for lines in tables_of(text) if f"{guide}-guided" in next(iter(lines.values()))]
    return {name.strip("*"): cells for name, cells in table.items()}


def test_the_page_has_every_fragment_and_every_method(repository):
    page = (BOOK / "closing_the_gap.md").read_text(encoding="utf-8")
    both = page + (BOOK / "what_distances_miss.md").read_text(encoding="utf-8")
    included = re.findall(r"\{include\} _generated/gap_(\w+)\.md", both)
    assert sorted(included) == sorted(fragments())
    assert set(gap_report.METHODS) == set(VARIANTS)
    settings = {name for values in VARIANTS.values() for name in values}
    told = page + "".join((BOOK / f"{name}.md").read_text(encoding="utf-8") for name in ("method", "experiments"))
    assert all(re.search(rf"`{name}[` ]", told) for name in settings)


def test_nothing_run_says_so_with_the_commands(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REPOSITORY", tmp_path)
    found = fragments()
    assert found["summary"] == found["path"] == found["figure"] == ""
    assert "`python -m kdlib study --preset ablation`" in found["missing"] and "`python -m kdlib study --preset mini`" in found["together"]
    assert "*Not run yet:* `python -m kdlib study --preset methods`" in found["missing"]
    assert "*Not run yet:* `python -m kdlib study --preset beyond`" in found["together"]


def test_the_start_alone_is_no_table(started):
    found = fragments()
    assert found["summary"] == found["path"] == "" and "*Not run yet:*" in found["missing"] and BASE not in found["missing"]


def test_a_method_is_a_line_of_changes(started):
    """Made up: every variant's Frechet distance is 3 higher, seed by seed, so that is decided and bold."""
    for variant in ("output_l1", "feature"):
        for seed in (777, 778):
            write_run(started, gap_report.PRESET, MAIN, True, seed, variant, pictures=False)
    found = fragments()
    start = f"α = {MAIN}, distilled by the thesis's losses"
    for guide in ("latent", "reference"):
        lines = lines_of(found["path"], guide)
        assert list(lines) == ["teacher", start, "+ teacher's picture, L1", "+ teacher's features"]  # what is not run is named below
        values = [made_frechet(MAIN, True, seed, guide) for seed in (777, 778, 779)]
        assert lines[start]["Fréchet distance"].startswith(f"{sum(values) / 3:.2f} ± 1.00")
        assert lines["teacher"]["Fréchet distance"] == f"{made_scores(140, True, 777, guide)['frechet_factor_network']:.2f}"
        assert lines["+ teacher's picture, L1"]["Fréchet distance"] == "**+3.00**"
    costs = plain(found["path"])[plain(found["path"]).index("|  | weights") :]
    assert f"| + teacher's features | {1000 * MAIN**2 // 10:,} | {made_up_study.STEP:,} | 2.00 ± 0.00 | bfloat16 | 2 seeds |" in costs
    assert "**Larger:** teacher's picture, L1 (+3.0; +0.1 dB); teacher's features (+3.0; +0.1 dB)." in plain(found["summary"])
    first, second = (gap_report.METHODS[name] for name in ("output_perceptual", "style_space_init"))
    assert f"*Not run yet:* {first}; {second}; " in found["missing"] and gap_report.METHODS["output_l1"] not in found["missing"]
    assert json.loads(re.search(r'<script type="application/json">(\{"data".*?)</script>', found["figure"])[1])["data"]


def test_the_best_with_more_time_start_from_the_reference_study(started):
    write_run(started, gap_report.TOGETHER, MAIN, True, 777, "teacher_critic", pictures=False)
    found = fragments()
    assert lines_of(found["together"], "latent")["instead: " + gap_report.METHODS["teacher_critic"]]["Fréchet distance"] == "**+3.00**"
    absent = gap_report.METHODS["teacher_alone"]
    assert f"*Not run yet:* {absent}. `python -m kdlib study --preset beyond`" in found["together"] and found["path"] == ""


def test_exchanged_networks_are_a_line_a_pair(tmp_path, monkeypatch):
    """The benchmark, with scores by whose network it is: 1 for the student's generator, 10 for its codes."""
    import exchanged_networks as benchmark

    nets = {"teacher": build_networks(12, 3, False, 0, 32, base_width=8, seed=0), "student": build_networks(6, 3, True, 0, 32, base_width=8, seed=1)}
    models = {name: SimpleNamespace(preset=load_preset("smoke"), nets=these, name=f"x/{name}", domains=None) for name, these in nets.items()}

    def split(name):
        return SimpleNamespace(name=name, domains=("a", "b", "c"), images=lambda k: torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8))

    dataset = SimpleNamespace(train=split("train"), val=split("val"))

    def scored(preset, these, dataset, judges, progress):
        assert preset.evaluation.outputs_per_source == 4
        assert (these.mapping_network is nets["student"].mapping_network) == (these.style_encoder is nets["student"].style_encoder)
        value = (these.generator is nets["student"].generator) + 10 * (these.mapping_network is nets["student"].mapping_network)
        latent = {"frechet_factor_network": value, "frechet_factor_network_shift": value / 5}
        single = {f"style_correlation_{name}": 0.25 + value / 100 for name in STYLE_GROUPS} | {f"content_correlation_{name}": -0.001 for name in CONTENT_FACTORS}
        return {"latent": {"mean": latent}, "reference": {"mean": {key: 2 * value for key, value in latent.items()} | {"style_correlation": 0.5} | single}}

    monkeypatch.setattr(benchmark, "session", SimpleNamespace(open_data=lambda p: dataset, judges_of=lambda p: None, score=scored))
    monkeypatch.setattr(benchmark, "headline_scores", lambda result: {guide: found["mean"] for guide, found in result.items()})
    monkeypatch.setattr(benchmark, "load_model", lambda name: models[name])
    arguments = ["--teacher", "teacher", "--student", "student", "--outputs", "4", "--json", str(tmp_path / gap_report.EXCHANGE)]
    assert benchmark.main(arguments) == 0
    text = fragments(tmp_path)["exchange"]
    assert "| the student's | the teacher's | 1.0 / 2.0 | – / 0.50 |" in text and "| the teacher's | the student's | 10.0 / 20.0 | – / 0.50 |" in text
    assert "4 outputs a source" in text
    assert "In the Fréchet distance, the student's codes alone cost +10.0 / +20.0, its generator alone +1.0 / +2.0, both together +11.0 / +22.0." in text
    assert "Of the generator's part, +0.2 / +0.4 lies between the means" in text
    assert "| the student's | the teacher's | 0.26 | 0.26 | 0.26 | 0.26 | 0.00 |" in text
    assert re.search(r"codes have \d+ % / \d+ % of the variance of the teacher's; their mean squared difference from the teacher's is \d+ % / \d+ % of it", text)
    assert re.search(r"differ by [\d.]+ / [\d.]+ of 255 levels on average where sources and references are training pictures, by [\d.]+ / [\d.]+ on", text)
    assert benchmark.main(["--outputs", "1"]) == 2


def test_pictures_are_compared_with_the_teachers_codes():
    """Each draws its source, the student brighter by 2 levels latent-guided, by 4 reference-guided: codes tell which; its own are never asked for."""
    import exchanged_networks as benchmark

    def networks(brighter):
        codes = {"mapping_network": lambda z, y: torch.ones(len(z), 1), "style_encoder": lambda x, y: torch.full((len(x), 1), 2.0)}
        return SimpleNamespace(generator=lambda x, s: x + brighter * s[..., None, None], arch=SimpleNamespace(latent_dim=4), **codes)

    pictures = torch.randint(256, (3, 60, 3, 2, 2), dtype=torch.uint8)
    student = networks(2 / 127.5)
    student.mapping_network = student.style_encoder = None
    split = SimpleNamespace(domains=("a", "b", "c"), images=lambda k: pictures[k])
    assert benchmark.compared_pictures(networks(0.0), student, split) == {"latent": pytest.approx(2.0, rel=1e-4), "reference": pytest.approx(4.0, rel=1e-4)}


def test_codes_are_compared_within_domains():
    """The student gives half of the teacher's code, and a constant of the domain beside it: a quarter of the variance, a quarter unexplained."""
    import exchanged_networks as benchmark

    def networks(share):
        of_latents = lambda z, y: share * z  # noqa: E731
        of_pictures = lambda x, y: share * x.mean((2, 3)) + 5 * y[:, None]  # noqa: E731
        return SimpleNamespace(mapping_network=of_latents, style_encoder=of_pictures, arch=SimpleNamespace(latent_dim=4))

    pictures = torch.randint(256, (3, 50, 3, 2, 2), dtype=torch.uint8)
    found = benchmark.compared_codes(networks(1.0), networks(0.5), SimpleNamespace(domains=("a", "b", "c"), images=lambda k: pictures[k]))
    assert found["latent"] == {"variance": pytest.approx(0.25), "unexplained": pytest.approx(0.25, rel=0.05)}
    assert found["reference"]["variance"] == pytest.approx(0.25)


def test_a_better_method_is_said_to_be(started, monkeypatch):
    monkeypatch.setitem(made_up_study.EXTRA, "style_space_teacher", -9.0)
    monkeypatch.setitem(made_up_study.EXTRA, "both_reals", 0.5)
    for variant in ("style_space_teacher", "both_reals"):
        write_run(started, gap_report.PRESET, MAIN, True, 777, variant, pictures=False)
    text = plain(fragments()["summary"])  # each against the start of its own seed
    assert "**Smaller Fréchet distance:** teacher's mapping network and codes (−9.0; −0.3 dB)." in text  # 4 dB for 120 of distance
    assert "**Not told apart from the scatter of seeds:** real pictures beside the teacher's, for $D$ (+0.5; +0.0 dB)." in text


def test_a_method_in_other_numbers_is_compared_with_the_recipe_in_those(started):
    """The benchmark's recipe in float32 is 10 lower, the method in float32 is 3 higher than the kept one in bfloat16: 13 worse."""
    for variant in ("output_l1", "feature"):
        run = write_run(started, gap_report.PRESET, MAIN, True, 777, variant, pictures=False)
        if variant == "feature":
            told = json.loads((run / "environment.json").read_text())
            (run / "environment.json").write_text(json.dumps([{**told[0], "precision": "float32"}]))
    write_control(started, "float32")
    lines = lines_of(fragments()["path"], "latent")
    assert lines["this recipe again, in float32"]["Fréchet distance"] == f"{made_frechet(MAIN, True, 777, 'latent') - 10:.2f}"
    assert [lines[f"+ teacher's {what}"]["Fréchet distance"] for what in ("picture, L1", "features")] == ["**+3.00**", "**+13.00**"]
    write_control(started, "bfloat16")  # nothing new
    assert "this recipe again, in float32" not in lines_of(fragments()["path"], "latent")


def test_two_runs_that_are_close_by_chance_are_no_yardstick(repository):
    """Seeds of the reference study scatter by 1, those two of the recipe by 0.71: a change is measured by the larger."""
    for seed in (777, 778):
        write_run(repository, BASE, MAIN, True, seed, pictures=False)
    results = load_study(gap_report.PRESET).results
    start, of = results.student(MAIN, True), distance("latent").of
    assert start.spread(of).deviation == pytest.approx(0.5**0.5) and scatter(results, start, of) == pytest.approx(1.0)
    write_run(repository, gap_report.PRESET, MAIN, True, 777, "feature", pictures=False)
    write_control(repository, "float32")
    wider = statistics.stdev([0, 1, -10])  # both seeds, and the first one in other numbers
    assert scatter(load_study(gap_report.PRESET).results, start, of) == pytest.approx(wider)
    write_run(repository, BASE, MAIN, True, 779, pictures=False)
    results = load_study(gap_report.PRESET).results
    assert scatter(results, results.student(MAIN, True), of) == pytest.approx(1.0)  # three of its own


def test_blur_is_what_the_distance_praises_and_the_spectrum_does_not(repository, monkeypatch):
    monkeypatch.setitem(made_up_study.EXTRA, "teacher_critic", -9.0)  # better in both
    monkeypatch.setitem(made_up_study.EXTRA, "teacher_alone", -9.0)
    write_run(repository, gap_report.TOGETHER, MAIN, True, 777, "teacher_critic", pictures=False)
    assert "none is better in one" in fragments()["blur"]
    blurred = write_run(repository, gap_report.TOGETHER, MAIN, True, 777, "teacher_alone", pictures=False) / "metrics.json"
    metrics = json.loads(blurred.read_text())
    for guide in ("latent", "reference"):
        metrics[guide]["mean"] |= {"spectral_distance": 9.25, "fine_detail": -7.5}
    blurred.write_text(json.dumps(metrics))
    text = plain(fragments()["blur"])
    assert re.findall(r"^\| ([^|]*) \|", text, re.M)[2:] == ["teacher", f"α = {MAIN}, distilled by the thesis's losses", gap_report.METHODS["teacher_alone"]]
    frechet = " / ".join(f"{made_frechet(MAIN, True, 777, guide, 'teacher_alone'):.2f}" for guide in ("latent", "reference"))
    assert f"| {frechet} | 9.25 / 9.25 | −7.50 / −7.50 | 1 seed |" in text


def test_its_runs_are_not_taken_for_the_ablation_s(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REPOSITORY", tmp_path)
    write_run(paths.reference_folder(), gap_report.TOGETHER, MAIN, True, 777, "teacher_critic", pictures=False)
    assert not load_study(ABLATION).results.variants


def test_the_comparison_of_one_s_own_runs_starts_there_too(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    write_run(tmp_path / "runs", gap_report.TOGETHER, MAIN, True, 777, "teacher_critic", pictures=False)
    for name in (TEACHER, f"alpha{MAIN}-kd"):
        (repository / "mini" / name / "weights.safetensors").touch()  # shipped ones alone are a reader's, too
    rows = rows_of_study(load_preset(gap_report.TOGETHER))
    assert [(row["preset"], row["run"]) for row in rows] == [
        ("mini", TEACHER), ("mini", f"alpha{MAIN}-kd"), ("beyond", f"alpha{MAIN}-kd-teacher_critic"),
    ]  # fmt: skip
    assert rows_of_study(load_preset("mini"))[0]["run"] == TEACHER
