"""The page on real faces as Markdown fragments: the study of preset ``faces``, and whether it says what the reference study says.

The pictures are the reader's own and the runs' pictures are not kept, so that these fragments hold numbers only.
"""

import json
from pathlib import Path
from typing import Any

from kdlib.analysis import study_tables
from kdlib.analysis.claim_tables import YARDSTICK, verdict
from kdlib.analysis.claims import STUDY_CLAIMS, distance
from kdlib.analysis.kept_study import Study
from kdlib.analysis.prose import ended, joined
from kdlib.analysis.seeds import tidy
from kdlib.analysis.study_tables import NONE
from kdlib.book.claims_in_page import in_page
from kdlib.book.gap_report import named
from kdlib.book.study_report import not_yet
from kdlib.headlines import distances, headlines
from kdlib.paths import reference_folder
from kdlib.results import GUIDES, markdown_table, not_measured

PRESET = "faces"
DOMAINS = "domains.json"


def fragments(study: Study, reference: Study, folder: Path | None = None) -> dict[str, str]:
    """Markdown by the name of the page's part; ``reference``: the study on drawn animals.

    ``folder`` holds a benchmark's result, by default runs/reference/faces.
    """
    folder = reference_folder() / PRESET if folder is None else folder
    has_any = bool(study.results)
    parts = {
        "setup": setup(study),
        "quality": joined(study_tables.quality_table(study.results), kernels(study)) if has_any else not_yet(study),
        "methods": methods(study),
        "domains": domains(study, folder / DOMAINS),
        "agreement": agreement(study, reference),
        "compute": study_tables.compute_table(study.rows) if has_any else "",
        "commands": study_tables.commands(study.preset),
    }
    return {name: ended(text) for name, text in parts.items()}


def setup(study: Study) -> str:
    """What is trained, and which of it is not kept."""
    p, s = study.preset, study.preset.study
    lines = [
        ["width cap α", str(p.networks.teacher_alpha), ", ".join(map(str, s.alphas))],
        [f"iterations of batch {p.training.batch_size}", f"{p.training.teacher_iterations:,}", f"{p.training.student_iterations:,}"],
    ]
    missing = ", ".join(f"`{name}`" for name in study.missing)
    return joined(markdown_table([f"preset `{p.name}`", "teacher", "students"], lines), f"*Not run yet:* {missing}." if missing else "")


def kernels(study: Study) -> str:
    """The kernel distance of every width, which no number of pictures biases; see `kdlib.scoring.metrics`."""
    shown = distances(study.rows, "kernel")
    return joined(*(part for h in shown for part in (f"{h.heading}, low is good:", study_tables.both_guides(study.results, {"distance": h}))))


def methods(study: Study) -> str:
    """The distilled main width in the thesis's recipe and in every other one, all scores of both guides."""
    results = study.results
    groups = {"as in the thesis": results.student(results.main, True)} | {named(v): results.student(results.main, True, v) for v in results.variants}
    kept = {name: group for name, group in groups.items() if group is not None}
    if len(kept) < 2:
        return ""
    lines = []
    for headline in headlines(study.rows):
        for guide in GUIDES:
            spreads = [group.score(guide, headline.key) for group in kept.values()]
            if all(spreads):
                lines.append([f"{headline.heading}, {guide}", *(tidy(spread.text(headline.digits)) for spread in spreads)])
    return markdown_table([f"α = {results.main}, distilled", *kept], lines)


def domains(study: Study, path: Path) -> str:
    """Which share of every model's translations a linear probe takes for the target domain, from benchmarks/domain_probe.py."""
    if not path.is_file():
        return not_measured(f"python benchmarks/domain_probe.py --model {PRESET}/teacher --model ... --json runs/reference/{PRESET}/{path.name}")
    result = json.loads(path.read_text(encoding="utf-8"))
    own = result["real_taken_for_own"]
    lines = [["real pictures of the source domain", f"{1 - own:.0%}", NONE]]
    for row in result["rows"]:
        scores = [row["scores"][guide] for guide in GUIDES]
        taken, changed = (" / ".join(form.format(s[key]) for s in scores) for key, form in (("taken_for_target", "{:.0%}"), ("mean_change", "{:.2f}")))
        lines.append([f"`{row['model'].split('/')[-1]}`", taken, changed])
    about = (
        f"Latent- / reference-guided, {result['outputs_per_source']} outputs a source. The probe learned from {result['train_per_domain']:,} training pictures "
        f"of each domain and takes {own:.0%} of the real validation pictures for what they are. Pixels are on a scale from −1 to 1."
    )
    return joined(markdown_table(["translations of", "taken for the target domain", "mean change of a pixel"], lines), about, _nearest(study, result))


def _nearest(study: Study, result: dict[str, Any]) -> str:
    """Whether the students nearest to real pictures are those whose translations the probe takes for the target domain."""
    if study.results.teacher is None:
        return ""
    means = {row["run"]: value for row in study.rows if (value := distance("both").of(row)) is not None}
    taken = {row["model"].split("/")[-1]: row["scores"] for row in result["rows"]}
    teacher = means.pop(study.results.teacher["run"], 0.0)
    below = [f"`{name}`" for name in means if means[name] < teacher]
    if not means or not means.keys() <= taken.keys():
        return ""
    share = lambda name: sum(taken[name][guide]["taken_for_target"] for guide in GUIDES) / len(GUIDES)  # noqa: E731
    least, most = min(means, key=means.get), max(means, key=share)
    nearer = "A student does not have to stop where its teacher does. Nearer to real pictures than the teacher"
    first = f"{nearer} ({teacher:.1f} in the Fréchet distance, mean of both guides) are {', '.join(below)}. " if below else ""
    return (
        f"{first}Of the students the Fréchet distance, mean of both guides, is smallest for `{least}`, {means[least]:.1f}; the probe takes "
        f"{share(least):.0%} of its translations for the target domain. It takes most of `{most}`'s, {share(most):.0%}, at a distance of {means[most]:.1f}."
    )


def agreement(study: Study, reference: Study) -> str:
    """Claims that both studies can be asked: the verdict on drawn animals, and that on faces with what was found."""
    lines = []
    for claim in STUDY_CLAIMS:
        found = claim.ask(study.results) if study.results else None
        if found is not None:
            lines.append([claim.sentence, verdict(claim.ask(reference.results)), f"{verdict(found)}; {found.text}"])
    if not lines:
        return ""
    return joined(in_page((["claim", "drawn animals", "faces"], lines)), YARDSTICK)
