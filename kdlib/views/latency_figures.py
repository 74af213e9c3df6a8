"""Plotly figures of deployment: time against multiply-accumulates (MACs), and where a network's time goes. Every number is a result's."""

from typing import Any

import plotly.graph_objects as go

from kdlib.deploy.latency import RUNTIMES
from kdlib.views.plotting import BLUE, DASHES, PALETTE, SYMBOLS, VERMILLION

SHOWN = ("fp32", "int8", "bf16")  # one figure can carry so many precisions


def macs_figure(result: dict[str, Any], precisions: tuple[str, ...] = ("fp32",)) -> go.Figure:
    """Median time of one translation against the generator's MACs, both axes logarithmic, a line a runtime and precision.

    A grey line through the first model, the teacher, of each series is where time would be in proportion to MACs: a point above it
    is a promise of the count that the runtime does not keep.
    """
    models, figure = result["models"], go.Figure()
    series = [(runtime, p) for p in precisions for runtime in RUNTIMES if any((r["runtime"], r["precision"]) == (runtime, p) for r in result["rows"])]
    for runtime, precision in series:
        rows = [r for r in result["rows"] if (r["runtime"], r["precision"]) == (runtime, precision)]
        x, y = [models[r["model"]]["macs"] for r in rows], [1e3 * r["median_seconds"] for r in rows]
        name = f"{RUNTIMES[runtime]}, {precision}"
        i, j = list(RUNTIMES).index(runtime), SHOWN.index(precision) if precision in SHOWN else len(DASHES) - 1
        figure.add_scatter(
            x=[x[0], min(x)], y=[y[0], y[0] * min(x) / x[0]], mode="lines", legendgroup=name, showlegend=False, hoverinfo="skip", opacity=0.45,
            line={"color": PALETTE[i], "dash": "dot", "width": 1.2},
        )  # fmt: skip
        figure.add_scatter(
            x=x, y=y, mode="lines+markers", name=name, legendgroup=name, marker_symbol=SYMBOLS[i], line={"color": PALETTE[i], "dash": DASHES[j]},
            customdata=[[r["model"], x[0] / a, y[0] / b, r["p90_seconds"] * 1e3] for r, a, b in zip(rows, x, y)],
            hovertemplate=f"{name}<br>%{{customdata[0]}}: %{{y:.3g}} ms (p90 %{{customdata[3]:.3g}} ms)<br>%{{customdata[1]:.1f}} times fewer MACs, "
            "%{customdata[2]:.1f} times faster<extra></extra>",
        )  # fmt: skip
    size = next(iter(models.values()))["image_size"]
    figure.update_xaxes(type="log", title_text="multiply-accumulates of the generator", exponentformat="SI", title_standoff=4)
    figure.update_yaxes(type="log", title_text="milliseconds a picture")
    figure.update_layout(title=f"MACs and time, {size} px", height=460, margin_t=110)
    return figure


def share_figure(profile: dict[str, Any]) -> go.Figure:
    """Shares of time and of MACs by kind of layer, of one model in one runtime (`kdlib.deploy.layer_profile.by_kind`)."""
    rows = profile["kinds"]
    figure = go.Figure()
    for key, name, colour in (("time_share", "of the time", VERMILLION), ("mac_share", "of the MACs", BLUE)):
        figure.add_bar(
            y=[row["kind"] for row in rows], x=[100 * row[key] for row in rows], orientation="h", name=name, marker_color=colour,
            text=[f"{100 * row[key]:.0f}" if row[key] >= 0.005 else "" for row in rows], textposition="outside", cliponaxis=False,
            hovertemplate=f"%{{y}}: %{{x:.1f}} % {name}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="per cent", rangemode="tozero", title_standoff=4)
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="")
    figure.update_layout(
        title=f"{profile['model']}, {profile['runtime']}: time and MACs", barmode="group", height=140 + 38 * len(rows), margin_t=90, margin_r=40
    )
    return figure
