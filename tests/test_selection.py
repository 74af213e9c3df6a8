"""Candidates, kept on the way and chosen among: the thesis's best of ten, shown as such."""

import dataclasses
import json
import shutil

import pytest
import torch
from IPython.display import Markdown
from safetensors.torch import load_file

from kdlib import results, session
from kdlib.__main__ import main
from kdlib.checkpoints import load_checkpoint
from kdlib.config import load_preset
from kdlib.errors import InputError
from kdlib.runs import Run, find_run
from kdlib.scoring.course import course
from kdlib.scoring.selection import choose, evaluated_weights
from kdlib.trainer import checkpoints_of
from kdlib.views import run_views

PRESET = """
[data]
source = "critters"
image_size = 32
train_per_domain = 6
val_per_domain = 4
[networks]
teacher_alpha = 8
base_width = 8
[training]
teacher_iterations = 5
student_iterations = 5
batch_size = 2
learning_rate = 1e-2
[logging]
checkpoint_every = 2
candidate_every = 2
[evaluation]
outputs_per_source = 2
evaluation_batch_size = 24
evaluation_seeds = 2
selection = "best_candidate"
[study]
alphas = [4]
[machine]
device = "cpu"
threads = 1
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a preset and one of its students, finished."""
    root = tmp_path_factory.mktemp("selection")
    (root / "tiny.toml").write_text(PRESET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDLIB_DATA", str(root / "data"))
        patch.setenv("KDLIB_RUNS", str(root / "runs"))
        session.train_student(load_preset(root / "tiny.toml"), 4, False, progress=False)
    return root


@pytest.fixture
def preset(trained, tmp_path, monkeypatch):
    """The preset, with a copy of the run to spoil."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    monkeypatch.setenv("KDLIB_DATA", str(trained / "data"))
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    shutil.copy(trained / "tiny.toml", tmp_path)
    return load_preset(tmp_path / "tiny.toml")


def test_candidates_are_the_moving_averages_of_their_iterations(preset):
    run = find_run("tiny", "alpha4")
    assert list(run.candidates()) == [2, 4, 5]  # every second iteration, and the last
    assert run.candidate(5).read_bytes() == run.weights.read_bytes()
    average = load_checkpoint(run.checkpoint_folder / "step_0000004.pt")["average"]
    found = load_file(run.candidate(4))
    assert {f"{n}.{k}" for n, state in average.items() for k in state} == set(found)
    for name, state in average.items():
        assert all(torch.equal(tensor, found[f"{name}.{key}"]) for key, tensor in state.items())


def test_a_resumed_run_writes_the_same_candidates(preset):
    run = find_run("tiny", "alpha4")
    before = {step: path.read_bytes() for step, path in run.candidates().items()}
    checkpoints_of(run)[-1].unlink()  # back to iteration 4, as if the run had been killed before its end
    (run.path / "finished.json").unlink()
    kept = run.candidate(4).stat().st_mtime_ns
    run.candidate(5).write_bytes(b"of a process that was killed, say")
    session.train_student(preset, 4, False, progress=False)
    assert {step: path.read_bytes() for step, path in run.candidates().items()} == before
    assert run.candidate(4).stat().st_mtime_ns == kept


def test_how_many_candidates_are_kept_is_no_part_of_what_a_run_is(preset):
    other = dataclasses.replace(preset, logging=dataclasses.replace(preset.logging, candidate_every=0))
    assert session.train_student(other, 4, False, progress=False).finished


def fake_run(path, steps, imported=False):
    for step in steps:
        candidate = Run(path).candidate(step)
        candidate.parent.mkdir(parents=True, exist_ok=True)
        candidate.touch()
    if imported:
        Run(path).write_json("imported.json", {})
    return Run(path)


def fake_scores(values):
    """A judge that knows (latent, reference) by step, and what it was asked."""
    asked = []

    def judge(preset, weights, record):
        step = int(weights.stem.split("_")[1])
        asked.append((preset.evaluation, record))
        networks = [{"name": n, "scores": {"frechet": f"fid_{n}"}} for n in ("a", "b")]
        means = {g: {"mean": {"fid_a": v, "fid_b": -v}} for g, v in zip(("latent", "reference"), values[step])}
        return {"protocol": {"feature_networks": networks}, **means}

    return judge, asked


def test_the_smallest_mean_over_both_guides_is_chosen(tmp_path, preset):
    """By hand: means 25, 21, 22; the first network counts; no single guide's best is it."""
    values = {10: (20, 30), 20: (22, 20), 30: (25, 19)}
    judge, asked = fake_scores(values)
    choice = choose(preset, fake_run(tmp_path / "run", values), judge)
    assert (choice["chosen"], choice["last"], choice["score"]) == (20, 30, "fid_a")
    assert [c["criterion"] for c in choice["candidates"]] == [25, 21, 22]
    assert [record for _, record in asked] == [f"candidates/step_00000{s}.json" for s in values]
    assert {(e.evaluation_seeds, e.selection) for e, _ in asked} == {(1, "last")}
    assert preset.evaluation.evaluation_seeds == 2  # which the chosen one is evaluated with
    equal, _ = fake_scores({step: (1, 1) for step in values})
    assert choose(preset, fake_run(tmp_path / "run", values), equal)["chosen"] == 10


def test_nothing_is_chosen_where_there_is_nothing_to_choose(tmp_path, preset):
    judge, asked = fake_scores({})
    last = dataclasses.replace(preset, evaluation=dataclasses.replace(preset.evaluation, selection="last"))
    assert choose(last, fake_run(tmp_path / "a", [10]), judge) is None
    assert choose(preset, fake_run(tmp_path / "b", [10], imported=True), judge) is None
    with pytest.raises(InputError, match="kept no candidates.*candidate_every.*-p selection last"):
        choose(preset, fake_run(tmp_path / "c", []), judge)
    assert not asked


def test_an_evaluation_of_the_best_shows_all(preset, monkeypatch):
    """Against scores of each candidate on its own; interrupted on the way, it goes on where it stopped."""
    run, calls, original = find_run("tiny", "alpha4"), [], session.score

    def counted(preset, *args, **options):
        calls.append(preset.evaluation.evaluation_seeds)
        if len(calls) == 3 and interrupted:
            raise KeyboardInterrupt
        return original(preset, *args, **options)

    monkeypatch.setattr(session, "score", counted)
    interrupted = True
    with pytest.raises(KeyboardInterrupt):
        session.evaluate_run(preset, "alpha4", progress=False)
    assert not (run.path / "metrics.json").exists()
    interrupted = False
    metrics = session.evaluate_run(preset, "alpha4", progress=False)
    assert calls == [1, 1, 1, 1, 2]  # two candidates, the interrupted third, again, then the chosen one with all seeds
    assert session.evaluate_run(preset, "alpha4", progress=False) == metrics and len(calls) == 5

    one_seed = load_preset(preset_file(preset), evaluation_seeds=1, selection="last")
    dataset, judges = session.open_data(preset), session.judges_of(preset)
    expected = {}
    for step, path in run.candidates().items():
        scores = original(one_seed, run.load_networks(weights=path), dataset, judges, progress=False)
        expected[step] = sum(scores[g]["mean"]["frechet_factor_network"] for g in ("latent", "reference")) / 2
    choice = metrics["selection"]
    assert {c["step"]: c["criterion"] for c in choice["candidates"]} == pytest.approx(expected, rel=1e-12)
    assert expected[choice["chosen"]] == min(expected.values()) and choice["last"] == 5
    assert metrics["key"]["weights"] == run.weights_hash(run.candidate(choice["chosen"]))
    assert metrics["protocol"]["seeds"] == 2

    assert evaluated_weights(run) == run.candidate(choice["chosen"])
    shown = session.evaluated_networks(preset, "alpha4").generator.state_dict()
    assert torch.equal(shown["to_rgb.weight"], load_file(run.candidate(choice["chosen"]))["generator.to_rgb.weight"])
    row = results.rows_of_preset("tiny")[0]
    assert row["selection"] == f"best of 3: iteration {choice['chosen']}"
    assert ["evaluated", row["selection"]] in results.table([row])[1]

    # Asked for the end of the run instead, everything is about the end, and no choice is on record.
    last = load_preset(preset_file(preset), selection="last")
    metrics = session.evaluate_run(last, "alpha4", progress=False)
    assert "selection" not in metrics and metrics["key"]["weights"] == run.weights_hash()
    assert evaluated_weights(run) == run.weights and results.rows_of_preset("tiny")[0]["selection"] == "last"
    json.dumps(metrics)


def test_a_teacher_is_scored_at_its_end_from_where_students_learn(preset):
    run = session.train_teacher(preset, progress=False)
    metrics = session.evaluate_run(preset, "teacher", progress=False)
    assert len(run.candidates()) == 3 and "selection" not in metrics
    assert metrics["key"]["weights"] == session.load_teacher(preset, session.open_data(preset))[1]


def test_a_course_has_the_scores_of_every_candidate(preset, capsys):
    """Against a score of each on its own; what is scored is not scored again, and the run's own scores stay as they are."""
    run = find_run("tiny", "alpha4")
    file = str(preset_file(preset))
    assert main(["course", "--preset", file, "--run", "alpha4", "--outputs", "3"]) == 0
    assert capsys.readouterr().out.count("scored") == 3
    three = load_preset(file, evaluation_seeds=1, outputs_per_source=3)
    dataset, judges = session.open_data(three), session.judges_of(three)
    found = run.json("course.json")
    assert [moment["step"] for moment in found["moments"]] == [2, 4, 5] and found["protocol"]["outputs_per_source"] == 3
    for moment in found["moments"]:
        scores = session.score(three, run.load_networks(weights=run.candidate(moment["step"])), dataset, judges, progress=False)
        for guide in ("latent", "reference"):
            assert moment[guide] == pytest.approx(scores[guide]["mean"], rel=1e-12, nan_ok=True)
    before = {path: path.stat().st_mtime_ns for path in (run.path / "candidates").glob("*.json")}
    assert session.score_course(preset, "alpha4", 3, progress=False) == found and len(before) == 3
    assert before == {path: path.stat().st_mtime_ns for path in before} and not (run.path / "metrics.json").exists()


def test_what_has_no_course_says_why(preset, tmp_path, capsys):
    with pytest.raises(InputError, match="kept no weights on the way; train with candidate_every"):
        course(preset, fake_run(tmp_path / "run", []), fake_scores({})[0], 3)
    assert main(["course", "--preset", str(preset_file(preset)), "--run", "alpha4", "--outputs", "1"]) == 2
    assert "--outputs 1: diversity is a distance between two" in capsys.readouterr().err


def preset_file(preset):
    return session.runs_folder().parent / f"{preset.name}.toml"


def test_the_notebook_shows_the_choice_or_nothing(monkeypatch):
    shown = []
    monkeypatch.setattr(run_views, "display", lambda *things: shown.extend(things))
    run_views.selection_view({})
    assert shown == []
    means = {10: 5.0, 20: 3.0, 30: 4.0}
    candidates = [{"step": s, "criterion": c, "latent": {"fid_a": c + 1}, "reference": {"fid_a": c - 1}} for s, c in means.items()]
    run_views.selection_view({"selection": {"score": "fid_a", "rule": "smallest", "candidates": candidates, "chosen": 20, "last": 30}})
    text, figure, table = shown
    assert isinstance(text, Markdown) and "Best of 3" in text.data and "optimistic" in text.data
    assert "3.00" in text.data and "4.00" in text.data  # the chosen one's score, and the last one's
    star = next(trace for trace in figure.data if trace.name == "chosen")
    assert (list(star.x), list(star.y)) == ([20], [3.0])
    assert list(next(t for t in figure.data if t.name == "latent-guided").y) == [6.0, 4.0, 5.0]
    assert table.to_html().count("(chosen)") == 1
