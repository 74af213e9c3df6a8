"""Runs that differ in their seed only, taken together: mean and deviation of every score, and how many seeds are behind it.

The thesis has one run a row. How far another training of the same network would land cannot be read off one run, so a number
that has a single seed behind it is marked as such wherever it is shown, and a ± is a sample standard deviation over trainings.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kdlib.results import label, score, title, usual
from kdlib.runs import STUDENT, TEACHER

Quantity = Callable[[dict[str, Any]], float | None]  # of a result row; None where the row does not have it
SAME = ("preset", "recipe", "protocol", "selection", "kept_in_git")  # of all runs of a group
BLANK = "\N{NO-BREAK SPACE}"
ONE_SEED = f"1{BLANK}seed"


@dataclass(frozen=True)
class Spread:
    """Values of one quantity over seeds, in their order; ``deviation`` is the sample's, None of a single value."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def count(self) -> int:
        return len(self.values)

    def text(self, digits: int, signed: bool = False) -> str:
        """'16.18 ± 0.15', or '16.18' of a single value; ``signed``: '+16.18'."""
        sign = "+" if signed else ""
        found = f"{self.mean:{sign}.{digits}f}"
        return tidy(found if self.deviation is None else f"{found} ± {self.deviation:.{digits}f}")


def tidy(text: str) -> str:
    """Numbers as they should stand on a page: with a true minus sign, and in one line with what they belong to."""
    return text.replace("-", "−").replace(" ± ", f"{BLANK}±{BLANK}").replace(" → ", f"{BLANK}→{BLANK}")


def seeds_text(count: int) -> str:
    """'3 seeds', or '1 seed'."""
    return ONE_SEED if count == 1 else f"{count}{BLANK}seeds"


@dataclass(frozen=True)
class Group:
    """Result rows of runs that differ in their seed only, by seed. ``group[key]`` is what they share: width, iterations, weights."""

    rows: tuple[dict[str, Any], ...]

    def __getitem__(self, key: str) -> Any:
        return self.rows[0].get(key)

    @property
    def label(self) -> str:
        return title(self.rows[0]) if usual(self.rows[0]) else label(self.rows[0])

    @property
    def seeds(self) -> tuple[int | None, ...]:
        return tuple(row["seed"] for row in self.rows)

    @property
    def is_student(self) -> bool:
        return self["role"] == STUDENT

    def spread(self, of: Quantity) -> Spread | None:
        """A quantity over the seeds that have it; None where none has."""
        values = [value for row in self.rows if (value := of(row)) is not None]
        return Spread(tuple(values)) if values else None

    def score(self, guide: str, key: str) -> Spread | None:
        """A mean score over the seeds that have it; None where none has."""
        return self.spread(lambda row: score(row, guide, key))


def groups(rows: Iterable[dict[str, Any]]) -> list[Group]:
    """The rows in groups, in the order of their first rows. A run whose recipe is not known, a released one, stays alone."""
    found: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        key = tuple(map(row.get, SAME)) if row.get("recipe") else (row["preset"], row["run"], row["kept_in_git"])
        found.setdefault((*key, usual(row) or row["run"]), []).append(row)
    return [Group(tuple(sorted(members, key=lambda r: r["seed"] or 0))) for members in found.values()]


def of_shared_seeds(a: Group, b: Group) -> tuple[Group, Group]:
    """Both groups' rows of the seeds that both have; the groups as they are where they have none in common."""
    shared = set(a.seeds) & set(b.seeds)
    if not shared:
        return a, b
    ours, theirs = (Group(tuple(row for row in group.rows if row["seed"] in shared)) for group in (a, b))
    return ours, theirs


def paired(a: Group, b: Group, of: Quantity) -> Spread | None:
    """Differences of a quantity, b - a, over the seeds that both have; None where they have none in common."""
    ours, theirs = ({row["seed"]: of(row) for row in group.rows} for group in (a, b))
    both = [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
    values = tuple(y - x for x, y in both if x is not None and y is not None)
    return Spread(values) if values else None


@dataclass(frozen=True)
class StudyResults:
    """What there is of a study: its groups, and the width ``main`` that is trained with every seed and in every variant.

    ``order``: names of its variants as they are to be shown; any others follow. ``yardsticks``: the main width in the study that this one
    is a part of, whose seeds say how far trainings scatter where this one has too few.
    """

    groups: tuple[Group, ...]
    main: int
    order: tuple[str, ...] = ()
    yardsticks: tuple[Group, ...] = ()

    @classmethod
    def of(cls, rows: Sequence[dict[str, Any]], main: int = 0, order: Iterable[str] = (), yardsticks: Iterable[Group] = ()) -> StudyResults:
        """``main`` 0: the width with the most seeds, the widest of several."""
        found = tuple(groups(rows))
        seeds: dict[int, int] = {}
        for group in found:
            if group.is_student:
                seeds[group["alpha"]] = max(seeds.get(group["alpha"], 0), len(group.rows))
        return cls(found, main or max(seeds, key=lambda alpha: (seeds[alpha], alpha), default=0), tuple(order), tuple(yardsticks))

    @cached_property
    def teacher(self) -> Group | None:
        teachers = [group for group in self.groups if group["role"] == TEACHER]
        return next((group for group in teachers if group["run"] == TEACHER), teachers[0] if teachers else None)

    def student(self, alpha: int, distilled: bool, variant: str = "") -> Group | None:
        """The group of students of that kind; of several, as where someone tried other settings by hand, the study's own."""
        found = self._students(alpha, distilled, variant)
        return max(found, key=lambda g: (usual(g.rows[0]), len(g.rows)), default=None)

    def _students(self, alpha: int, distilled: bool, variant: str = "") -> list[Group]:
        kind = (True, alpha, distilled, variant)
        return [g for g in self.groups if (g.is_student, g["alpha"], g["distilled"], g["variant"]) == kind]

    def start_of(self, variant: str) -> Group | None:
        """The distilled main width that a variant is compared with: one trained in the variant's numbers where there is one."""
        usual_one, changed = self.student(self.main, True), self.student(self.main, True, variant)
        if changed is None or usual_one is None:
            return usual_one
        alike = [group for group in self._students(self.main, True) if computed_in(group) == computed_in(changed)]
        return usual_one if usual_one in alike or not alike else alike[0]

    @property
    def alphas(self) -> tuple[int, ...]:
        """Widths of the students, narrow to wide."""
        return tuple(sorted({group["alpha"] for group in self.groups if group.is_student}))

    @property
    def variants(self) -> tuple[str, ...]:
        found = dict.fromkeys(g["variant"] for g in self.groups if g.is_student and g["variant"])
        return tuple(sorted(found, key=lambda name: self.order.index(name) if name in self.order else len(self.order)))

    @property
    def grid(self) -> tuple[Group, ...]:
        """Teacher first, then by width, alone before distilled; variants and runs made by hand left out."""
        students = [self.student(alpha, distilled) for alpha in self.alphas for distilled in (False, True)]
        return tuple(group for group in (self.teacher, *students) if group is not None)

    def __bool__(self) -> bool:
        return bool(self.groups)


def computed_in(group: Group) -> str:
    """The numbers that the group's runs were trained in: 'bfloat16', or 'bfloat16, float32' of several machines'."""
    return ", ".join(sorted({row["precision"] for row in group.rows}))
