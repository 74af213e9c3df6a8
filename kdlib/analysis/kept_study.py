"""A study as far as its runs are kept in git, with whatever its results are compared with."""

from dataclasses import dataclass
from typing import Any

from kdlib.analysis.ablation import TOLD_FACTORS
from kdlib.analysis.control import control_rows
from kdlib.analysis.seeds import Group, StudyResults
from kdlib.config import load_preset
from kdlib.headlines import SPECTRAL, Headline, headlines
from kdlib.results import kept_rows, rows_of_study
from kdlib.runs import TEACHER
from kdlib.settings import Preset
from kdlib.study import students

REFERENCE = "mini"  # the preset whose runs, kept in git, are the reference study


@dataclass(frozen=True)
class Study:
    """A preset, the rows of its runs that are kept in git, and the runs that it should have."""

    preset: Preset
    rows: list[dict[str, Any]]
    results: StudyResults

    @property
    def planned(self) -> tuple[str, ...]:
        own = tuple(student.name for student in students(self.preset))
        return own if self.preset.study.variants_only else (TEACHER, *own)

    @property
    def missing(self) -> tuple[str, ...]:
        kept = {row["run"] for row in self.rows}
        return tuple(name for name in self.planned if name not in kept)


def load_study(name: str = REFERENCE) -> Study:
    """The study of a shipped preset, as far as it is kept."""
    preset = load_preset(name)
    rows = rows_of_study(preset, kept_rows)
    found = StudyResults.of([*rows, *control_rows(preset, rows)], preset.study.main, preset.study.variants, _yardsticks(preset))
    return Study(preset, rows, found)


def _yardsticks(preset: Preset) -> list[Group]:
    """The distilled main width in the studies of the presets that this one builds upon, on the same pictures."""
    found, dataset = [], preset.data.source
    while preset.base:
        main, preset = preset.study.main, load_preset(preset.base)
        found.append(StudyResults.of(kept_rows(preset.name), main).student(main, True))
    return [group for group in found if group is not None and group["dataset"] == dataset]


def main_scores(results: StudyResults) -> list[Headline]:
    """The scores that figures show: the first feature network's distance and diversity, the spectral distance, and the factor scores."""
    rows = [row for group in results.groups for row in group.rows]
    found = headlines(rows)
    others = {h.key for h in (*TOLD_FACTORS, SPECTRAL)}
    first = next(iter(rows[0]["feature_networks"].values())) if rows and rows[0].get("feature_networks") else {}
    return [h for h in found if h.key in (first.get("frechet"), first.get("diversity")) or h.key in others]
