"""The deployment page's tables and figures: Markdown made from results in runs/reference/deployment.

``export_*.json`` are the reports of `python -m kdlib export`, one a model. ``latency_*.json`` and ``layers_*.json``, of benchmarks/latency.py
and benchmarks/layer_profile.py, lie in a folder a machine (`kdlib.analysis.speed`). For what is not there the page has the command that makes it.
"""

import json
from collections.abc import Callable
from pathlib import Path

from kdlib.analysis.deployment_tables import (
    NETWORKS, PRECISIONS, Results, errors, latency_table, machine, mebibytes, quantisation, refused, scores, series_of, sizes,
)  # fmt: skip
from kdlib.analysis.prose import joined
from kdlib.analysis.seeds import BLANK
from kdlib.analysis.speed import AIM, MACHINE, UNJUDGED, by_machine, milliseconds, of_machines, processor, times_fewer_weights
from kdlib.book.cost_report import shown
from kdlib.deploy.forms import in_form
from kdlib.deploy.latency import RUNTIMES
from kdlib.paths import reference_folder
from kdlib.results import markdown_table, not_measured
from kdlib.views.latency_figures import macs_figure, share_figure

FOLDER = "runs/reference/deployment"
TEACHER, MAIN = "teacher", "α = 128"  # of benchmarks/latency.py at 256 px
TIMED = ("latency_256", "latency_64", "latency_trained", "layers_256", "layers_64", "layers_trained", "forms_256")  # in a folder a machine
# Trained models that are exported and timed, by the name of their report.
DEPLOYED = {"teacher": "mini/teacher", "student": "mini/alpha48-kd", "small": "small/alpha24-kd-longest"}


def commands() -> dict[str, str]:
    """What makes each result, by its file's name without the ending, in the order in which they are made: exports come before their times."""
    models = " ".join(f"--model {name}" for name in DEPLOYED.values())
    asked = {f"export_{which}": f"-m kdlib export {name}" for which, name in DEPLOYED.items()}
    for name, script in (("latency", "latency"), ("layers", "layer_profile")):
        for which, option in (("256", "--size 256"), ("64", "--size 64"), ("trained", models)):
            asked[f"{name}_{which}"] = f"benchmarks/{script}.py {option} --threads 2"
    forms = "--size 256 --alphas 128 --form plain reordered transposed joined --runtimes eager onnxruntime openvino --no-memory --threads 2"
    asked["forms_256"] = f"benchmarks/latency.py {forms}"
    asked["integer_sums"] = "benchmarks/integer_sums.py --threads 1 " + models
    asked["demo"] = "benchmarks/demo_start.py --book _build/html --pictures book/figures"
    return {file: f"python {command} --json {FOLDER}/{f'{MACHINE}/' if file in TIMED else ''}{file}.json" for file, command in asked.items()}


def fragments(folder: Path | None = None) -> dict[str, str]:
    """Markdown by the name of the page's part; ``folder`` holds the results, by default runs/reference/deployment."""
    folder = reference_folder() / "deployment" if folder is None else folder
    asked, writers = commands(), {"latency": latency, "layers": layers, "forms": forms}
    found = {name: of_machines(folder, name, writers[name.partition("_")[0]], asked[name]).rstrip() + "\n" for name in TIMED}
    made: dict[str, Callable[[Results], str]] = {"demo": demo, "integer_sums": integer_sums}
    for name, make in made.items():
        path = folder / f"{name}.json"
        found[name] = (make(_read(path)) if path.is_file() else not_measured(asked[name])).rstrip() + "\n"
    files = {which: folder / f"export_{which}.json" for which in DEPLOYED}
    exports = [_read(path) for path in files.values() if path.is_file()]
    missing = [not_measured(asked[path.stem]) for path in files.values() if not path.is_file()]
    for name, make in (("sizes", sizes), ("errors", errors), ("scores", scores), ("quantisation", quantisation)):
        found[name] = joined(make(exports) if exports else "", *missing).rstrip() + "\n"
    return found | {"commands": "```bash\n" + "\n".join(asked.values()) + "\n```\n"}


def _read(path: Path) -> Results:
    return json.loads(path.read_text(encoding="utf-8"))


def summary(folder: Path | None = None) -> str:
    """A sentence a machine: what the thesis's main student gains in time over its teacher, at 256 px, for what it saves in MACs."""
    folder = reference_folder() / "deployment" if folder is None else folder
    sentences = []
    for result in map(_read, by_machine(folder, "latency_256")):
        models = result["models"]
        times = {(r["model"], r["runtime"]): r["median_seconds"] for r in result["rows"] if r["precision"] == "fp32"}
        timed = [runtime for runtime in RUNTIMES if {(m, runtime) for m in (TEACHER, MAIN)} <= times.keys()]
        if MAIN not in models or not timed:
            continue
        faster = {runtime: times[TEACHER, runtime] / times[MAIN, runtime] for runtime in timed}
        least = min(timed, key=lambda runtime: times[MAIN, runtime])
        others = ", ".join(f"{faster[runtime]:.1f} in {RUNTIMES[runtime]}" for runtime in timed if runtime != least)
        sentences.append(
            f"With {result['threads']} threads of {processor(result)}, in float32, one picture of 256 px takes the thesis's teacher "
            f"{milliseconds(times[TEACHER, least])} in {RUNTIMES[least]} and its student of {MAIN}, with "
            f"{models[TEACHER]['macs'] / models[MAIN]['macs']:.1f} times fewer multiply-accumulates, "
            f"{milliseconds(times[MAIN, least])}: **{faster[least]:.1f} times faster**" + (f" ({others})." if others else ".")
        )
    return "\n\n".join(sentences) if sentences else not_measured(commands()["latency_256"])


def latency(result: Results) -> str:
    """Time, memory and file of one translation, by model, runtime and precision."""
    figure = shown(macs_figure(result, ("fp32", "int8")))
    return joined(figure, latency_table(result), _promise(result), _aim(result), _memory(result))


def forms(result: Results) -> str:
    """Generators of the same weights with their operations in several orders: a table a model, and times against the plain one."""
    rows = {(r["model"], r["runtime"], r["precision"]): r["median_seconds"] for r in result["rows"]}
    parts = []
    for plain in (name for name, counted in result["models"].items() if counted["form"] == "plain"):
        own = {counted["form"]: name for name, counted in result["models"].items() if name == in_form(plain, counted["form"])}
        lines = []
        for runtime, precision in series_of(result):
            times = {form: rows.get((name, runtime, precision)) for form, name in own.items()}
            cells = ["–" if t is None else milliseconds(t) + (f", {times['plain'] / t:.2f}×" if form != "plain" and times["plain"] else "")
                     for form, t in times.items()]  # fmt: skip
            lines.append([f"{RUNTIMES[runtime]}, {precision}", *cells])
        parts.append(markdown_table([f"{plain}: median, times faster", *own], lines))
    return joined(*parts, f"Batch 1, {result['threads']} threads. {machine(result)}.", refused(result))


def _promise(result: Results) -> str:
    """How much of the saving in MACs each runtime turns into time, in float32."""
    models, teacher = result["models"], next(iter(result["models"]))
    times = {(r["model"], r["runtime"]): r["median_seconds"] for r in result["rows"] if r["precision"] == "fp32"}
    sentences = []
    for model in list(models)[1:]:
        fewer = models[teacher]["macs"] / models[model]["macs"]
        timed = [r for r in RUNTIMES if (model, r) in times and (teacher, r) in times]
        faster = [f"{times[teacher, r] / times[model, r]:.1f} in {RUNTIMES[r]}" for r in timed]
        if faster:
            sentences.append(f"{model}: {fewer:.1f} times fewer MACs; times faster in float32: {', '.join(faster)}.")
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _aim(result: Results) -> str:
    """The fastest student in floats against what the study works towards, at 256 px."""
    models, teacher = result["models"], next(iter(result["models"]))
    if models[teacher]["image_size"] != 256 or len(models) < 2:
        return ""
    of_teacher = {(r["runtime"], r["precision"]): r["median_seconds"] for r in result["rows"] if r["model"] == teacher}
    students = [r for r in result["rows"] if r["model"] != teacher and r["precision"] not in UNJUDGED]
    if not students:
        return ""
    best = min(students, key=lambda r: r["median_seconds"])
    second = f"{best['model']} in {RUNTIMES[best['runtime']]} ({best['precision']}) makes {1 / best['median_seconds']:.1f} pictures a second"
    faster = {(r["model"], r["runtime"], r["precision"]): of_teacher[r["runtime"], r["precision"]] / r["median_seconds"]
              for r in students if (r["runtime"], r["precision"]) in of_teacher}  # fmt: skip
    if not faster:
        return ""
    (model, runtime, precision), times = max(faster.items(), key=lambda item: item[1])
    return (
        f"The aim is {AIM['times_faster']} times the teacher's speed in the same runtime, {AIM['pictures_a_second']} pictures a second and "
        f"{AIM['fewer_weights']} times fewer weights of G, E and F together. The fastest in floats, {second} with "
        f"{times_fewer_weights(models, best['model']):.1f} times fewer weights; the largest gain over the teacher in one runtime and precision is "
        f"{times:.1f} times ({model}, {RUNTIMES[runtime]}, {precision}; {times_fewer_weights(models, model):.1f} times fewer weights). In 8 bits "
        "every layer of these untrained networks is quantised, and no picture says what that costs. {doc}`where_width_goes` has generators that were "
        "made for speed, and what such a one scores once it is trained, at 64 px."
    )


def _memory(result: Results) -> str:
    """File and peak of the process, where they were measured."""
    if not any("peak_bytes" in row for row in result["rows"]):
        return ""
    rows = {(r["model"], r["runtime"], r["precision"]): r for r in result["rows"]}
    heads, table = ["file, peak of the process", *result["models"]], []
    for runtime, precision in series_of(result):
        found = [rows.get((model, runtime, precision)) for model in result["models"]]
        cells = ["–" if r is None else f"{mebibytes(r['file_bytes'])}, {mebibytes(r['peak_bytes']) if 'peak_bytes' in r else '–'}" for r in found]
        table.append([f"{RUNTIMES[runtime]}, {precision}", *(cell.replace(" MiB", f"{BLANK}MiB") for cell in cells)])
    about = "The peak is that of a process of its own, libraries included. PyTorch's rows count weights in the place of a file."
    return joined(markdown_table(heads, table), about)


def layers(result: Results) -> str:
    """Where the time goes, and where the MACs."""
    heads = ["kind of layer", *(f"{p['model']}, {p['runtime']}: {milliseconds(p['seconds'])}" for p in result["profiles"])]
    kinds = dict.fromkeys(row["kind"] for profile in result["profiles"] for row in profile["kinds"])
    table = []
    for kind in kinds:
        cells = []
        for profile in result["profiles"]:
            row = next((r for r in profile["kinds"] if r["kind"] == kind), None)
            cells.append("–" if row is None else f"{100 * row['time_share']:.1f} % / {100 * row['mac_share']:.1f} %")
        table.append([kind, *cells])
    parts = [shown(share_figure(profile)) for profile in result["profiles"] if profile["model"] == result["profiles"][-1]["model"]]
    about = f"Share of the time / share of the MACs; medians of {result['rounds']} passes. {machine(result)}."
    return joined(*parts, markdown_table(heads, table), *map(_without_macs, result["profiles"]), about)


def _without_macs(profile: Results) -> str:
    idle = sum(row["time_share"] for row in profile["kinds"] if row["mac_share"] < 0.001)
    worst = max(profile["kinds_and_sizes"], key=lambda row: row["time_share"] - row["mac_share"])
    return (
        f"- {profile['model']}, {profile['runtime']}: {100 * idle:.0f} % of the time goes to layers that the count does not know. The "
        f"largest excess of time over MACs is that of {worst['kind']} at {worst['size']} px ({100 * worst['time_share']:.1f} % of the time, "
        f"{100 * worst['mac_share']:.1f} % of the MACs)."
    )


def integer_sums(result: Results) -> str:
    """What 8-bit files with weights of eight and of seven bits are on the processor that was measured."""
    rows: dict[tuple[str, str], dict[int, Results]] = {}
    for row in result["rows"]:
        rows.setdefault((row["model"], row["network"]), {})[row["bits"]] = row
    heads = ["relative error, every layer quantised: as run / as defined", "weights of 8 bits", "weights of 7 bits"]
    lines = [[f"{model}, {NETWORKS[network]}", *(f"{own[b]['file']:.3f} / {own[b]['definition']:.3f}" for b in (8, 7))]
             for (model, network), own in rows.items()]  # fmt: skip
    return joined(markdown_table(heads, lines), f"ONNX Runtime, {result['pictures']} translations of validation pictures. {machine(result)}.")


def demo(result: Results) -> str:
    """How soon the demo shows a picture."""
    return (
        f"The first picture is there **{result['median_seconds']:.1f} s** after the page is asked for: median of {result['rounds']} starts with an empty "
        f"cache, {min(result['seconds']):.1f} to {max(result['seconds']):.1f} s, in {result['browser']} without a window and without WebGPU, from a web "
        f"server on the same machine. {machine(result)}."
    )


def card(folder: Path | None = None) -> str:
    """The exported models' files and times in short, for the model card; empty where nothing was measured."""
    folder = reference_folder() / "deployment" if folder is None else folder
    exports = [_read(path) for which in DEPLOYED if (path := folder / f"export_{which}.json").is_file()]
    timed = [_read(path) for path in by_machine(folder, "latency_trained")]
    if not exports or not timed:
        return ""
    times = [{(r["model"], r["runtime"], r["precision"]): r["median_seconds"] for r in result["rows"]} for result in timed]
    series = list(dict.fromkeys(one for result in timed for one in series_of(result) if one[0] in ("onnxruntime", "openvino") and one[1] in ("fp32", "int8")))
    files = {precision: label for precision, label in PRECISIONS.items() if precision != "pt2"}
    heads = ["files of G, E and F; one picture", *files.values(), *(f"{RUNTIMES[runtime]}, {precision}" for runtime, precision in series)]
    lines = []
    for export in exports:
        together = {p: sum(count for file, count in export["bytes"].items() if file.startswith(f"{p}/")) for p in files}
        spent = [[of_one.get((export["model"], *one)) for of_one in times] for one in series]
        lines.append([f"`{export['model']}`", *(mebibytes(together[p]) if together[p] else "–" for p in files),
                      *(" / ".join("–" if seconds is None else milliseconds(seconds) for seconds in machines) for machines in spent)])  # fmt: skip
    about = (
        "Exported ({doc}`deployment`); times are those of the generator, batch 1, medians: "
        + " / ".join(f"{processor(result)}, {result['threads']} threads" for result in timed) + "."
    )
    return joined(markdown_table(heads, lines), about)
