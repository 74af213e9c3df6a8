"""Figures and picture grids as they are put into a page, and the palette on both grounds."""

import base64
import html
import io
import itertools
import json
import re
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pytest
from PIL import Image

from kdlib.errors import InputError
from kdlib.views import plotting

KDPLOT = (Path(__file__).resolve().parents[1] / "book/_static/kdplot.js").read_text()
DARK = dict(re.findall(r'"(#[0-9A-F]{6})": "(#[0-9A-F]{6})"', KDPLOT))
GROUNDS = {"light": "#FFFFFF", "dark": "#121212"}  # pydata-sphinx-theme's backgrounds

# Machado, Oliveira and Fernandes 2009, severity 1, in linear RGB.
COLOUR_VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(colour: str) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    """WCAG 2 contrast ratio."""
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of linear sRGB."""
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = np.array(to_xyz) @ np.clip(rgb, 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_every_colour_has_its_dark_counterpart():
    assert tuple(DARK) == plotting.PALETTE


@pytest.mark.parametrize("theme", GROUNDS)
def test_palette_stands_out_from_the_ground(theme):
    colours = plotting.PALETTE if theme == "light" else DARK.values()
    for colour in (*colours, plotting.NEUTRAL):
        assert contrast(colour, GROUNDS[theme]) >= 3, colour  # WCAG 2.1, 1.4.11: graphical objects


@pytest.mark.parametrize("vision", COLOUR_VISION)
@pytest.mark.parametrize("colours", [plotting.PALETTE, tuple(DARK.values())], ids=["light", "dark"])
def test_palette_is_told_apart_by_every_eye(vision, colours):
    seen = [lab(np.array(COLOUR_VISION[vision]) @ linear(colour)) for colour in colours]
    # A just noticeable difference is about 2.3 in CIE76; five times that is plain to see side by side.
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 11.5


def spec(page: str) -> dict:
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', page, flags=re.DOTALL)
    return json.loads(text)


def test_figure_html_holds_the_figure_and_nothing_from_outside():
    plotting.setup()
    figure = go.Figure(go.Scatter(x=[1, 2], y=[3.5, 4.25], name="</script><b>"))
    figure.update_layout(title='A <b>"bold"</b> title', height=321)
    page = plotting.figure_html(figure)
    assert page.count("</script>") == 1
    assert spec(page)["data"] == [{"type": "scatter", "x": [1, 2], "y": [3.5, 4.25], "name": "</script><b>"}]
    assert spec(page)["layout"]["title"] == {"text": 'A <b>"bold"</b> title'}
    assert html.unescape(re.search(r'aria-label="([^"]*)"', page)[1]) == 'A <b>"bold"</b> title'
    assert "min-height:321px" in page
    assert "http" not in page
    assert "src=" not in page


def test_a_notebook_stores_the_figure_for_lab_and_for_the_book():
    plotting.setup()
    plotting.setup()  # a second call changes nothing
    figure = go.Figure(go.Bar(y=[1.0]))
    bundle = pio.renderers._build_mime_bundle(figure.to_dict())
    assert set(bundle) == {"application/vnd.plotly.v1+json", "text/html"}
    stored = spec(bundle["text/html"])
    assert stored["data"] == bundle["application/vnd.plotly.v1+json"]["data"]
    assert stored["layout"]["template"]["layout"]["colorway"] == list(plotting.PALETTE)
    assert len(bundle["text/html"]) < 4096  # plotly's own renderer stores 4.9 MB


def pictures(page: str) -> list[np.ndarray]:
    return [np.array(Image.open(io.BytesIO(base64.b64decode(d)))) for d in re.findall(r"data:image/png;base64,([^\"]+)", page)]


def test_image_grid_shows_the_pixels_in_order():
    rng = np.random.default_rng(0)
    arrays = rng.integers(0, 256, (2, 3, 8, 8, 3), dtype=np.uint8)
    rows = [[arrays[0, 0], Image.fromarray(arrays[0, 1]), arrays[0, 2]], [arrays[1, 0], None, arrays[1, 2][..., 0]]]
    page = plotting.image_grid(rows, ["a", "b", "<c>"], ["cat & dog", "fox"], width=40, caption="1 < 2").data
    shown = pictures(page)
    wanted = [arrays[0, 0], arrays[0, 1], arrays[0, 2], arrays[1, 0], arrays[1, 2][..., 0]]
    assert len(shown) == 5
    for got, want in zip(shown, wanted, strict=True):
        np.testing.assert_array_equal(got, want)
    assert [html.unescape(alt) for alt in re.findall(r'alt="([^"]*)"', page)] == [
        "cat & dog, a", "cat & dog, b", "cat & dog, <c>", "fox, a", "fox, <c>",
    ]  # fmt: skip
    assert "<figcaption>1 &lt; 2</figcaption>" in page


PIXELS = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([],), "not empty"),
        (([[PIXELS], [PIXELS, PIXELS]],), "equally long"),
        (([[PIXELS]], ["a", "b"]), "2 column labels for 1"),
        (([[PIXELS]], [], ["a", "b"]), "2 row labels for 1"),
        (([[PIXELS.astype(np.float32)]],), "uint8"),
        (([[np.zeros((3, 4, 4), np.uint8)]],), "uint8"),
        (([["cat.png"]],), "got str"),
    ],
)
def test_image_grid_refuses(arguments, says):
    with pytest.raises(InputError, match=says):
        plotting.image_grid(*arguments)
