"""The results table: one row a finished run, read from its folder and nowhere else."""

import hashlib
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from kdlib.errors import InputError
from kdlib.headlines import Headline, headlines
from kdlib.paths import reference_folder, runs_folder, shown
from kdlib.runs import STUDENT, TEACHER, Run, RunSettings, binding, finished_runs, list_runs, run_name
from kdlib.scoring import selection
from kdlib.settings import Preset

GUIDES = ("latent", "reference")
T = TypeVar("T")


def result_rows(runs: Iterable[Run] | None = None) -> list[dict[str, Any]]:
    """A flat row for every finished run: what it is, what it costs, every mean score as ``latent_*`` and ``reference_*``.

    Besides, where it was evaluated: ``real_*``, what validation pictures themselves score. Runs of one ``recipe`` differ in their
    seed only; scores are to be compared only where their ``protocol`` is the same.
    """
    return [row for run in (list_runs() if runs is None else runs) if run.finished and (row := _readable(run, _row)) is not None]


def _readable(run: Run, read: Callable[[Run], T]) -> T | None:
    """What ``read`` makes of a run; None, said on stderr, where it cannot: one broken folder, or one of another version, must not hide the others."""
    try:
        return read(run)
    except InputError as error:
        print(f"left out: {error}", file=sys.stderr)
    except (KeyError, TypeError, AttributeError) as error:
        print(f"left out: {shown(run.path)}: finished.json, metrics.json or environment.json are of another version ({error!r})", file=sys.stderr)
    return None


def _row(run: Run) -> dict[str, Any]:
    settings, finished = run.settings(), run.json("finished.json")
    starts = run.json("environment.json") if (run.path / "environment.json").is_file() else [{}]
    data = settings.preset.data
    row = {
        "preset": settings.preset.name,
        "dataset": data.source if data.source == "critters" else Path(data.data_root).name,
        "image_size": data.image_size,
        "run": run.name,
        "kept_in_git": run.path.is_relative_to(reference_folder()),
        "role": settings.role,
        "alpha": settings.alpha,
        "method": "distillation" if settings.distill else "StarGAN-v2",
        "variant": settings.preset.variant,
        "distilled": settings.distill,
        "released": run.imported,  # by others: what is not known of its training is null
        "seed": None if run.imported else settings.preset.training.seed,
        "iterations": finished["step"],
        "seconds": finished["seconds"],
        "seconds_per_iteration": _usual_seconds(run) or finished["seconds_per_iteration"],
        "machine": _machine(starts[-1]),
        "precision": None if run.imported else starts[-1].get("precision", settings.preset.training.precision),
        "commit": starts[-1].get("commit"),
        "recipe": None if run.imported else recipe(settings),
    }
    if (run.path / "metrics.json").is_file():
        metrics = run.json("metrics.json")
        row |= metrics["cost"]
        row["selection"] = selection.evaluated(run, metrics)
        row["protocol"] = _protocol(metrics["protocol"])
        row["feature_networks"] = {n["name"]: n["scores"] for n in metrics["protocol"]["feature_networks"]}
        row |= {f"{guide}_{k}": v for guide in GUIDES for k, v in metrics[guide]["mean"].items()}
        deviations = {guide: metrics[guide].get("deviation", {}).get("mean", {}) for guide in GUIDES}
        row |= {f"{guide}_{k}_deviation": v for guide in GUIDES for k, v in deviations[guide].items()}
        row |= {f"real_{k}": v for k, v in metrics.get("real", {}).get("mean", {}).items()}
        row["reconstruction_l1"] = metrics["reconstruction"]["mean"]["reconstruction_l1"]
    return row


def _usual_seconds(run: Run) -> float | None:
    """Seconds of an iteration, the median of what was logged: a machine that stood still or did something else leaves it as it is."""
    rates = [row["iterations_per_second"] for row in run.lines("timing.jsonl")]
    return round(1 / statistics.median(rates), 4) if rates and min(rates) > 0 else None


def recipe(settings: RunSettings) -> str:
    """Twelve hexadecimal digits for all that decides how a run ends but its seed and which of equal trainings taught it or came before it."""
    decisive = binding(settings.as_dict())
    for name in ("teacher_hash", "start_hash"):
        decisive.pop(name)
    decisive["training"].pop("seed")
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]


def _protocol(protocol: dict[str, Any]) -> str:
    """'150 sources x 10 outputs, seed 777': what else than the model decides the scores, the pictures being in the recipe."""
    if "source_counts" not in protocol:
        return ""
    first, count = protocol["seed"], protocol.get("seeds", 1)
    seeds = f"seed {first}" if count == 1 else f"seeds {first} to {first + count - 1}"
    return f"{sum(protocol['source_counts'].values())} sources x {protocol['outputs_per_source']} outputs, {seeds}"


def _machine(environment: dict[str, Any]) -> str | None:
    """'Intel(R) Xeon(R) Processor, cpu, 2 threads'; None where it is not known."""
    if not environment:
        return None
    return f"{environment['processor']}, {environment['device']}, {environment['threads']} thread{'s' if environment['threads'] > 1 else ''}"


def rows_of_preset(preset: str) -> list[dict[str, Any]]:
    """Result rows of a preset's evaluated runs: the reader's own, shipped ones where the reader has none of that name, and the
    teacher that the students learned from where their setting ``teacher`` names a run folder."""
    own = list_runs(runs_folder() / preset)
    names = {run.name for run in own if run.finished}
    shipped = [run for run in list_runs(reference_folder() / preset) if run.name not in names and run.weights.is_file()]
    return evaluated_rows(_with_named_teachers([*own, *shipped]))


def kept_rows(preset: str) -> list[dict[str, Any]]:
    """Result rows of a preset's evaluated runs that are kept in git, with their weights or without, and of the teacher that the
    students name if it is kept, too."""
    return evaluated_rows(_with_named_teachers(list_runs(reference_folder() / preset), reference_folder()))


def _with_named_teachers(runs: list[Run], within: Path = Path("/")) -> list[Run]:
    """The runs, and those finished ones under ``within`` that the settings of students among them name as their teacher, each once."""
    known = {run.path.resolve() for run in runs}
    settings = [s for run in runs if run.finished and (s := _readable(run, Run.settings)) is not None]
    named = {s.preset.machine.teacher for s in settings if s.role == STUDENT and s.preset.machine.teacher}
    places = [[run.path.resolve() for run in finished_runs(name)] for name in named]
    found = {next((place for place in among if place.is_relative_to(within.resolve())), None) for among in places}
    return [*runs, *(Run(place) for place in sorted(found - known - {None}))]


def rows_of_study(preset: Preset, rows_of: Callable[[str], list[dict[str, Any]]] = rows_of_preset) -> list[dict[str, Any]]:
    """A preset's rows; of one that has variants only also those of its base that they start from: the teacher and the distilled main
    width. ``rows_of``: which runs are looked at, `rows_of_preset` or `kept_rows`."""
    own = rows_of(preset.name)
    if not preset.study.variants_only:
        return own
    known = {(row["preset"], row["run"]) for row in own}  # the teacher, where a setting names its folder
    main = (STUDENT, preset.study.main, True, "")
    start = [r for r in rows_of(preset.base) if r["run"] == TEACHER or (r["role"], r["alpha"], r["distilled"], r["variant"]) == main]
    return sorted([*(row for row in start if (row["preset"], row["run"]) not in known), *own], key=lambda row: row["role"] == STUDENT)


def own_rows(preset: str) -> list[dict[str, Any]]:
    """Result rows of the reader's own evaluated runs of a preset."""
    return evaluated_rows(list_runs(runs_folder() / preset))


def evaluated_rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Result rows of those of the runs that are evaluated: teachers, students by width, variants; alone before distilled."""
    order = lambda r: (r["role"] == STUDENT, r["variant"], r["alpha"] if r["role"] == STUDENT else 0, r["distilled"], r["seed"] or 0)  # noqa: E731
    return sorted((r for r in result_rows(runs) if "parameters" in r), key=order)


def title(row: dict[str, Any]) -> str:
    """What a row's run is, whatever its folder is called: 'α = 48, distilled, without source'."""
    text = f"α = {row['alpha']}{', distilled' if row['distilled'] else ''}" if row["role"] == STUDENT else "teacher"
    return text + (f", {row['variant'].replace('_', ' ')}" if row["variant"] else "")


def usual(row: dict[str, Any]) -> bool:
    """Whether a row's run has the name that the study gives it, with its seed or without."""
    kind = (row["role"], row["alpha"], row["distilled"], row["variant"])
    return row["run"] in (run_name(*kind), run_name(*kind, row["seed"]))


def label(row: dict[str, Any]) -> str:
    """How a row's run is called in tables and figures: what it is, and its folder's name where that is not the usual one."""
    if not usual(row):
        return f"{title(row)} ({row['run']})"
    seed = row["role"] == STUDENT and row["run"] != run_name(row["role"], row["alpha"], row["distilled"], row["variant"])
    return title(row) + (f", seed {row['seed']}" if seed else "")


def made(row: dict[str, Any]) -> str:
    """Where a row's run was made."""
    return "released" if row["released"] else "kept in git" if row["kept_in_git"] else "here"


def score(row: dict[str, Any], guide: str, key: str) -> float | None:
    """A mean score of a row; None where it has none."""
    return row.get(f"{guide}_{key}")


def score_text(row: dict[str, Any], guide: str, headline: Headline) -> str:
    """A mean score, with its deviation where it is a mean over seeds: '16.18 ± 0.15'."""
    value, deviation = score(row, guide, headline.key), row.get(f"{guide}_{headline.key}_deviation")
    if value is None:
        return "–"
    return f"{value:.{headline.digits}f}" + ("" if deviation is None else f" ± {deviation:.{headline.digits}f}")


def ratio(rows: list[dict[str, Any]], row: dict[str, Any], key: str) -> str:
    """How many times smaller ``key`` of ``row`` is than its teacher's, as '15.4x': its preset's, else the only one among ``rows``."""
    among = [r for r in rows if r["role"] != STUDENT and r.get(key)]
    teachers = [r for r in among if r["preset"] == row["preset"]] or among[: len(among) == 1]
    if not teachers or not row.get(key) or row["role"] != STUDENT:
        return ""
    return f"{teachers[0][key] / row[key]:.1f}x"


def table(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headings and lines of the results table: a column a run, a line a quantity, scores as 'latent / reference'."""
    presets = {r["preset"] for r in rows}
    heads = ["", *(label(r) if len(presets) == 1 else f"{r['preset']}: {label(r)}" for r in rows)]
    lines = [["made", *(made(r) for r in rows)]]
    lines.append(["iterations", *("unknown" if r["iterations"] is None else f"{r['iterations']:,}" for r in rows)])
    if any(r.get("selection") not in (None, selection.LAST, selection.RELEASED) for r in rows):
        lines.append(["evaluated", *(r.get("selection") or "" for r in rows)])
    for key, unit, factor in (("parameters", "M", 1e6), ("macs", "G", 1e9)):
        cells = []
        for row in rows:
            value, smaller = f"{row[key] / factor:.3f} {unit}" if row.get(key) else "", ratio(rows, row, key)
            cells.append(f"{value} ({smaller})" if smaller else value)
        lines.append(["MACs" if key == "macs" else key, *cells])
    for headline in headlines(rows):
        if any(score(row, guide, headline.key) is not None for row in rows for guide in GUIDES):
            lines.append([headline.heading, *(" / ".join(score_text(row, guide, headline) for guide in GUIDES) for row in rows)])
    return heads, lines


def as_text(rows: list[dict[str, Any]]) -> str:
    """The table for a terminal, one block a run: side by side the runs would not fit."""
    if not rows:
        return "no finished runs of this kind yet; `python -m kdlib study --preset NAME` makes them"
    heads, lines = table(rows)
    width = max(len(line[0]) for line in lines)
    blocks = []
    for i, row in enumerate(rows, 1):
        title = f"{row['preset']} · {label(row)}"
        blocks.append("\n".join([title, *(f"  {line[0]:<{width}}  {line[i]}" for line in lines if line[i].strip("– /"))]))
    return "\n\n".join(blocks)


def as_markdown(rows: list[dict[str, Any]], lines: Sequence[str] = ()) -> str:
    """The table as Markdown, for the book and the README; ``lines``: those whose headings begin so, all if empty."""
    heads, body = table(rows)
    kept = [line for line in body if not lines or line[0].startswith(tuple(lines))]
    return markdown_table(heads, kept)


def markdown_table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Headings and lines as a Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, ["---"] * len(heads), *lines))


def not_measured(command: str) -> str:
    """What stands in the place of a result that is not there."""
    return f"Not measured yet: `{command}`."


def in_classes(table: str, classes: str) -> str:
    """A Markdown table with classes of the book's style sheet, which other Markdown does not know."""
    return f"```{{table}}\n:class: {classes}\n\n{table}\n```"


def as_json(rows: list[dict[str, Any]]) -> str:
    """Rows as JSON, one object a line inside an array."""
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]"
