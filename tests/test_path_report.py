"""The path to a small student, from made-up runs and from none."""

import copy
import json
import re
from types import SimpleNamespace

import torch
from made_up_study import made_frechet, made_scores, plain, tables_of, write_run

from kdlib import paths
from kdlib.analysis.kept_study import load_study
from kdlib.book import path_report
from kdlib.config import load_preset
from kdlib.networks import build_networks
from kdlib.profiling import cost
from kdlib.runs import STUDENT, TEACHER, RunSettings

PRESET = load_preset(path_report.PRESET)
MAIN = PRESET.study.main


def test_the_page_has_the_fragment_and_every_step_is_described():
    page = (paths.REPOSITORY / "book" / "closing_the_gap.md").read_text(encoding="utf-8")
    assert re.findall(r"_generated/path_(\w+)\.md", page) == ["widths", "encoder", "steps", "verdict", "seeds", "exchange"]
    assert [*path_report.STEPS, *path_report.INSTEAD] == list(PRESET.study.variants)


def test_the_end_of_the_path_has_twenty_times_fewer_weights_and_ten_times_fewer_macs():
    """What the page promises of the design, counted on the networks that would be trained."""
    last = load_preset(path_report.PRESET, variant=list(path_report.STEPS)[-1])
    domains = ("cat", "dog", "fox")
    student = cost(RunSettings(last, STUDENT, MAIN, True, domains, "p", "t").build())
    teacher = cost(RunSettings(load_preset("mini"), TEACHER, 192, False, domains, "p").build())
    for key in ("parameters", "macs"):
        assert teacher[key] / student[key] >= path_report.AIM[key]


def test_nothing_run_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REPOSITORY", tmp_path)
    text = path_report.fragments(load_study(path_report.PRESET))["steps"]
    other = path_report.fragments(load_study(path_report.PRESET))["exchange"]
    assert "--student small/alpha24-kd-longest --json runs/reference/small/exchanged.json" in other
    assert text.startswith("*Not run yet:* `teacher_critic`") and "--preset small" in text


def test_an_encoder_is_trained_on_in_every_way(tmp_path, monkeypatch):
    """The benchmark with tiny networks: what is learned from as it is is learned, and the page says so."""
    import encoder_pictures as benchmark

    nets = {"teacher": build_networks(12, 3, False, 0, 32, base_width=8, seed=0), "student": build_networks(6, 3, True, 0, 32, base_width=8, seed=1)}
    models = {name: SimpleNamespace(preset=load_preset("smoke"), nets=these, name=f"x/{name}", domains=None) for name, these in nets.items()}
    pictures = torch.randint(256, (3, 8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = SimpleNamespace(domains=("a", "b", "c"), images=lambda k: pictures[k])

    def scored(preset, these, dataset, judges, progress):
        assert these.generator is nets["teacher"].generator
        return {"reference": {"frechet_factor_network": 31.5, "style_correlation": 0.96}}

    monkeypatch.setattr(benchmark, "session", SimpleNamespace(open_data=lambda p: SimpleNamespace(train=split, val=split), judges_of=lambda p: None, score=scored))
    monkeypatch.setattr(benchmark, "headline_scores", lambda result: result)
    monkeypatch.setattr(benchmark, "load_model", lambda name: models[name])
    path = tmp_path / path_report.ENCODER
    before = copy.deepcopy(nets["student"].style_encoder.state_dict())
    assert benchmark.main(["--teacher", "teacher", "--student", "student", "--steps", "60", "--outputs", "2", "--json", str(path)]) == 0
    rows = {row["way"]: row["codes"]["unexplained"] for row in json.loads(path.read_text())["rows"]}
    assert list(rows) == ["as trained", *benchmark.WAYS]
    assert rows["as they are"] < 0.7 * rows["as trained"]
    assert all(torch.equal(value, before[key]) for key, value in nets["student"].style_encoder.state_dict().items())  # copies are trained
    text = plain(path_report.encoder(path))
    assert "| as they are | " in text and " | 31.5 | 0.960 |" in text and "| the teacher's own codes | 0.0 % |" in text
    assert benchmark.main(["--teacher", "teacher", "--student", "student", "--steps", "0"]) == 2
    assert path_report.encoder(tmp_path / "none.json").startswith("Not measured yet: `python benchmarks/encoder_pictures.py")


def test_a_line_a_station_and_how_the_last_one_stands(repository, monkeypatch):
    import made_up_study

    monkeypatch.setitem(made_up_study.EXTRA, "trimmed", -30.0)
    for variant in ("teacher_critic", "trimmed", "half_resolution"):
        write_run(repository, path_report.PRESET, MAIN, True, 777, variant, pictures=False)
    text = plain(path_report.fragments(load_study(path_report.PRESET))["steps"])
    told = [f"{i}. {step}{' *(not trained yet)*' if i > 2 else ''}" for i, step in enumerate(path_report.STEPS.values(), 1)]
    assert told == text.splitlines()[: len(path_report.STEPS)]
    lines, trained = tables_of(text)
    assert list(lines) == list(trained) == ["teacher", "start", "step 1", "step 2", "tried 2a"]
    assert trained["step 2"][""] == "1 seed" and trained["step 2"]["in"] == "bfloat16"
    teacher, student = 1000 * 192**2 // 10, 1000 * MAIN**2 // 10
    assert lines["start"]["weights"] == f"{student / 1e3:.3g} k ({teacher / student:.1f}×)"
    mine = [made_frechet(MAIN, True, 777, guide, "trimmed") for guide in ("latent", "reference")]
    assert lines["step 2"]["Fréchet distance"] == " / ".join(f"{value:.2f}" for value in mine)
    assert "Tried and left: *2a*: nothing at full resolution." in text
    assert "/" not in lines["step 2"]["style followed"]  # latents have no reference to follow
    assert text.rstrip().endswith("*Not run yet:* `longer`, `fitted`, `encoder`, `longest`, `separable`, `again`, `again_use`: `python -m kdlib study --preset small`.")
    ratios = [
        " and ".join(f"{made_frechet(MAIN, True, 777, guide, v) / made_frechet(140, True, 777, guide):.2f}" for guide in ("latent", "reference"))
        for v in ("trimmed", "")
    ]
    said = plain(path_report.fragments(load_study(path_report.PRESET))["verdict"])
    assert said.startswith(f"At step 2 of 6 (1 seed), the student has **{teacher / student:.1f} times fewer weights**")
    assert f"distances are **{ratios[0]} times** the teacher's (aim: 1.05)" in said and f"begins, {ratios[1]} times. Against the teacher:" in said
    lost = [made_scores(*one)["content_correlation"] for one in ((MAIN, True, 777, "latent", "trimmed"), (140, True, 777, "latent"))]
    assert re.search(r"style followed [−+][\d.]+ \(aim", said)  # of one guide alone: latents have no reference to follow
    assert f"content kept {lost[0] - lost[1]:+.3f} / ".replace("-", "−") in said
    assert "(aim: at least −0.02). The distances do **not** reach the aim.\n\nBeside the aim: the kernel distance, which" in said
    kernels = [[made_scores(*one, guide, v)["kernel_factor_network"] for guide in ("latent", "reference")] for one, v in
               (((MAIN, True, 777), "trimmed"), ((140, True, 777), ""))]  # fmt: skip
    mine, its = (" / ".join(f"{value:.1f}" for value in both) for both in kernels)
    assert said.rstrip().endswith(f"biases, is {mine} (teacher: {its}).")  # these made-up runs have no single factors
    (repository / path_report.PRESET / f"alpha{MAIN}-kd-teacher_critic" / "weights.safetensors").touch()
    said = path_report.fragments(load_study(path_report.PRESET))["verdict"]
    assert said.rstrip().endswith("The weights in the repository, which the demo runs, are those of step 1.")


def test_distances_of_steps_with_several_seeds_stand_seed_by_seed(repository):
    """From the first step with several seeds on; a seed that a step lacks is an empty cell."""
    for variant, seeds in (("trimmed", (777,)), ("longer", (777, 778, 779)), ("fitted", (777,)), ("encoder", (777, 779))):
        for seed in seeds:
            write_run(repository, path_report.PRESET, MAIN, True, seed, variant, pictures=False)
    (lines,) = tables_of(path_report.seed_by_seed(load_study(path_report.PRESET)))
    assert list(lines) == ["777", "778", "779"]
    assert list(lines["778"]) == ["seed", "step 3", "step 4", "step 5"]
    for variant, step in (("longer", "step 3"), ("encoder", "step 5")):
        both = [made_frechet(MAIN, True, 779, guide, variant) for guide in ("latent", "reference")]
        assert lines["779"][step] == " / ".join(f"{value:.1f}" for value in both)
    assert lines["778"]["step 4"] == lines["778"]["step 5"] == "–" != lines["777"]["step 4"]


def test_width_is_what_is_lacking_unless_a_narrow_student_is_taught_better(repository, monkeypatch):
    """Made up: a student of the thesis's recipe is the better the wider, by half a unit of distance a channel."""
    import made_up_study

    wide = load_preset("beyond").study.main
    for preset, alpha in ((path_report.PRESET, MAIN), ("beyond", wide)):
        assert path_report.fragments(load_study(path_report.PRESET))["widths"].strip() == ""
        write_run(repository, preset, alpha, True, 777, "teacher_critic", pictures=False)
    told = {0.0: "So width may well be what they lack.", -90.0: "is in the way before their width is; with a better recipe, width counts again."}
    for better, verdict in told.items():
        for preset, alpha in ((path_report.PRESET, MAIN), ("beyond", wide)):
            monkeypatch.setitem(made_up_study.EXTRA, "teacher_critic", better)
            path = repository / preset / f"alpha{alpha}-kd-teacher_critic" / "metrics.json"
            means = {guide: {"mean": made_scores(alpha, True, 777, guide, "teacher_critic")} for guide in ("latent", "reference")}
            path.write_text(json.dumps({**json.loads(path.read_text()), **means}))
        text = plain(path_report.fragments(load_study(path_report.PRESET))["widths"])
        assert text.rstrip().endswith(verdict)
        assert text.index("at α = 24;") < text.index("at α = 60: from the first to the last the weights grow 6.2-fold.")
        ends = [" / ".join(f"{made_frechet(alpha, True, 777, g, 'teacher_critic'):.1f}" for g in ("latent", "reference")) for alpha in (MAIN, wide)]
        assert f"they are {ends[0]} at α = {MAIN}; {ends[1]} at α = {wide}. The last student" in text


def test_hours_count_the_training_that_a_student_goes_on_from(repository):
    """An hour for the generator and half a one for the encoder by itself are one and a half."""
    for variant, seconds in (("longer", 3600), ("encoder", 1800)):
        write_run(repository, path_report.PRESET, MAIN, True, 777, variant, pictures=False)
        finished = repository / path_report.PRESET / f"alpha{MAIN}-kd-{variant}" / "finished.json"
        finished.write_text(json.dumps({**json.loads(finished.read_text()), "seconds": seconds}))
    _, trained = tables_of(path_report.steps(load_study(path_report.PRESET)))
    assert (trained["step 3"]["hours"], trained["step 5"]["hours"]) == ("1.0", "1.5")
