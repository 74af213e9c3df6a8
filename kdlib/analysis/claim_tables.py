"""Tables of claims: what the runs kept in git say to each, what the thesis says, and which of them the reader's own runs bear out."""

from collections.abc import Iterable, Sequence

from kdlib.analysis.ablation import ablation_claims
from kdlib.analysis.claims import FAILS, HOLDS, STUDY_CLAIMS, UNDECIDED, Claim, Finding
from kdlib.analysis.seeds import BLANK, StudyResults
from kdlib.analysis.thesis_claims import THESIS_CLAIMS

Table = tuple[list[str], list[list[str]]]  # headings and lines
NOT_ASKED = "–"
AGREES = {HOLDS: "agrees", FAILS: "does not agree", UNDECIDED: "undecided"}
OTHER = "not comparable"
YARDSTICK = (
    "A comparison is decided when it is larger than twice its deviation between trainings with other seeds. Where only the main width has "
    "several seeds, its deviation stands in for that of the others. Both sides are compared by the seeds that they share: beside a student of one seed, "
    "the main width is that of the same seed, not the mean of the tables. *1 seed* in the column *found* says so; *in 1 seed* in the verdict means that no "
    "deviation is known and the sign alone was read. "
    "With two or three seeds this is a yardstick and no test: where there is no difference, a single run against a recipe of two seeds exceeds it "
    "about once in four times, against one of three once in six; three pairs of seeds do once in thirteen. And tables make many comparisons."
)


def own_claims(variants: tuple[str, ...]) -> tuple[Claim, ...]:
    """The study's own claims, those about single losses among them."""
    return (*STUDY_CLAIMS, *ablation_claims(variants))


def verdict(finding: Finding | None, words: dict[str, str] | None = None) -> str:
    """The verdict, in its own words or in ``words``; a dash where there is none."""
    if finding is None:
        return NOT_ASKED
    said, more = finding.verdict, finding.verdict_text.removeprefix(finding.verdict)
    return (words or {}).get(said, said).replace(" ", BLANK) + more


def _found(finding: Finding | None) -> str:
    return NOT_ASKED if finding is None else finding.text


def claims_table(results: StudyResults, claims: Sequence[Claim]) -> Table:
    """Claim, numbers, verdict; claims that the rows cannot be asked yet have a dash."""
    found = [(claim, claim.ask(results)) for claim in claims]
    return ["claim", "found", "verdict"], [[claim.sentence, _found(one), verdict(one)] for claim, one in found]


def thesis_table(results: StudyResults) -> Table:
    """What the thesis says, what was asked here, what was found, and whether the two agree where that can be said."""
    found = [(claim, claim.ask(results)) for claim in THESIS_CLAIMS]
    lines = [[claim.sentence, claim.asked, _found(one), verdict(one, AGREES) if claim.comparable or one is None else OTHER] for claim, one in found]
    return ["the thesis", "asked here", "found", "verdict"], lines


def counted(results: StudyResults, claims: Iterable[Claim]) -> str:
    """'5 hold, 1 does not, 2 are undecided, 1 cannot be asked yet'."""
    findings = [claim.ask(results) for claim in claims]
    verdicts = [None if finding is None else finding.verdict for finding in findings]
    told = {HOLDS: ("holds", "hold"), FAILS: ("does not", "do not"), UNDECIDED: ("is undecided", "are undecided"), None: ("cannot be asked yet",) * 2}
    return ", ".join(f"{count} {words[count > 1]}" for key, words in told.items() if (count := verdicts.count(key)))


def reproduction_table(mine: StudyResults, kept: StudyResults, reference: StudyResults, names: tuple[str, str]) -> Table:
    """Claims that the reader's runs can be asked: what they say, what the same study kept in git says, and the reference study.

    ``names``: of the reader's preset and of the reference study's. No lines where nothing can be asked.
    """
    preset, other = names
    heads = ["claim", "here", f"{preset}, kept in git", "again?", *([f"{other}, kept in git"] if other != preset else [])]
    lines = []
    for claim in own_claims(mine.variants):
        found, theirs = claim.ask(mine), claim.ask(kept)
        if found is not None:
            more = [verdict(claim.ask(reference))] if other != preset else []
            lines.append([claim.sentence, f"{verdict(found)}; {found.text}", verdict(theirs), _reproduced(found, theirs), *more])
    return heads, lines


def _reproduced(found: Finding, theirs: Finding | None) -> str:
    """Whether a claim comes out again: "yes", "no", or "open" where one of the two is undecided."""
    if theirs is None:
        return NOT_ASKED
    return "yes" if found.verdict == theirs.verdict else "open" if UNDECIDED in (found.verdict, theirs.verdict) else "no"


def reproduction_sentence(mine: StudyResults, kept: StudyResults) -> str:
    """'Of 9 claims that both can be asked, 8 come out here as they do in the runs kept in git.'"""
    asked = [(claim.ask(mine), claim.ask(kept)) for claim in own_claims(mine.variants)]
    both = [(a, b) for a, b in asked if a is not None and b is not None]
    same = sum(a.verdict == b.verdict for a, b in both)
    return f"Of the {len(both)} claims that both can be asked, {same} come out here as they do in the runs kept in git." if both else ""
