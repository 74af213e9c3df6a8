"""The book's numbers: Markdown fragments made from run folders just before the book is built (book/_generated/*.md).

Prose pages include them, so that no measured number is ever typed.
"""

import json
from pathlib import Path
from typing import Any

from kdlib.analysis import claim_tables
from kdlib.analysis.kept_study import REFERENCE, load_study
from kdlib.analysis.seeds import Group, StudyResults, seeds_text
from kdlib.analysis.study_tables import TOLD, WIDEST, side_by_side
from kdlib.book import (
    ablation_report, bottleneck_report, cost_report, deployment_report, explorer, faces_report, gap_report, new_pictures_report, path_report,
    study_report, width_report,
)  # fmt: skip
from kdlib.book.claims_in_page import in_page
from kdlib.files import write_text
from kdlib.headlines import FACTORS, Headline, distances, headlines
from kdlib.paths import REPOSITORY, reference_folder
from kdlib.results import GUIDES, as_markdown, evaluated_rows, kept_rows, label, markdown_table, own_rows, ratio, rows_of_preset, score
from kdlib.runs import STUDENT, Run, list_runs
from kdlib.scoring.factor_network import REPORT

GENERATED = REPOSITORY / "book" / "_generated"
PAGES = {  # of kept presets that have their own
    REFERENCE: "reference_study", bottleneck_report.PRESET: "what_distances_miss", gap_report.PRESET: "closing_the_gap",
    gap_report.TOGETHER: "closing_the_gap", faces_report.PRESET: "faces",
    width_report.PRESET: "where_width_goes", ablation_report.PRESET: "ablation", path_report.PRESET: "closing_the_gap",
}  # fmt: skip


def write_fragments(preset: str, folder: Path = GENERATED) -> None:
    """Write the fragments of every page that has any; files that would not change are left alone.

    findings.md, results.md, new_pictures.md and model_card.md, the cost page's cost_*.md, those of the reference study, study_*.md and ablation_*.md,
    explorer.md, deployment_*.md, gap_*.md, path_*.md, width_*.md and faces_*.md of the pages beyond the thesis, and bottleneck_*.md of the page
    on what set distances miss.
    """
    study = load_study()
    fragments = {"findings": findings(preset), "results": results(preset), "model_card": model_card(), "explorer": explorer.fragment(study)}
    fragments["new_pictures"] = new_pictures_report.fragment()
    fragments |= {f"cost_{name}": text for name, text in cost_report.fragments().items()}
    fragments |= {f"study_{name}": text for name, text in study_report.fragments(study).items()}
    fragments |= {f"ablation_{name}": text for name, text in ablation_report.fragments(load_study(ablation_report.PRESET)).items()}
    fragments |= {f"deployment_{name}": text for name, text in deployment_report.fragments().items()} | {"speed": deployment_report.summary() + "\n"}
    gap = gap_report.fragments(*map(load_study, (gap_report.PRESET, gap_report.TOGETHER)))
    fragments |= {f"gap_{name}": text for name, text in gap.items()}
    fragments |= {f"path_{name}": text for name, text in path_report.fragments(load_study(path_report.PRESET)).items()}
    fragments |= {f"faces_{name}": text for name, text in faces_report.fragments(load_study(faces_report.PRESET), study).items()}
    fragments |= {f"width_{name}": text for name, text in width_report.fragments().items()}
    fragments |= {f"bottleneck_{name}": text for name, text in bottleneck_report.fragments().items()}
    for name, text in fragments.items():
        path = folder / f"{name}.md"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _change(before: float, after: float, lower_is_better: bool) -> str:
    digits = 1 if before > 10 else 3
    better = (after < before) == lower_is_better
    return f"{before:.{digits}f} → {after:.{digits}f} ({'better' if better else 'worse'})"


def findings(preset: str) -> str:
    """What the runs of ``preset`` say, in sentences whose every number is a run folder's."""
    rows = rows_of_preset(preset)
    if not rows:
        return f"No run of preset `{preset}` has been evaluated yet: `python -m kdlib study --preset {preset}` makes them.\n"
    found = StudyResults.of(rows)
    teachers, students = [r for r in rows if r["role"] != STUDENT], [r for r in rows if r["role"] == STUDENT]
    parts = [f"From the runs of preset `{preset}` ({_iterations(teachers, students)}, {_seeds(found)}):"]
    parts += [_teacher_sentence(t) for t in teachers]
    few, many = _most(students), _most(teachers[:1])
    if few and many and few < many:
        parts.append(f"**The students** had {few:,} iterations, the teacher {many:,}: what they do not do yet is not what they cannot learn.")
    parts += [_student_sentence(rows, group) for group in found.grid if group["distilled"]]
    parts += _distillation_sentences(found)
    return "\n\n".join([*parts, side_by_side(rows, ("parameters", "MACs", *TOLD)), ""])


def _iterations(teachers: list[dict[str, Any]], students: list[dict[str, Any]]) -> str:
    named = [("teacher", teachers), ("students", students)]
    return ", ".join(f"{name} {_most(rows):,} iterations" if _most(rows) else f"{name} released" for name, rows in named if rows)


def _seeds(found: StudyResults) -> str:
    counts = sorted({len(group.rows) for group in found.grid})
    return seeds_text(counts[0]) if counts in ([], [1]) else f"up to {seeds_text(counts[-1])}, of which ± is the deviation"


def _most(rows: list[dict[str, Any]]) -> int:
    """The largest number of iterations; 0 if none is known, as of released weights."""
    return max((r["iterations"] or 0 for r in rows), default=0)


def _teacher_sentence(row: dict[str, Any]) -> str:
    text = f"**The teacher** has {row['parameters'] / 1e6:.2f} M weights."
    if row.get("reference_content_correlation") is not None:
        text += (
            f" Reference-guided, {_percent(row['reference_domain_accuracy'])} of its translations are of the asked species, its pose "
            f"correlates with the source's at {row['reference_content_correlation']:.2f} and with the reference's at "
            f"{row['reference_leak_correlation']:.2f}, its colours with the reference's at {row['reference_style_correlation']:.2f}. "
            f"Gaze and mouth, a few pixels wide, follow the source at {row['reference_detail_correlation']:.2f}."
        )
    return text


def _student_sentence(rows: list[dict[str, Any]], group: Group) -> str:
    fewer, cheaper = ratio(rows, group.rows[0], "parameters"), ratio(rows, group.rows[0], "macs")
    text = f"**α = {group['alpha']}, distilled**: {fewer} fewer weights, {cheaper} fewer MACs than the teacher"
    species, content, style = (group.score("reference", f"{name}") for name in ("domain_accuracy", "content_correlation", "style_correlation"))
    if content is not None:
        text += f"; {_percent(species.mean)} of the asked species, pose kept at {content.text(2)}, colours followed at {style.text(2)}"
    return text + "."


def _distillation_sentences(found: StudyResults) -> list[str]:
    sentences = []
    told = {"content_correlation": "pose kept", "style_correlation": "colours followed"}
    for alpha in found.alphas:
        pair = [found.student(alpha, kind) for kind in (False, True)]
        if None in pair or pair[0]["iterations"] != pair[1]["iterations"]:
            continue
        clauses = []
        for headline in (*distances((r for group in pair for r in group.rows), "frechet"), *(h for h in FACTORS if h.key in told)):
            scores = [group.score("reference", headline.key) for group in pair]
            if None not in scores:
                clauses.append(f"{told.get(headline.key, headline.heading)} {_change(*(s.mean for s in scores), headline.lower_is_better)}")
        if clauses:
            counted = seeds_text(min(len(group.rows) for group in pair))
            opening = f"**Distillation at α = {alpha}**, against the same network trained alone ({counted})"
            sentences.append(f"{opening}: {', '.join(clauses)}, reference-guided.")
    return sentences


def results(preset: str) -> str:
    """The table of every finished run of ``preset`` and of the runs kept in git, then the reader's own against those."""
    own, kept = own_rows(preset), evaluated_rows(list_runs(reference_folder()))
    shown = rows_of_preset(preset)  # the reader's own, and the shipped teacher that they were distilled from
    parts = [f"## Preset `{preset}`, as run here", side_by_side(shown)] if own else []
    for name in sorted({r["preset"] for r in kept}):
        rows = kept_rows(name)
        page = PAGES.get(name)
        own_count = sum(row["preset"] == name for row in rows)  # without the teacher of another preset
        text = f"{own_count} run{'s' if own_count > 1 else ''}, on a page of their own: {{doc}}`/book/{page}`." if page else side_by_side(rows)
        parts += [f"## Kept in git: preset `{name}`", text]
    if reproduced := reproduction(preset, own):
        parts += ["## Did it reproduce?", reproduced]
    return "\n\n".join([*parts, ""]) if parts else f"No run has been evaluated yet: `python -m kdlib study --preset {preset}`.\n"


def reproduction(preset: str, own: list[dict[str, Any]]) -> str:
    """The reader's runs beside those kept in git: scores of runs of one recipe and seed, then claims; nothing where there is no pair."""
    kept, reference = kept_rows(preset), load_study()
    parts = []
    twins = [(theirs, mine) for mine in own for theirs in kept if _same_run(theirs, mine)]
    if twins and all(theirs["seconds"] == mine["seconds"] for theirs, mine in twins):  # to the last digit: no second training takes as long
        return "The runs of this machine are the very ones that are kept in git: there is nothing to compare."
    if twins:
        parts += ["Runs made here beside those kept in git, latent- / reference-guided:", _twins_table(twins)]
    main = reference.preset.study.main if preset == REFERENCE else 0
    mine, theirs = (StudyResults.of(rows, main) for rows in (rows_of_preset(preset), kept))
    table = claim_tables.reproduction_table(mine, theirs, reference.results, (preset, REFERENCE))
    if own and table[1]:
        said = claim_tables.reproduction_sentence(mine, theirs)
        parts += [" ".join(filter(None, ["**Claims.**", said, claim_tables.YARDSTICK])), in_page(table)]
    return "\n\n".join(parts)


def _twins_table(twins: list[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """A column a run and a line a score; of more runs than a page is wide, the other way round, with fewer scores."""
    shown = headlines([row for pair in twins for row in pair])
    if len(twins) <= WIDEST:
        lines = [[headline.heading, *(_twin_scores(pair, headline) for pair in twins)] for headline in shown]
        return markdown_table(["*kept → here*", *(label(mine) for _, mine in twins)], lines)
    shown = [h for h in shown if h.heading.startswith(("FID", "Fréchet", "domain", "content", "style followed"))]
    lines = [[label(pair[1]), *(_twin_scores(pair, headline) for headline in shown)] for pair in twins]
    return markdown_table(["*kept → here*", *(h.heading for h in shown)], lines)


def _same_run(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a["recipe"] is not None and all(a[key] == b[key] for key in ("preset", "recipe", "seed", "protocol"))


def _twin_scores(pair: tuple[dict[str, Any], dict[str, Any]], headline: Headline) -> str:
    scores = [[score(row, guide, headline.key) for row in pair] for guide in GUIDES]
    return " / ".join(f"{a:.2f} → {b:.2f}" for a, b in scores if a is not None and b is not None)


def model_card() -> str:
    """Scores of the shipped weights: teachers and students kept in git with theirs, and the factor network's report."""
    shipped = [run for run in list_runs(reference_folder()) if run.weights.is_file()]
    rows = evaluated_rows(shipped)
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    heads = ["factor network", *(f"{size} px" for size in report["accuracy"])]
    lines = [["species accuracy", *(f"{a['species_accuracy']:.4f}" for a in report["accuracy"].values())]]
    for factor in next(iter(report["accuracy"].values()))["factors"]:
        name = f"correlation, {factor.replace('_', ' ')}"
        lines.append([name, *(f"{a['factors'][factor]['correlation']:.3f}" for a in report["accuracy"].values())])
    table = markdown_table(heads, lines)
    about = (
        f"Factor network: {report['parameters']:,} weights, {report['settings']['steps']:,} steps on {report['settings']['pictures']:,} pictures "
        f"a size, {report['seconds'] / 60:.0f} minutes; accuracy on pictures of a seed it never saw:"
    )
    scores = [as_markdown(rows), *filter(None, map(stages_of, shipped))] if rows else []
    return "\n\n".join([*scores, *filter(None, [deployment_report.card()]), about, table, ""])


def stages_of(run: Run) -> str:
    """How a run's settings changed on its way, where someone changed them by hand; empty for a run of one piece.

    Such a run notes in its environment.json, at each start under other settings than those it ended with, what they were then
    (``settings_then``).
    """
    starts = run.json("environment.json")
    if not any(start.get("settings_then") for start in starts):
        return ""
    ends = [start["first_step"] for start in starts[1:]] + [run.json("finished.json")["step"]]
    pieces: list[tuple[int, int, dict[str, Any]]] = []
    for start, end in zip(starts, ends, strict=True):
        then = start.get("settings_then", {})
        if pieces and pieces[-1][2] == then:
            pieces[-1] = (pieces[-1][0], end, then)
        else:
            pieces.append((start["first_step"], end, then))
    told = [
        f"{first:,} to {end:,} with " + (", ".join(f"`{name}` = {value:g}" for name, value in then.items()) or "the settings of its preset")
        for first, end, then in pieces
    ]
    return (
        f"`{run.path.parent.name}/{run.name}` was not trained in one piece. Its settings were changed on the way, after looking at its scores: "
        f"iterations {'; '.join(told)}. The same command from the start gives another teacher."
    )
