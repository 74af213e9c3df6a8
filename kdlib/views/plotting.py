"""How figures look and how they reach the page: Plotly template, colours, renderer for the book, grids of pictures.

A notebook calls `setup()` once. From then on every figure takes the template "kdlib" and is shown twice over: as Plotly's own
MIME type (JupyterLab draws it) and as an HTML element holding the figure's JSON (the book's ``_static/kdplot.js`` draws it, in the
reader's light or dark theme, with one plotly.js shared by all pages). Nothing is fetched from outside, and no page carries
plotly.js inside, as Plotly's own ``notebook`` renderer would have it (4.9 MB a page).
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
from PIL import Image
from plotly.io.base_renderers import MimetypeRenderer

from kdlib.errors import InputError

# Okabe and Ito's colours, those of them that stand out from white and from the dark theme's #121212 alike (contrast of 3 or more).
# On a dark page kdplot.js puts a lighter colour of the same hue in the place of each.
BLUE, VERMILLION, GREEN, PINK = PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
NEUTRAL = "#7F8790"  # what is not part of the comparison: real data, published values
DASHES = ("solid", "dash", "dot", "dashdot")  # a second sign beside colour wherever series cross
SYMBOLS = ("circle", "diamond", "square", "triangle-up")
SEQUENTIAL = "Cividis"
DIVERGING = ((0.0, BLUE), (0.5, "#F2F2F2"), (1.0, VERMILLION))

HEIGHT = 380  # pixels, unless the figure says otherwise
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_GRID = "rgba(127, 135, 144, 0.28)"


def template() -> go.layout.Template:
    """The layout defaults of every figure: transparent ground, greys that read on light and dark, tight margins."""
    axis = dict(gridcolor=_GRID, linecolor=_GRID, zerolinecolor=_GRID, automargin=True, ticks="outside", tickcolor=_GRID)
    return go.layout.Template(
        layout=dict(
            height=HEIGHT,
            colorway=PALETTE,
            colorscale=dict(sequential=SEQUENTIAL, diverging=DIVERGING),
            font=dict(family=_FONT, size=13, color=NEUTRAL),
            title=dict(x=0, xref="paper", xanchor="left", y=1, yref="container", yanchor="top", pad=dict(t=10), font=dict(size=15)),
            margin=dict(l=56, r=16, t=76, b=48),
            paper_bgcolor="rgba(0,0,0,0)",
            plot_bgcolor="rgba(0,0,0,0)",
            legend=dict(orientation="h", x=0, xanchor="left", y=1.01, yanchor="bottom"),
            hoverlabel=dict(font=dict(family=_FONT, size=13)),
            xaxis=axis,
            yaxis=axis,
        ),
        data=dict(
            scatter=[dict(line=dict(width=2.2), marker=dict(size=8))],
            # layout.colorscale alone does not reach heatmaps
            heatmap=[dict(colorscale=SEQUENTIAL, colorbar=dict(outlinewidth=0, thickness=12))],
        ),
    )


def setup() -> None:
    """Make the kdlib template and the book's renderer the defaults of this process. Calling it again changes nothing."""
    pio.templates["kdlib"] = template()
    pio.templates.default = "kdlib"
    pio.renderers["kdbook"] = BookRenderer()
    pio.renderers.default = "plotly_mimetype+kdbook"


class BookRenderer(MimetypeRenderer):
    """Gives a figure as ``text/html``: ``<div class="kdplot">`` around its JSON, for ``_static/kdplot.js`` to draw."""

    def to_mimebundle(self, fig_dict: dict[str, Any]) -> dict[str, str]:
        """Plotly's interface: the figure as plain values -> {MIME type: content}."""
        return {"text/html": figure_html(go.Figure(fig_dict, skip_invalid=True))}


def figure_html(figure: go.Figure) -> str:
    """The HTML element of one figure; its title doubles as the text that a screen reader speaks."""
    layout = figure.layout
    height = int(layout.height or layout.template.layout.height or HEIGHT)
    label = html.escape(layout.title.text or "Figure", quote=True)
    spec = figure.to_json(pretty=False)  # plotly writes "<" as an escape, so no text can end the script element
    return (
        f'<div class="kdplot" role="figure" aria-label="{label}" style="min-height:{height}px">'
        f'<script type="application/json">{spec}</script></div>'
    )


def image_grid(
    rows: Sequence[Sequence[Image.Image | np.ndarray | None]],
    columns: Sequence[str] = (),
    row_labels: Sequence[str] = (),
    *,
    width: int = 72,
    caption: str = "",
):
    """A labelled grid of pictures as ``IPython.display.HTML``.

    ``rows``: equally long rows of PIL images or uint8 arrays [H W 3] or [H W]; None leaves a cell empty. ``columns`` and
    ``row_labels``: one label each, or none at all. ``width``: pixels a picture takes on the page; pictures keep their own
    resolution in the file. On a narrow screen the grid scrolls sideways in its own frame. Raises `InputError` on uneven rows,
    labels that do not match, or pictures of another type.
    """
    from IPython.display import HTML

    rows = [list(row) for row in rows]
    if not rows or len({len(row) for row in rows}) != 1 or not rows[0]:
        raise InputError(f"image_grid: rows must be equally long and not empty, got lengths {[len(row) for row in rows]}")
    if columns and len(columns) != len(rows[0]):
        raise InputError(f"image_grid: {len(columns)} column labels for {len(rows[0])} columns")
    if row_labels and len(row_labels) != len(rows):
        raise InputError(f"image_grid: {len(row_labels)} row labels for {len(rows)} rows")

    lines = []
    if columns:
        corner = "<td></td>" if row_labels else ""
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in columns)
        lines.append(f"<thead><tr>{corner}{head}</tr></thead>")
    lines.append("<tbody>")
    for r, row in enumerate(rows):
        label = f'<th scope="row">{html.escape(row_labels[r])}</th>' if row_labels else ""
        cells = []
        for c, picture in enumerate(row):
            alt = ", ".join(([row_labels[r]] if row_labels else []) + ([columns[c]] if columns else []))
            cells.append(f"<td>{_picture_html(picture, alt or f'row {r + 1}, column {c + 1}', width)}</td>")
        lines.append(f"<tr>{label}{''.join(cells)}</tr>")
    lines.append("</tbody>")
    tail = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return HTML(f'<figure class="kdgrid"><div><table>{"".join(lines)}</table></div>{tail}</figure>')


def _picture_html(picture: Image.Image | np.ndarray | None, alt: str, width: int) -> str:
    if picture is None:
        return ""
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or not (picture.ndim == 2 or picture.ndim == 3 and picture.shape[2] == 3):
            raise InputError(f"image_grid: an array must be uint8 [H W 3] or [H W], got {picture.dtype} {picture.shape}")
        picture = Image.fromarray(picture)
    if not isinstance(picture, Image.Image):
        raise InputError(f"image_grid: a picture must be a PIL image or a uint8 array, got {type(picture).__name__}")
    buffer = io.BytesIO()
    picture.save(buffer, "png", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt, quote=True)}" width="{width}">'
