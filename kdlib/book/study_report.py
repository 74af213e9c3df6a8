"""The reference study's pages as Markdown fragments: tables, figures, and those sentences whose wording depends on the outcome.

Everything is read from the runs of one preset under runs/reference. Of runs that are not there the fragments say so; what can be
counted without training, the costs and the commands, is always shown.
"""

import html
import json
from typing import Any

from kdlib.analysis import claim_tables, study_tables
from kdlib.analysis.claims import FAILS, HOLDS, STUDY_CLAIMS, UNDECIDED, Claim, Measure, distance, factor
from kdlib.analysis.kept_study import Study, main_scores
from kdlib.analysis.prose import ended, joined, listed
from kdlib.analysis.seeds import ONE_SEED, StudyResults, seeds_text
from kdlib.book.claims_in_page import STYLES, in_page
from kdlib.book.cost_report import shown
from kdlib.headlines import Headline, headlines
from kdlib.paths import reference_folder
from kdlib.results import GUIDES, markdown_table
from kdlib.runs import TEACHER, Run
from kdlib.scoring.course import course_of
from kdlib.views import study_figures, study_pictures

TRANSLATES = {"species right": "domain_accuracy", "content kept": "content_correlation", "style followed": "style_correlation"}  # reference-guided


def fragments(study: Study) -> dict[str, str]:
    """Markdown by the name of the page's part."""
    parts = {
        "setup": setup(study),
        "summary": summary(study),
        "course": course(study),
        "misled": misled(study),
        "quality": study_tables.quality_table(study.results) if study.results else not_yet(study),
        "factors": factors(study),
        "tradeoff": tradeoff(study),
        "effect": effect(study),
        "curves": curves(study),
        "cost": study_tables.cost_table(study.preset, study_tables.latencies(study.preset)),
        "pictures": pictures(study),
        "thesis": in_page(claim_tables.thesis_table(study.results)) if study.results else not_yet(study),
        "claims": claims(study, STUDY_CLAIMS),
        "compute": study_tables.compute_table(study.rows) if study.rows else not_yet(study),
        "price": price(study),
        "commands": study_tables.commands(study.preset),
    }
    return {name: ended(text) for name, text in parts.items()}


def not_yet(study: Study) -> str:
    return f"*No run of preset `{study.preset.name}` is kept here yet:* `python -m kdlib study --preset {study.preset.name}` makes them.\n"


# ---- the reference study ----


def setup(study: Study) -> str:
    """What is trained, from the preset, and what of it is kept."""
    p, s = study.preset, study.preset.study
    seeds = s.seeds or (p.training.seed,)
    drawn = f"{p.data.train_per_domain:,} for training and {p.data.val_per_domain:,} to test a species"
    others = seeds[: s.seeds_of_others]
    lines = [
        ["pictures", f"Critters, {p.data.image_size} px, {drawn}", "the same"],
        ["width cap α", str(p.networks.teacher_alpha), ", ".join(map(str, s.alphas))],
        [f"iterations of batch {p.training.batch_size}", f"{p.training.teacher_iterations:,}", f"{p.training.student_iterations:,}"],
        ["learning rate", f"{p.training.learning_rate:g}", f"{p.training.student_learning_rate or p.training.learning_rate:g}"],
        ["seeds", str(p.training.seed), f"α = {s.main}: {', '.join(map(str, seeds))}; other widths: {', '.join(map(str, others))}"],
    ]
    missing, planned = study.missing, study.planned
    if not missing:
        kept = f"All {len(planned)} runs are kept in `runs/reference/{p.name}`."
    elif len(missing) == len(planned):
        kept = not_yet(study)
    else:
        names = ", ".join(f"`{name}`" for name in missing)
        kept = f"Of its {len(planned)} runs, {len(planned) - len(missing)} are kept. **Not in this repository:** {names}."
    return joined(markdown_table([f"preset `{p.name}`", "teacher", "students"], lines), kept)


def _teacher_s_course(study: Study) -> dict[str, Any] | None:
    return course_of(Run(reference_folder() / study.preset.name / TEACHER)) if study.results.teacher else None


def course(study: Study) -> str:
    """How the teacher's scores went while it trained."""
    found = _teacher_s_course(study)
    if not found:
        return f"*Not scored yet:* `python -m kdlib course --preset {study.preset.name}`.\n"
    row = study.results.teacher.rows[0]
    known = {key for moment in found["moments"] for guide in GUIDES for key in moment[guide]}
    shown_scores = [h for h in main_scores(study.results) if h.key in known and not h.key.startswith("diversity")]
    real = {h.key: row[f"real_{h.key}"] for h in shown_scores if f"real_{h.key}" in row}
    figure = study_figures.course_figure("The teacher's scores on its way", found, shown_scores, real)
    outputs, sources = found["protocol"]["outputs_per_source"], sum(found["protocol"]["source_counts"].values())
    about = (
        f"The moving average of the weights at {len(found['moments'])} moments, {sources} sources in {outputs} styles a pair of species each. "
        "With fewer styles than the tables' ten, distances are a little larger here. Dotted: real pictures that the teacher never saw."
    )
    return joined(shown(figure), about)


def misled(study: Study) -> str:
    """Where the teacher's smallest latent-guided distance on the way was that of a moment which kept less of the source."""
    found = _teacher_s_course(study)
    if not found:
        return course(study)
    outputs = found["protocol"]["outputs_per_source"]
    about = f" ({outputs} styles a source here, in place of the tables' ten: distances are a little larger for it.)"
    return _misled(found["moments"], main_scores(study.results)[0]) + about


def _misled(moments: list[dict[str, Any]], distance: Headline) -> str:
    best, last = min(moments, key=lambda moment: moment["latent"][distance.key]), moments[-1]
    content = [moment["latent"].get("content_correlation") for moment in (best, last)]
    if best is last or None in content or content[0] >= content[1]:
        return "In the scores that are kept now, the smallest distance is not one of a moment that kept less of the source."
    told = [f"{moment['latent'][distance.key]:.1f} at iteration {moment['step']:,}, content kept {kept:.2f}" for moment, kept in zip((best, last), content)]
    sizes = [moment["latent"].get("content_correlation_size") for moment in (best, last)]
    if None not in sizes:
        told = [f"{text} (the size of the head {size:.2f})" for text, size in zip(told, sizes)]
    text = f"Latent-guided, the smallest Fréchet distance on the way was {told[0]}. At the end it was {told[1]}."
    other = [moment["reference"].get(distance.key) for moment in (best, last)]
    return text if None in other else f"{text} Reference-guided, where it was {other[0]:.1f} and {other[1]:.1f} at these two, it {_sided(*other)}."


def _sided(before: float, after: float) -> str:
    return "sided with the content" if after < before else "misled as well"


def summary(study: Study) -> str:
    """The outcome at a glance: the main width beside its teacher, and what of it is decided; what cannot be said yet is left out."""
    results = study.results
    if not results:
        return not_yet(study)
    decided = f"Of the study's {len(STUDY_CLAIMS)} {{ref}}`claims <study-claims>`, {claim_tables.counted(results, STUDY_CLAIMS)}."
    return joined(_cost_sentence(results), _glance(results), verdict_sentence(results), _width_sentence(results), decided)


def _cost_sentence(results: StudyResults) -> str:
    student = results.student(results.main, True)
    if student is None or results.teacher is None:
        return ""
    times = [f"**{results.teacher[key] / student[key]:.1f} times fewer {name}**" for key, name in (("parameters", "weights"), ("macs", "MACs"))]
    return f"The student of the main width, α = {results.main}, has {listed(times)} than its teacher."


def _glance(results: StudyResults) -> str:
    """The main width, distilled and alone, under its teacher: distances, and whether it still translates."""
    rows = {"teacher": results.teacher, f"**α = {results.main}, distilled**": results.student(results.main, True),
            f"α = {results.main}, trained alone": results.student(results.main, False)}  # fmt: skip
    columns = {f"Fréchet distance, {guide}-guided": distance(guide) for guide in GUIDES}
    columns |= {name: Measure(name, factor("reference", key).of) for name, key in TRANSLATES.items()}
    groups = {name: group for name, group in rows.items() if group is not None}
    columns = {name: m for name, m in columns.items() if any(group.spread(m.of) for group in groups.values())}
    lines = []
    for name, group in groups.items():
        spreads = [(group.spread(m.of), m.digits) for m in columns.values()]
        lines.append([name, *(study_tables.NONE if one is None else one.text(digits) for one, digits in spreads), seeds_text(len(group.rows))])
    return markdown_table(["", *columns, "seeds"], lines) if columns else ""


def _asked(results: StudyResults, keys: tuple[str, ...]) -> dict[str, Any]:
    return {claim.key: found for claim in STUDY_CLAIMS if claim.key in keys and (found := claim.ask(results)) is not None}


def marked(found: Any) -> str:
    return f" ({ONE_SEED})" if found.by_sign else ""


def verdict_sentence(results: StudyResults) -> str:
    found = _asked(results, GUIDES)
    told = {
        HOLDS: "distillation lowers the {} Fréchet distance", FAILS: "distillation does *not* lower the {} Fréchet distance",
        UNDECIDED: "what distillation does to the {} Fréchet distance is not told apart from the scatter of seeds",
    }  # fmt: skip
    clauses = []
    for guide, one in found.items():
        change = one.parts[0].text.partition(": ")[2].partition(" (")[0]
        clauses.append(f"{told[one.verdict].format(f'{guide}-guided')} ({change}{f', {ONE_SEED}' if one.by_sign else ''})")
    return f"At equal iterations, {'; '.join(clauses)}." if clauses else ""


def _width_sentence(results: StudyResults) -> str:
    told = {
        "every_width": {HOLDS: "Distillation helps at every width", FAILS: "Distillation does not help at every width",
                        UNDECIDED: "Whether distillation helps at every width is open"},
        "worth": {HOLDS: "the narrowest distilled student has a lower distance than the main width alone",
                  FAILS: "the narrowest distilled student does not have a lower distance than the main width alone",
                  UNDECIDED: "whether the narrowest distilled student is better than the main width alone is open"},
    }  # fmt: skip
    clauses = [told[key][found.verdict] + marked(found) for key, found in _asked(results, ("every_width", "worth")).items()]
    text = "; ".join(clauses)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def factors(study: Study) -> str:
    if not study.results:
        return not_yet(study)
    return joined(*(study_tables.factor_table(study.results, guide) for guide in GUIDES))


def tradeoff(study: Study) -> str:
    """The figure of quality against cost, with controls for both axes."""
    if not study.results.grid:
        return not_yet(study)
    costs = {"weights of G, E and F": lambda row: row.get("parameters"), "MACs": lambda row: row.get("macs")}
    seconds = study_tables.latencies(study.preset)
    for runtime in dict.fromkeys(runtime for model in seconds.values() for runtime in model):
        name = lambda row: TEACHER if row["role"] == TEACHER else str(row["alpha"])  # noqa: E731
        costs[f"latency of G, {runtime}"] = lambda row, runtime=runtime: seconds.get(name(row), {}).get(runtime)
    data = study_figures.choices(study.results, costs, headlines(study.rows))
    if not data["x"] or not data["y"]:
        return not_yet(study)
    figure = shown(study_figures.tradeoff_figure(study.results, data))
    controls = _select("x", "against", _x_options(data)) + _select("y", "score", _y_options(data))
    opening = f'<div class="kdchoose"><form>{controls}</form>'
    closing = f'<script type="application/json" class="kdchoose-data">{_embedded(data)}</script></div>'
    files = f'{STYLES}<script src="../_static/choices.js" defer></script>'
    raw = "```{{raw}} html\n{}\n```"
    return "\n\n".join([raw.format(files + opening), figure, raw.format(closing)])


def _select(name: str, label: str, options: str) -> str:
    return f'<label>{label} <select name="{name}">{options}</select></label>'


def _x_options(data: dict[str, Any]) -> str:
    return "".join(f"<option>{html.escape(name)}</option>" for name in data["x"])


def _y_options(data: dict[str, Any]) -> str:
    groups = []
    for guide in GUIDES:
        names = [(key, found["name"]) for key, found in data["y"].items() if key.startswith(f"{guide}|")]
        options = "".join(f'<option value="{html.escape(key, quote=True)}">{html.escape(name)}</option>' for key, name in names)
        groups.append(f'<optgroup label="{guide}-guided">{options}</optgroup>')
    return "".join(groups)


def _embedded(data: Any) -> str:
    """JSON that can stand inside a script element."""
    return json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")


def effect(study: Study) -> str:
    results = study.results
    if not any(results.student(a, True) and results.student(a, False) for a in results.alphas):
        return not_yet(study)
    return shown(study_figures.effect_figure(results, main_scores(results)))


def curves(study: Study) -> str:
    """Losses of the main width with and without a teacher, every seed."""
    both = [study.results.student(study.results.main, kind) for kind in (False, True)]
    if None in both:
        return not_yet(study)
    runs = [[Run(reference_folder() / study.preset.name / row["run"]) for row in group.rows] for group in both]
    return shown(study_figures.curves_figure(*runs))


def pictures(study: Study) -> str:
    """The same sources and styles through every model; whole samples of the teacher and the main student below, folded."""
    parts = []
    for guide in reversed(GUIDES):
        if grid := study_pictures.models_grid(study.results, guide):
            parts.append(f"```{{raw}} html\n{grid}\n```")
    pair = [group for group in (study.results.teacher, study.results.student(study.results.main, True)) if group is not None]
    for guide in reversed(GUIDES):
        whole = "".join(study_pictures.whole_sample(group, guide) for group in pair)
        if whole:
            parts.append(f":::{{dropdown}} All of the samples, {guide}-guided\n```{{raw}} html\n{whole}\n```\n:::")
    return joined(*parts) or not_yet(study)


def claims(study: Study, asked: tuple[Claim, ...]) -> str:
    if not study.results:
        return not_yet(study)
    return joined(in_page(claim_tables.claims_table(study.results, asked)), claim_tables.YARDSTICK)


def price(study: Study) -> str:
    """What an iteration of distillation costs beside one without, at the main width."""
    alone, distilled = (study.results.student(study.results.main, kind) for kind in (False, True))
    if alone is None or distilled is None:
        return ""
    seconds = [group.spread(lambda row: row["seconds_per_iteration"]).mean for group in (alone, distilled)]
    return (
        f"Students with and without a teacher are compared at equal iterations, not at equal time: at α = {study.results.main} an iteration took "
        f"{seconds[1]:.2f} s with distillation and {seconds[0]:.2f} s without, {seconds[1] / seconds[0]:.1f} times as long. Take that for a rough "
        "number: runs shared their machine with others, and the same width's times differ from run to run, as the table below shows. {doc}`cost` has "
        "the operations."
    )
