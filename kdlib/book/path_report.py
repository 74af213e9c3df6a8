"""The path to a student twenty times smaller than its teacher, as Markdown: one change a step, from the thesis's recipe to the best found.

Each step is a variant of preset ``small`` and has all that the step before it has; it begins with a distilled student of the base. What
was tried in place of a step and left is shown beside it.
"""

import json
from itertools import dropwhile
from pathlib import Path
from typing import Any

from kdlib.analysis.claims import Measure, distance
from kdlib.analysis.kept_study import Study, load_study
from kdlib.analysis.prose import ended, joined
from kdlib.analysis.seeds import BLANK, Group, computed_in, seeds_text, tidy
from kdlib.analysis.study_tables import NONE
from kdlib.book.gap_report import TOGETHER, exchange
from kdlib.headlines import CRITTER_DISTANCE, SPECTRAL, TRANSLATION, Headline, distances
from kdlib.paths import reference_folder
from kdlib.results import GUIDES, in_classes, markdown_table, not_measured
from kdlib.runs import STUDENT, run_name

PRESET = "small"
ENCODER = "encoder.json"
AIM = {"parameters": 20.0, "macs": 10.0, "frechet": 1.05, "lost": 0.02}  # so many times fewer; so many times the teacher's; so much lower at most
SMALL = {"markings": "style_correlation_markings", "eyes": "style_correlation_eye", "mouth": "content_correlation_mouth", "gaze": "content_correlation_gaze"}
STEPS = {
    "teacher_critic": "taught by the teacher's pictures, features and codes and a discriminator of its pictures",
    "trimmed": "two channels less at the two highest resolutions, and $F$ twice as wide, where width costs weights but hardly any work",
    "longer": "three times as many iterations",
    "fitted": "$F$ fitted to the teacher's before everything else, by the energy distance between their codes, too, and frozen",
    "encoder": "$E$ learns by itself, with the generator of step 3: its teacher's codes from pictures as they are, no longer moved at random, and from its "
    "teacher's translations, too",
    "longest": "twice as many iterations again, of the generator alone, from where it was",
}
INSTEAD = {  # of a step, or as a next one: its number with a letter, and what was done
    "half_resolution": ("2a", "nothing at full resolution"),
    "separable": ("2b", "the generator's decoder depthwise separable, too, and wider for it"),
    "again": ("7a", "3,000 iterations more of the generator, in the same way"),
    "again_use": (
        "7b",
        "2,000 more, in which the code that $E$ reads off a picture has to be the one that it was drawn with, too (Eqs. 35 and 36, at weight 3)",
    ),
}
STATIONS = {"start": "", **{f"step {i}": name for i, name in enumerate(STEPS, 1)}, **{f"tried {which}": name for name, (which, _) in INSTEAD.items()}}


def fragments(study: Study) -> dict[str, str]:
    """Markdown by the name of the page's part."""
    folder = reference_folder() / PRESET
    return {
        "steps": ended(joined(steps(study, dense=True), missing(study))),
        "seeds": ended(seed_by_seed(study)),
        "widths": ended(widths(study, load_study(study.preset.base), load_study(TOGETHER))),
        "verdict": ended(verdict(study)),
        "encoder": ended(encoder(folder / ENCODER)),
        "exchange": ended(exchange(folder, f"{PRESET}/alpha{study.preset.study.main}-kd-{list(STEPS)[-1]}")),
    }


def _groups(study: Study) -> dict[str, Group]:
    """The path's stations that are kept, then what was tried and left: "start", "step 1", ..., "tried 2a"."""
    results = study.results
    groups = {station: results.student(results.main, True, variant) for station, variant in STATIONS.items()}
    return {station: group for station, group in groups.items() if group is not None}


def _scores(group: Group) -> list[Headline]:
    return [*distances(group.rows, "frechet")[:1], SPECTRAL, *TRANSLATION]


def steps(study: Study, dense: bool = False) -> str:
    """What is done at each step, and a line a station: size and scores latent- and reference-guided; in a table of its own what its training took.

    ``dense``: the first table in the book's small type, which other Markdown does not know.
    """
    groups = _groups(study)
    if not groups:
        return ""
    whole = ({"teacher": study.results.teacher} if study.results.teacher else {}) | groups
    told = [f"{i}. {text}{'' if f'step {i}' in groups else ' *(not trained yet)*'}" for i, text in enumerate(STEPS.values(), 1)]
    others = [f"*{which}*: {text}" for which, text in INSTEAD.values() if f"tried {which}" in groups]
    tried = f"Tried and left: {'; '.join(others)}." if others else ""
    scores = _scores(next(iter(whole.values())))
    lines = [
        [name, *(_fewer(study, group, key) for key in ("parameters", "macs")), *(_both(group, headline) for headline in scores)]
        for name, group in whole.items()
    ]  # fmt: skip
    heads = ["latent / reference", "weights", "MACs", *(headline.heading.split(" (")[0] if dense else headline.heading for headline in scores)]
    table = markdown_table(heads, lines)
    trained = [[name, _hours(study, name, group), computed_in(group), seeds_text(len(group.rows))] for name, group in whole.items()]
    return joined("\n".join(told), tried, in_classes(table, "kddense") if dense else table, markdown_table(["training", "hours", "in", ""], trained))


def seed_by_seed(study: Study) -> str:
    """Both Fréchet distances of every seed, from the first step on that was trained with several; nothing where none was."""
    whole = {station: group for station, group in _groups(study).items() if station.startswith("step")}
    shown = dict(dropwhile(lambda item: len(item[1].rows) < 2, whole.items()))
    seeds = sorted({seed for group in shown.values() for seed in group.seeds})
    rows = {station: dict(zip(group.seeds, group.rows, strict=True)) for station, group in shown.items()}
    lines = [[str(seed), *(_distances(rows[station].get(seed)) for station in shown)] for seed in seeds]
    return markdown_table(["seed", *shown], lines) if shown else ""


def _distances(row: dict[str, Any] | None) -> str:
    """A run's latent- and reference-guided Fréchet distance."""
    found = [distance(guide).of(row) for guide in GUIDES] if row else [None]
    return NONE if None in found else " / ".join(f"{value:.1f}" for value in found)


def _both(group: Group, headline: Headline) -> str:
    """A score of both guides, or of the one that has it."""
    spreads = [spread for guide in GUIDES if (spread := group.score(guide, headline.key)) is not None]
    return tidy(" / ".join(spread.text(min(headline.digits, 2)) for spread in spreads)) or NONE


def _count(number: int) -> str:
    """'3.04 M' or '131 k'."""
    size, unit = (1e6, "M") if number >= 1e6 else (1e3, "k")
    return f"{number / size:.3g}{BLANK}{unit}"


def _fewer(study: Study, group: Group, key: str) -> str:
    """A count, and how many times smaller than the teacher's."""
    text, teacher = _count(group[key]), study.results.teacher
    return text if teacher is None or not group.is_student else f"{text} ({teacher[key] / group[key]:.1f}×)"


def _hours(study: Study, station: str, group: Group) -> str:
    """Of training, with that of the student which it began as."""
    spreads = [group.spread(lambda row: row["seconds"] / 3600)]
    while begun := study.preset.study.variants.get(STATIONS.get(station, ""), {}).get("start_variant"):
        station = next(name for name, variant in STATIONS.items() if variant == begun)
        before = study.results.student(study.results.main, True, begun)
        spreads.append(before and before.spread(lambda row: row["seconds"] / 3600))
    return NONE if None in spreads else f"{sum(spread.mean for spread in spreads):.1f}"


def encoder(path: Path) -> str:
    """What the last student's E makes of further training by itself in several ways, from benchmarks/encoder_pictures.py."""
    if not path.is_file():
        return not_measured(f"python benchmarks/encoder_pictures.py --threads 1 --json runs/reference/{PRESET}/{path.name}")
    result = json.loads(path.read_text(encoding="utf-8"))
    shown = [h for h in (CRITTER_DISTANCE, *TRANSLATION) if h.key in result["of_teacher"]]
    rows = [*result["rows"], {"way": "the teacher's own codes", "codes": {"unexplained": 0.0}, "scores": result["of_teacher"]}]
    lines = [
        [row["way"], tidy(f"{100 * row['codes']['unexplained']:.1f}{BLANK}%"), *(f"{row['scores'][h.key]:.{min(h.digits, 3)}f}" for h in shown)] for row in rows
    ]
    about = (
        f"$E$ of `{result['student']}`, trained on for {result['steps']:,} steps of {result['batch']} pictures, which are shown in the way named; the "
        f"generator of `{result['teacher']}`, reference-guided, {result['outputs_per_source']} outputs a source. *Unexplained*: share of the variance of "
        "the teacher's codes within a domain, on validation pictures."
    )
    return joined(markdown_table(["pictures that $E$ learns from", "unexplained", *(h.heading for h in shown)], lines), about)


def verdict(study: Study) -> str:
    """How the last step that is kept stands beside the aim, and where the path began; nothing where one of these is not kept."""
    groups, teacher = _groups(study), study.results.teacher
    reached = [(name, group) for name, group in groups.items() if name.startswith("step")]
    if teacher is None or "start" not in groups or not reached:
        return ""
    name, last = reached[-1]
    fewer = [f"{teacher[key] / last[key]:.1f}" for key in ("parameters", "macs")]
    ratios = [[_mean(group, distance(guide)) / _mean(teacher, distance(guide)) for guide in GUIDES] for group in (last, groups["start"])]
    ends = [" and ".join(f"{ratio:.2f}" for ratio in both) for both in ratios]
    return joined(
        f"At {name} of {len(STEPS)} ({seeds_text(len(last.rows))}), the student has **{fewer[0]} times fewer weights** and "
        f"**{fewer[1]} times fewer multiply-accumulates** than its teacher (aim: {AIM['parameters']:g} and {AIM['macs']:g}). "
        f"Its latent- and reference-guided Fréchet distances are **{ends[0]} times** the teacher's (aim: {AIM['frechet']:g}); those of the "
        f"thesis's recipe at α = {study.results.main}, where the path begins, {ends[1]} times. "
        f"{_kept(last, teacher)} {_reached(ratios[0])}",
        _unasked(last, teacher),
        _shipped(study, name),
    )


def _unasked(student: Group, teacher: Group) -> str:
    """What the aim does not ask for: the kernel distance, and the factors that no score of `TRANSLATION` counts."""
    parts = []
    for headline in distances(student.rows, "kernel")[:1]:
        both = [tidy(" / ".join(f"{group.score(guide, headline.key).mean:.1f}" for guide in GUIDES)) for group in (student, teacher)]
        parts.append(f"the kernel distance, which no number of pictures biases, is {both[0]} (teacher: {both[1]})")
    small = []
    for name, key in SMALL.items():
        spreads = [group.score("reference", key) for group in (student, teacher)]
        if None not in spreads:
            small.append(f"{name} {spreads[0].text(2)} (teacher: {spreads[1].text(2)})")
    if small:
        parts.append(f"the smaller factors, which those scores leave out, correlate with reference or source, reference-guided, by {', '.join(small)}")
    return f"Beside the aim: {'; '.join(parts)}." if parts else ""


def widths(study: Study, base: Study, together: Study) -> str:
    """Whether width is what the thesis's students lack; nothing without the runs that say it.

    Students of one seed by the thesis's recipe, at every width of ``base``, beside those of step 1's recipe at the path's width and at
    ``together``'s, trained as long, and the path's end.
    """
    by_recipe = {group["alpha"]: row for group in base.results.grid if group["distilled"] for row in group.rows if row["seed"] == base.preset.training.seed}
    reached = [group for name, group in _groups(study).items() if name.startswith("step")]
    critic = list(STEPS)[0]
    by_critic = {one.results.main: found.rows[0] for one in (study, together) if (found := one.results.student(one.results.main, True, critic)) is not None}
    if len(by_recipe) < 2 or len(by_critic) < 2 or not reached:
        return ""
    alphas, last = list(by_recipe), reached[-1]
    narrow, wide = (by_critic[alpha] for alpha in sorted(by_critic))
    told = "; ".join(f"{_distances(row)} at α = {alpha}" for alpha, row in by_recipe.items())
    taught = "; ".join(f"{_distances(row)} at α = {row['alpha']}" for row in (narrow, wide))
    return (
        f"Latent- and reference-guided, the Fréchet distances of students distilled by the thesis's recipe (seed {base.preset.training.seed}) are {told}: "
        f"from the first to the last the weights grow {by_recipe[alphas[-1]]['parameters'] / by_recipe[alphas[0]]['parameters']:.1f}-fold. Taught by the "
        f"recipe of step 1 below for as many iterations they are {taught}. The last student of the path, with "
        f"{_count(last['parameters'])} weights, has {_means(last)}. {_lacking(list(by_recipe.values()), narrow, wide)}"
    )


def _lacking(by_recipe: list[dict[str, Any]], narrow: dict[str, Any], wide: dict[str, Any]) -> str:
    """What the numbers of `widths` come to."""
    measures = [distance(guide).of for guide in GUIDES]
    taught_better = all(of(narrow) < min(map(of, by_recipe)) for of in measures)
    wider_better = all(of(wide) < of(narrow) for of in measures)
    if not taught_better:
        return "So width may well be what they lack."
    return "So what they are taught is in the way before their width is" + (
        "; with a better recipe, width counts again." if wider_better else ", and with a better recipe, too, width does not count."
    )


def _means(group: Group) -> str:
    """Both Fréchet distances, means over seeds."""
    return " / ".join(f"{_mean(group, distance(guide)):.1f}" for guide in GUIDES)


def _reached(ratios: list[float]) -> str:
    """Which distances reach the aim; ``ratios``: to the teacher's, a guide each."""
    reach = [guide for guide, ratio in zip(GUIDES, ratios, strict=True) if ratio <= AIM["frechet"]]
    if len(reach) == 1:
        return f"Of the two distances only the {reach[0]}-guided reaches the aim."
    return "Both distances reach the aim." if reach else "The distances do **not** reach the aim."


def _shipped(study: Study, last: str) -> str:
    """Which step's weights are in the repository, where that is not the last one."""
    folder = reference_folder() / study.preset.name
    names = {station: run_name(STUDENT, study.results.main, True, variant) for station, variant in STATIONS.items() if variant in STEPS}
    shipped = [step for step, name in names.items() if (folder / name / "weights.safetensors").is_file()]
    return f"The weights in the repository, which the demo runs, are those of {shipped[-1]}." if shipped and shipped[-1] != last else ""


def _kept(student: Group, teacher: Group) -> str:
    """By how much the scores that a distance does not see fall short of the teacher's."""
    changes = []
    for headline in TRANSLATION:
        spreads = [[group.score(guide, headline.key) for group in (student, teacher)] for guide in GUIDES]
        found = [f"{mine.mean - its.mean:+.3f}" for mine, its in spreads if mine is not None and its is not None]
        if found:
            changes.append(f"{headline.heading} {tidy(' / '.join(found))}")
    return tidy(f"Against the teacher: {', '.join(changes)} (aim: at least -{AIM['lost']:g}).") if changes else ""


def _mean(group: Group, measure: Measure) -> float:
    return group.spread(measure.of).mean


def missing(study: Study) -> str:
    """The stations that are not run yet, with the command."""
    left = [f"`{name}`" for name in study.preset.study.variants if study.results.student(study.results.main, True, name) is None]
    return f"*Not run yet:* {', '.join(left)}: `python -m kdlib study --preset {study.preset.name}`." if left else ""
