"""Plotly figures of what training costs, from the benchmarks' results (runs/reference/cost). Every number shown is read from those."""

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kdlib.views.plotting import BLUE, DASHES, GREEN, NEUTRAL, PALETTE, SYMBOLS, VERMILLION

NETWORKS = {"G": "generator", "E": "style encoder", "F": "mapping network", "D": "discriminator", "D^s": "style discriminator"}
TEACHER_HAS = ("G", "E", "F")
SWEEPS = {"batch": "pictures a batch", "alpha": "width cap α", "image_size": "picture, px", "domains": "domains"}


def seconds_text(value: float) -> str:
    """Seconds with two or three digits that count: 0.0024 s, 0.73 s, 12.3 s, 289 s."""
    return f"{value:.2g} s" if value < 0.095 else f"{value:.2f} s" if value < 9.995 else f"{value:.1f} s" if value < 99.95 else f"{value:,.0f} s"


def loading_figure(loading: dict[str, Any]) -> go.Figure:
    """Seconds to make a batch and seconds of the iteration that it is for, by picture size, on a logarithmic scale."""
    sizes = list(loading["sizes"].values())
    labels = [f"{size} px" for size in loading["sizes"]]
    figure = go.Figure()
    series = {f"a batch, {name}": [row["loading"][name]["seconds_a_batch"] for row in sizes] for name in sizes[0]["loading"]}
    series["the iteration"] = [row["step"]["seconds_at_batch"] for row in sizes]
    for (name, seconds), colour in zip(series.items(), (GREEN, BLUE, VERMILLION)):
        figure.add_bar(
            y=labels, x=seconds, orientation="h", name=name, marker_color=colour, text=[seconds_text(s) for s in seconds], textposition="outside",
            cliponaxis=False, hovertemplate=f"{name}, %{{y}}: %{{x:.3g}} s<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(type="log", title_text=f"seconds for {sizes[0]['batch']} pictures and their references", ticksuffix=" s", dtick=1)
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="")
    figure.update_layout(title="Loading and training", barmode="group", height=120 + 110 * len(labels), margin_t=90, margin_r=60)
    return figure


def sweep_figure(cost: dict[str, Any]) -> go.Figure:
    """Seconds and memory of an iteration against everything that was varied, a row each; settings that did not fit are left out."""
    sweeps = {name: [row for row in rows if row["seconds"] is not None] for name, rows in cost["sweeps"].items()}
    figure = make_subplots(
        len(sweeps), 2, column_titles=["seconds an iteration", "GiB at the peak"], vertical_spacing=0.45 / len(sweeps), horizontal_spacing=0.12
    )
    for i, (name, rows) in enumerate(sweeps.items(), 1):
        x = [row[name] for row in rows]
        for column, (y, colour, unit) in enumerate(
            (([row["seconds"] for row in rows], BLUE, "s"), ([row["bytes"] / 2**30 for row in rows], VERMILLION, "GiB")), 1
        ):
            figure.add_scatter(
                x=x, y=y, mode="lines+markers", showlegend=False, line_color=colour, marker_symbol=SYMBOLS[column - 1], row=i, col=column,
                hovertemplate=f"{SWEEPS[name]} %{{x}}: %{{y:.3g}} {unit}<extra></extra>",
            )  # fmt: skip
        figure.update_xaxes(title_text=SWEEPS[name], tickvals=x, tickangle=0, type="log", title_standoff=4, row=i)
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(title="What an iteration costs", height=230 * len(sweeps) + 60, margin_t=90)
    return figure


def heads_figure(cost: dict[str, Any], image_size: int) -> go.Figure:
    """Weights of every network against the number of domains, teacher's and student's."""
    rows = [row for row in cost["heads"] if row["image_size"] == image_size]
    domains = [row["domains"] for row in rows]
    figure = make_subplots(1, 2, subplot_titles=[f"{name}, α = {rows[0][name]['alpha']}" for name in ("teacher", "student")], horizontal_spacing=0.12)
    for column, name in enumerate(("teacher", "student"), 1):
        for i, (letter, network) in enumerate(NETWORKS.items()):
            if name == "teacher" and letter not in TEACHER_HAS:
                continue  # a distillation trains the student's discriminators alone
            figure.add_scatter(
                x=domains, y=[row[name]["parameters"][letter] for row in rows], mode="lines+markers", name=network,
                legendgroup=letter, showlegend=column == 2, row=1, col=column,
                line={"color": (*PALETTE, NEUTRAL)[i], "dash": (*DASHES, "longdash")[i]}, marker_symbol=(*SYMBOLS, "x")[i],
                hovertemplate=f"{network}, %{{x}} domains: %{{y:.3s}} weights<extra></extra>",
            )  # fmt: skip
    figure.update_xaxes(title_text="domains", title_standoff=4)
    figure.update_yaxes(rangemode="tozero", exponentformat="SI")
    figure.update_layout(title=f"Weights by number of domains, {image_size} px", height=440, margin_t=90, margin_b=120, legend={"y": -0.3, "yanchor": "top"})
    return figure
