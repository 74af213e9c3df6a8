"""The thesis's claims about its students (abstract, 5.3.4, 5.4; Tables 5.2 and 5.3), each put to a study's rows as far as it can be.

Its numbers are computed from its printed tables. What stands in for what: the study's main width for alpha = 128, its widest and
its narrowest student for 160 and 64, the Frechet distance in the study's own features for FID, feature diversity for LPIPS.
"""

from kdlib.analysis.claims import Claim, Part, at_least_times_smaller, compare, distance, distilled_is_better, diversity, relative_to_teacher
from kdlib.analysis.seeds import StudyResults
from kdlib.analysis.thesis import printed_tables
from kdlib.results import GUIDES

ALPHA, WIDEST, NARROWEST = 128, 160, 64


def printed(column: str) -> dict[tuple[str, int | str], float]:
    """A column of Table 5.2 by (data set, alpha); "original" is the teacher."""
    table = printed_tables()["5.2"]
    at = table["columns"].index(column)
    return {(row[0], row[1]): row[at] for row in table["rows"]}


def printed_changes(column: str) -> dict[str, float]:
    """Change from the teacher to alpha = 128 by data set, as a fraction of the teacher's."""
    values = printed(column)
    return {data_set: values[data_set, ALPHA] / values[data_set, "original"] - 1 for data_set, alpha in values if alpha == "original"}


def worse_than_main(alpha: int) -> tuple[int, int]:
    """In how many of the thesis's FIDs ``alpha`` is worse than 128, and of how many."""
    columns = [printed(f"{guide} FID") for guide in GUIDES]
    pairs = [(column[data_set, alpha], column[data_set, ALPHA]) for column in columns for data_set, a in column if a == alpha]
    return sum(a > b for a, b in pairs), len(pairs)


def _size_ratios() -> str:
    return " and ".join(str(row[3]) for row in printed_tables()["5.3"]["rows"] if row[1] == ALPHA)


def _counts(results: StudyResults) -> list[Part | None]:
    return [at_least_times_smaller(results, "parameters", 20, "weights"), at_least_times_smaller(results, "macs", 5, "MACs")]


def _distance_claim(guide: str) -> Claim:
    changes = printed_changes(f"{guide} FID")
    limit = max(changes.values())
    worse = " and ".join(f"{100 * change:.0f} % ({data_set})" for data_set, change in changes.items())
    return Claim(
        f"thesis_{guide}",
        f"{guide.capitalize()}-guided, the FID of α = {ALPHA} is {worse} above the teacher's, with {_size_ratios()} times fewer weights.",
        lambda results: [relative_to_teacher(results, distance(guide), limit)],
        "Fréchet distance, teacher → main width, in other features and of other pictures", comparable=False,
    )  # fmt: skip


def _diversity_claim() -> Claim:
    lowest = min(min(printed_changes(f"{guide} LPIPS").values()) for guide in GUIDES)
    return Claim(
        "thesis_diversity",
        f"Diversity is kept: LPIPS of α = {ALPHA} is at most {100 * -lowest:.0f} % below the teacher's.",
        lambda results: [relative_to_teacher(results, diversity(guide), -lowest) for guide in GUIDES],
        "feature diversity, teacher → main width, in other features", comparable=False,
    )  # fmt: skip


def _nothing_above_main(results: StudyResults) -> list[Part | None]:
    return _main_against(results, results.alphas[-1]) if results.alphas else []


def _narrower_is_worse(results: StudyResults) -> list[Part | None]:
    return _main_against(results, results.alphas[0]) if results.alphas else []


def _main_against(results: StudyResults, alpha: int) -> list[Part | None]:
    """Whether the distilled main width is better than another one."""
    if alpha == results.main:
        return []
    other, main = results.student(alpha, True), results.student(results.main, True)
    return [compare(results, other, main, distance(guide)) for guide in GUIDES]


def _thesis_claims() -> tuple[Claim, ...]:
    wider, cases = worse_than_main(WIDEST)
    narrower, _ = worse_than_main(NARROWEST)
    return (
        Claim("thesis_size", f"α = {ALPHA} has more than 20 times fewer weights than its teacher and needs more than 5 times fewer MACs.", _counts,
              "the same of this study's networks, which have fewer blocks at 64 px; the thesis's own are counted in {doc}`disagreements`",
              comparable=False),
        *(_distance_claim(guide) for guide in GUIDES),
        _diversity_claim(),
        Claim("thesis_wider", f"Nothing is gained above α = {ALPHA}: at {WIDEST}, {wider} of {cases} FIDs are worse.", _nothing_above_main,
              "Fréchet distance, widest student → main width"),
        Claim("thesis_narrower", f"Below it, quality falls: at {NARROWEST}, {narrower} of {cases} FIDs are worse.", _narrower_is_worse,
              "Fréchet distance, narrowest student → main width"),
        Claim("thesis_distillation", "It is distillation that makes the small networks good. (The thesis shows no student trained alone.)",
              distilled_is_better(*(distance(guide) for guide in GUIDES)), "Fréchet distance, alone → distilled, at the main width"),
    )  # fmt: skip


THESIS_CLAIMS = _thesis_claims()
