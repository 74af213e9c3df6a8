"""The book's numbers: Markdown fragments made from run folders just before the book is built (book/_generated/*.md).

Prose pages include them, so that no measured number is ever typed.
"""

import json
from pathlib import Path
from typing import Any

from kdlib import cost_report
from kdlib.factor_network import REPORT
from kdlib.files import write_text
from kdlib.paths import REPOSITORY, reference_folder, runs_folder
from kdlib.headlines import FACTORS, Headline, distances, headlines
from kdlib.results import GUIDES, as_markdown, distillation_pairs, label, markdown_table, ratio, result_rows, rows_of_preset, score
from kdlib.runs import STUDENT, list_runs

GENERATED = REPOSITORY / "book" / "_generated"


def write_fragments(preset: str, folder: Path = GENERATED) -> None:
    """Write findings.md, results.md, model_card.md and the cost page's cost_*.md; files that would not change are left alone."""
    fragments = {"findings": findings(preset), "results": results(preset), "model_card": model_card()}
    fragments |= {f"cost_{name}": text for name, text in cost_report.fragments().items()}
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
    teachers, students = [r for r in rows if r["role"] != STUDENT], [r for r in rows if r["role"] == STUDENT]
    parts = [f"From the runs of preset `{preset}` ({_iterations(teachers, students)}):"]
    parts += [_teacher_sentence(t) for t in teachers]
    few, many = _most(students), _most(teachers[:1])
    if few and many and few < many:
        parts.append(f"**The students** had {few:,} iterations, the teacher {many:,}: what they do not do yet is not what they cannot learn.")
    parts += [_student_sentence(rows, s) for s in students if s["distilled"]]
    parts += _distillation_sentences(rows)
    return "\n\n".join([*parts, as_markdown(rows, ("parameters", "MACs", "FID", "Frechet", "LPIPS", "domain", "content", "style followed")), ""])


def _iterations(teachers: list[dict[str, Any]], students: list[dict[str, Any]]) -> str:
    named = [("teacher", teachers), ("students", students)]
    return ", ".join(f"{name} {_most(rows):,} iterations" if _most(rows) else f"{name} released" for name, rows in named if rows) + ", one seed"


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


def _student_sentence(rows: list[dict[str, Any]], row: dict[str, Any]) -> str:
    fewer, cheaper = ratio(rows, row, "parameters"), ratio(rows, row, "macs")
    text = f"**α = {row['alpha']}, distilled**: {fewer} fewer weights, {cheaper} fewer MACs than the teacher"
    if row.get("reference_content_correlation") is not None:
        text += (
            f"; {_percent(row['reference_domain_accuracy'])} of the asked species, pose kept at {row['reference_content_correlation']:.2f}, "
            f"colours followed at {row['reference_style_correlation']:.2f}"
        )
    return text + "."


def _distillation_sentences(rows: list[dict[str, Any]]) -> list[str]:
    sentences = []
    for alone, distilled in distillation_pairs(rows):
        clauses = []
        told = {"content_correlation": "pose kept", "style_correlation": "colours followed"}
        for headline in (*distances((alone, distilled), "frechet"), *(h for h in FACTORS if h.key in told)):
            pair = [score(r, "reference", headline.key) for r in (alone, distilled)]
            if None not in pair:
                clauses.append(f"{told.get(headline.key, headline.heading)} {_change(*pair, headline.lower_is_better)}")
        if clauses:
            sentences.append(f"**Distillation at {label(alone)}**, against the same network trained alone: {', '.join(clauses)}, reference-guided.")
    return sentences


def results(preset: str) -> str:
    """The table of every finished run of ``preset`` and of the runs kept in git, then the reader's own against those."""
    own = [r for r in result_rows(list_runs(runs_folder() / preset)) if "parameters" in r]
    kept = [r for r in result_rows(list_runs(reference_folder())) if "parameters" in r]
    shown = rows_of_preset(preset)  # the reader's own, and the shipped teacher that they were distilled from
    parts = [f"## Preset `{preset}`, as run here", as_markdown(shown)] if own else []
    for name in sorted({r["preset"] for r in kept}):
        parts += [f"## Kept in git: preset `{name}`", as_markdown([r for r in kept if r["preset"] == name])]
    twins = [(theirs, mine) for mine in own for theirs in kept if _same_run(theirs, mine)]
    if twins:
        heads = ["*kept → here*", *(label(mine) for _, mine in twins)]
        lines = [[headline.heading, *(_twin_scores(pair, headline) for pair in twins)] for headline in headlines([*own, *kept])]
        parts += ["## Did it reproduce?", "Runs made here beside those kept in git, latent- / reference-guided:", markdown_table(heads, lines)]
    return "\n\n".join([*parts, ""]) if parts else f"No run has been evaluated yet: `python -m kdlib study --preset {preset}`.\n"


def _same_run(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(a[key] == b[key] for key in ("preset", "run", "iterations"))


def _twin_scores(pair: tuple[dict[str, Any], dict[str, Any]], headline: Headline) -> str:
    scores = [[score(row, guide, headline.key) for row in pair] for guide in GUIDES]
    return " / ".join(f"{a:.2f} → {b:.2f}" for a, b in scores if a is not None and b is not None)


def model_card() -> str:
    """Scores of the shipped weights: teachers kept in git, and the factor network's report."""
    rows = [r for r in result_rows(list_runs(reference_folder())) if r["role"] != STUDENT and "parameters" in r]
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
    return "\n\n".join([as_markdown(rows), about, table, ""]) if rows else "\n\n".join([about, table, ""])
