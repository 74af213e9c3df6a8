"""The page of what set distances miss: Markdown fragments from the kept runs of preset `bottleneck` and what was measured beside them.

What the sentences say is decided by the numbers: whether a model kept its sources, and which score prefers which model. Of what is
not kept the fragments say so, with the command that makes it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kdlib.analysis.prose import joined, listed
from kdlib.analysis.seeds import BLANK, tidy
from kdlib.book.cost_report import shown
from kdlib.bottleneck import MODELS, PRESET, WIDE, Model, Results, load_results
from kdlib.critters import SPECIES
from kdlib.headlines import Headline
from kdlib.model_free import RANDOM, REFERENCE, SOURCE
from kdlib.results import GUIDES, markdown_table
from kdlib.scoring.factor_scores import HEADLINE_STYLES, POSE_FACTORS, STYLE_GROUPS
from kdlib.style_codes import FROM_CODE, FROM_SOURCE, HELD
from kdlib.views import bottleneck_figures as figures

MEASURE = f"python -m kdlib.bottleneck --out runs/reference/{PRESET}"
DISTANCES = (
    Headline("frechet_factor_network", "Fréchet distance", lower_is_better=True, digits=1),
    Headline("kernel_factor_network", "kernel distance", lower_is_better=True, digits=2),
)
SCORES = (
    *DISTANCES,
    Headline("diversity_factor_network", "diversity", digits=1),
    Headline("domain_accuracy", "species right", digits=2),
    Headline("content_correlation", "content kept", digits=2),
    Headline("detail_correlation", "details kept", digits=2),
    Headline("style_correlation", "style followed", digits=2),
    Headline("leak_correlation", "leak", lower_is_better=True, digits=2),
)
LEFT_OUT = ("diversity_factor_network", "detail_correlation")  # of the table of the warp
FREE = {SOURCE: "the source itself", RANDOM: "a random training picture", REFERENCE: "the reference itself"}
PLAIN = tuple(model for model in MODELS if not model.warped)
NOT_SCORED = f"*Translators without a model were not scored yet:* `{MEASURE}`."
CLEAR = {"share": 0.05, "other": 0.1}  # least difference that is told: of a correlation or share; of others, as a part of the larger value
KEEPS, IGNORES = 0.5, 0.2  # correlations with the source from which, and below which, a model counts as keeping or ignoring it


def fragments(folder: Path | None = None) -> dict[str, str]:
    """Markdown by the name of the page's part; ``folder`` holds the kept runs, by default runs/reference/bottleneck."""
    results = load_results(folder)
    parts = {
        "setup": setup(results),
        "summary": summary(results),
        "repeated": repeated(results),
        "pictures": pictures(results),
        "table": table(results),
        "figure": shown(figures.scores_figure(results)) if results.metrics or results.free else joined(missing(results, PLAIN), NOT_SCORED),
        "factors": shown(figures.factors_figure(results)) if results.metrics else missing(results, MODELS),
        "codes": codes(results),
        "warp": warp(results),
        "commands": commands(),
    }
    return {name: text.rstrip() + "\n" for name, text in parts.items()}


def missing(results: Results, wanted: Iterable[Model]) -> str:
    lacking = [model.label for model in wanted if model not in results.metrics]
    return f"*Not kept here yet: the model{'s' * (len(lacking) > 1)} {listed(lacking)}.*" if lacking else ""


def _mean(results: Results, model: Model, key: str, guide: str = "reference") -> float:
    return results.metrics[model][guide]["mean"][key]


# ---- what was trained, and what came out ----


def setup(results: Results) -> str:
    """A line a model: what sets it apart, what it costs, how long it was trained."""
    heads = ["run", "bottleneck", "warp", "weights", "MACs", "iterations", "time"]
    lines = []
    for model, metrics in results.metrics.items():
        cost, finished = metrics["cost"], results.run(model).json("finished.json")
        cells = [f"`{model.run}`", f"{model.side}×{model.side}", "yes" if model.warped else "no"]
        cells += [f"{cost['parameters'] / 1e6:.2f}{BLANK}M", f"{cost['macs'] / 1e6:.0f}{BLANK}M"]
        lines.append([*cells, f"{finished['step']:,}", f"{finished['seconds'] / 60:.0f}{BLANK}min"])
    to_make = "; ".join(f"`{model.command}`" for model in MODELS if model not in results.metrics)
    return joined(markdown_table(heads, lines) if lines else "", f"Not kept here yet, and made by {to_make}." if to_make else "")


def summary(results: Results) -> str:
    """The outcome: what a translator without a model scores, what of their source the trained ones keep, and whether distances tell."""
    trained = [*(_kept_sentence(results, model) for model in PLAIN if model in results.metrics), _rankings(results)]
    return joined(free(results), " ".join(sentence for sentence in trained if sentence), missing(results, PLAIN))


def _kept_sentence(results: Results, model: Model) -> str:
    """'The 8×8 model keeps x and y of its source, little of tilt and nothing of size.' Reference-guided, mean over pairs of species."""
    kept = {name: _mean(results, model, f"content_correlation_{name}") for name in POSE_FACTORS}
    groups: dict[str, list[str]] = {}
    for name, value in kept.items():
        groups.setdefault("keeps" if value >= KEEPS else "little" if value >= IGNORES else "nothing", []).append(f"`{name}` ({_number(value)})")
    named = {word: listed(names) for word, names in groups.items()}
    if list(named) == ["nothing"]:
        return f"The {model.named} ignores its source's pose: {named['nothing']}."
    first = f"The {model.named} keeps " + (f"{named['keeps']} of its source" if "keeps" in named else "no part of its source's pose well")
    rest = " and ".join(f"{word} of {named[word]}" for word in ("little", "nothing") if word in named)
    return f"{first}, {rest}." if rest else f"{first}."


def repeated(results: Results) -> str:
    """Whether a smaller bottleneck than the rule's led to a model that ignores its source; nothing where there is none."""
    found = {model: _mean(results, model, "content_correlation") for model in PLAIN[1:] if model in results.metrics}
    parts = []
    for flag, word in ((True, "ignored"), (False, "not ignored")):
        if chosen := [model for model, value in found.items() if (value < IGNORES) == flag]:
            models, values = listed([model.named for model in chosen]), listed([_number(found[model]) for model in chosen])
            parts.append(f"The source is {word} here: outputs of the {models} follow it at {values}.")
    return " ".join(parts) or missing(results, PLAIN[1:])


def _rankings(results: Results) -> str:
    """Which of two models the distances prefer, and whether it is the one that keeps more of its source; a sentence a pair."""
    sentences = []
    for other in PLAIN[1:]:
        if WIDE not in results.metrics or other not in results.metrics:
            continue
        preferred = [_mean(results, other, s.key, g) < _mean(results, WIDE, s.key, g) for s in DISTANCES for g in GUIDES]
        more, less = sorted((WIDE, other), key=lambda model: -_mean(results, model, "content_correlation"))
        for_less = sum(preferred) if less is other else len(preferred) - sum(preferred)
        if for_less == 0:
            said = f"Every distance prefers the {more.named} to the {less.label} one, as the factor scores do; what is lost they do not say."
        else:
            total = len(preferred)
            who = "Every distance prefers" if for_less == total else f"Of {total} distances, {for_less} prefer{'s' * (for_less == 1)}"
            said = f"{who} the {less.named} to the {more.label} one, although it keeps less of its source."
        sentences.append(said)
    return " ".join(sentences)


def _better_in(results: Results) -> str:
    """Which scores, reference-guided, each of two models is clearly better in (see ``CLEAR``); a sentence a pair."""
    sentences = []
    for other in PLAIN[1:]:
        if WIDE not in results.metrics or other not in results.metrics:
            continue
        ahead: dict[Model, list[str]] = {WIDE: [], other: []}
        for s in SCORES:
            values = {model: _mean(results, model, s.key) for model in ahead}
            least, most = sorted(values.values())
            if most - least >= (CLEAR["other"] * most if s.key.endswith("_factor_network") else CLEAR["share"]):
                ahead[min(values, key=values.get) if s.lower_is_better else max(values, key=values.get)].append(s.heading)
        said = [f"the {model.named} is clearly better in {listed(names)}" for model, names in ahead.items() if names]
        sentences.append(f"Reference-guided, {'; '.join(said)}." if said else "")
    if any(sentences):
        sentences.append(f"*Clearly*: by {CLEAR['share']} of a correlation or share, or by a tenth of a distance or diversity.")
    return " ".join(sentences)


def table(results: Results) -> str:
    """The scores of the models without the warp beside those of translators without a model, 'latent / reference'."""
    trained = {f"**{model.label}**": results.metrics[model] for model in PLAIN if model in results.metrics}
    columns = {name: results.free[key] for key, name in FREE.items() if key in results.free} | trained
    return joined(_score_table(columns, SCORES) if columns else "", _better_in(results), missing(results, PLAIN), "" if results.free else NOT_SCORED)


def _score_table(columns: dict[str, dict[str, Any]], scores: Sequence[Headline]) -> str:
    lines = []
    for s in scores:
        cells = [[_number(scored[g]["mean"][s.key], s.digits) for g in GUIDES if s.key in scored[g]["mean"]] for scored in columns.values()]
        lines.append([f"{s.heading} ({'low' if s.lower_is_better else 'high'})", *(" / ".join(values) for values in cells)])
    lines.append(["reconstruction L1 (low)", *(_number(scored["reconstruction"]["mean"]["reconstruction_l1"], 3) for scored in columns.values())])
    return markdown_table(["latent- / reference-guided", *columns], lines)


def free(results: Results) -> str:
    """What a random training picture scores, and whether any trained model has as low a distance."""
    if RANDOM not in results.free:
        return NOT_SCORED
    drawn, key = results.free[RANDOM], DISTANCES[0].key
    distances = {g: drawn[g]["mean"][key] for g in GUIDES}
    pose = drawn["reference"]["mean"]["content_correlation"]
    text = (
        f"A random training picture of the target domain has a Fréchet distance of {distances['latent']:.1f} latent- and "
        f"{distances['reference']:.1f} reference-guided; its pose correlates with the source's at {_number(pose)}."
    )
    if not results.metrics:
        return text
    best = {g: min(results.metrics, key=lambda model: _mean(results, model, key, g)) for g in GUIDES}
    beaten = sum(distances[g] < _mean(results, best[g], key, g) for g in GUIDES)
    told = ("Trained models have lower ones", "Trained models have a lower one with one of the two guides", "No trained model's is as low")
    verdict = told[beaten]
    return f"{text} {verdict}: their lowest are {' and '.join(f'{_mean(results, best[g], key, g):.1f} ({best[g].label})' for g in GUIDES)}."


# ---- pictures, codes, warp ----


def pictures(results: Results) -> str:
    """All sources in one reference, one source in all references; the same for a latent, folded."""
    last = len(SPECIES) - 1
    grids = [figures.one_style(results, "reference", last), figures.one_source(results, 0)]
    parts = [f"```{{raw}} html\n{grid}\n```" for grid in grids if grid]
    if latent := figures.one_style(results, "latent", last):
        parts.append(f":::{{dropdown}} The same sources, latent-guided\n```{{raw}} html\n{latent}\n```\n:::")
    return joined(*parts) or missing(results, MODELS)


def codes(results: Results) -> str:
    """What the codes hold and what outputs take from code and source, a line a model; then what it means."""
    found = {model: results.codes[model] for model in MODELS if model in results.codes}
    if not found:
        return f"*The style codes were not looked into yet:* `{MEASURE}`."
    groups = {"pose": POSE_FACTORS, "colours": tuple(name for group in HEADLINE_STYLES for name in STYLE_GROUPS[group])}
    kinds = {HELD: "{} held by the code", FROM_CODE: "{} from the code", FROM_SOURCE: "{} from the source"}
    heads = ["model", *(text.format(group) for group in groups for text in kinds.values())]
    lines = [[model.label, *(_number(_average(one[kind], names)) for names in groups.values() for kind in kinds)] for model, one in found.items()]
    told: dict[str, list[str]] = {}
    for model, one in found.items():
        told.setdefault(_code_says(one), []).append(model.label)
    return joined(markdown_table(heads, lines), " ".join(f"{listed(labels)}: {text}" for text, labels in told.items()))


def _average(scores: dict[str, float], names: Sequence[str]) -> float:
    return sum(scores[name] for name in names) / len(names)


def _code_says(one: dict[str, dict[str, float]]) -> str:
    held, code, source = (_average(one[kind], POSE_FACTORS) for kind in (HELD, FROM_CODE, FROM_SOURCE))
    told = f"the code {'holds' if held >= KEEPS else 'holds little of' if held >= IGNORES else 'does not hold'} the pose"
    if code >= KEEPS and source < IGNORES:
        return f"{told}, and pictures are drawn from it; the source is not used."
    if code < IGNORES:
        return f"{told}, {'but' if held >= KEEPS else 'and'} pictures do not take theirs from it."
    return f"{told}, and pictures take theirs from code and source."


def warp(results: Results) -> str:
    """Every model with and without the warp, and what it changed at each bottleneck."""
    order = sorted((m for m in MODELS if m in results.metrics), key=lambda m: (-m.side, m.warped))
    shown_scores = [s for s in SCORES if s.key not in LEFT_OUT]
    table = _score_table({m.label: results.metrics[m] for m in order}, shown_scores) if any(m.warped for m in order) else ""
    sentences = []
    for plain, warped in ((m, w) for m in PLAIN for w in MODELS if w.warped and m.side == w.side):
        if plain in results.metrics and warped in results.metrics:
            kept, leak = (tuple(_number(_mean(results, m, key)) for m in (plain, warped)) for key in ("content_correlation", "leak_correlation"))
            changed = f"{plain.label}: content kept {' → '.join(kept)}, leak {' → '.join(leak)} with the warp."
            sentences.append(f"{changed} {_kept_sentence(results, warped)}")
    return joined(table, " ".join(sentences), missing(results, (m for m in MODELS if m.warped)))


def commands() -> str:
    """All that makes the page's results, in order."""
    lines = [model.command for model in MODELS]
    lines += [MEASURE, *(f"python -m kdlib keep runs/{PRESET}/{model.run}" for model in MODELS)]
    return "```bash\n" + "\n".join(lines) + "\n```"


def _number(value: float, digits: int = 2) -> str:
    text = f"{value:.{digits}f}"
    return tidy(text if float(text) else text.lstrip("-"))
