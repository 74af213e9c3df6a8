"""Plotly figures of the architecture notebook: where parameters and MACs sit, stage by stage and over the width cap."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kdlib.analysis import thesis
from kdlib.architecture import Architecture
from kdlib.profiling import network_costs, stage_costs, sweep
from kdlib.views.plotting import BLUE, DASHES, GREEN, NEUTRAL, PALETTE, PINK, SYMBOLS, VERMILLION

ALPHAS = (16, 32, 64, 96, 128, 160, 256, 512)
PARTS = (("G", "encoder half"), ("G", "decoder half"), ("E", "whole"), ("F", "whole"))
QUANTITIES = (("parameters", "parameters"), ("macs_thop", "MACs"))


def _short(count: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"


def _arrange(figure: go.Figure, title: str, height: int) -> None:
    """The legend goes to the foot of the figure, where it makes itself room: above, it would cover the panels' titles."""
    legend = {"yref": "container", "y": 0.005, "yanchor": "bottom", "traceorder": "normal"}
    figure.update_layout(title=title, height=height, margin_t=68, legend=legend)


def share_figure(architectures: dict[str, Architecture]) -> go.Figure:
    """Shares of the generator's halves, the style encoder and the mapping network; a bar for every name -> architecture."""
    figure = make_subplots(2, 1, subplot_titles=[f"share of {title}" for _, title in QUANTITIES], vertical_spacing=0.22)
    tables = {name: stage_costs(arch) for name, arch in architectures.items()}
    for row, (quantity, title) in enumerate(QUANTITIES, 1):
        totals = {name: table[quantity].sum() for name, table in tables.items()}
        labels = [f"{name}<br>{_short(total)}" for name, total in totals.items()]
        for i, (network, part) in enumerate(PARTS):
            counts = [int(t.loc[(t["network"] == network) & (t["part"] == part), quantity].sum()) for t in tables.values()]
            shares = [100 * count / total for count, total in zip(counts, totals.values())]
            name = network if part == "whole" else f"{network}, {part}"
            figure.add_bar(
                y=labels, x=shares, orientation="h", name=name, legendgroup=name, showlegend=row == 1, marker_color=PALETTE[i],
                text=[f"{share:.0f} %" if share >= 4 else "" for share in shares], textposition="inside", insidetextanchor="middle",
                textangle=0, customdata=[_short(count) for count in counts],
                hovertemplate=f"{name}: %{{x:.1f}} % of {title}, %{{customdata}}<extra></extra>", row=row, col=1,
            )  # fmt: skip
    figure.update_layout(barmode="stack", bargap=0.35)
    _arrange(figure, "Where size and work sit", 230 + 90 * len(architectures))
    figure.update_xaxes(range=[0, 100], dtick=25, ticksuffix=" %")
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="")
    return figure


def stage_figure(teacher: Architecture, student: Architecture) -> go.Figure:
    """Parameters and MACs of every stage on a logarithmic scale, the teacher's and the student's joined by a line."""
    big, small = stage_costs(teacher), stage_costs(student)
    stages = (big["network"] + "  " + big["stage"]).tolist()
    figure = make_subplots(1, 2, subplot_titles=[title for _, title in QUANTITIES], shared_yaxes=True, horizontal_spacing=0.08)
    for column, (quantity, title) in enumerate(QUANTITIES, 1):
        ends = [list(big[quantity]), list(small[quantity])]
        figure.add_scatter(
            y=[s for stage in stages for s in (stage, stage, None)], x=[v for a, b in zip(*ends) for v in (a, b, None)], mode="lines",
            line={"color": NEUTRAL, "width": 1.5}, hoverinfo="skip", showlegend=False, row=1, col=column,
        )  # fmt: skip
        for i, (arch, counts) in enumerate(zip((teacher, student), ends)):
            name = f"{'student' if arch.student else 'teacher'}, alpha = {arch.alpha}"
            notes = [f"{_short(n)} {title}" + (f", {a / n:.1f} times fewer" if i and n else "") for a, n in zip(ends[0], counts)]
            figure.add_scatter(
                y=stages, x=counts, mode="markers", name=name, legendgroup=name, showlegend=column == 1, text=notes,
                marker={"color": PALETTE[i], "symbol": SYMBOLS[i], "size": 9},
                hovertemplate=f"%{{y}}<br>{name}: %{{text}}<extra></extra>", row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(type="log", dtick=2, exponentformat="SI")
    figure.update_yaxes(range=[len(stages) - 0.3, -0.7], dtick=1)
    _arrange(figure, "Stage by stage", 150 + 23 * len(stages))
    return figure


def alpha_figure(image_size: int = 256, alphas: Sequence[int] = ALPHAS) -> go.Figure:
    """Students of every width cap: parameters and MACs, with the thesis's printed values and the teachers beside them.

    The dotted line is the AFHQ student whose decoder upsamples before its first convolution, as the teacher's does. The printed
    values, counted at 256 px, are left out at any other size.
    """
    figure = make_subplots(2, 1, subplot_titles=["parameters of G + E + F", "MACs of G + E + F"], shared_xaxes=True, vertical_spacing=0.1)

    def add(name: str, x: Sequence[int], counts: dict[str, Sequence[float]], digits: str = ".3s", **style: Any) -> None:
        """``counts``: values by quantity; the name stands in the legend once, however many calls and panels use it."""
        for row, (quantity, title) in enumerate(QUANTITIES, 1):
            if quantity in counts:
                figure.add_scatter(
                    x=x, y=counts[quantity], name=name, legendgroup=name, showlegend=name not in (t.name for t in figure.data),
                    hovertemplate=f"{name}, alpha = %{{x}}: %{{y:{digits}}} {title}<extra></extra>", row=row, col=1, **style,
                )  # fmt: skip

    for i, (data_set, colour) in enumerate((("AFHQ", BLUE), ("CelebA-HQ", VERMILLION))):
        arch = thesis.architecture(data_set, "original", image_size)
        students = sweep(arch, alphas).query("network == 'total'")
        line, marker = {"color": colour, "dash": DASHES[i]}, {"size": 6, "symbol": SYMBOLS[i]}
        add(f"{data_set}, student", students["alpha"], students, mode="lines+markers", line=line, marker=marker)
        if i == 0:
            after = sweep(arch, alphas, conv_before_upsampling=False).query("network == 'total'")
            line = {"color": PINK, "dash": "dot"}
            add(f"{data_set}, upsampling first", after["alpha"], {"macs_thop": after["macs_thop"]}, mode="lines", line=line)
        marker = {"color": colour, "size": 13, "symbol": ("star", "star-diamond")[i]}
        add(f"{data_set}, teacher", [arch.alpha], network_costs(arch).loc[["total"]], mode="markers", marker=marker)
    if image_size == 256:
        printed = [row for row in thesis.printed_tables()["5.3"]["rows"] if row[1] in alphas]
        counts = {"parameters": [float(row[2]) * 1e6 for row in printed], "macs_thop": [float(row[4]) * 1e9 for row in printed]}
        marker = {"color": GREEN, "size": 13, "symbol": "circle-open", "line": {"width": 2}}
        add("printed in Table 5.3", [row[1] for row in printed], counts, digits=".4s", mode="markers", marker=marker)
    figure.update_xaxes(type="log", tickvals=list(alphas), ticktext=[str(a) for a in alphas])
    figure.update_xaxes(title_text="alpha", row=2)
    figure.update_yaxes(type="log", exponentformat="SI", dtick="D2")
    _arrange(figure, f"Width cap, size and work, {image_size} px", 720)
    return figure
