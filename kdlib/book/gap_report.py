"""The page of what closes the gap between student and teacher, as Markdown fragments: one method a row, what it changes, what it costs.

A method is a variant of preset `beyond`: the distilled main width of the reference study with one thing added. The rows of that
study, its teacher and its own distilled main width, are where the table starts. Changes and verdicts are the ablation's
(`kdlib.book.ablation`), read the other way round: here a variant is meant to be better.
"""

import json
from pathlib import Path

from kdlib.book.ablation import cost_of, measure_of
from kdlib.book.ablation_report import changed, figure
from kdlib.book.claims import UNDECIDED, distance, factor
from kdlib.book.seeds import BLANK, Group, seeds_text, tidy
from kdlib.book.study_report import Study, ended, joined, main_scores
from kdlib.book.study_tables import NONE
from kdlib.headlines import FACTORS, FINE_DETAIL, SPECTRAL, Headline, distances
from kdlib.paths import reference_folder
from kdlib.results import GUIDES, markdown_table

PRESET = "beyond"
METHODS = {
    "output_l1": "teacher's picture, L1",
    "same_codes": "codes that mean the same: L1 for $F$ and $E$",
    "output_perceptual": "teacher's picture, in features of its discriminator",
    "feature": "teacher's features",
    "rate_decay": "learning rates that fall to 0",
    "teacher_alone": "teacher's pictures, features and codes, and nothing else",
    "teacher_alone_longer": "the same, three times as many iterations",
    "teacher_critic": "teacher's pictures, features and codes, and a discriminator of its pictures",
    "teacher_s_critic": "the same, the discriminator begun as the teacher's",
    "combined": "picture, features, codes and falling rates together",
    "style_match": "codes that $E$ reads as the teacher does",
    "style_space_teacher": "teacher's mapping network and codes",
    "style_space_init": "mapping network begun as the teacher's",
    "knowledge_filter": "better half of the teacher's pictures",
    "wide_discriminator": "discriminator as wide as the teacher's",
    "both_reals": "real pictures beside the teacher's, for $D$",
}


SPECTRUM = factor("both", SPECTRAL.key, lower_is_better=True)
EXCHANGE, BLURRED = "exchanged.json", "blurred.json"
SPOILT = {"blur": "blurred by {amount:g} px", "weave": "woven by {amount:g}"}
EXCHANGED = (Headline("frechet_factor_network", "Fréchet distance", lower_is_better=True, digits=1), SPECTRAL, *(h for h in FACTORS if h.key != "leak_correlation"))


def named(variant: str) -> str:
    """What a variant adds, in words; its name where it is not one of the methods of the page."""
    return METHODS.get(variant, variant.replace("_", " "))


def fragments(study: Study, folder: Path | None = None) -> dict[str, str]:
    """Markdown by the name of the page's part; ``folder`` holds benchmarks' results, by default runs/reference/beyond."""
    start = study.results.student(study.results.main, True)
    has_any = start is not None and study.results.variants
    folder = reference_folder() / PRESET if folder is None else folder
    parts = {
        "summary": summary(study) if has_any else "",
        "path": joined(*(path(study, guide) for guide in GUIDES)) if start is not None else "",
        "figure": figure(study) if has_any else "",
        "missing": missing(study),
        "blur": blur(study),
        "blurred": blurred(folder / BLURRED),
        "exchange": exchange(folder / EXCHANGE),
    }
    return {name: ended(text) for name, text in parts.items()}


def exchange(path: Path) -> str:
    """Scores of generators with each other's codes, from benchmarks/exchanged_networks.py."""
    if not path.is_file():
        return f"Not measured yet: `python benchmarks/exchanged_networks.py --json runs/reference/{PRESET}/{EXCHANGE}`."
    result = json.loads(path.read_text(encoding="utf-8"))
    shown = [h for h in EXCHANGED if any(h.key in row["scores"][guide] for row in result["rows"] for guide in GUIDES)]
    lines = []
    for row in result["rows"]:
        cells = [" / ".join(_score(row["scores"][guide], h) for guide in GUIDES) for h in shown]
        lines.append([f"the {row['generator']}'s", f"the {row['codes']}'s", *cells])
    about = f"`{result['student']}` and `{result['teacher']}`, latent- / reference-guided, {result['outputs_per_source']} outputs a source."
    return joined(markdown_table(["generator", "codes", *(h.heading for h in shown)], lines), about)


def _score(scores: dict[str, float], headline: Headline) -> str:
    digits = min(headline.digits, 2)
    return f"{round(scores[headline.key], digits) + 0.0:.{digits}f}" if headline.key in scores else NONE  # + 0.0: none of -0.00


def path(study: Study, guide: str) -> str:
    """A line a method: its change of every headline score of one guide against the start, weights shipped, time of training."""
    results, scores = study.results, [h for h in main_scores(study.results) if _has(study, guide, h)]
    start = results.student(results.main, True)
    heads = [f"{guide}-guided", *(h.heading for h in scores), "weights", "iterations", "s an iteration", "seeds"]
    lines = [_whole("teacher", results.teacher, guide, scores)] if results.teacher is not None else []
    lines.append(_whole(f"α = {results.main}, distilled as in the thesis", start, guide, scores))
    for variant in study.preset.study.variants:
        if (group := results.student(results.main, True, variant)) is not None:
            changes = [changed(results, variant, measure_of(h, guide)) for h in scores]
            lines.append([f"+ {named(variant)}", *changes, *_cost(group)])
    return f"```{{table}}\n:class: kdnamed\n\n{markdown_table(heads, lines)}\n```"


def _has(study: Study, guide: str, headline: Headline) -> bool:
    return any(group.score(guide, headline.key) is not None for group in study.results.groups)


def _whole(name: str, group: Group, guide: str, scores: list[Headline]) -> list[str]:
    """A line of scores as they are."""
    spreads = [(group.score(guide, h.key), h.digits) for h in scores]
    return [f"**{name}**", *(NONE if spread is None else spread.text(digits) for spread, digits in spreads), *_cost(group)]


def _cost(group: Group) -> list[str]:
    seconds = group.spread(lambda row: row["seconds_per_iteration"])
    return [f"{group['parameters']:,}", f"{group['iterations']:,}", NONE if seconds is None else seconds.text(2), seeds_text(len(group.rows))]


def summary(study: Study) -> str:
    """Which methods bring the student closer by the Frechet distance, in a sentence a verdict."""
    results = study.results
    sorted_in: dict[str, list[str]] = {"better": [], "worse": [], "open": []}
    for variant in (v for v in study.preset.study.variants if v in results.variants):
        part = cost_of(results, variant, distance("both"))
        if part is None:
            continue
        sharp = cost_of(results, variant, SPECTRUM)
        changes = tidy(f"{part.margin:+.1f}" + ("" if sharp is None else f"; {sharp.margin:+.1f}{BLANK}dB"))
        text = f"{named(variant)} ({changes}{'' if part.deviation is not None else ', ' + seeds_text(part.seeds)})"
        sorted_in["open" if part.verdict == UNDECIDED else "worse" if part.margin > 0 else "better"].append(text)
    told = {"better": "Smaller Fréchet distance", "worse": "Larger", "open": "Within what seeds do"}
    about = "Change of the Fréchet distance against the thesis's recipe, and of the spectral distance, means of both kinds of guidance."
    sentences = [f"**{told[verdict]}:** {'; '.join(names)}." for verdict, names in sorted_in.items() if names]
    return joined(about, *sentences) if sentences else ""


def blur(study: Study) -> str:
    """Methods that the Frechet distance praises and the power spectrum does not, between the teacher and the thesis's recipe."""
    results = study.results
    start = results.student(results.main, True)
    if start is None:
        return missing(study)
    torn = []
    for variant in results.variants:
        parts = [cost_of(results, variant, measure) for measure in (distance("both"), SPECTRUM)]
        if None not in parts and parts[0].margin < 0 < parts[1].margin:
            torn.append(variant)
    if not torn:
        return "Of the students that are kept now, none is better in one and worse in the other."
    groups = {"teacher": results.teacher, f"α = {results.main}, distilled as in the thesis": start}
    groups |= {named(variant): results.student(results.main, True, variant) for variant in torn}
    shown = [*distances(start.rows, "frechet")[:1], SPECTRAL, FINE_DETAIL]
    lines = []
    for name, group in groups.items():
        if group is not None:
            spreads = [[group.score(guide, h.key) for guide in GUIDES] for h in shown]
            cells = [" / ".join(NONE if s is None else tidy(s.text(h.digits)) for s in both) for both, h in zip(spreads, shown)]
            lines.append([name, *cells, seeds_text(len(group.rows))])
    return joined(markdown_table(["latent- / reference-guided", *(h.heading for h in shown), "seeds"], lines))


def blurred(path: Path) -> str:
    """Scores of real pictures that were blurred or woven, from benchmarks/blurred_pictures.py."""
    if not path.is_file():
        return f"Not measured yet: `python benchmarks/blurred_pictures.py --json runs/reference/{PRESET}/{BLURRED}`."
    result = json.loads(path.read_text(encoding="utf-8"))
    asked = [*EXCHANGED[:2], FINE_DETAIL, *(h for h in EXCHANGED if h.key == "domain_accuracy")]
    shown = [h for h in asked if all(h.key in row["scores"][guide] for row in result["rows"] for guide in GUIDES)]
    lines = []
    for row in result["rows"]:
        name = SPOILT[row["kind"]].format(**row) if row["amount"] else "as they are"
        lines.append([name, *(tidy(" / ".join(_score(row["scores"][guide], h) for guide in GUIDES)) for h in shown)])
    about = (
        f"Training pictures of preset `{result['preset']}`, drawn at random, in place of latent- / reference-guided translations; "
        f"{result['outputs_per_source']} of each of {result['sources']} sources. A blur is a Gaussian of that deviation; a weave makes even columns "
        "lighter by that much on the scale from −1 to 1, and odd ones darker."
    )
    return joined(markdown_table(["real pictures", *(h.heading for h in shown)], lines), about)


def missing(study: Study) -> str:
    """What has not been run, with the command; nothing where all is there."""
    preset, results = study.preset, study.results
    parts = []
    if results.student(results.main or preset.study.main, True) is None:
        command = f"`python -m kdlib study --preset {preset.base}`"
        parts.append(f"*Where it starts is not run yet,* the distilled student of preset `{preset.base}`: {command}")
    absent = [f"`{name}`" for name in preset.study.variants if name not in results.variants]
    if absent:
        what = "*Not run yet:*" if len(absent) == len(preset.study.variants) else f"*Not run yet*, {', '.join(absent)}:"
        parts.append(f"{what} `python -m kdlib study --preset {preset.name}`")
    return joined(*parts)
