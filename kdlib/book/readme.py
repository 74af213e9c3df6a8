"""The results in README.md: tables and verdicts of the runs that are kept in git."""

from kdlib.analysis.kept_study import REFERENCE, load_study
from kdlib.analysis.prose import joined
from kdlib.analysis.study_tables import by_preset
from kdlib.book import path_report
from kdlib.book.study_report import verdict_sentence
from kdlib.errors import InputError
from kdlib.files import write_text
from kdlib.paths import REPOSITORY, reference_folder
from kdlib.results import result_rows
from kdlib.runs import list_runs

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def write_readme_table() -> str:
    """Put what the runs kept in git say between README.md's markers; returns what was done.

    Only the reference study and the way beyond it: a first page must not be as long as the book.
    """
    path = REPOSITORY / "README.md"
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise InputError(f"README.md: has no {BEGIN} ... {END} markers to put the table between")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    kept = result_rows(list_runs(reference_folder()))
    study, way = load_study(REFERENCE), load_study(path_report.PRESET)
    told = [row for row in kept if row["preset"] in (REFERENCE, path_report.PRESET)]
    others = sorted({row["preset"] for row in kept} - {row["preset"] for row in told})
    parts = [by_preset({REFERENCE: study.rows}), verdict_sentence(study.results)]
    if steps := path_report.steps(way):
        opening = f"Beyond the thesis, towards a better student at a twentieth of the weights (preset `{path_report.PRESET}`):"
        parts += [opening, steps, path_report.verdict(way)]
    if others:
        names = ", ".join(f"`{name}`" for name in others)
        parts.append(f"{len(kept) - len(told)} more runs, of the presets {names}, are kept here and shown in the book.")
    write_text(path, f"{before}{BEGIN}\n\n{joined(*parts)}\n\n{END}{after}")
    return f"README.md: {len(told)} runs, {len(kept) - len(told)} left to the book"
