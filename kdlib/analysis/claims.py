"""What the study claims, as data: a sentence each, and a test that result rows pass, fail, or are too few or too noisy to decide.

The same tests are put to the runs kept in git and to the reader's own. A test gives one or more comparisons. A comparison is
decided when it is larger than twice its deviation between trainings. Where only the main width was trained with several seeds,
its deviation stands in for that of the others; where it has but two, the largest of that, of the study's that it is a part of, and of what
it is with the same recipe in other numbers (`kdlib.analysis.control`); where none was, the sign alone speaks, and the verdict says "in 1
seed". With three seeds that is a yardstick, no test of significance.

The thesis's claims are in `kdlib.analysis.thesis_claims`, those about single losses in `kdlib.analysis.ablation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kdlib.analysis.control import RUN as CONTROL
from kdlib.analysis.seeds import BLANK, ONE_SEED, Group, Quantity, StudyResults, of_shared_seeds, paired, seeds_text, tidy
from kdlib.headlines import SPECTRAL
from kdlib.results import GUIDES, score

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
DEVIATIONS = 2.0  # a comparison has to be larger than so many of its deviations to be decided
COUNTED = 0  # seeds behind a number that training does not change


@dataclass(frozen=True)
class Measure:
    """A quantity of a row, with the name and the digits that a sentence gives it."""

    name: str
    of: Quantity
    digits: int = 2
    lower_is_better: bool = False


@dataclass(frozen=True)
class Part:
    """One comparison. ``margin`` > 0 speaks for the claim; ``deviation`` is the margin's over trainings, None where unknown."""

    margin: float
    deviation: float | None
    seeds: int  # behind the number with the fewest
    text: str

    @property
    def verdict(self) -> str:
        if self.deviation is not None and abs(self.margin) <= DEVIATIONS * self.deviation:
            return UNDECIDED
        return HOLDS if self.margin > 0 else FAILS


@dataclass(frozen=True)
class Finding:
    """What rows say to a claim: it fails if one of its comparisons does, and holds if all do."""

    parts: tuple[Part, ...]

    @property
    def verdict(self) -> str:
        verdicts = {part.verdict for part in self.parts}
        return FAILS if FAILS in verdicts else UNDECIDED if UNDECIDED in verdicts else HOLDS

    @property
    def seeds(self) -> int:
        """Behind the number with the fewest; 0 where all are counted."""
        return min(part.seeds for part in self.parts)

    @property
    def by_sign(self) -> bool:
        """Whether nothing is known of a deviation, so that the sign alone speaks."""
        return any(part.deviation is None and part.seeds != COUNTED for part in self.parts)

    @property
    def verdict_text(self) -> str:
        """'holds', or 'holds in 1 seed' where nothing is known of the deviation."""
        return f"{self.verdict} in {ONE_SEED}" if self.by_sign else self.verdict

    @property
    def text(self) -> str:
        """'latent: 79.0 → 60.2 (−18.8 ± 2.1); reference: ...; 3 seeds'."""
        seeds = () if self.seeds == COUNTED or self.by_sign else (seeds_text(self.seeds),)
        return "; ".join([*(part.text for part in self.parts), *seeds])


Test = Callable[[StudyResults], Iterable[Part | None]]


@dataclass(frozen=True)
class Claim:
    """``test`` gives the comparisons that the claim stands on; none where the rows cannot be asked.

    ``asked``: what the test asks, in words, where that is not the sentence itself. ``comparable``: whether the answer says anything about
    the sentence; False where it is about other networks or in other units, and only stands beside it.
    """

    key: str
    sentence: str
    test: Test
    asked: str = ""
    comparable: bool = True

    def ask(self, results: StudyResults) -> Finding | None:
        """None where a run that the claim is about is not there."""
        parts = tuple(self.test(results))
        return Finding(parts) if parts and None not in parts else None


# ---- quantities ----


def distance(guide: str) -> Measure:
    """The Frechet distance in the first feature network that the rows were judged by, of one guide or the mean of "both"."""

    def of(row: dict) -> float | None:
        return _score(row, guide, next((scores["frechet"] for scores in row.get("feature_networks", {}).values()), ""))

    return Measure(guide, of, 1, lower_is_better=True)


def _score(row: dict, guide: str, key: str) -> float | None:
    """A score of one guide, or the mean over "both"; None where the row lacks it."""
    values = [score(row, g, key) for g in (GUIDES if guide == "both" else (guide,))]
    return None if None in values else sum(values) / len(values)


def diversity(guide: str) -> Measure:
    def of(row: dict) -> float | None:
        return _score(row, guide, next((scores["diversity"] for scores in row.get("feature_networks", {}).values()), ""))

    return Measure(guide, of, 2)


def factor(guide: str, key: str, lower_is_better: bool = False) -> Measure:
    return Measure(guide, lambda row: _score(row, guide, key), lower_is_better=lower_is_better)


# ---- comparisons ----


def scatter(results: StudyResults, group: Group, of: Quantity) -> float | None:
    """Deviation of a quantity between trainings of ``group``; of a single one that of the main width's students stands in.

    Two runs may be close by chance: where there are no more, the deviation is at least that of the results' yardsticks, and that of these two
    and the same recipe trained in other numbers, which scatters as another seed does. The one teacher that all students learn from does not
    scatter: 0.
    """
    if not group.is_student:
        return 0.0
    alike = (group, results.student(results.main, group["distilled"]), results.student(results.main, not group["distilled"]))
    spreads = [(one, found) for one in alike if one is not None and (found := one.spread(of)) is not None]
    one, known = next(((one, spread) for one, spread in spreads if spread.deviation is not None), (None, None))
    if known is None or known.count > 2:
        return known and known.deviation
    again = [row for other in results.groups if other["run"] == CONTROL and other["distilled"] == one["distilled"] for row in other.rows]
    others = [found for other in (*results.yardsticks, Group((*one.rows, *again))) if (found := other.spread(of)) is not None]
    return max(spread.deviation for spread in (known, *others) if spread.deviation is not None)


def compare(
    results: StudyResults, a: Group | None, b: Group | None, measure: Measure, name: str = "", equal_iterations: bool = True
) -> Part | None:
    """Whether ``b`` is better than ``a``: seed by seed over those that they share, where they share any, else by their means.

    The deviation is that of the differences where there are several, else that of trainings of both. None where one of them is missing
    or has no such score, or, with ``equal_iterations``, two students had different numbers of them.
    """
    if a is None or b is None or (equal_iterations and a.is_student and b.is_student and a["iterations"] != b["iterations"]):
        return None
    scatters = [scatter(results, group, measure.of) for group in (a, b)]
    a, b = of_shared_seeds(a, b)
    before, after, pairs = a.spread(measure.of), b.spread(measure.of), paired(a, b, measure.of)
    if before is None or after is None:
        return None
    difference, seeds = after.mean - before.mean, min(before.count, after.count)
    if pairs is not None and pairs.count > 1:
        difference, deviation, seeds = pairs.mean, pairs.deviation, pairs.count
    else:
        deviation = None if None in scatters else math.hypot(*scatters)
    digits = measure.digits
    text = f"{name or measure.name}: {before.mean:.{digits}f} → {after.mean:.{digits}f} ({_signed(difference, deviation, digits)})"
    return Part(-difference if measure.lower_is_better else difference, deviation, seeds, tidy(text))


def above(results: StudyResults, group: Group | None, measure: Measure, threshold: float) -> Part | None:
    """Whether a score is above a threshold."""
    spread = None if group is None else group.spread(measure.of)
    if spread is None:
        return None
    return Part(spread.mean - threshold, scatter(results, group, measure.of), spread.count, f"{measure.name}: {spread.text(measure.digits)}")


def relative_to_teacher(results: StudyResults, measure: Measure, limit: float) -> Part | None:
    """Whether the distilled main width is worse than its teacher by at most ``limit``, a fraction of the teacher's value."""
    student, teacher = results.student(results.main, True), results.teacher
    if student is None or teacher is None:
        return None
    mine, its = student.spread(measure.of), teacher.spread(measure.of)
    if mine is None or its is None or its.mean == 0:
        return None
    change = mine.mean / its.mean - 1
    deviation = scatter(results, student, measure.of)
    deviation = None if deviation is None else abs(deviation / its.mean)
    margin = limit - change if measure.lower_is_better else limit + change
    return Part(margin, deviation, mine.count, f"{measure.name}: {percent(change, deviation)}")


def at_least_times_smaller(results: StudyResults, key: str, factor: float, name: str) -> Part | None:
    """Whether the main width's count is at least ``factor`` times below the teacher's."""
    student, teacher = results.student(results.main, True), results.teacher
    if student is None or teacher is None or not student[key] or not teacher[key]:
        return None
    times = teacher[key] / student[key]
    return Part(times - factor, None, COUNTED, f"{times:.1f} times fewer {name}")


def _signed(difference: float, deviation: float | None, digits: int) -> str:
    text = f"{difference:+.{digits}f}"
    return text if deviation is None else f"{text} ± {deviation:.{digits}f}"


def percent(change: float, deviation: float | None = None) -> str:
    text = f"{100 * change:+.0f}" + ("" if deviation is None else f" ± {100 * deviation:.0f}")
    return tidy(f"{text}{BLANK}%")


# ---- what is claimed ----


def distilled_is_better(*measures: Measure) -> Test:
    """At the main width, against the same network trained alone."""

    def test(results: StudyResults) -> list[Part | None]:
        alone, distilled = (results.student(results.main, kind) for kind in (False, True))
        return [compare(results, alone, distilled, measure) for measure in measures]

    return test


def _at_every_width(results: StudyResults) -> list[Part | None]:
    measure, widths = distance("both"), results.alphas
    if len(widths) < 2:
        return []
    return [compare(results, results.student(a, False), results.student(a, True), measure, f"α = {a}") for a in widths]


def _smallest_keeps_species(results: StudyResults) -> list[Part | None]:
    smallest = results.student(min(results.alphas), True) if results.alphas else None
    return [above(results, smallest, factor(guide, "domain_accuracy"), 0.9) for guide in GUIDES]


def _translates(results: StudyResults, group: Group | None) -> list[Part | None]:
    asked = (("content kept", "content_correlation"), ("style followed", "style_correlation"))
    return [above(results, group, Measure(name, factor("reference", key).of), 0.5) for name, key in asked]


def _width_helps(results: StudyResults) -> list[Part | None]:
    widths = results.alphas
    if len(widths) < 2:
        return []
    narrow, wide = (results.student(alpha, True) for alpha in (widths[0], widths[-1]))
    return [compare(results, narrow, wide, distance(guide)) for guide in GUIDES]


def _worth_more_than_width(results: StudyResults) -> list[Part | None]:
    if not results.alphas or results.alphas[0] == results.main:
        return []
    alone, small = results.student(results.main, False), results.student(results.alphas[0], True)
    return [compare(results, alone, small, distance(guide)) for guide in GUIDES]


STUDY_CLAIMS = (
    Claim("teacher", "The teacher translates: reference-guided, content kept and style followed are both above 0.5.",
          lambda results: _translates(results, results.teacher)),
    *(
        Claim(
            guide, f"Distillation lowers the {guide}-guided Fréchet distance (main width, equal iterations).", distilled_is_better(distance(guide))
        )
        for guide in GUIDES
    ),
    Claim("every_width", "Distillation lowers the Fréchet distance at every width (mean of both kinds of guidance).", _at_every_width),
    Claim(
        "content", "A distilled student keeps more of its source than the same network alone (content kept).",
        distilled_is_better(*(factor(guide, "content_correlation") for guide in GUIDES)),
    ),
    Claim(
        "style", "A distilled student follows its reference more closely than the same network alone (style followed).",
        distilled_is_better(factor("reference", "style_correlation")),
    ),
    Claim(
        "sharp", "A distilled student's pictures are closer to real ones in their power spectra than those of the same network alone.",
        distilled_is_better(*(factor(guide, SPECTRAL.key, lower_is_better=True) for guide in GUIDES)),
    ),
    Claim("species", "The narrowest distilled student paints the asked species in more than nine of ten pictures.", _smallest_keeps_species),
    Claim("translates", "The distilled main width translates: content kept and style followed are both above 0.5.",
          lambda results: _translates(results, results.student(results.main, True))),
    Claim("width", "Of the distilled students the widest has a lower Fréchet distance than the narrowest.", _width_helps),
    Claim("worth", "Distillation is worth more than width: the narrowest distilled student has a lower Fréchet distance than the main width "
          "alone.", _worth_more_than_width),
)  # fmt: skip
