"""Figures and pictures of the study of what set distances miss. Every number shown is read from kept results.

Colour is the bottleneck; a hollow sign is a model whose style encoder saw warped pictures; grey is a translator without a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kdlib.bottleneck import MODELS, Model, Results
from kdlib.critters import CONTENT_FACTORS
from kdlib.model_free import RANDOM, REFERENCE, SOURCE
from kdlib.results import GUIDES
from kdlib.views.plotting import NEUTRAL, PALETTE, SYMBOLS, image_grid
from kdlib.views.study_figures import LEGEND_AT_FOOT
from kdlib.views.study_pictures import EACH, cells, sample_file

SIDES = tuple(dict.fromkeys(model.side for model in MODELS))
FREE_SIGNS = {
    RANDOM: ("a random training picture", {"color": NEUTRAL, "symbol": "x-thin", "size": 11, "line": {"color": NEUTRAL, "width": 2.5}}),
    REFERENCE: ("the reference itself", {"color": NEUTRAL, "symbol": "circle-open", "size": 13, "line": {"color": NEUTRAL, "width": 2}}),
}
WIDTH = 56  # pixels of a picture on the page


@dataclass(frozen=True)
class Question:
    """A score as a line of the figure: its key, and what value is 0 and what is 1 on the common scale.

    ``nothing`` and ``ideal``: a number, or the translator without a model whose score it is. ``guides``: those that have the score.
    """

    name: str
    key: str
    nothing: float | str = 0.0
    ideal: float | str = 1.0
    guides: tuple[str, ...] = GUIDES

    def share(self, value: float, results: Results, guide: str) -> float | None:
        """``value`` on the common scale; None where the translators that it is held against were not measured."""
        ends = []
        for end in (self.nothing, self.ideal):
            if isinstance(end, str):
                if end not in results.free:
                    return None
                end = results.free[end][guide]["mean"][self.key]
            ends.append(end)
        return (value - ends[0]) / (ends[1] - ends[0])


OF_OUTPUTS = (
    Question("Fréchet", "frechet_factor_network", nothing=SOURCE, ideal=0.0),
    Question("kernel", "kernel_factor_network", nothing=SOURCE, ideal=0.0),
    Question("diversity", "diversity_factor_network", ideal=RANDOM),
    Question("species", "domain_accuracy"),
)
OF_INPUTS_TOO = (
    Question("content", "content_correlation"),
    Question("details", "detail_correlation"),
    Question("style", "style_correlation", guides=("reference",)),
    Question("no leak", "leak_correlation", nothing=1.0, ideal=0.0, guides=("reference",)),
)
QUESTIONS = {"of outputs alone": OF_OUTPUTS, "of outputs and inputs": OF_INPUTS_TOO}


def scores_figure(results: Results) -> go.Figure:
    """Every score of the models without the warp on one scale, from a worthless value (0) to an ideal one (1), and of translators
    without a model."""
    lines = {title: [(q, guide) for q in questions for guide in q.guides] for title, questions in QUESTIONS.items()}
    counts = [len(found) for found in lines.values()]
    figure = make_subplots(len(lines), 1, subplot_titles=list(lines), row_heights=counts, shared_xaxes=True, vertical_spacing=0.08)
    plain = [model for model in results.metrics if not model.warped]
    trained = {f"bottleneck {model.label}": (results.metrics[model], _sign(model, 11)) for model in plain}
    free = {name: (results.free[key], sign) for key, (name, sign) in FREE_SIGNS.items() if key in results.free}
    for row, found in enumerate(lines.values(), 1):
        names = [f"{q.name}, {guide}" for q, guide in found]
        placed = {name: [q.share(_mean(scored, q, guide), results, guide) for q, guide in found] for name, (scored, _) in (free | trained).items()}
        known = [[value for name in trained if (value := placed[name][i]) is not None] for i in range(len(found))]
        figure.add_scatter(
            x=[end for values in known for end in ((min(values), max(values), None) if values else (None,) * 3)],
            y=[name for name in names for _ in range(3)], mode="lines", line={"color": NEUTRAL, "width": 2}, showlegend=False, hoverinfo="skip",
            row=row, col=1,
        )  # fmt: skip
        for name, (scored, sign) in (free | trained).items():
            figure.add_scatter(
                x=placed[name], y=names, mode="markers", name=name, legendgroup=name, showlegend=row == 1, marker=sign,
                customdata=[_mean(scored, q, guide) for q, guide in found],
                hovertemplate=f"{name}<br>%{{y}}: %{{customdata:.3f}}<extra></extra>", row=row, col=1,
            )  # fmt: skip
        figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], range=[-0.7, len(names) - 0.3], row=row, col=1)
    figure.update_xaxes(range=[-0.16, 1.1], tickvals=[0, 0.25, 0.5, 0.75, 1], ticktext=["0", "¼", "½", "¾", "1"])
    figure.update_xaxes(title_text="0: worthless, 1: ideal", title_standoff=6, row=len(lines))
    figure.update_annotations(font_size=13, x=0, xanchor="left", xref="paper")
    title = {"text": "Which scores tell translators apart?", "xref": "container"}
    figure.update_layout(title=title, height=260 + 30 * sum(counts), margin_t=84, margin_b=120, legend=LEGEND_AT_FOOT)
    return figure


def _mean(scored: dict[str, Any], question: Question, guide: str) -> float:
    return scored[guide]["mean"][question.key]


def _sign(model: Model, size: int) -> dict[str, Any]:
    """A model's marker: colour and shape are the bottleneck's; hollow with the warp."""
    place = SIDES.index(model.side)
    outline = {"width": 2, "color": PALETTE[place]} if model.warped else {"width": 0}
    return {"color": PALETTE[place], "symbol": SYMBOLS[place] + ("-open" if model.warped else ""), "size": size, "line": outline}


def factors_figure(results: Results) -> go.Figure:
    """Every content factor of the outputs: its correlation with the source's and with the reference's, model by model."""
    panels = {"content_correlation": "with the source<br>(asked for: 1)", "leak_correlation": "with the reference<br>(asked for: 0)"}
    figure = make_subplots(1, 2, subplot_titles=list(panels.values()), shared_yaxes=True, horizontal_spacing=0.06)
    found = [model for model in MODELS if model in results.metrics]
    for column, key in enumerate(panels, 1):
        for model in found:
            mean = results.metrics[model]["reference"]["mean"]
            figure.add_scatter(
                x=[mean[f"{key}_{factor}"] for factor in CONTENT_FACTORS],
                y=[_place(i, found.index(model), len(found)) for i in range(len(CONTENT_FACTORS))],
                mode="markers", name=model.label, legendgroup=model.label, showlegend=column == 1,
                marker=_sign(model, 10),
                text=list(CONTENT_FACTORS), hovertemplate=f"{model.label}, %{{text}}: %{{x:.2f}}<extra></extra>", row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(range=[-0.25, 1.1], tickvals=[0, 0.5, 1], tickangle=0, title_text="correlation")
    count = len(CONTENT_FACTORS)
    figure.update_yaxes(tickvals=list(range(count)), ticktext=list(CONTENT_FACTORS), range=[count - 0.5, -0.5], zeroline=False)
    figure.update_annotations(font_size=13)
    figure.update_layout(title="Whose content do the outputs have?", height=470, margin_t=100, margin_b=110, legend=LEGEND_AT_FOOT)
    return figure


def _place(line: int, position: int, count: int) -> float:
    """Models one below the other, within a line's height."""
    return line + 0.56 * ((position + 0.5) / count - 0.5)


def one_style(results: Results, guide: str, domain: int) -> str:
    """HTML: all sources of the samples in one style of ``domain``, a line a model; empty where no model keeps samples."""
    lines = _samples(results, guide)
    if not lines:
        return ""
    column, head = 1 + EACH * domain, int(guide == "reference")
    names, first = results.run(next(iter(lines))).settings().domains, next(iter(lines.values()))
    sources = [line[0] for line in first[head:]]
    heads, rows = [name for name in names for _ in range(EACH)], [sources]
    rows += [[line[column] for line in grid[head:]] for grid in lines.values()]
    if head:
        heads = ["style of", *heads]
        rows = [[None, *sources], *([grid[0][column], *row] for grid, row in zip(lines.values(), rows[1:]))]
    caption = f"Sources, each in the style of one {'reference' if head else 'latent'}, as a {names[domain]}."
    return image_grid(rows, heads, ["source", *(model.label for model in lines)], width=WIDTH, caption=caption).data


def one_source(results: Results, domain: int) -> str:
    """HTML: one source of ``domain`` in every reference of the samples, a line a model; empty where no model keeps samples."""
    lines = _samples(results, "reference")
    if not lines:
        return ""
    names, first = results.run(next(iter(lines))).settings().domains, next(iter(lines.values()))
    line = 1 + EACH * domain
    rows = [[None, *first[0][1:]], *(grid[line] for grid in lines.values())]
    heads = ["source", *(name for name in names for _ in range(EACH))]
    caption = f"One source, a {names[domain]}, in the styles of all references."
    return image_grid(rows, heads, ["reference", *(model.label for model in lines)], width=WIDTH, caption=caption).data


def _samples(results: Results, guide: str) -> dict[Model, Sequence[Sequence]]:
    """The last sample of every model that keeps one, cut into its cells."""
    found = {model: results.run(model) for model in MODELS if model in results.metrics}
    return {model: cells(path, len(run.settings().domains), guide) for model, run in found.items() if (path := sample_file(run, guide))}
