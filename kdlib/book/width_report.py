"""The page on where width should go: Markdown from results in runs/reference/width and from the kept runs of preset ``width``.

``sensitivity.json`` is of benchmarks/stage_sensitivity.py; ``latency_64.json`` and ``latency_256.json``, in a folder a machine, are of
benchmarks/latency.py with --candidates. For what is not there the page has the command that makes it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdlib.analysis.kept_study import Study, load_study, main_scores
from kdlib.analysis.prose import joined
from kdlib.analysis.seeds import BLANK, Group, computed_in, seeds_text, tidy
from kdlib.analysis.speed import (
    AIM, JOINED_TEACHER, MACHINE, UNJUDGED, architecture_of, by_machine, milliseconds, of_machines, teacher_of, times_fewer_weights,
)  # fmt: skip
from kdlib.architecture import Architecture
from kdlib.book.cost_report import shown
from kdlib.config import load_preset
from kdlib.deploy.forms import in_form
from kdlib.deploy.latency import RUNTIMES
from kdlib.headlines import CRITTER_DISTANCE, Headline
from kdlib.paths import reference_folder
from kdlib.results import GUIDES, in_classes, markdown_table, not_measured
from kdlib.views.width_figures import sensitivity_figure

PRESET = "width"
METHODS, RECIPE = "methods", "teacher_critic"  # where the student of one cap is, taught as the variants are
FOLDER = f"runs/reference/{PRESET}"
MODEL = "mini/alpha48-kd"
SENSITIVITY = f"python benchmarks/stage_sensitivity.py --model {MODEL} --json {FOLDER}/sensitivity.json"
CANDIDATES = (
    "python benchmarks/latency.py --size {size} --candidates benchmarks/width_candidates.toml --runtimes eager onnxruntime openvino --no-memory "
    "--threads 2 --json {folder}/{machine}/latency_{size}.json"
)
STUDY = (
    f"python -m papermill notebooks/04_student.py runs/methods/alpha48-kd-{RECIPE}/04_student.ipynb -p preset {METHODS} -p alpha 48 -p distill True "
    f"-p variant {RECIPE}",
    f"python -m papermill notebooks/05_evaluation.py runs/methods/alpha48-kd-{RECIPE}/05_evaluation.ipynb -p preset {METHODS} -p run alpha48-kd-{RECIPE}",
    f"python -m kdlib study --preset {PRESET}",
    f"python -m kdlib keep runs/{METHODS}/alpha48-kd-{RECIPE}",
    f"for run in runs/{PRESET}/alpha48-kd-*; do python -m kdlib keep $run; done",
)  # the student of one cap first; the page shows runs that are kept
NOT_TRAINED = "Not trained yet, or not kept: the commands are below."
GUIDE = "reference"
ONE_CAP = "one cap, α = {}"
SCORES = (
    CRITTER_DISTANCE,
    Headline("domain_accuracy", "species right", digits=2),
    Headline("content_correlation", "content kept", digits=2),
    Headline("detail_correlation", "details kept", digits=2),
    Headline("style_correlation", "style followed", digits=2),
)

Results = dict[str, Any]


def fragments(folder: Path | None = None) -> dict[str, str]:
    """Markdown by the name of the page's part; ``folder`` holds the results, by default runs/reference/width."""
    folder = reference_folder() / PRESET if folder is None else folder
    parts: dict[str, tuple[str, Callable[[Results], str], str]] = {
        "stages": ("sensitivity", stages, SENSITIVITY),
        "sensitivity": ("sensitivity", sensitivity, SENSITIVITY),
    }
    found = {name: _made(folder / f"{file}.json", make, command) for name, (file, make, command) in parts.items()}
    timings = {size: CANDIDATES.format(size=size, folder=FOLDER, machine=MACHINE) for size in (64, 256)}
    found |= {f"candidates_{size}": of_machines(folder, f"latency_{size}", candidates, command).rstrip() + "\n" for size, command in timings.items()}
    found["trained"] = trained(load_study(PRESET), load_study(METHODS), folder).rstrip() + "\n"
    asked = (SENSITIVITY, *timings.values(), *STUDY)
    return found | {"commands": "```bash\n" + "\n".join(asked) + "\n```\n"}


def _made(path: Path, make: Callable[[Results], str], command: str) -> str:
    text = make(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else not_measured(command)
    return text.rstrip() + "\n"


def stages(result: Results) -> str:
    """Where the generator has its width, and what that costs."""
    heads = ["resolution", "channels", "MACs", "share", "elements into norms"]
    total = result["whole"]["macs"]
    lines = [
        [f"{s['side']}×{s['side']}", str(s["width"]), f"{s['macs'] / 1e6:.1f}{BLANK}M", f"{100 * s['macs'] / total:.0f}{BLANK}%",
         f"{s['norm_elements'] / 1e3:,.0f}{BLANK}k"]
        for s in result["stages"]
    ]  # fmt: skip
    return f"{markdown_table(heads, lines)}\n\n`{result['model']}`; a layer's MACs count where its output is."


def sensitivity(result: Results) -> str:
    """A figure, and every narrowed generator: what it saves and what its scores become."""
    heads = ["resolution", "channels", "MACs saved", "mean change of a pixel", *(s.heading for s in SCORES)]
    whole = result["whole"]
    lines = [["whole", "", "", "", *_scores(whole)]]
    for row in result["rows"]:
        saved = f"{100 * (1 - row['macs'] / whole['macs']):.0f}{BLANK}%"
        lines.append(
            [f"{row['side']}×{row['side']}", f"{row['width']}{BLANK}→{BLANK}{row['left']}", saved, f"{row['error']['mean']:.3f}", *_scores(row)]
        )
    shares = ", ".join(f"{100 * share:g}{BLANK}%" for share in sorted({row["share"] for row in result["rows"]}))
    sources = f"{result['sources_per_domain']} sources a domain" if result["sources_per_domain"] else "every validation picture"
    about = (
        f"`{result['model']}`, reference-guided; {sources}, {result['outputs_per_source']} outputs of each. Of one stage {shares} of the "
        "channels are cut, those that are read by the least weights, and nothing is trained afterwards. Pixels are on a scale from −1 to 1."
    )
    figure = shown(sensitivity_figure(result, CRITTER_DISTANCE.key, CRITTER_DISTANCE.heading)) if CRITTER_DISTANCE.key in whole["scores"][GUIDE] else ""
    return joined(_most_sensitive(result), figure, in_classes(markdown_table(heads, lines), "kddense"), about)


def _scores(row: Results) -> list[str]:
    scores = row["scores"][GUIDE]
    return [tidy(f"{scores[s.key]:.{s.digits}f}") if s.key in scores else "–" for s in SCORES]


def _most_sensitive(result: Results) -> str:
    """Which stage loses most for what it saves: rise of the distance by each per cent of MACs saved, at the smallest cut of each stage."""
    whole, found = result["whole"], {}
    start = whole["scores"][GUIDE].get(CRITTER_DISTANCE.key)
    for stage in result["stages"]:
        rows = [row for row in result["rows"] if row["side"] == stage["side"]]
        if start is None or not rows:
            return ""
        least = max(rows, key=lambda row: row["left"])
        found[stage["side"]] = (least["scores"][GUIDE][CRITTER_DISTANCE.key] - start) / (100 * (1 - least["macs"] / whole["macs"]))
    told = ", ".join(tidy(f"{value:+.2f} at {side} px") for side, value in found.items())
    return f"Change of the Fréchet distance by each per cent of MACs saved, at the smallest cut of each stage: {told}."


def candidates(result: Results) -> str:
    """Candidates of a picture size: widths, weights and MACs, time of the generator in every runtime and precision.

    A time is compared with that of the teacher in the same order of operations (`kdlib.analysis.speed.teacher_of`).
    """
    models, rows = result["models"], {(r["model"], r["runtime"], r["precision"]): r for r in result["rows"]}
    first = next(iter(models))
    told = {(r, p) for _, r, p in rows if p != "fp16 weights"}  # which runtimes turn back into float32 once, when they load a file
    series = sorted(told, key=lambda one: (list(RUNTIMES).index(one[0]), one[1]))
    heads = ["generator", "channels", "fewer weights of G, E, F", "fewer MACs of G", *(f"{RUNTIMES[r]}, {p}" for r, p in series)]
    lines = []
    for name, counted in models.items():
        teacher = teacher_of(models, name)
        fewer = [times_fewer_weights(models, name), models[first]["macs"] / counted["macs"]]
        cells = [name, _widths(counted), *("" if name in (first, JOINED_TEACHER) else f"{times:.1f}×" for times in fewer)]
        for runtime, precision in series:
            row, whole = (rows.get((which, runtime, precision)) for which in (name, teacher))
            times = f", {whole['median_seconds'] / row['median_seconds']:.1f}×" if row and whole and name not in (first, JOINED_TEACHER) else ""
            cells.append("–" if row is None else f"{milliseconds(row['median_seconds'])}{times}".replace(" ms", f"{BLANK}ms"))
        lines.append(cells)
    note = f" {result['note'][0].upper()}{result['note'][1:]}." if result.get("note") else ""
    about = (
        f"Batch 1, the generator alone, untrained, {result['threads']} thread{'s' if result['threads'] > 1 else ''}; medians. Times faster are "
        "against the teacher: a generator with joined or strided operations against the joined teacher, a plain one against the plain one. In 8 "
        f"bits every layer is quantised, and since nothing is trained no picture says what that costs.{note}"
    )
    return "\n\n".join([_aim(result, series), in_classes(markdown_table(heads, lines), "kddense"), about])


def _widths(counted: Results) -> str:
    """Channels by resolution, as the architecture counted has them, and the order of operations where that is not the plain one."""
    arch = architecture_of(counted)
    text = "·".join(map(str, arch.generator_widths))
    separable = ", separable" if arch.separable_up or arch.separable_bottleneck else ""
    return in_form(f"{text} from {arch.generator_sizes[0]} px{separable}", counted.get("form", "plain"))


def _aim(result: Results, series: list[tuple[str, str]]) -> str:
    """Which candidates with so many times fewer weights are so many times faster than the teacher, in the runtimes and precisions of floats.

    At 256 px, the size that the aim is meant for, also whether one of these makes so many pictures a second.
    """
    rows, models = {(r["model"], r["runtime"], r["precision"]): r["median_seconds"] for r in result["rows"]}, result["models"]
    fewer = {m: times_fewer_weights(models, m) for m in models}
    told, reached, whole = [], False, next(iter(models.values()))["image_size"] == 256
    for runtime, precision in (one for one in series if one[1] not in UNJUDGED):
        times = {
            m: rows[teacher_of(models, m), runtime, precision] / rows[m, runtime, precision]
            for m in models if {(m, runtime, precision), (teacher_of(models, m), runtime, precision)} <= rows.keys()
        }  # fmt: skip
        small = [m for m in times if fewer[m] >= AIM["fewer_weights"]]
        a_second = {m: 1 / rows[m, runtime, precision] for m in small if times[m] >= AIM["times_faster"]}
        enough = [m for m in a_second if a_second[m] >= AIM["pictures_a_second"]]
        fast = [f"{f'**{m}**' if whole and m in enough else m} ({times[m]:.1f} times, {count:.0f} pictures a second)" for m, count in a_second.items()]
        reached |= bool(enough)
        told.append(f"{RUNTIMES[runtime]}, {precision}: {', '.join(fast) if fast else 'none'}")
    aim = f"The aim is {AIM['times_faster']} times the teacher's speed at {AIM['fewer_weights']} times fewer weights of G, E and F together"
    if not whole:
        return f"{aim}, at 256 px. Here so fast and so small:\n\n{_bullets(told)}"
    verdict = f"**{'Some untrained generators reach' if reached else 'No generator reaches'} the aim** in floats"
    what = "; whether one of them translates at this size is not measured" if reached else ""
    marks = f"So fast and so small, those in bold with {AIM['pictures_a_second']} pictures a second, too"
    return f"{aim}, and {AIM['pictures_a_second']} pictures a second. {verdict}{what}. {marks}:\n\n{_bullets(told)}"


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def trained(study: Study, methods: Study, folder: Path) -> str:
    """The trained allocations beside the student of one cap that learned in the same way, one of ``methods``: cost and scores.

    ``folder`` holds the times of generators of these widths, by machine.
    """
    results = study.results
    start = methods.results.student(results.main, True, RECIPE)
    kept = {ONE_CAP.format(results.main): start} | {n.replace("_", " "): results.student(results.main, True, n) for n in results.variants}
    if start is None or not results.variants:
        return NOT_TRAINED
    heads = ["", *kept]
    lines = [["seeds", *(seeds_text(len(group.rows)) for group in kept.values())], ["trained in", *map(computed_in, kept.values())]]
    for key, unit, size in (("parameters", "M", 1e6), ("macs", "M", 1e6)):
        name = "weights of G, E and F" if key == "parameters" else "MACs of G, E and F"
        lines.append([name, *(f"{group[key] / size:.{3 if key == 'parameters' else 1}f}{BLANK}{unit}" for group in kept.values())])
    archs = [load_preset(PRESET, variant=name or None).architecture(3, alpha=results.main, student=True) for name in ("", *results.variants)]
    for path in by_machine(folder, f"latency_{study.preset.data.image_size}"):
        lines += _times(json.loads(path.read_text(encoding="utf-8")), archs, path.parent.name)
    for headline in main_scores(results):
        for guide in GUIDES:
            if start.score(guide, headline.key) is not None:
                lines.append([f"{headline.heading}, {guide}", *(_score(group, guide, headline) for group in kept.values())])
    missing = [name for name in study.planned if name not in {row["run"] for row in study.rows}]
    left = f"Not trained yet: {', '.join(f'`{name}`' for name in missing)}." if missing else ""
    about = "Times, where there are any, are those of the tables above in float32 and in the plain form; in brackets, as many times one cap's."
    return joined(in_classes(markdown_table(heads, lines), "kddense"), about, left)


def _times(result: Results, archs: list[Architecture], machine: str) -> list[list[str]]:
    """A line a runtime: median time of a generator of each architecture, and in brackets how many times the first one's that is."""
    names = [next((m for m, told in result["models"].items() if told["form"] == "plain" and architecture_of(told) == arch), "") for arch in archs]
    seconds = {(row["model"], row["runtime"]): row["median_seconds"] for row in result["rows"] if row["precision"] == "fp32"}
    lines = []
    for runtime in dict.fromkeys(row["runtime"] for row in result["rows"]):
        found = [seconds.get((name, runtime)) for name in names]
        if found[0] is None:
            continue
        cells = ["–" if own is None else tidy(f"{milliseconds(own)} ({own / found[0]:.2f}×)").replace(" ms", f"{BLANK}ms") for own in found[1:]]
        lines.append([f"time of G, {RUNTIMES[runtime]}, `{machine}`", milliseconds(found[0]), *cells])
    return lines


def _score(group: Group, guide: str, headline: Headline) -> str:
    spread = group.score(guide, headline.key)
    return "–" if spread is None else spread.text(headline.digits)
