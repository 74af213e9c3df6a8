"""The page of what each loss brings, as Markdown fragments: what was changed, what it changed, and what of that is decided.

Everything is read from the runs of one preset under runs/reference, as in `kdlib.book.study_report`.
"""

from kdlib.analysis.ablation import ablation_claims, cost_of, described, measure_of
from kdlib.analysis.claims import FAILS, HOLDS, UNDECIDED, Measure
from kdlib.analysis.kept_study import Study, main_scores
from kdlib.analysis.prose import ended, joined
from kdlib.analysis.seeds import BLANK, StudyResults, seeds_text, tidy
from kdlib.analysis.study_tables import NONE
from kdlib.book.cost_report import shown
from kdlib.book.study_report import claims, marked
from kdlib.results import GUIDES, in_classes, markdown_table
from kdlib.views.study_figures import ablation_figure, plain

PRESET = "ablation"


def fragments(study: Study) -> dict[str, str]:
    """Markdown by the name of the page's part."""
    asked = ablation_claims(study.results.variants or tuple(study.preset.study.variants))
    parts = {
        "setup": setup(study),
        "summary": summary(study),
        "table": table(study),
        "figure": figure(study),
        "claims": claims(study, asked),
    }
    return {name: ended(text) for name, text in parts.items()}


def setup(study: Study) -> str:
    """What every variant leaves out or replaces."""
    p, s = study.preset, study.preset.study
    lines = []
    for name in s.variants:
        told, kept = described(name), study.results.student(study.results.main, True, name)
        lines.append([told.change, told.equations.replace(" ", BLANK), f"`{name}`", "not yet" if kept is None else seeds_text(len(kept.rows))])
    about = (
        f"Preset `{p.name}`, {p.data.image_size} px, α = {s.main}, {p.training.student_iterations:,} iterations for the full recipe and for every "
        f"variant; all other settings are those of `{p.base}`. "
        f"The settings of every variant are in [{p.name}.toml](../kdlib/presets/{p.name}.toml); a notebook takes one by its name, "
        f"`-p variant {next(iter(s.variants), 'NAME')}`."
    )
    return joined(about, markdown_table(["what is changed", "Eqs.", "variant", "kept"], lines) if lines else "This preset has no variants.")


def no_variant(study: Study) -> str:
    return f"*No variant of preset `{study.preset.name}` is kept here yet:* `python -m kdlib study --preset {study.preset.name}` trains them.\n"


def table(study: Study) -> str:
    """Every score of the full recipe, and how every variant changes it; bold where that is decided."""
    results = study.results
    full = results.student(results.main, True)
    if full is None or not results.variants:
        return no_variant(study)
    groups = [full, *(results.student(results.main, True, name) for name in results.variants)]
    tables = []
    for guide in GUIDES:
        lines = [["seeds", *(str(len(group.rows)) for group in groups)]]
        for headline in main_scores(results):
            measure = measure_of(headline, guide)
            if (spread := full.spread(measure.of)) is not None:
                name = headline.heading.split(" (")[0].replace(" ", BLANK)
                lines.append([name, spread.text(measure.digits), *(changed(results, variant, measure) for variant in results.variants)])
        tables.append(markdown_table([f"{guide}-guided", "full recipe", *map(plain, results.variants)], lines))
    return joined(*(in_classes(one, "kddense") for one in tables))


def changed(results: StudyResults, variant: str, measure: Measure) -> str:
    """What a variant changes in a score against the full recipe; bold where that is decided."""
    part = cost_of(results, variant, measure)
    if part is None:
        return NONE
    text = tidy(f"{part.margin if measure.lower_is_better else -part.margin:+.{measure.digits}f}")
    return f"**{text}**" if part.deviation is not None and part.verdict != UNDECIDED else text


def figure(study: Study) -> str:
    results = study.results
    if results.student(results.main, True) is None or not results.variants:
        return no_variant(study)
    return shown(ablation_figure(results, main_scores(results)))


def summary(study: Study) -> str:
    """Which variants cost something in the scores that their loss is meant for, in a sentence a verdict."""
    results = study.results
    found = {name: claim.ask(results) for name, claim in zip(results.variants, ablation_claims(results.variants), strict=True)}
    told = {
        HOLDS: "Worse for it, in the score that the loss is meant for",
        FAILS: "Not worse for it in that score",
        UNDECIDED: "Not told apart from the scatter of seeds",
    }
    sentences = []
    for verdict, text in told.items():
        names = [described(name).change + marked(f) for name, f in found.items() if f is not None and f.verdict == verdict]
        if names:
            sentences.append(f"**{text}:** {'; '.join(names)}.")
    return "\n\n".join(sentences) if sentences else no_variant(study)
