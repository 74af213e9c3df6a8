"""Plotly figures of a study: quality against cost, what distillation changes, what each loss brings, losses alone and distilled.

Every number shown is read from run folders. Error bars are sample standard deviations over trainings with other seeds; a point
without one has a single seed behind it.
"""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kdlib.analysis.ablation import cost_of, measure_of
from kdlib.analysis.claims import scatter
from kdlib.analysis.seeds import Group, Quantity, Spread, StudyResults, paired, seeds_text
from kdlib.headlines import Headline
from kdlib.results import GUIDES
from kdlib.runs import Run
from kdlib.views.plotting import BLUE, DASHES, NEUTRAL, PALETTE, SYMBOLS, VERMILLION

# The same sign for the same thing in every figure of the study.
TEACHER_SIGN = {"color": NEUTRAL, "symbol": "star", "dash": "solid"}
ALONE_SIGN = {"color": VERMILLION, "symbol": SYMBOLS[0], "dash": DASHES[1]}
DISTILLED_SIGN = {"color": BLUE, "symbol": SYMBOLS[1], "dash": DASHES[0]}
KINDS = {"teacher": TEACHER_SIGN, "students alone": ALONE_SIGN, "students, distilled": DISTILLED_SIGN}
LEGEND_AT_FOOT = {"yref": "container", "y": 0.005, "yanchor": "bottom"}
CURVES = (  # of the terms that a student minimises with and without a teacher
    ("generator, adversarial", ("G/latent/adv", "G/reference/adv")),
    ("style reconstruction", ("G/latent/sty", "G/reference/sty")),
    ("cycle", ("G/latent/cyc", "G/reference/cyc")),
    ("style diversity", ("G/latent/ds", "G/reference/ds")),
)


def kinds_of(results: StudyResults) -> dict[str, list[Group]]:
    """Teacher, students alone and distilled students, each by width."""
    students = [group for group in results.grid if group.is_student]
    return {
        "teacher": [results.teacher] if results.teacher else [],
        "students alone": [group for group in students if not group["distilled"]],
        "students, distilled": [group for group in students if group["distilled"]],
    }


def choices(results: StudyResults, costs: dict[str, Quantity], shown: Sequence[Headline]) -> dict[str, Any]:
    """All that the trade-off figure can show, for the page's controls: values by cost and by guide and score, a list a trace.

    {"x": {name: {"values": [[...], ...], "title", "ticks", "labels"}}, "y": {"guide|score": {"values", "errors", "notes", "name",
    "axis"}}}. Costs that no run has are left out.
    """
    kinds = kinds_of(results)
    x, y = {}, {}
    for name, of in costs.items():
        values = [[spread.mean if (spread := group.spread(of)) else None for group in groups] for groups in kinds.values()]
        ticks = sorted({value for line in values for value in line if value is not None})
        if ticks:
            x[name] = {"values": values, "title": name, "ticks": ticks, "labels": [_amount(name, tick) for tick in ticks]}
    for headline in shown:
        for guide in GUIDES:
            spreads = [[group.score(guide, headline.key) for group in groups] for groups in kinds.values()]
            if not any(spread for line in spreads for spread in line):
                continue
            y[f"{guide}|{headline.key}"] = {
                "values": [[spread.mean if spread else None for spread in line] for line in spreads],
                "errors": [[spread.deviation if spread else None for spread in line] for line in spreads],
                "notes": [[_note(spread, headline) for spread in line] for line in spreads],
                "name": headline.heading,
                "axis": f"{guide}-guided, {'lower' if headline.lower_is_better else 'higher'} is better",
            }
    return {"x": x, "y": y}


def tradeoff_figure(results: StudyResults, data: dict[str, Any]) -> go.Figure:
    """Quality against cost, teacher and students with and without distillation; ``data``: `choices`, of which the first are shown."""
    x, y = next(iter(data["x"].values())), next(iter(data["y"].values()))
    figure = go.Figure()
    for i, (kind, groups) in enumerate(kinds_of(results).items()):
        sign = KINDS[kind]
        figure.add_scatter(
            x=x["values"][i], y=y["values"][i], text=[group.label for group in groups], customdata=y["notes"][i], name=kind,
            mode="markers+lines" if len(groups) > 1 else "markers", line={"color": sign["color"], "dash": sign["dash"]},
            marker={"color": sign["color"], "symbol": sign["symbol"], "size": 15 if kind == "teacher" else 11},
            error_y={"type": "data", "array": y["errors"][i], "color": sign["color"], "thickness": 1.5, "width": 5},
            hovertemplate="%{text}<br>%{customdata}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text=x["title"], type="log", tickvals=x["ticks"], ticktext=x["labels"])
    figure.update_yaxes(title_text=y["axis"])
    figure.update_layout(title=y["name"], height=460, margin_b=110, legend=LEGEND_AT_FOOT)
    return figure


def effect_figure(results: StudyResults, shown: Sequence[Headline]) -> go.Figure:
    """What distillation changes in every score, a panel each: distilled minus alone per width; to the right is better.

    A small mark a seed, a large one for their mean, with its deviation over seeds.
    """
    figure, columns = _panels([_direction(h) for h in shown])
    widths = [alpha for alpha in results.alphas if results.student(alpha, True) and results.student(alpha, False)]
    for i, headline in enumerate(shown):
        for j, guide in enumerate(GUIDES):
            measure = measure_of(headline, guide)
            pairs = {a: paired(results.student(a, False), results.student(a, True), measure.of) for a in widths}
            found = {alpha: spread for alpha, spread in pairs.items() if spread is not None}
            at = {"row": i // columns + 1, "col": i % columns + 1}
            style = {"color": PALETTE[j], "symbol": SYMBOLS[j]}
            singles = [(value, _place(alpha, widths, j)) for alpha, spread in found.items() if spread.count > 1 for value in spread.values]
            figure.add_scatter(
                x=[value for value, _ in singles], y=[place for _, place in singles], mode="markers", showlegend=False, hoverinfo="skip",
                marker={**style, "size": 5, "opacity": 0.55}, **at,
            )  # fmt: skip
            figure.add_scatter(
                x=[spread.mean for spread in found.values()], y=[_place(alpha, widths, j) for alpha in found], mode="markers",
                name=f"{guide}-guided", legendgroup=guide, showlegend=i == 0, marker={**style, "size": 11},
                error_x={"type": "data", "array": [s.deviation for s in found.values()], "color": PALETTE[j], "thickness": 1.5, "width": 4},
                text=[f"α = {a}, {guide}: {s.text(headline.digits, signed=True)} ({seeds_text(s.count)})" for a, s in found.items()],
                hovertemplate="%{text}<extra></extra>", **at,
            )  # fmt: skip
        _zero_line(figure, headline, row=i // columns + 1, col=i % columns + 1)
    _name_lines(figure, [f"α = {a}" for a in widths], first_at_top=False)
    _arrange(figure, "Distilled minus alone, by score", len(shown), 48 + 34 * len(widths))
    return figure


def ablation_figure(results: StudyResults, shown: Sequence[Headline]) -> go.Figure:
    """What every variant changes in every score against the full recipe, a panel each; to the right is better.

    The band is the full recipe's deviation over seeds, on either side of nothing.
    """
    full, variants = results.student(results.main, True), results.variants
    figure, columns = _panels([_direction(h) for h in shown])
    for i, headline in enumerate(shown):
        row, col = i // columns + 1, i % columns + 1
        for j, guide in enumerate(GUIDES):
            measure = measure_of(headline, guide)
            parts = {v: part for v in variants if (part := cost_of(results, v, measure)) is not None}
            worse = 1 if headline.lower_is_better else -1  # a cost of a distance is a rise, one of a correlation a fall
            figure.add_scatter(
                x=[worse * part.margin for part in parts.values()], y=[_place(v, variants, j) for v in parts], mode="markers",
                name=f"{guide}-guided", legendgroup=guide, showlegend=i == 0,
                marker={"color": PALETTE[j], "symbol": SYMBOLS[j], "size": 11},
                text=[f"{plain(v)}<br>{part.text} ({seeds_text(part.seeds)})" for v, part in parts.items()],
                hovertemplate="%{text}<extra></extra>", row=row, col=col,
            )  # fmt: skip
            band = scatter(results, full, measure.of) if full is not None else None
            if band:
                figure.add_shape(
                    type="rect", x0=-band, x1=band, y0=-0.5, y1=len(variants) - 0.5, fillcolor=PALETTE[j], opacity=0.14, line_width=0,
                    layer="below", row=row, col=col,
                )  # fmt: skip
        _zero_line(figure, headline, row=row, col=col)
    _name_lines(figure, [_in_two_lines(plain(v)) for v in variants], first_at_top=True)
    _arrange(figure, "Change against the full recipe", len(shown), 60 + 34 * max(3, len(variants)))
    return figure


def curves_figure(alone: Sequence[Run], distilled: Sequence[Run]) -> go.Figure:
    """Losses that both kinds of student minimise, over the iterations: a line a seed, the mean of latent- and reference-guided."""
    figure, columns = _panels([title for title, _ in CURVES])
    for name, sign, runs in (("alone", ALONE_SIGN, alone), ("distilled", DISTILLED_SIGN, distilled)):
        for n, run in enumerate(runs):
            rows = run.lines("log.jsonl")
            for i, (_, terms) in enumerate(CURVES):
                values = [(row["step"], [row[term] for term in terms if term in row]) for row in rows]
                points = [(step, sum(found) / len(found)) for step, found in values if found]
                figure.add_scatter(
                    x=[step for step, _ in points], y=[value for _, value in points], mode="lines", name=name, legendgroup=name,
                    showlegend=n == 0 and i == 0, line={"color": sign["color"], "dash": sign["dash"], "width": 1.6}, opacity=0.85,
                    hovertemplate=f"{name}, seed {run.settings().preset.training.seed}, iteration %{{x:,}}: %{{y:.3f}}<extra></extra>",
                    row=i // columns + 1, col=i % columns + 1,
                )  # fmt: skip
    figure.update_xaxes(title_text="iteration", row=-(-len(CURVES) // columns))
    _arrange(figure, "Losses, alone and distilled", len(CURVES), 200)
    return figure


def course_figure(name: str, course: dict[str, Any], shown: Sequence[Headline], real: dict[str, float]) -> go.Figure:
    """Scores of a run's moving average over its iterations, a panel each; dotted where real pictures stand, as ``real`` has it by score."""
    figure, columns = _panels([f"{h.heading.split(' (')[0]}, {'lower' if h.lower_is_better else 'higher'} is better" for h in shown])
    for i, headline in enumerate(shown):
        at = {"row": i // columns + 1, "col": i % columns + 1}
        for j, guide in enumerate(GUIDES):
            points = [(moment["step"], moment[guide][headline.key]) for moment in course["moments"] if headline.key in moment[guide]]
            figure.add_scatter(
                x=[step for step, _ in points], y=[value for _, value in points], mode="lines+markers", name=f"{guide}-guided",
                legendgroup=guide, showlegend=i == 0, line={"color": PALETTE[j], "dash": DASHES[j]},
                marker={"color": PALETTE[j], "symbol": SYMBOLS[j], "size": 6},
                hovertemplate=f"%{{x:,}} iterations, {guide}: %{{y:.{headline.digits}f}}<extra></extra>", **at,
            )  # fmt: skip
        if headline.key in real:
            figure.add_hline(y=real[headline.key], line_dash="dot", line_color=NEUTRAL, **at)
    figure.update_xaxes(title_text="iterations", row=-(-len(shown) // columns))
    _arrange(figure, name, len(shown), 190)
    return figure


# ---- parts of figures ----


def _panels(titles: Sequence[str], columns: int = 2) -> tuple[go.Figure, int]:
    lines = -(-len(titles) // columns)
    spaces = {"vertical_spacing": 0.32 / max(lines, 1), "horizontal_spacing": 0.1}
    return make_subplots(lines, columns, subplot_titles=titles, **spaces), columns


def _arrange(figure: go.Figure, title: str, panels: int, height: int) -> None:
    lines = -(-panels // 2)
    figure.update_annotations(font_size=13)
    figure.update_xaxes(nticks=3, tickangle=0)
    figure.update_layout(title=title, height=(height + 70) * lines + 110, margin_t=90, margin_b=90, legend=LEGEND_AT_FOOT)


def _name_lines(figure: go.Figure, names: Sequence[str], first_at_top: bool) -> None:
    """The names of what is compared, at the left panels only: both panels of a row have the same."""
    ends = [-0.6, len(names) - 0.4]
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=list(names), range=ends[::-1] if first_at_top else ends, zeroline=False)
    figure.update_yaxes(showticklabels=False, col=2)


def _direction(headline: Headline) -> str:
    return f"{headline.heading.split(' (')[0]}<br>better →"


def _zero_line(figure: go.Figure, headline: Headline, row: int, col: int) -> None:
    """Nothing changed; the axis of a score that should be low runs backwards, so that better lies to the right everywhere."""
    figure.add_vline(x=0, line={"color": NEUTRAL, "width": 1.2}, row=row, col=col)
    figure.update_xaxes(autorange="reversed" if headline.lower_is_better else True, zeroline=False, row=row, col=col)


def _place(one: Any, among: Sequence[Any], guide: int) -> float:
    """Height of a mark: its line's, a little apart from that of the other guide."""
    return among.index(one) + 0.16 * (1 - 2 * guide)


def plain(variant: str) -> str:
    """A variant's name for a line of a table or figure: 'no image adversarial', 'style l1'."""
    return variant.replace("without_", "no ").replace("_", " ")


def _in_two_lines(name: str) -> str:
    words = name.split()
    return name if len(words) < 3 else f"{' '.join(words[:-1])}<br>{words[-1]}"


def _note(spread: Spread | None, headline: Headline) -> str:
    return "" if spread is None else f"{spread.text(headline.digits)} ({seeds_text(spread.count)})"


def _amount(cost: str, value: float) -> str:
    if "latency" in cost:
        return f"{1e3 * value:.3g} ms"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:g}"
