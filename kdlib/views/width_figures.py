"""Plotly figure of a generator's stages: what their width costs, and what losing it does. Every number is a result's."""

from typing import Any

import plotly.graph_objects as go

from kdlib.views.plotting import DASHES, PALETTE, SYMBOLS


def sensitivity_figure(result: dict[str, Any], key: str, heading: str, guide: str = "reference") -> go.Figure:
    """A score against the share of multiply-accumulates (MACs) that is saved by narrowing one stage, a line a stage.

    ``result``: of benchmarks/stage_sensitivity.py; ``key``: a score among its means. All lines begin at the whole generator.
    """
    whole, figure = result["whole"], go.Figure()
    start = whole["scores"][guide][key]
    for i, stage in enumerate(result["stages"]):
        rows = sorted((row for row in result["rows"] if row["side"] == stage["side"]), key=lambda row: -row["left"])
        saved = [0.0, *(100 * (1 - row["macs"] / whole["macs"]) for row in rows)]
        look = i % len(PALETTE)
        figure.add_scatter(
            x=saved, y=[start, *(row["scores"][guide][key] for row in rows)], customdata=[stage["width"], *(row["left"] for row in rows)],
            mode="lines+markers", name=f"{stage['side']} px", marker_symbol=SYMBOLS[look], line={"color": PALETTE[look], "dash": DASHES[look]},
            hovertemplate=f"{stage['side']} px, %{{customdata}} of {stage['width']} channels<br>%{{x:.1f}} % of the MACs saved<br>"
            f"{heading} %{{y:.3g}}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="per cent of the generator's MACs saved", rangemode="tozero", title_standoff=4)
    figure.update_yaxes(title_text=heading)
    figure.update_layout(title=f"{result['model']}: one stage narrowed", height=400)
    return figure
