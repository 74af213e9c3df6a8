"""Run folders, weights and the results table."""

import dataclasses
import json
import pickle

import pytest
import torch

from kdlib import reference, results, runs, session
from kdlib.__main__ import main
from kdlib.analysis.seeds import groups
from kdlib.checkpoints import load_checkpoint, load_weights, read_weights, save_checkpoint, save_weights
from kdlib.config import load_preset
from kdlib.errors import InputError
from kdlib.networks import build_networks
from kdlib.runs import STUDENT, TEACHER, Run, RunSettings, find_run, open_run
from kdlib.scoring.selection import evaluated_weights


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(runs, "reference_folder", lambda: tmp_path / "kept")
    monkeypatch.setattr(results, "reference_folder", lambda: tmp_path / "kept")
    monkeypatch.setattr(reference, "reference_folder", lambda: tmp_path / "kept")
    return tmp_path


def networks(name, frechet=None, kernel=None):
    scores = {"frechet": frechet or f"frechet_{name}", "kernel": kernel or f"kernel_{name}", "diversity": f"diversity_{name}"}
    return {"name": name, "scores": scores}


def finished_run(path, role=STUDENT, alpha=8, distill=False, seconds=1.0, frechet=3.0, **overrides) -> Run:
    """A run folder as training and evaluation leave it, with made-up scores and real weights."""
    settings = RunSettings(load_preset("smoke", **overrides), role, alpha, distill, ("cat", "dog", "fox"), "pictures")
    run = open_run(path, settings)
    nets = settings.build(seed=alpha)
    save_weights(run.weights, {n: getattr(nets, n) for n in nets.TRANSLATING}, {"step": 6})
    run.write_json("finished.json", {"step": 6, "seconds": 6 * seconds, "seconds_per_iteration": seconds, "peak_memory_bytes": 1})
    scores = {"frechet_factor_network": frechet, "content_correlation": 0.5}
    count = sum(p.numel() for n in nets.TRANSLATING for p in getattr(nets, n).parameters())
    metrics = {
        "cost": {"parameters": count, "macs": 10 * count}, "latent": {"mean": scores}, "reference": {"mean": scores},
        "protocol": {"feature_networks": [networks("factor_network")]}, "reconstruction": {"mean": {"reconstruction_l1": 0.1}},
    }  # fmt: skip
    run.write_json("metrics.json", metrics)
    return run


def test_an_iteration_takes_what_it_usually_takes(folder):
    """Of three stretches of logged iterations one was held up; of a run without such a log the mean is all that is known."""
    run = finished_run(folder / "runs" / "smoke" / "alpha8", seconds=1.7)
    assert results.result_rows([run])[0]["seconds_per_iteration"] == 1.7
    lines = [{"step": step, "iterations_per_second": rate} for step, rate in ((2, 2.0), (4, 0.25), (6, 2.5))]
    (run.path / "timing.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    row = results.result_rows([run])[0]
    assert (row["seconds_per_iteration"], row["seconds"]) == (0.5, 6 * 1.7)


def test_half_precision_weights_are_half_the_file_and_load_rounded(folder):
    run = finished_run(folder / "runs" / "smoke" / "alpha8")
    nets = run.settings().build(seed=8)
    translating = {n: getattr(nets, n) for n in nets.TRANSLATING}
    half = folder / "half.safetensors"
    save_weights(half, translating, {}, "float16")
    tensors = lambda path: sum(t.nbytes for t in read_weights(path)[0].values())  # noqa: E731
    assert tensors(half) * 2 == tensors(run.weights)
    loaded = run.load_networks(weights=half)
    for name, network in translating.items():
        for key, value in getattr(loaded, name).state_dict().items():
            assert value.dtype == torch.float32
            assert torch.equal(value, network.state_dict()[key].half().float())
    with torch.no_grad():
        nets.generator.from_rgb.weight[0, 0, 0, 0] = 1e5
    with pytest.raises(InputError, match="from_rgb.weight reaches 1e\\+05, too much for float16"):
        save_weights(half, translating, {}, "float16")
    assert torch.isfinite(read_weights(half)[0]["generator.from_rgb.weight"]).all()


def test_own_run_comes_before_the_kept_one(folder):
    kept = finished_run(folder / "kept" / "smoke" / "teacher", TEACHER, 24)
    assert find_run("smoke", "teacher").path == kept.path
    own = finished_run(folder / "runs" / "smoke" / "teacher", TEACHER, 24)
    assert find_run("smoke", "teacher").path == own.path
    with pytest.raises(InputError, match="python -m kdlib study --preset smoke"):
        find_run("smoke", "alpha99")


def test_expected_counts_are_no_part_of_what_a_run_is(folder):
    run = finished_run(folder / "runs" / "smoke" / "alpha8")
    for override, binding in (({"expected_train": {"cat": 9}, "expected_val": {"cat": 9}}, False), ({"data_seed": 9}, True)):
        asked = dataclasses.replace(run.settings(), preset=load_preset("smoke", **override))
        assert bool(runs.differing_settings(run, asked)) is binding


def test_a_folder_from_before_a_setting_was_added_reads_as_its_default(folder):
    """settings.json as it was written when every generator had the depth of the thesis's rule."""
    run = finished_run(folder / "runs" / "smoke" / "alpha8")
    now = run.settings()
    old = run.json("settings.json")
    del old["preset"]["networks"]["generator_down_blocks"]
    run.write_json("settings.json", old)
    assert run.settings() == now and run.settings().preset.networks.generator_down_blocks == 0
    assert open_run(run.path, now) == run
    assert run.load_networks().arch.generator_down_blocks == 1  # log2(32) - 4


def test_another_bottleneck_is_another_run_and_its_weights_load(folder):
    asked = RunSettings(load_preset("smoke", generator_down_blocks=2), TEACHER, 8, False, ("cat", "dog", "fox"), "pictures")
    run = open_run(folder / "runs" / "smoke" / "teacher-8x8", asked)
    nets = asked.build(seed=3)
    save_weights(run.weights, {n: getattr(nets, n) for n in nets.TRANSLATING}, {})
    loaded = run.load_networks()
    assert loaded.arch == asked.preset.architecture(3, alpha=8, student=False)
    x, s = torch.rand(1, 3, 32, 32), torch.rand(1, 64)
    with torch.no_grad():
        assert loaded.generator.content(x).features.shape[2:] == (8, 8)
        assert torch.equal(loaded.generator(x, s), nets.generator.eval()(x, s))
    with pytest.raises(InputError, match="networks.generator_down_blocks: 2 in the run folder, 0 asked for"):
        open_run(run.path, dataclasses.replace(asked, preset=load_preset("smoke")))


def test_a_depth_that_cannot_be_built_leaves_no_folder(folder, monkeypatch, capsys):
    monkeypatch.setenv("KDLIB_DATA", str(folder / "data"))
    assert main(["train", "--preset", "smoke", "-p", "generator_down_blocks", "5"]) == 2
    assert "must be 1 to 4" in capsys.readouterr().err
    assert not (folder / "runs").exists() and not (folder / "data").exists()


def test_weights_load_into_the_networks_they_came_from(folder):
    run = finished_run(folder / "runs" / "smoke" / "alpha8")
    nets, expected = run.load_networks(), run.settings().build(seed=8)
    for name in nets.TRANSLATING:
        for key, value in getattr(nets, name).state_dict().items():
            assert torch.equal(value, getattr(expected, name).state_dict()[key])
    assert nets.discriminator is None
    assert read_weights(run.weights)[1] == {"about": '{"step": 6}'}


def test_weights_hash_follows_the_values_only(folder):
    a = finished_run(folder / "runs" / "a" / "alpha8")
    b = finished_run(folder / "runs" / "b" / "alpha8")
    c = finished_run(folder / "runs" / "c" / "alpha16", alpha=16)
    assert a.weights_hash() == b.weights_hash() != c.weights_hash()


def test_other_architecture_is_refused_with_a_list(folder):
    run = finished_run(folder / "runs" / "smoke" / "alpha8")
    other = build_networks(16, 3, True, 0, 32, base_width=8)
    with pytest.raises(InputError, match=r"from_rgb.weight|encode.0") as caught:
        load_weights(run.weights, {n: getattr(other, n) for n in other.TRANSLATING})
    assert "should be" in str(caught.value) and "alpha8" in str(caught.value)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_only_plain_checkpoints_are_loaded(tmp_path):
    """Code in a pickle must not run; every other kind of file is refused by name."""
    marker = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    files = {"pickle.pt": pickle.dumps(Trap()), "text.pt": b"no checkpoint", "empty.pt": b"", "weights.pt": b""}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"trap": Trap()}, tmp_path / "trap.pt")
    torch.save({"w": torch.zeros(2)}, tmp_path / "weights.pt")
    torch.save(torch.zeros(2), tmp_path / "tensor.pt")
    save_checkpoint(tmp_path / "good.pt", {"step": 3})
    (tmp_path / "torn.pt").write_bytes((tmp_path / "good.pt").read_bytes()[:200])
    for name in (*files, "trap.pt", "tensor.pt", "torn.pt", "missing.pt"):
        with pytest.raises(InputError, match=name):
            load_checkpoint(tmp_path / name)
    assert not marker.exists()
    assert load_checkpoint(tmp_path / "good.pt")["step"] == 3


def test_results_table_text_and_json(folder, capsys):
    finished_run(folder / "runs" / "smoke" / "teacher", TEACHER, 24, frechet=2.0)
    finished_run(folder / "runs" / "smoke" / "alpha8-kd", distill=True, frechet=4.0)
    open_run(folder / "runs" / "smoke" / "unfinished", RunSettings(load_preset("smoke"), STUDENT, 8, False, ("a", "b"), ""))
    assert main(["results", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [r["run"] for r in rows] == ["teacher", "alpha8-kd"]
    assert rows[1]["latent_frechet_factor_network"] == 4.0 and rows[1]["distilled"] is True
    assert main(["results"]) == 0
    text = capsys.readouterr().out
    expected = f"{rows[0]['parameters'] / rows[1]['parameters']:.1f}x"
    assert expected in text and "4.00 / 4.00" in text and "α = 8, distilled" in text


@pytest.mark.parametrize(
    "file, content, said",
    [
        ("settings.json", '{"role": "student"}', "settings.json: not the settings of a run"),
        ("finished.json", "{}", "are of another version (KeyError('step'))"),
        ("metrics.json", "{}", "are of another version (KeyError('cost'))"),
        ("metrics.json", '{"cost": ', "metrics.json: not valid JSON"),
        ("timing.jsonl", '{"step": 2, "iter', "timing.jsonl: not a JSON object a line"),
    ],
)
def test_a_broken_folder_hides_no_other_one(folder, capsys, file, content, said):
    finished_run(folder / "runs" / "smoke" / "alpha8-kd", distill=True, teacher="smoke/teacher")
    broken = finished_run(folder / "runs" / "smoke" / "alpha8")
    (broken.path / file).write_text(content)
    assert [row["run"] for row in results.rows_of_preset("smoke")] == ["alpha8-kd"]
    told = capsys.readouterr().err
    assert said in told and str(broken.path) in told


def test_in_which_precision_weights_are_written_is_no_part_of_what_a_run_is(folder):
    """A run whose weights are too large for float16 goes on as the error says."""
    run = finished_run(folder / "runs" / "smoke" / "alpha8", weights_precision="float16")
    wider = RunSettings(load_preset("smoke", weights_precision="float32"), STUDENT, 8, False, ("cat", "dog", "fox"), "pictures")
    assert open_run(run.path, wider).path == run.path


def test_distances_in_two_feature_networks_never_share_a_line(folder):
    a = finished_run(folder / "runs" / "a" / "alpha8")
    b = finished_run(folder / "runs" / "b" / "alpha8")
    metrics = b.json("metrics.json")
    metrics["protocol"]["feature_networks"] = [networks("squeezenet")]
    for guide in ("latent", "reference"):
        metrics[guide]["mean"] = {"frechet_squeezenet": 99.0}
    b.write_json("metrics.json", metrics)
    _, lines = results.table(results.result_rows([a, b]))
    frechet = {line[0]: line[1:] for line in lines if line[0].startswith("Fréchet")}
    assert frechet["Fréchet distance (factor network)"] == ["3.00 / 3.00", "– / –"]
    assert frechet["Fréchet distance (squeezenet)"] == ["– / –", "99.00 / 99.00"]


def test_another_seed_is_another_run_in_tables_and_pairs(folder):
    runs_folder = folder / "runs" / "smoke"
    finished_run(runs_folder / "alpha8")
    finished_run(runs_folder / "alpha8-kd", distill=True)
    second = finished_run(runs_folder / "alpha8-kd-seed778", distill=True)
    settings = second.json("settings.json")
    settings["preset"]["training"]["seed"] = 778
    second.write_json("settings.json", settings)
    rows = results.rows_of_preset("smoke")
    assert sorted(results.label(r) for r in rows) == ["α = 8", "α = 8, distilled", "α = 8, distilled, seed 778"]
    assert [group.seeds for group in groups(rows)] == [(777,), (777, 778)]


def test_a_teacher_of_another_preset_stands_in_its_students_table(folder):
    given = finished_run(folder / "elsewhere" / "teacher", role=TEACHER)
    for name, teacher in (("alpha8", ""), ("alpha8-kd", str(given.path))):
        student = finished_run(folder / "runs" / "smoke" / name, distill=name.endswith("kd"))
        settings = student.json("settings.json")
        settings["preset"]["machine"]["teacher"] = teacher
        student.write_json("settings.json", settings)
    assert [results.label(r) for r in results.rows_of_preset("smoke")] == ["teacher", "α = 8", "α = 8, distilled"]
    (given.path / "finished.json").unlink()
    assert [results.label(r) for r in results.rows_of_preset("smoke")] == ["α = 8", "α = 8, distilled"]


def test_no_runs_says_what_to_do(folder, capsys):
    assert main(["results"]) == 0
    assert "python -m kdlib study" in capsys.readouterr().out


def test_a_width_that_cannot_be_built_leaves_no_folder(folder, monkeypatch):
    monkeypatch.setenv("KDLIB_DATA", str(folder / "data"))
    with pytest.raises(InputError, match="alpha = 0"):
        session.train_student(load_preset("smoke"), 0, distill=False, progress=False)
    assert not (folder / "runs").exists()


def test_keep_refuses_what_may_not_be_passed_on(folder):
    def run_on(root: str, **changed) -> Run:
        preset = dataclasses.replace(load_preset("smoke", source="folder", data_root=root, feature_networks="squeezenet"), **changed)
        return open_run(folder / "runs" / "smoke" / f"faces{len(list(folder.rglob('settings.json')))}", RunSettings(preset, STUDENT, 8, False, ("a", "b"), ""))

    run = run_on("x")
    with pytest.raises(InputError, match="not a finished run"):
        reference.keep(run.path)
    run.write_json("finished.json", {"step": 1})
    with pytest.raises(InputError, match="weights trained on pictures that are not ours"):
        reference.keep(run.path, weights=True)
    for other, said in ((run_on("x", name="mine"), "only runs of shipped presets"), (run_on("/home/me/x"), "data_root is a path of this machine")):
        other.write_json("finished.json", {"step": 1})
        for name in reference.KEPT[3:]:
            (other.path / name).write_text("[]")
        (other.path / "environment.json").write_text("[]")
        with pytest.raises(InputError, match=said):
            reference.keep(other.path)


def test_keep_takes_numbers_alone_of_pictures_that_are_not_ours(folder):
    run = finished_run(folder / "runs" / "smoke" / "alpha8", source="folder", data_root="x", feature_networks="squeezenet")
    for name in ("environment.json", "log.jsonl", "timing.jsonl", "05_evaluation.ipynb"):
        (run.path / name).write_text("[]")
    (run.path / "samples").mkdir()
    (run.path / "samples" / "latent_0000006.png").write_bytes(b"png")
    reference.keep(run.path)
    assert {path.name for path in (folder / "kept" / "smoke" / "alpha8").iterdir()} == set(reference.KEPT)


def write_what_training_leaves(run: Run) -> None:
    """Logs and last samples, which a run needs to be kept."""
    for name in ("environment.json", "log.jsonl", "timing.jsonl"):
        (run.path / name).write_text("[]")
    (run.path / "samples").mkdir()
    for guide in ("latent", "reference"):
        (run.path / "samples" / f"{guide}_0000006.png").write_bytes(b"png")


def test_keep_copies_text_and_weights(folder):
    run = finished_run(folder / "runs" / "smoke" / "alpha8")
    with pytest.raises(InputError, match="missing"):
        reference.keep(run.path, weights=True)
    write_what_training_leaves(run)
    (run.path / "checkpoints").mkdir()
    reference.keep(run.path, weights=True)
    kept = folder / "kept" / "smoke" / "alpha8"
    assert Run(kept).weights_hash() == run.weights_hash()
    assert not (kept / "checkpoints").exists() and not (kept / "candidates").exists()


def test_keep_copies_the_candidate_that_the_scores_are_of(folder):
    run = finished_run(folder / "runs" / "smoke" / "alpha8")
    write_what_training_leaves(run)
    (run.path / "candidates").mkdir()
    for step in (2, 4):
        nets = run.settings().build(seed=step)
        save_weights(run.candidate(step), {n: getattr(nets, n) for n in nets.TRANSLATING}, {"step": step})
    run.write_json("metrics.json", {**run.json("metrics.json"), "selection": {"chosen": 4, "last": 4, "candidates": []}})
    reference.keep(run.path, weights=True)
    kept = Run(folder / "kept" / "smoke" / "alpha8")
    assert list(kept.candidates()) == [4]
    assert kept.weights_hash(evaluated_weights(kept)) == run.weights_hash(run.candidate(4)) != run.weights_hash()
