"""Tables of a study whose runs are kept in git, in the form of the thesis's Tables 5.2 and 5.3 where these have one.

A row of scores is a group of runs that differ in their seed only: mean ± sample standard deviation over trainings, and the number
of seeds behind it.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdlib.analysis.seeds import BLANK, Group, Spread, StudyResults, groups, seeds_text, tidy
from kdlib.analysis.thesis import TEACHER_ALPHA, printed_tables
from kdlib.critters import SPECIES
from kdlib.deploy.latency import RUNTIMES
from kdlib.headlines import FACTORS, FINE_DETAIL, LPIPS, SPECTRAL, Headline, distances, headlines
from kdlib.paths import reference_folder
from kdlib.profiling import network_costs
from kdlib.results import GUIDES, as_markdown, label, markdown_table
from kdlib.runs import TEACHER
from kdlib.settings import Preset
from kdlib.study import students

NONE = "–"
TOLD = ("FID", "Fréchet", "LPIPS", "spectral", "domain", "content", "style followed")  # beginnings of the scores that short tables have
WIDEST = 8  # runs that a table with a column a run has room for
FACTOR_DIGITS = 2  # six of them stand beside each other
Line = list[str]


def _trained(group: Group) -> str:
    return ("distilled" if group["distilled"] else "alone") if group.is_student else "teacher"


def _heading(group: Group) -> Line:
    """Width and way of training; the distilled students in bold."""
    cells = [str(group["alpha"]), _trained(group)]
    return [f"**{cell}**" for cell in cells] if group["distilled"] else cells


def _cell(spread: Spread | None, digits: int) -> str:
    return NONE if spread is None else spread.text(digits)


def _real(results: StudyResults, keys: Sequence[tuple[str, int]], ways: int) -> Line | None:
    """What validation pictures themselves score, once for both kinds of guidance; None where the rows do not say."""
    row = results.groups[0].rows[0]
    if all(f"real_{key}" not in row for key, _ in keys):
        return None
    cells = [f"{row[f'real_{key}']:.{digits}f}" if f"real_{key}" in row else NONE for key, digits in keys for _ in range(ways)]
    return ["", f"real{BLANK}pictures", *map(tidy, cells), ""]


def quality_table(results: StudyResults) -> str:
    """Table 5.2's form, latent- and reference-guided, per width: Frechet distance and diversity once a feature network; then sharpness."""
    rows = [row for group in results.groups for row in group.rows]
    lpips = {"LPIPS": LPIPS} if any(f"latent_{LPIPS.key}" in row for row in rows) else {}
    parts = []
    for frechet, diversity in zip(distances(rows, "frechet"), distances(rows, "diversity"), strict=True):
        table = both_guides(results, {"distance": frechet, "diversity": diversity, **lpips})
        parts += [f"{frechet.heading}, low is good, and {diversity.heading}:", table]
    if any(f"latent_{SPECTRAL.key}" in row for row in rows):
        about = "Sharpness in dB: the distance of power spectra, low is good, and fine detail, below 0 where there is less of it than in real pictures:"
        parts += [about, both_guides(results, {"spectral distance": SPECTRAL, "fine detail": FINE_DETAIL})]
    return "\n\n".join(parts)


def both_guides(results: StudyResults, shown: dict[str, Headline]) -> str:
    """A line a width, two columns a score."""
    heads = ["α", "trained", *(f"{name}, {guide}" for name in shown for guide in GUIDES), "seeds"]
    lines = [_real(results, [(h.key, h.digits) for h in shown.values()], len(GUIDES))]
    for group in results.grid:
        cells = [_cell(group.score(guide, h.key), h.digits) for h in shown.values() for guide in GUIDES]
        lines.append([*_heading(group), *cells, seeds_text(len(group.rows))])
    return markdown_table(heads, filter(None, lines))


def factor_table(results: StudyResults, guide: str) -> str:
    """The factor scores of one kind of guidance per width; nothing where the pictures have no known factors."""
    shown = [h for h in FACTORS if any(group.score(guide, h.key) for group in results.grid)]
    if not shown:
        return ""
    heads = ["α", f"{guide}-guided", *(h.heading for h in shown), "seeds"]
    lines = [_real(results, [(h.key, FACTOR_DIGITS) for h in shown], 1)]
    for group in results.grid:
        lines.append([*_heading(group), *(_cell(group.score(guide, h.key), FACTOR_DIGITS) for h in shown), seeds_text(len(group.rows))])
    return markdown_table(heads, filter(None, lines))


def latencies(preset: Preset, folder: Path | None = None) -> dict[str, dict[str, float]]:
    """Median seconds of one translation by the generator, in float32, by width ("teacher", "24", ...) and runtime.

    From results of benchmarks/latency.py in runs/reference/<preset>/latency*.json, the preset's or its base's, where their networks are the
    preset's in size and widths, and their operations in the trained order: training changes no time. Empty where nothing was measured.
    """
    folder = folder or reference_folder()
    alphas = {TEACHER: (preset.networks.teacher_alpha, False), **{str(alpha): (alpha, True) for alpha in preset.study.alphas}}
    wanted = {
        name: json.loads(json.dumps(dataclasses.asdict(preset.architecture(len(SPECIES), alpha=alpha, student=student))))  # as the results have it
        for name, (alpha, student) in alphas.items()
    }
    found: dict[str, dict[str, float]] = {}
    for path in (p for place in (preset.base, preset.name) if place for p in sorted((folder / place).glob("latency*.json"))):
        result = json.loads(path.read_text(encoding="utf-8"))
        for row in result["rows"]:
            counted = result["models"][row["model"]]
            if counted.get("form", "plain") != "plain":
                continue
            name = next((name for name, arch in wanted.items() if all(counted.get(key) == value for key, value in arch.items())), None)
            if name is not None and row["precision"] == "fp32":
                found.setdefault(name, {})[RUNTIMES.get(row["runtime"], row["runtime"])] = row["median_seconds"]
    return found


def cost_table(preset: Preset, seconds: dict[str, dict[str, float]]) -> str:
    """Table 5.3's form: weights and MACs of G, E and F per width, counted from the networks, and what was measured of G's speed.

    ``seconds``: `latencies`. The thesis's ratios are AFHQ's, of the width that is the same share of its teacher's.
    """
    printed = {row[1]: (row[3], row[5]) for row in printed_tables()["5.3"]["rows"] if row[0] == "AFHQ"}
    runtimes = list(dict.fromkeys(runtime for model in seconds.values() for runtime in model))
    counts = [heading for name in ("parameters", "MACs") for heading in (name, "times fewer", "thesis")]
    heads = ["α", "thesis's α", *counts, *(f"{runtime}, a picture" for runtime in runtimes)]
    lines, whole = [], None
    for alpha in (preset.networks.teacher_alpha, *sorted(preset.study.alphas)):
        is_student = whole is not None
        arch = preset.architecture(len(SPECIES), alpha=alpha, student=is_student)
        total = network_costs(arch).loc["total"]
        count, macs = int(total["parameters"]), int(total["macs_thop"])
        whole = whole or (count, macs)
        share = alpha * TEACHER_ALPHA / preset.networks.teacher_alpha
        theirs = printed.get(int(share), (None, None)) if is_student and share == int(share) else (None, None)
        cells = [str(alpha) if is_student else f"{alpha}, teacher", f"{share:g}"]
        for value, unit, size, ratio in ((count, "M", 1e6, theirs[0]), (macs, "G", 1e9, theirs[1])):
            ratios = [f"{whole[unit == 'G'] / value:.1f}×", NONE if ratio is None else f"{ratio}×"] if is_student else ["", ""]
            cells += [f"{value / size:.3f}{BLANK}{unit}", *ratios]
        mine = seconds.get(str(alpha) if is_student else TEACHER, {})
        lines.append([*cells, *(f"{1e3 * mine[r]:.1f}{BLANK}ms" if r in mine else NONE for r in runtimes)])
    return markdown_table(heads, lines)


def compute_table(rows: Sequence[dict[str, Any]]) -> str:
    """What was spent on every run, and the sum. A machine or commit that all runs share stands below the table once."""
    shared = {key: rows[0][key] for key in ("machine", "commit") if len({row[key] for row in rows}) == 1}
    own = [key for key in ("machine", "commit") if key not in shared]
    heads = ["run", "iterations", "seconds an iteration", "hours", *own]
    lines = []
    for row in rows:
        spent = [f"{row['iterations']:,}", f"{row['seconds_per_iteration']:.2f}", f"{row['seconds'] / 3600:.2f}"]
        lines.append([label(row), *spent, *(_shown(key, row[key]) for key in own)])
    total = sum(row["seconds"] for row in rows) / 3600
    lines.append([f"**{len(rows)} runs**", f"**{sum(row['iterations'] for row in rows):,}**", "", f"**{total:.1f}**", *("" for _ in own)])
    notes = [f"{key.capitalize()} of all: {_shown(key, value)}." for key, value in shared.items()]
    about = "Training only; evaluations are not counted. Seconds of an iteration are medians, hours are all that passed."
    return "\n\n".join([markdown_table(heads, lines), " ".join([about, *notes])])


def _shown(key: str, value: str | None) -> str:
    if value is None:
        return "unknown"
    commit, _, changes = value.partition("+")
    return f"`{commit[:10]}`{' with changes' if changes else ''}" if key == "commit" else value


def commands(preset: Preset) -> str:
    """A copyable block: the commands that make every row of the study, in the order in which they are worth having."""
    lines = [f"# all of it, several runs at a time\npython -m kdlib study --preset {preset.name}"]
    lines.append(_command("the teacher", "03_teacher", preset.name, TEACHER, {"run": TEACHER}))
    for student in students(preset):
        what = f"α = {student.alpha}, {'distilled' if student.distill else 'alone'}"
        what += f", {student.variant.replace('_', ' ')}" if student.variant else ""
        what += f", seed {student.seed}" if student.seed is not None else ""
        lines.append(_command(what, "04_student", preset.name, student.name, student.parameters))
    return "```bash\n" + "\n\n".join(lines) + "\n```"


def _command(what: str, notebook: str, preset: str, run: str, parameters: dict[str, Any]) -> str:
    given = " ".join(f"-p {name} {value}" for name, value in parameters.items())
    train = f"papermill notebooks/{notebook}.py runs/{preset}/{run}/{notebook}.ipynb \\\n    -p preset {preset} {given}"
    judge = f"papermill notebooks/05_evaluation.py runs/{preset}/{run}/05_evaluation.ipynb \\\n    -p preset {preset} -p run {run}"
    return f"# {what}\n{train}\n{judge}"


def overview(found: Iterable[Group], shown: Sequence[Headline]) -> tuple[Line, list[Line]]:
    """Headings and lines of a table with a line a group, for studies of more runs than a page has room for in columns.

    Scores as 'latent / reference'.
    """
    heads = ["", "seeds", "parameters", "MACs", *(h.heading for h in shown)]
    lines = []
    for group in found:
        cost = [f"{group['parameters'] / 1e6:.3f}{BLANK}M", f"{group['macs'] / 1e9:.3f}{BLANK}G"]
        pairs = [[group.score(guide, h.key) for guide in GUIDES] for h in shown]
        scores = [" / ".join(_cell(one, h.digits) for one in pair) for h, pair in zip(shown, pairs, strict=True)]
        lines.append([group.label, str(len(group.rows)), *cost, *scores])
    return heads, lines


def by_preset(rows: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    """Markdown, a table a preset: side by side where the runs are few, else a line a group of seeds."""
    parts = []
    for preset, mine in rows.items():
        parts += [f"Preset `{preset}`:", side_by_side(mine, ("iterations", "parameters", "MACs", *TOLD))]
    return "\n\n".join(parts)


def side_by_side(rows: Sequence[dict[str, Any]], lines: tuple[str, ...] = ()) -> str:
    """Markdown of one preset's runs: a column a run, or, where they repeat one or are more than a page is wide, a line a group of seeds."""
    if len(rows) <= WIDEST and len(groups(rows)) == len(rows):
        return as_markdown(list(rows), lines)
    return markdown_table(*overview(groups(rows), [h for h in headlines(rows) if not lines or h.heading.startswith(lines)]))
