"""A run exported, and its files used by the program that needs no PyTorch."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import integer_sums
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_export import tiny_networks

from kdlib import session
from kdlib.__main__ import main
from kdlib.analysis import deployment_tables
from kdlib.book import deployment_report
from kdlib.checkpoints import save_weights
from kdlib.config import load_preset
from kdlib.critters import SPECIES
from kdlib.deploy import deployment
from kdlib.deploy.calibration import choosing_set, draw_inputs, translations
from kdlib.deploy.deployment import ExportSettings, export, export_folder
from kdlib.deploy.export_cli import summary
from kdlib.deploy.onnx_files import metadata
from kdlib.errors import InputError
from kdlib.grids import to_uint8
from kdlib.images import load_image, to_float
from kdlib.networks import Networks
from kdlib.paths import REPOSITORY
from kdlib.runs import TEACHER, Run, RunSettings
from kdlib.use.models import load_model
from kdlib.views import deployment_views
from kdlib.views.deployment_views import EXAMPLE, WITHOUT_TORCH

PRESET = """
[data]
source = "critters"
image_size = 32
train_per_domain = 8
val_per_domain = 4
[networks]
teacher_alpha = 8
base_width = 8
[evaluation]
outputs_per_source = 2
[study]
alphas = [4]
"""
NEEDED = ("onnxruntime", "numpy", "pillow")  # by the program without PyTorch


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A finished run of preset `tiny`, with all folders of one's own elsewhere."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RUNS", "DATA", "CACHE"):
            patch.setenv(f"KDLIB_{name}", str(folder / name.lower()))
        (folder / "tiny.toml").write_text(PRESET)
        preset = load_preset(str(folder / "tiny.toml"))
        nets = tiny_networks(student=False)
        run = Run(folder / "runs" / "tiny" / TEACHER)
        digest = session.open_data(preset, progress=False).train.content_hash
        run.write_json("settings.json", RunSettings(preset, TEACHER, 8, False, SPECIES, digest).as_dict())
        save_weights(run.weights, dict(nets.modules()), {})
        run.write_json("environment.json", [{"commit": "c0ffee"}])
        run.write_json("finished.json", {"step": 1})
        yield folder, preset


@pytest.fixture(scope="module")
def made(place):
    """The run exported without pictures: float32 and half precision."""
    return export("tiny/teacher", settings=ExportSettings(("fp32", "fp16"), scores=False, test_pictures=3, threads=1), progress=False)


def test_integers_are_run_as_they_are_defined(place):
    """With weights of seven bits on every processor; with eight only where there is arithmetic for it."""
    rows = integer_sums.measure(load_model("tiny/teacher"), pictures=4, seed=1, threads=1)
    assert [(r["network"], r["bits"]) for r in rows] == [(n, b) for n in ("generator", "style_encoder") for b in (8, 7)]
    for row in rows:
        assert 0 < row["definition"] < 1
        assert row["bits"] == 8 or row["file"] == pytest.approx(row["definition"], rel=0.2)


def test_every_network_in_every_format(made, place):
    folder = place[0] / "runs/tiny/teacher/export"
    assert export_folder("tiny/teacher") == folder
    files = {f"{p}/{n}.{'pt2' if p == 'pt2' else 'onnx'}" for p in ("fp32", "fp16", "pt2") for n in Networks.TRANSLATING}
    assert set(made["bytes"]) == files == {str(f.relative_to(folder)) for f in folder.rglob("*.*") if f.name != "export.json"}
    assert all((folder / file).stat().st_size == count for file, count in made["bytes"].items())
    assert json.loads((folder / "export.json").read_text()) == made


def test_errors_are_rounding_in_float32_and_a_thousandth_in_half_precision(made):
    for row in made["errors"]:
        limit = {"fp32": 1e-5, "fp16": 1e-2, "bf16": 0.1}[row["precision"]]
        assert row["relative"] < limit, row
    assert {(r["runtime"], r["precision"]) for r in made["errors"]} >= {
        ("ExportedProgram", "fp32"), ("ONNX Runtime", "fp32"), ("ONNX Runtime", "fp16"), ("OpenVINO", "fp32"), ("OpenVINO", "fp16")
    }  # fmt: skip


def test_metadata_says_what_it_is_and_where_it_comes_from(made, place):
    about = metadata(place[0] / "runs/tiny/teacher/export/fp16/generator.onnx")
    assert about["network"] == "generator" and about["precision"] == "fp16" and about["domains"] == "cat,dog,fox" and about["image_size"] == "32"
    assert about["licence"] == "MIT" and about["commit_of_training"] == "c0ffee" and re.match("[0-9a-f]{40}", about["commit"])
    assert "Critters" in about["training_data"] and "8 pictures a domain at 32 px" in about["training_data"]
    assert json.loads(about["settings"])["preset"]["networks"]["teacher_alpha"] == 8
    assert json.loads(about["architecture"])["alpha"] == 8
    assert str(place[0]) not in json.dumps(about)


def test_an_export_that_is_there_is_left_alone(made, place):
    file = place[0] / "runs/tiny/teacher/export/fp32/generator.onnx"
    before = file.stat().st_mtime_ns
    for threads in (1, 2):
        settings = ExportSettings(("fp32", "fp16"), scores=False, test_pictures=3, threads=threads)
        assert export("tiny/teacher", settings=settings, progress=False) == made
    assert file.stat().st_mtime_ns == before
    assert "generator" in summary(made) and "error against PyTorch at most" in summary(made)


def test_an_export_made_on_other_pictures_is_another_one(monkeypatch):
    preset, opened = load_preset("smoke"), []

    def open_data(asked):
        opened.append(asked)
        return SimpleNamespace(train=SimpleNamespace(content_hash=f"train {asked.data.data_seed}"), val=SimpleNamespace(content_hash="val"))

    monkeypatch.setattr(deployment.session, "open_data", open_data)
    other = dataclasses.replace(preset, data=dataclasses.replace(preset.data, data_seed=5))
    for settings in (ExportSettings(("fp32",)), ExportSettings(("fp32", "int8"), scores=False)):
        assert deployment._pictures(preset, settings) != deployment._pictures(other, settings)
    opened.clear()
    assert deployment._pictures(preset, ExportSettings(("fp32", "fp16"), scores=False)) is None and not opened


def test_a_new_export_leaves_nothing_of_the_old_one(place, tmp_path, monkeypatch):
    out = tmp_path / "out"
    files = ("fp32/generator.onnx", "int8/generator.onnx")
    for file in files:
        (out / file).parent.mkdir(parents=True)
        (out / file).write_text("of other weights")
    (out / "mine.txt").write_text("kept")
    (out / "export.json").write_text(json.dumps({"key": "another", "bytes": dict.fromkeys(files, 16)}))
    monkeypatch.setattr(deployment._Maker, "write_float_files", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        export("tiny/teacher", out, ExportSettings(("fp32",), scores=False), progress=False)
    assert [p.name for p in out.rglob("*") if p.is_file()] == ["mine.txt"]


def run_example(arguments, python=(sys.executable, "-c", WITHOUT_TORCH)):
    done = subprocess.run([*python, str(EXAMPLE), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def expected(place, source, domain):
    """What PyTorch makes of a picture in the style that the program draws."""
    nets = load_model("tiny/teacher").nets
    z = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 16), dtype=np.float32))
    with torch.no_grad():
        style = nets.mapping_network(z, torch.tensor([SPECIES.index(domain)]))
        return to_uint8(nets.generator(to_float(load_image(source, 32))[None], style))[0].astype(int)


def test_the_program_without_pytorch_translates_as_pytorch_does(made, place, tmp_path):
    source = session.open_data(place[1], progress=False).val.files(1)[2]
    run_example([f"{place[0]}/runs/tiny/teacher/export/fp32/", source, "fox", tmp_path / "out.png"])
    found = np.asarray(Image.open(tmp_path / "out.png")).astype(int)
    assert found.shape == (32, 32, 3)
    assert np.abs(found - expected(place, source, "fox")).max() <= 1  # a value half-way between two levels
    assert np.abs(found - expected(place, source, "dog")).max() > 1


def test_the_program_imports_nothing_else_and_is_short():
    code = EXAMPLE.read_text(encoding="utf-8").split('"""')[2]
    imported = set(re.findall(r"^(?:import|from) (\w+)", code, flags=re.MULTILINE))
    assert imported == {"sys", "numpy", "onnxruntime", "PIL"}
    assert len([line for line in code.splitlines() if line and not line.startswith(("import", "from"))]) <= 14
    blocked = subprocess.run([sys.executable, "-c", WITHOUT_TORCH.replace("runpy.run_path", "__import__('torch') #")], capture_output=True, text=True)
    assert "No module named 'torch'" in blocked.stderr or "import of torch halted" in blocked.stderr


@pytest.mark.slow
def test_the_program_runs_where_only_its_three_packages_are_installed(made, place, tmp_path):
    locked = {line.split("==")[0]: line.split(";")[0].strip() for line in (REPOSITORY / "requirements.lock").read_text().splitlines() if "==" in line}
    missing = [name for name in NEEDED if name not in locked]
    if missing:
        pytest.skip(f"requirements.lock has no {', '.join(missing)}")
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [uv, "pip", "install", "--quiet", "--python", python, *(locked[name] for name in NEEDED)]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"packages cannot be had: {done.stderr.strip().splitlines()[-1]}")
    assert subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode != 0
    source = session.open_data(place[1], progress=False).val.files(0)[0]
    run_example([f"{place[0]}/runs/tiny/teacher/export/fp32/", source, "dog", tmp_path / "out.png"], [python])
    assert np.abs(np.asarray(Image.open(tmp_path / "out.png")).astype(int) - expected(place, source, "dog")).max() <= 1


def test_calibration_inputs_depend_on_pictures_networks_and_seed_alone(place):
    nets, data = load_model("tiny/teacher").nets, session.open_data(place[1], progress=False)
    one, two, other = (draw_inputs(nets, data.train, 6, seed) for seed in (1, 1, 2))
    for name in Networks.TRANSLATING:
        assert all(np.array_equal(a, b) for a, b in zip(one[name], two[name], strict=True))
        assert not all(np.array_equal(a, b) for a, b in zip(one[name], other[name]))
    z, y = one["mapping_network"]
    x, s = one["generator"]
    with torch.no_grad():
        latent = nets.mapping_network(torch.from_numpy(z), torch.from_numpy(y)).numpy()
        reference = nets.style_encoder(*map(torch.from_numpy, one["style_encoder"])).numpy()
        made_here = nets.generator(torch.from_numpy(x), torch.from_numpy(s)).numpy()
    np.testing.assert_allclose(s[0::2], latent[0::2], atol=1e-5)  # of latents and of references in turns
    np.testing.assert_allclose(s[1::2], reference[1::2], atol=1e-5)
    np.testing.assert_allclose(translations(nets, one), made_here, atol=1e-5)
    with pytest.raises(InputError, match="draw at least 2"):
        draw_inputs(nets, data.train, 1, 0)


def test_what_is_chosen_on_is_no_validation_picture(place):
    data = session.open_data(place[1], progress=False)
    part = choosing_set(data, 3, seed=5)
    assert part.val.counts == (3, 3, 3) and part.train is data.train and part.val.content_hash not in (data.val.content_hash, data.train.content_hash)
    for domain in range(3):
        assert set(part.val.files(domain)) < set(data.train.files(domain))
        names = data.train.files(domain)
        for file, image in zip(part.val.files(domain), part.val.images(domain)):
            assert torch.equal(image, data.train.images(domain)[names.index(file)])
    assert choosing_set(data, 3, seed=6).val.content_hash != part.val.content_hash


def test_what_cannot_be_exported_is_refused(place, tmp_path):
    with pytest.raises(InputError, match="int4 is none of fp32, fp16, int8"):
        ExportSettings(("int4",))
    with pytest.raises(InputError, match="test_pictures = 1: must be at least 2"):
        ExportSettings(test_pictures=1)
    with pytest.raises(InputError, match="no such model"):
        export("tiny/nothing")
    from kdlib.released import save_released

    save_released(tmp_path / "nets.ckpt", load_model("tiny/teacher").nets)
    with pytest.raises(InputError, match="belongs to no run; say where"):
        export(tmp_path / "nets.ckpt")
    with pytest.raises(InputError, match="quantising and scoring need pictures"):
        export(tmp_path / "nets.ckpt", tmp_path / "out")


def test_the_command_writes_its_report_wherever_the_files_went(place, tmp_path, capsys):
    """The folder named in a report is for readers: relative to home or absolute, it is not opened again."""
    target = tmp_path / "report.json"
    out = ["--out", str(tmp_path / "out"), "--json", str(target)]
    assert main(["export", "tiny/teacher", "--precisions", "fp32", "--no-scores", *out]) == 0
    assert target.read_bytes() == (tmp_path / "out" / "export.json").read_bytes()
    assert capsys.readouterr().out.startswith("tiny/teacher -> ")


@pytest.mark.slow
def test_a_model_quantised_and_scored(place, tmp_path):
    few = {"calibration_pictures": 8, "test_pictures": 4, "choosing_sources": 3, "choosing_outputs": 2}
    found = export("tiny/teacher", tmp_path / "out", ExportSettings(threads=1, **few), place[1], progress=False)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"fp32", "fp16", "int8", "pt2", "export.json"}
    of = found["scores"]["of"]
    assert of["fp32"]["latent"] == pytest.approx(of["PyTorch"]["latent"], rel=1e-3)
    assert set(of) - {"bf16, OpenVINO"} == {"PyTorch", "fp32", "fp16", "int8", "int8, OpenVINO"} and found["scores"]["psnr"]["fp16"] > 50
    for name, record in found["quantisation"].items():
        assert record["candidates"][-1]["violations"] == [], name
        assert len(record["in_float"]) == record["candidates"][-1]["in_float"]
        assert len(record["sensitivity"]) == record["layers"]
    again = export("tiny/teacher", tmp_path / "again", ExportSettings(threads=1, **few), place[1], progress=False)
    for name in Networks.TRANSLATING:
        assert (tmp_path / "out/int8" / f"{name}.onnx").read_bytes() == (tmp_path / "again/int8" / f"{name}.onnx").read_bytes(), name
    for part in (deployment_tables.sizes, deployment_tables.errors, deployment_tables.scores, deployment_tables.quantisation):
        text = part([found])
        assert "tiny/teacher" in text and "nan" not in text.lower() and "None" not in text
    grid = deployment_views.pictures({**found, "folder": str(tmp_path / "out")}, place[1], count=2)
    assert grid.data.count("<img") == 2 * 5  # source, PyTorch, three precisions
    assert again["quantisation"] == found["quantisation"]
    assert "No 8-bit networks" in deployment_views.sensitivity_figure({"model": "x"}).data
    assert len(deployment_views.sensitivity_figure(found).data[0].x) == found["quantisation"]["generator"]["layers"]


def test_the_notebook_shows_the_program_as_it_is():
    assert EXAMPLE.read_text(encoding="utf-8") in deployment_views.example()
    assert deployment.REPORT == "export.json"


def test_the_page_has_every_part_and_no_other(tmp_path):
    page = (REPOSITORY / "book" / "deployment.md").read_text(encoding="utf-8")
    parts = list(deployment_report.fragments(tmp_path))
    assert sorted(re.findall(r"\{include\} _generated/deployment_(\w+)\.md", page)) == sorted(parts)


@pytest.mark.slow
def test_the_notebook_walks_through_all_of_it(place, tmp_path):
    """Export, parity, quantisation, times, layers and the program without PyTorch, for a tiny model and in a process of its own."""
    out = tmp_path / "07_deployment.ipynb"
    asked = {"preset": place[0] / "tiny.toml", "run": TEACHER, "rounds": 1, "threads": 1, "sources_per_domain": 2, "outputs_per_source": 2}
    parameters = [part for name, value in asked.items() for part in ("-p", name, str(value))]
    command = [sys.executable, "-m", "papermill", str(REPOSITORY / "notebooks" / "07_deployment.py"), str(out), "--no-progress-bar", *parameters]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr[-2000:]
    cells = [cell for cell in json.loads(out.read_text())["cells"] if cell["cell_type"] == "code"]
    kinds = [{kind for output in cell["outputs"] for kind in output.get("data", ())} for cell in cells]
    assert sum("text/markdown" in kind for kind in kinds) >= 6 and sum("text/html" in kind for kind in kinds) >= 3  # tables and figures
    text = "".join("".join(output["data"].get("text/markdown", "")) for cell in cells for output in cell["outputs"] if "data" in output)
    assert "8-bit integers" in text and "OpenVINO, fp32" in text
