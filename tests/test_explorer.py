"""The explorer's data against the networks and the samples that they are of; its page in a browser (mark ``browser``)."""

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from browsers import PATIENCE
from made_up_study import DOMAINS, made_scores, write_run, write_study
from PIL import Image

from kdlib import paths
from kdlib.analysis.kept_study import load_study
from kdlib.analysis.seeds import StudyResults
from kdlib.architecture import Architecture, GeneratorDesign
from kdlib.book import explorer
from kdlib.book.bookbuild import copy_plotly
from kdlib.book.study_report import tradeoff
from kdlib.config import load_preset
from kdlib.errors import InputError
from kdlib.profiling import meta_inputs, meta_network, stages
from kdlib.results import kept_rows
from kdlib.runs import Run
from kdlib.views import study_pictures
from kdlib.views.study_pictures import samples, strip

STATIC = Path(__file__).resolve().parents[1] / "book" / "_static"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "REPOSITORY", tmp_path_factory.mktemp("study"))
        write_study(paths.reference_folder())
        study = load_study()
        return study, explorer.page_data(study), explorer.fragment(study)


def decoded(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))


ARCHITECTURES = (
    Architecture(64, 3, 48, True, base_width=24),
    Architecture(64, 3, 192, base_width=24),
    Architecture(256, 2, 128, True),
    Architecture(64, 3, 48, True, base_width=24, mapping_width=96, design=GeneratorDesign(stage_widths=(16, 44, 64))),
    Architecture(64, 3, 48, True, base_width=24, design=GeneratorDesign(pixel_shuffle=2)),
)


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=str)
@pytest.mark.parametrize("network", ["G", "E", "F"])
def test_shapes_are_those_that_leave_the_stages(arch, network):
    module, seen = meta_network(network, arch), {}
    for name, layer in module.named_modules():
        layer.register_forward_hook(lambda layer, given, output, name=name: seen.update({name: tuple(output.shape)}))
    with torch.no_grad():
        module(*meta_inputs(network, arch))
    expected = []
    for stage in stages(network, arch):
        last = stage.layers[-1]
        if last == "heads":
            last = "heads.0"
        if last == "branches":
            last = "branches.0.5"  # the last hidden layer's activation; a linear layer to the style follows
        shape = seen[last]
        expected.append((shape[2] if len(shape) == 4 else 1, shape[1]))
    assert explorer.shapes(network, arch) == expected


def test_every_stop_has_costs_and_its_models(made):
    study, data, _ = made
    assert [stop["alpha"] for stop in data["stops"]] == [*sorted(study.preset.study.alphas), study.preset.networks.teacher_alpha]
    for stop in data["stops"]:
        weights = sum(row[3] for rows in stop["networks"].values() for row in rows)
        assert weights == stop["costs"]["weights"]
        assert set(stop["kinds"]) == ({"teacher"} if stop["teacher"] else {"alone", "distilled"})
    main = next(stop for stop in data["stops"] if stop["alpha"] == study.preset.study.main)["kinds"]["distilled"]
    values = [made_scores(study.preset.study.main, True, seed, "reference")["style_correlation"] for seed in study.preset.study.seeds]
    assert main["scores"]["reference|style_correlation"] == pytest.approx([np.mean(values), np.std(values, ddof=1), len(values)])
    assert "latent|style_correlation" not in main["scores"]


def test_pictures_are_cut_out_of_the_samples(made):
    """Made-up cells have the colour (shade, 30 line, 30 column); the shade of a run is its width, 3 more if distilled."""
    study, data, _ = made
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    assert data["pictures"]["reference"]["pairs"] == tuple(f"{DOMAINS[a]} → {DOMAINS[b]}" for a, b in pairs)
    narrow = data["stops"][0]
    for guide, head in (("latent", 0), ("reference", 1)):
        picture = decoded(narrow["kinds"]["distilled"]["pictures"][guide])
        for i, (a, b) in enumerate(pairs):
            colour = picture[10, 68 * i + 10]  # cells of 64 px, 4 apart
            assert tuple(colour) == (narrow["alpha"] + 3, 30 * (head + 2 * a), 30 * (1 + 2 * b), 255)
    sources, references = (decoded(data["pictures"]["reference"][name]) for name in ("sources", "references"))
    assert [tuple(sources[10, 68 * i + 10][1:3]) for i in range(6)] == [(30 * (1 + 2 * a), 0) for a, _ in pairs]
    assert [tuple(references[10, 68 * i + 10][1:3]) for i in range(6)] == [(0, 30 * (1 + 2 * b)) for _, b in pairs]
    assert sources[10, 65][3] == 0  # the gap is transparent


def test_a_strip_loses_nothing():
    pictures = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(2)]
    whole = decoded(strip(pictures, gap=4))
    assert whole.shape == (64, 132, 4) and (whole[:, :64, :3] == pictures[0]).all() and (whole[:, 68:, :3] == pictures[1]).all()


def test_what_is_no_grid_is_refused_and_what_is_missing_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REPOSITORY", tmp_path)
    path = write_run(paths.reference_folder(), "mini", 24)
    Image.new("RGB", (100, 100)).save(next((path / "samples").glob("latent*")))
    with pytest.raises(InputError, match="latent_0002000.png: 100 x 100 px is no grid of 7 x 6"):
        samples(Run(path), "latent")
    shutil.rmtree(path / "samples")
    assert samples(Run(path), "latent") is None
    assert study_pictures.models_grid(StudyResults.of(kept_rows("mini")), "latent") == ""


def test_grid_of_models_names_all_of_them(made, monkeypatch, tmp_path):
    study = made[0]
    monkeypatch.setattr(paths, "REPOSITORY", tmp_path)  # not the repository's, which has runs of these names
    assert 'alt="α = ' not in study_pictures.models_grid(study.results, "latent")  # its root is gone: no samples, no grid
    assert made[2].count("data:image/webp") == 2 * (1 + 2 * len(study.preset.study.alphas)) + 3


def test_before_anything_is_trained_the_page_has_architectures_and_costs(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REPOSITORY", tmp_path)
    data = explorer.page_data(load_study())
    assert len(data["stops"]) == 1 + len(load_preset("mini").study.alphas) and data["pictures"] == {}
    assert all(stop["kinds"] == {} and stop["costs"]["weights"] > 0 for stop in data["stops"])


# ---- in a browser ----


def page_of(folder: Path, fragment: str) -> Path:
    """The fragment in a page of its own, as the book's pages have it."""
    (folder / "book").mkdir(parents=True, exist_ok=True)
    (folder / "_static").mkdir()
    for name in ("explorer.js", "explorer.css", "choices.js", "kdplot.js"):
        shutil.copy(STATIC / name, folder / "_static")
    copy_plotly(folder / "_static")
    body = re.sub(r"```\{raw\} html\n|```\n?", "", fragment)
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><script src="../_static/kdplot.js"></script>'
    html = f'<!doctype html><html data-theme="light">{head}<body class="bd-article">{body}</body></html>'
    (folder / "book" / "explore.html").write_text(html, encoding="utf-8")
    return folder / "book" / "explore.html"


@pytest.fixture
def open_page(tmp_path, chromium):
    context, errors = chromium.new_context(), []
    context.set_default_timeout(PATIENCE)

    def open_(fragment: str, width: int = 1280):
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(page_of(tmp_path, fragment).as_uri())
        return page

    yield open_
    context.close()
    assert errors == []


@pytest.mark.browser
def test_keys_move_networks_costs_scores_and_pictures_together(made, open_page):
    study, data, fragment = made
    page = open_page(fragment)
    now, slider = page.locator(".kdx-now"), page.locator("#kdx-alpha")
    assert now.inner_text().startswith(f"α = {study.preset.study.main}, distilled: ")
    seen = []
    slider.focus()
    page.keyboard.press("Home")
    for stop in data["stops"]:
        seen.append((now.inner_text(), page.locator(".kdx-lines").first.inner_text(), page.locator(".kdx-pictures img").last.get_attribute("src")))
        rows = stop["networks"]["G"]
        assert page.locator(".kdx-networks ol").first.locator("li > span:first-child").all_inner_texts() == [str(row[2]) for row in rows]
        name = "teacher" if stop["teacher"] else f"α = {stop['alpha']}, distilled"
        assert slider.get_attribute("aria-valuetext") == name and seen[-1][0].startswith(name)
        kind = stop["kinds"]["teacher" if stop["teacher"] else "distilled"]
        assert seen[-1][2] == kind["pictures"]["reference"]
        assert f"{kind['scores']['reference|frechet_factor_network'][0]:.2f}" in page.locator(".kdx-lines").nth(1).inner_text()
        page.keyboard.press("ArrowRight")
    assert len({one[1] for one in seen}) == len(seen)
    assert page.get_by_label("alone").is_disabled()  # there is one teacher
    page.locator(".kdx-stops button").first.click()
    page.get_by_label("alone").check()
    assert now.inner_text().startswith(f"α = {data['stops'][0]['alpha']}, alone") and page.locator(".kdx").get_attribute("data-kind") == "alone"
    page.get_by_label("latent").check()
    assert "style followed" not in page.locator(".kdx-lines").nth(1).inner_text() and "style of" not in page.locator(".kdx-pictures").inner_text()
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


@pytest.mark.browser
def test_the_page_says_what_is_not_there(tmp_path, monkeypatch, open_page):
    monkeypatch.setattr(paths, "REPOSITORY", tmp_path / "empty")
    page = open_page(explorer.fragment(load_study()))
    assert "not trained yet" in page.locator(".kdx-now").inner_text() and "No samples are kept yet." in page.locator(".kdx-pictures").inner_text()
    assert "No model of this study has been evaluated yet." in page.locator(".kdx-lines").nth(1).inner_text()
    assert json.loads(re.search(r'<script type="application/json">(.*)</script>', explorer.fragment(load_study()))[1])["stops"]


@pytest.mark.browser
def test_the_tradeoff_figure_shows_what_is_chosen_in_either_theme(made, open_page):
    study = made[0]
    fragment = tradeoff(study)
    data = json.loads(re.search(r'class="kdchoose-data">(.*?)</script>', fragment)[1])
    page = open_page(fragment)
    page.locator(".kdplot svg.main-svg").first.wait_for()
    plot = "document.querySelector('.js-plotly-plot')"
    page.locator("select[name=x]").select_option("MACs")
    page.locator("select[name=y]").select_option("reference|style_correlation")
    chosen = data["y"]["reference|style_correlation"]
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        page.wait_for_function(f"{plot}.layout.title.text === 'style followed'")
        assert page.evaluate(f"{plot}.data.map((trace) => trace.x)") == data["x"]["MACs"]["values"]
        assert page.evaluate(f"{plot}.data.map((trace) => trace.y)") == chosen["values"]
        assert page.evaluate(f"{plot}.data.map((trace) => trace.error_y.array)") == chosen["errors"]
        assert page.evaluate(f"{plot}.layout.yaxis.title.text") == chosen["axis"]
    assert page.evaluate(f"{plot}.data[1].line.color") == "#F28E3C"  # kdplot.js has drawn it again, in the dark page's colours
