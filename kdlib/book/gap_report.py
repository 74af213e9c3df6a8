"""The page of what closes the gap between student and teacher, as Markdown fragments: one method a row, what it changes, what it costs.

A method is a variant of preset `methods`: the distilled main width of the ablation with one thing added, or some together. What is best
of them is a variant of preset `beyond`, with all of the reference study's iterations. The rows of those studies, their teacher and their own
distilled main width, are where the tables start. Changes and verdicts are the ablation's (`kdlib.analysis.ablation`), read the other way
round: here a variant is meant to be better.
"""

import json
from pathlib import Path
from typing import Any

from kdlib.analysis.ablation import cost_of, measure_of
from kdlib.analysis.claims import UNDECIDED, distance, factor
from kdlib.analysis.control import FILE as AVERAGES
from kdlib.analysis.control import RUN as CONTROL
from kdlib.analysis.kept_study import Study, main_scores
from kdlib.analysis.prose import ended, joined
from kdlib.analysis.seeds import BLANK, Group, computed_in, seeds_text, tidy
from kdlib.analysis.study_tables import NONE
from kdlib.book.ablation_report import changed, figure
from kdlib.critters import CONTENT_FACTORS
from kdlib.headlines import CRITTER_DISTANCE, FACTORS, FINE_DETAIL, KINDS, SPECTRAL, Headline, distances
from kdlib.paths import reference_folder
from kdlib.results import GUIDES, in_classes, markdown_table, not_measured
from kdlib.scoring.factor_scores import STYLE_GROUPS

PRESET, TOGETHER = "methods", "beyond"
METHODS = {
    "output_l1": "teacher's picture, L1",
    "output_perceptual": "teacher's picture, in features of its discriminator",
    "feature": "teacher's features",
    "style_space_init": "mapping network begun as the teacher's",
    "style_space_fitted": "mapping network fitted to the teacher's, and frozen",
    "style_space_teacher": "teacher's mapping network and codes",
    "knowledge_filter": "better half of the teacher's pictures",
    "wide_discriminator": "discriminator as wide as the teacher's",
    "both_reals": "real pictures beside the teacher's, for $D$",
    "combined": "teacher's pictures, features and codes, and falling rates, together",
    "teacher_alone": "teacher's pictures, features and codes alone",
    "teacher_critic": "teacher's pictures, features and codes, and a discriminator of its pictures",
    "teacher_s_critic": "pictures, features and codes, and a discriminator begun as the teacher's",
    "filtered_critic": "pictures, features and codes, and a discriminator, of the better half of its pictures",
}
INSTEAD = ("teacher_alone", "teacher_critic", "teacher_s_critic", "filtered_critic")  # of the thesis's terms and StarGAN v2's own


SPECTRUM = factor("both", SPECTRAL.key, lower_is_better=True)
EXCHANGE, BLURRED = "exchanged.json", "blurred.json"
SPOILT = {"blur": "blurred by {amount:g} px", "weave": "woven by {amount:g}"}
CODES_ALONE, GENERATOR_ALONE, BOTH = ("teacher", "student"), ("student", "teacher"), ("student", "student")  # generator and codes
SCORED = (CRITTER_DISTANCE, SPECTRAL, *(h for h in FACTORS if h.key != "leak_correlation"))
KERNEL = Headline("kernel_factor_network", KINDS["kernel"], lower_is_better=True, digits=1)
EXCHANGED = (CRITTER_DISTANCE, KERNEL, *(h for h in SCORED[1:] if h.key != "detail_correlation"))  # whose two factors have a table of their own


def named(variant: str) -> str:
    """What a variant adds, in words; its name where it is not one of the methods of the page."""
    return METHODS.get(variant, variant.replace("_", " "))


def fragments(study: Study, together: Study, folder: Path | None = None) -> dict[str, str]:
    """Markdown by the name of the page's part.

    ``study``: methods alone; ``together``: the best of them, longer; ``folder`` holds benchmarks' results, by default runs/reference/beyond.
    """
    folder = reference_folder() / TOGETHER if folder is None else folder
    parts = {
        "summary": summary(study) if _started(study) else "",
        "path": joined(path(study), cost(study)) if _started(study) else "",
        "figure": figure(study) if _started(study) else "",
        "missing": missing(study),
        "together": joined(*((path(together), cost(together)) if _started(together) else ()), missing(together)),
        "blur": blur(together),
        "blurred": blurred(folder / BLURRED),
        "exchange": exchange(folder),
        "averages": averages(folder.parent / PRESET / AVERAGES),
    }
    return {name: ended(text) for name, text in parts.items()}


def _line(variant: str) -> str:
    """A variant as its line in a table is headed."""
    return f"{'instead:' if variant in INSTEAD else '+'} {named(variant)}"


def _started(study: Study) -> bool:
    """Whether a method is kept, and what it is compared with."""
    return bool(study.results.student(study.results.main, True) is not None and study.results.variants)


def exchange(folder: Path, student: str = "") -> str:
    """Scores of generators with each other's codes, from benchmarks/exchanged_networks.py; ``student``: other than its default."""
    path, chosen = folder / EXCHANGE, f"--student {student} " if student else ""
    if not path.is_file():
        return not_measured(f"python benchmarks/exchanged_networks.py {chosen}--json runs/reference/{folder.name}/{EXCHANGE}")
    result = json.loads(path.read_text(encoding="utf-8"))
    shown = [h for h in EXCHANGED if any(h.key in row["scores"][guide] for row in result["rows"] for guide in GUIDES)]
    lines = []
    for row in result["rows"]:
        cells = [" / ".join(_score(row["scores"][guide], h) for guide in GUIDES) for h in shown]
        lines.append([f"the {row['generator']}'s", f"the {row['codes']}'s", *cells])
    about = (
        f"`{result['student']}` and `{result['teacher']}`, one run of each, latent- / reference-guided, {result['outputs_per_source']} outputs a source."
    )
    table = markdown_table(["generator", "codes", *(h.heading for h in shown)], lines)
    told = (_parts(result["rows"], shown[0]), _single_factors(result["rows"]), _codes(result), _pictures(result))
    return joined(in_classes(table, "kddense"), *told, about)


def _parts(rows: list[dict[str, Any]], headline: Headline) -> str:
    """What each exchange costs in one score, against the teacher with its own codes; what of a distance lies between the means."""
    codes, generator, both = (_lost(rows, pair, "scores", headline.key) for pair in (CODES_ALONE, GENERATOR_ALONE, BOTH))
    text = f"In the {headline.heading}, the student's codes alone cost {codes}, its generator alone {generator}, both together {both}."
    shift = f"{headline.key}_shift"
    if not all(shift in row["parts"][guide] for row in rows for guide in GUIDES):
        return text
    between = _lost(rows, GENERATOR_ALONE, "parts", shift)
    return f"{text} Of the generator's part, {between} lies between the means of the features; the rest is in how they vary from picture to picture."


def _lost(rows: list[dict[str, Any]], pair: tuple[str, str], part: str, key: str) -> str:
    """By how much a score of ``pair``, a generator and codes, is above that of the teacher with its own codes, for both guides."""
    values = {(row["generator"], row["codes"]): [row[part][guide][key] for guide in GUIDES] for row in rows}
    return " / ".join(tidy(f"{mine - its:+.1f}") for mine, its in zip(values[pair], values["teacher", "teacher"], strict=True))


def _single_factors(rows: list[dict[str, Any]]) -> str:
    """What each pair keeps of every single factor, reference-guided; nothing where they are not known."""
    columns = {f"style_correlation_{name}": name for name in STYLE_GROUPS} | {f"content_correlation_{name}": name for name in CONTENT_FACTORS}
    if not all(key in row["parts"]["reference"] for row in rows for key in columns):
        return ""
    lines = []
    for row in rows:
        kept = row["parts"]["reference"]
        lines.append([f"the {row['generator']}'s", f"the {row['codes']}'s", *(tidy(f"{round(kept[key], 2) + 0.0:.2f}") for key in columns)])
    about = "Factor by factor, reference-guided: the correlation of what is drawn with the reference, of the first four, and with the source."
    return joined(about, in_classes(markdown_table(["generator", "codes", *columns.values()], lines), "kddense"))


def _codes(result: dict[str, Any]) -> str:
    """How widely the student's codes spread, and how far they are from the teacher's."""
    spread, rest = (" / ".join(f"{100 * result['codes'][guide][key]:.0f} %" for guide in GUIDES) for key in ("variance", "unexplained"))
    return (
        f"Within a domain the student's codes have {spread} of the variance of the teacher's; their mean squared difference from the teacher's is "
        f"{rest} of it. (Of codes that have nothing to do with each other it would be the sum of both variances.)"
    )


def _pictures(result: dict[str, Any]) -> str:
    """How far the generators' pictures are from each other where both have the teacher's codes, on learned and on other pictures."""
    learned, other = (" / ".join(f"{result['pictures'][split][guide]:.2f}" for guide in GUIDES) for split in ("train", "val"))
    return (
        f"With the teacher's codes both generators' pictures differ by {learned} of 255 levels on average where sources and references are training "
        f"pictures, by {other} on validation pictures."
    )


def _score(scores: dict[str, float], headline: Headline) -> str:
    digits = min(headline.digits, 2)
    return f"{round(scores[headline.key], digits) + 0.0:.{digits}f}" if headline.key in scores else NONE  # + 0.0: none of -0.00


def path(study: Study) -> str:
    """Of each guide a table with a line a method: its change of every headline score against the start."""
    results = study.results
    tables = []
    for guide in GUIDES:
        scores = [h for h in main_scores(results) if any(group.score(guide, h.key) is not None for group in results.groups)]
        lines = [_whole(name, group, guide, scores) for name, group in _ends(study).items()]
        for variant in results.variants:
            lines.append([_line(variant), *(changed(results, variant, measure_of(h, guide)) for h in scores)])
        heads = [f"{guide}-guided", *(h.heading.split(" (")[0] for h in scores)]
        tables.append(in_classes(markdown_table(heads, lines), "kdnamed kddense"))
    return joined(*tables)


def cost(study: Study) -> str:
    """A line a method: weights shipped, time of training and the numbers it was computed in, seeds."""
    results = study.results
    groups = _ends(study) | {_line(variant): results.student(results.main, True, variant) for variant in results.variants}
    lines = []
    for name, group in groups.items():
        seconds = group.spread(lambda row: row["seconds_per_iteration"])
        per_iteration = NONE if seconds is None else tidy(seconds.text(2))
        lines.append([name, f"{group['parameters']:,}", f"{group['iterations']:,}", per_iteration, computed_in(group), seeds_text(len(group.rows))])
    table = markdown_table(["", "weights", "iterations", "s an iteration", "in", "seeds"], lines)
    return in_classes(table, "kdnamed")


def _ends(study: Study) -> dict[str, Group]:
    """The teacher, where the way leads, and the thesis's recipe, where it begins, in whatever numbers it was trained."""
    start = study.results.student(study.results.main, True)
    again = {f"this recipe again, in {computed_in(group)}": group for group in study.results.groups if group["run"] == CONTROL}
    return ({"teacher": study.results.teacher} if study.results.teacher is not None else {}) | {_start_name(study): start} | again


def _start_name(study: Study) -> str:
    return f"α = {study.results.main}, distilled by the thesis's losses"


def _whole(name: str, group: Group, guide: str, scores: list[Headline]) -> list[str]:
    """A line of scores as they are; a deviation may go below its mean, as columns are narrow."""
    spreads = [(group.score(guide, h.key), h.digits) for h in scores]
    return [f"**{name}**", *(NONE if spread is None else spread.text(digits).replace(f"{BLANK}±", " ±") for spread, digits in spreads)]


def summary(study: Study) -> str:
    """Which methods bring the student closer by the Frechet distance, in a sentence a verdict."""
    results = study.results
    sorted_in: dict[str, list[str]] = {"better": [], "worse": [], "open": []}
    for variant in results.variants:
        part = cost_of(results, variant, distance("both"))
        if part is None:
            continue
        sharp = cost_of(results, variant, SPECTRUM)
        changes = tidy(f"{part.margin:+.1f}" + ("" if sharp is None else f"; {sharp.margin:+.1f}{BLANK}dB"))
        text = f"{named(variant)} ({changes}{'' if part.deviation is not None else ', ' + seeds_text(part.seeds)})"
        sorted_in["open" if part.verdict == UNDECIDED else "worse" if part.margin > 0 else "better"].append(text)
    told = {"better": "Smaller Fréchet distance", "worse": "Larger", "open": "Not told apart from the scatter of seeds"}
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
    groups = _ends(study) | {named(variant): results.student(results.main, True, variant) for variant in torn}
    shown = [*distances(start.rows, "frechet")[:1], SPECTRAL, FINE_DETAIL]
    lines = []
    for name, group in groups.items():
        spreads = [[group.score(guide, h.key) for guide in GUIDES] for h in shown]
        cells = [" / ".join(NONE if s is None else tidy(s.text(h.digits)) for s in both) for both, h in zip(spreads, shown)]
        lines.append([name, *cells, seeds_text(len(group.rows))])
    return joined(markdown_table(["latent- / reference-guided", *(h.heading for h in shown), "seeds"], lines))


def blurred(path: Path) -> str:
    """Scores of real pictures that were blurred or woven, from benchmarks/blurred_pictures.py."""
    if not path.is_file():
        return not_measured(f"python benchmarks/blurred_pictures.py --json runs/reference/{TOGETHER}/{BLURRED}")
    result = json.loads(path.read_text(encoding="utf-8"))
    asked = [*SCORED[:2], FINE_DETAIL, *(h for h in SCORED if h.key == "domain_accuracy")]
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


def averages(path: Path) -> str:
    """Scores of moving averages of one training, from benchmarks/moving_averages.py."""
    if not path.is_file():
        return not_measured(f"python benchmarks/moving_averages.py --threads 1 --json runs/reference/{PRESET}/{path.name}")
    result = json.loads(path.read_text(encoding="utf-8"))
    shown = [h for h in (*SCORED, FINE_DETAIL) if any(h.key in row["scores"][guide] for row in result["rows"] for guide in GUIDES)]
    lines = [[row["average"], *(tidy(" / ".join(_score(row["scores"][guide], h) for guide in GUIDES)) for h in shown)] for row in result["rows"]]
    about = (
        f"One training, the full recipe of preset `{result['preset']}` at α = {result['alpha']} for {result['iterations']:,} iterations, of which every "
        "average was kept; latent- / reference-guided."
    )
    return joined(in_classes(markdown_table(["weights averaged", *(h.heading.split(" (")[0] for h in shown)], lines), "kdnamed kddense"), about)


def missing(study: Study) -> str:
    """What has not been run, with the command; nothing where all is there."""
    preset, results = study.preset, study.results
    parts = []
    if results.student(results.main or preset.study.main, True) is None:
        command = f"`python -m kdlib study --preset {preset.base}`"
        parts.append(f"*Where it starts is not run yet,* the distilled student of preset `{preset.base}`: {command}")
    absent = [named(name) for name in preset.study.variants if name not in results.variants]
    if absent:
        names = "" if len(absent) == len(preset.study.variants) else f" {'; '.join(absent)}."
        parts.append(f"*Not run yet:*{names} `python -m kdlib study --preset {preset.name}`")
    return joined(*parts)
