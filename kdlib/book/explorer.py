"""The data behind the book's page on which a slider over the width cap moves architecture, costs, scores and pictures together.

Widths and costs are counted from the networks of a preset, so the page is there before anything is trained; scores and pictures are
those of the runs kept in git. ``book/_static/explorer.js`` draws it.
"""

import json
from typing import Any

from kdlib.analysis.kept_study import Study, load_study
from kdlib.analysis.seeds import Group, StudyResults
from kdlib.analysis.study_tables import latencies
from kdlib.architecture import Architecture
from kdlib.critters import SPECIES
from kdlib.headlines import headlines
from kdlib.profiling import TRANSLATING, network_costs, stage_costs
from kdlib.results import GUIDES
from kdlib.runs import TEACHER
from kdlib.settings import Preset
from kdlib.views.study_pictures import run_of, samples, strip

ALONE, DISTILLED = "alone", "distilled"


def shapes(network: str, arch: Architecture) -> list[tuple[int, int]]:
    """(side in pixels, channels) of what leaves every stage of network "G", "E" or "F", in the order of `kdlib.profiling.stages`.

    Codes have a side of 1; the style encoder's heads and the mapping network's branches are given by their width for one domain.
    """
    size = arch.image_size
    if network == "F":
        return [(1, arch.mapping_units), (1, arch.mapping_units)]
    if network == "E":
        widths = arch.widths(arch.encoder_down_blocks)
        return [*((size >> i, width) for i, width in enumerate(widths)), (1, widths[-1]), (1, arch.style_dim)]
    down = list(zip(arch.generator_sizes, arch.generator_widths))
    square = arch.pixel_shuffle
    return [*down, *[down[-1]] * 4, *reversed(down[:-1]), (size // square, 3 * square**2)]


def stage_rows(arch: Architecture) -> dict[str, list[list[Any]]]:
    """[name, side, channels, weights, MACs] of every stage of G, E and F; a generator's stages have the half they are in besides."""
    table = stage_costs(arch)
    found = {}
    for network in TRANSLATING:
        mine = table[table["network"] == network]
        rows = zip(mine["stage"], shapes(network, arch), mine["parameters"], mine["macs_thop"], mine["part"], strict=True)
        found[network] = [[name, side, width, int(count), int(macs), part.split()[0]] for name, (side, width), count, macs, part in rows]
    return found


def page_data(study: Study) -> dict[str, Any]:
    """Everything that the page shows, as plain values."""
    preset, results = study.preset, study.results
    shown = headlines(study.rows)
    seconds = latencies(preset)
    stops = [_stop(preset, results, alpha, seconds) for alpha in sorted(preset.study.alphas)]
    stops.append(_stop(preset, results, None, seconds))
    return {
        "preset": preset.name,
        "main": preset.study.main,
        "stops": stops,
        "scores": [{"key": h.key, "name": h.heading, "lower": h.lower_is_better, "digits": h.digits} for h in shown],
        "pictures": {guide: found for guide in GUIDES if (found := _inputs(results, guide)) is not None},
    }


def _stop(preset: Preset, results: StudyResults, alpha: int | None, seconds: dict[str, dict[str, float]]) -> dict[str, Any]:
    """One place of the slider: a width, or the teacher (None)."""
    student = alpha is not None
    arch = preset.architecture(len(SPECIES), alpha=alpha or preset.networks.teacher_alpha, student=student)
    total = network_costs(arch).loc["total"]
    groups = {kind: results.student(alpha, kind == DISTILLED) for kind in (ALONE, DISTILLED)} if student else {TEACHER: results.teacher}
    return {
        "alpha": arch.alpha,
        "teacher": not student,
        "networks": stage_rows(arch),
        "costs": {"weights": int(total["parameters"]), "MACs": int(total["macs_thop"])},
        "latency": seconds.get(str(alpha) if student else TEACHER, {}),
        "kinds": {kind: _model(group) for kind, group in groups.items() if group is not None},
    }


def _model(group: Group) -> dict[str, Any]:
    """Scores [mean, deviation, seeds] by "guide|key", and the pictures as one strip a guide."""
    spreads = {f"{guide}|{h.key}": group.score(guide, h.key) for h in headlines(group.rows) for guide in GUIDES}
    found = {guide: samples(run_of(group), guide) for guide in GUIDES}
    return {
        "seeds": len(group.rows),
        "iterations": group["iterations"],
        "scores": {name: [s.mean, s.deviation, s.count] for name, s in spreads.items() if s is not None},
        "pictures": {guide: strip(one.outputs) for guide, one in found.items() if one is not None},
    }


def _inputs(results: StudyResults, guide: str) -> dict[str, Any] | None:
    """What the models were given: the same for all, so it is taken from the first run that kept samples."""
    for group in results.grid:
        one = samples(run_of(group), guide)
        if one is not None:
            references = {} if one.references is None else {"references": strip(one.references)}
            return {"pairs": one.pairs, "sources": strip(one.sources), **references}
    return None


def fragment(study: Study | None = None) -> str:
    """The page's part that the script brings to life, as Markdown; its data stand in it, so it works from a disk."""
    data = json.dumps(page_data(study or load_study()), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return "\n".join([
        "```{raw} html",
        '<link rel="stylesheet" href="../_static/explorer.css">',
        '<div class="kdx"><p>This part of the page is drawn by a script; its numbers are in the tables of the reference study, too.</p>',
        f'<script type="application/json">{data}</script></div>',
        '<script src="../_static/explorer.js" defer></script>',
        "```",
        "",
    ])  # fmt: skip
