"""Plotly figures of runs and of their scores. Every number shown is read from a run folder."""

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kdlib.analysis.seeds import StudyResults
from kdlib.critters import CONTENT_FACTORS
from kdlib.headlines import Headline, name_of
from kdlib.results import GUIDES
from kdlib.runs import Run
from kdlib.views.plotting import DASHES, NEUTRAL, PALETTE, SYMBOLS

LOSS_PANELS = (
    ("image discriminator", ("D/", "KD/D/"), ("real", "fake")),
    ("generator, adversarial", ("G/", "KD/G/"), ("adv",)),
    ("style reconstruction and use", ("G/", "KD/G/"), ("sty", "use")),
    ("cycle and source attributes", ("G/", "KD/G/"), ("cyc", "source")),
    ("style diversity (maximised)", ("G/",), ("ds",)),
    ("style discriminator and mapping", ("KD/Ds/", "KD/F/"), ("real", "fake", "adv")),
    ("distance to the teacher's pictures, features, codes", ("KD/G/", "KD/E/", "KD/F/"), ("output_l1", "output_perceptual", "feature", "match", "l1")),
)
# Colour says which of the two guides or codes and, for a discriminator, which side; a dotted line is a distillation term.
LOSS_COLOURS = {
    ("latent", False): ("latent-guided", PALETTE[0]),
    ("reference", False): ("reference-guided", PALETTE[1]),
    ("latent", True): ("latent-guided, fake", PALETTE[2]),
    ("reference", True): ("reference-guided, fake", PALETTE[3]),
}
GUIDE_OF = {"latent": "latent", "target": "latent", "reference": "reference", "source": "reference"}  # D^s: codes z1, z2


def loss_figure(run: Run) -> go.Figure:
    """Losses of a run over its iterations, a panel a kind; unweighted, means over the logging interval."""
    rows = run.lines("log.jsonl")
    names = sorted({name for row in rows for name in row if "/" in name})
    panels = []
    for title, groups, terms in LOSS_PANELS:
        members = [n for n in names if n.startswith(groups) and n.rsplit("/", 1)[1] in terms]
        if members:
            panels.append((title, members))
    columns, lines = 2, -(-len(panels) // 2)
    figure = make_subplots(lines, columns, subplot_titles=[p[0] for p in panels], vertical_spacing=0.3 / lines)
    for i, (_, members) in enumerate(panels):
        for name in members:
            *_, guide, term = name.split("/")
            _, colour = LOSS_COLOURS[GUIDE_OF[guide], term == "fake"]
            x, y = zip(*((row["step"], row[name]) for row in rows if name in row))
            figure.add_scatter(
                x=x, y=y, mode="lines", showlegend=False, row=i // columns + 1, col=i % columns + 1,
                line={"color": colour, "dash": "dot" if name.startswith("KD/") else "solid", "width": 1.3},
                hovertemplate=f"{name} %{{y:.3f}}<extra></extra>",
            )  # fmt: skip
    for heading, colour in LOSS_COLOURS.values():
        figure.add_scatter(x=[None], y=[None], mode="lines", name=heading, line={"color": colour, "width": 2.2})
    if any(name.startswith("KD/") for name in names):
        figure.add_scatter(x=[None], y=[None], mode="lines", name="distillation term", line={"color": NEUTRAL, "dash": "dot", "width": 2.2})
    figure.update_layout(height=240 * lines + 90, margin_t=40, margin_b=90, legend={"y": -0.36 / lines, "yanchor": "top"})
    figure.update_xaxes(title_text="iteration", row=lines)
    return figure


def selection_figure(choice: dict[str, Any]) -> go.Figure:
    """The score of every candidate over the iterations, guide by guide, and the one chosen; ``choice``: `kdlib.scoring.selection.choose`'s."""
    candidates, name = choice["candidates"], choice["score"]
    steps = [c["step"] for c in candidates]
    figure = go.Figure()
    for i, guide in enumerate(GUIDES):
        figure.add_scatter(
            x=steps, y=[c[guide][name] for c in candidates], mode="lines+markers", name=f"{guide}-guided",
            line={"color": PALETTE[i], "width": 1.3}, hovertemplate=f"{guide}-guided, iteration %{{x:,}}: %{{y:.2f}}<extra></extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=steps, y=[c["criterion"] for c in candidates], mode="lines+markers", name="mean, the criterion",
        line={"color": NEUTRAL, "width": 2.2}, hovertemplate="mean, iteration %{x:,}: %{y:.2f}<extra></extra>",
    )  # fmt: skip
    chosen = next(c for c in candidates if c["step"] == choice["chosen"])
    figure.add_scatter(
        x=[chosen["step"]], y=[chosen["criterion"]], mode="markers", name="chosen",
        marker={"symbol": "star", "size": 16, "color": PALETTE[3]}, hovertemplate="chosen, iteration %{x:,}: %{y:.2f}<extra></extra>",
    )  # fmt: skip
    figure.update_layout(title="Candidates (lower is better)", yaxis_title=name_of(name), xaxis_title="iteration")
    return figure


def factor_figure(metrics: dict[str, Any], guide: str = "reference") -> go.Figure:
    """Content factors: correlation of the output with its source (asked for) and with its reference (a leak)."""
    mean = metrics[guide]["mean"]
    figure = go.Figure()
    figure.add_bar(
        x=CONTENT_FACTORS, y=[mean[f"content_correlation_{f}"] for f in CONTENT_FACTORS], name="with the source (1 is ideal)"
    )
    if guide == "reference":
        figure.add_bar(
            x=CONTENT_FACTORS, y=[mean[f"leak_correlation_{f}"] for f in CONTENT_FACTORS], name="with the reference (0 is ideal)"
        )
    figure.update_layout(title="Does the content survive?", yaxis_title="correlation", barmode="group")
    return figure


def style_figure(metrics: dict[str, Any]) -> go.Figure:
    """Style groups: correlation of the output's colours and markings with its reference's."""
    groups = ("fur", "background", "eye", "markings")
    mean = metrics["reference"]["mean"]
    figure = go.Figure(go.Bar(x=groups, y=[mean[f"style_correlation_{g}"] for g in groups], marker_color=PALETTE[2]))
    figure.update_layout(title="Does the style come from the reference?", yaxis_title="correlation")
    return figure


def pair_figure(metrics: dict[str, Any], name: str, title: str) -> go.Figure:
    """A score over every ordered pair of domains, latent- and reference-guided side by side; ± its deviation over seeds."""
    domains = metrics["protocol"]["domains"]
    figure = make_subplots(1, 2, subplot_titles=("latent-guided", "reference-guided"), shared_yaxes=True)
    values = [metrics[guide]["pairs"] for guide in ("latent", "reference")]
    deviations = [metrics[guide].get("deviation", {}).get("pairs", {}) for guide in ("latent", "reference")]
    everything = [scores[name] for pairs in values for scores in pairs.values()]
    for column, (pairs, spread) in enumerate(zip(values, deviations, strict=True), 1):
        z = [[pairs[f"{a}->{b}"][name] if a != b else None for b in domains] for a in domains]
        spreads = [[f"<br>± {spread[f'{a}->{b}'][name]:.3f}" if f"{a}->{b}" in spread else "" for b in domains] for a in domains]
        figure.add_heatmap(
            x=domains, y=domains, z=z, zmin=min(everything), zmax=max(everything), text=spreads, texttemplate="%{z:.3f}%{text}",
            showscale=column == 2, row=1, col=column, hovertemplate="%{y} → %{x}: %{z:.4f}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="into")
    figure.update_yaxes(title_text="from", col=1)
    figure.update_layout(title=title, margin_t=90)
    return figure


def tradeoff_figure(results: StudyResults, headline: Headline) -> go.Figure:
    """Parameters against a score: teacher, students with and without distillation; latent- and reference-guided panels.

    A point is the mean over seeds, its bar their deviation.
    """
    figure = make_subplots(1, 2, subplot_titles=("latent-guided", "reference-guided"), shared_yaxes=True)
    kinds = {
        "teacher": [group for group in results.grid if not group.is_student],
        "student": [group for group in results.grid if group.is_student and not group["distilled"]],
        "student, distilled": [group for group in results.grid if group["distilled"]],
    }
    for column, guide in enumerate(("latent", "reference"), 1):
        for i, (kind, groups) in enumerate(kinds.items()):
            found = [(group, spread) for group in groups if (spread := group.score(guide, headline.key)) is not None]
            figure.add_scatter(
                x=[group["parameters"] for group, _ in found], y=[spread.mean for _, spread in found], name=kind, legendgroup=kind,
                mode="markers+lines" if len(found) > 1 else "markers", showlegend=column == 1,
                text=[f"{group.label}: {spread.text(headline.digits)}" for group, spread in found],
                error_y={"type": "data", "array": [spread.deviation for _, spread in found], "thickness": 1.5},
                marker={"color": PALETTE[i], "symbol": SYMBOLS[i], "size": 11}, line={"color": PALETTE[i], "dash": DASHES[i]},
                hovertemplate="%{text}, %{x:,} weights<extra></extra>", row=1, col=column,
            )  # fmt: skip
    sizes = sorted({group["parameters"] for group in results.grid})
    ticks = [f"{n / 1e6:.2f} M" if n >= 1e6 else f"{n / 1e3:.0f} k" for n in sizes]
    figure.update_xaxes(title_text="weights", type="log", tickvals=sizes, ticktext=ticks)
    figure.update_layout(title=headline.heading, height=430, margin_b=110, legend={"y": -0.28, "yanchor": "top"})
    return figure


def score_figure(results: StudyResults, names: dict[str, str], guide: str = "reference") -> go.Figure:
    """Bars of several scores (key -> heading) for teacher and students, with their deviation over seeds."""
    figure = go.Figure()
    for i, group in enumerate(results.grid):
        spreads = [group.score(guide, name) for name in names]
        figure.add_bar(
            x=list(names.values()), y=[spread and spread.mean for spread in spreads], name=group.label,
            error_y={"type": "data", "array": [spread and spread.deviation for spread in spreads], "thickness": 1},
            marker={"color": PALETTE[i % len(PALETTE)], "pattern": {"shape": "/" if group["distilled"] else ""}},
        )  # fmt: skip
    legend = {"y": -0.3, "yanchor": "top"}  # at the foot: on a narrow page it would cover the bars
    figure.update_layout(title=f"Factor scores, {guide}-guided", barmode="group", height=460, margin_b=150, legend=legend)
    return figure
