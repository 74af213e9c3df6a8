"""The cost page's tables and figures: Markdown made from the benchmarks' results in runs/reference/cost.

Each benchmark writes one JSON file there. For one that is not there the page has the command that makes it, or nothing where the
benchmark needs arguments.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdlib.analysis.prose import joined
from kdlib.headlines import CRITTER_DISTANCE, FACTORS
from kdlib.paths import REPOSITORY, reference_folder
from kdlib.results import GUIDES, markdown_table, not_measured
from kdlib.views.cost_figures import heads_figure, loading_figure, seconds_text, sweep_figure
from kdlib.views.plotting import figure_html, template

BENCHMARKS = REPOSITORY / "benchmarks"
PRECISIONS = {"float32": "float32", "tf32": "TF32", "bfloat16": "bfloat16"}
ESTIMATED = "est."  # stands before every number that was not measured
RUNS = {"teacher": "teacher, trained by StarGAN v2's objective", "alpha64-kd": "student, α = 64, distilled", "alpha128-kd": "student, α = 128, distilled",
        "alpha128": "student, α = 128, alone"}  # fmt: skip
DATA_SETS = {"afhq": "AFHQ", "celeba_hq": "CelebA-HQ"}

Results = dict[str, Any]


def fragments(folder: Path | None = None) -> dict[str, str]:
    """Markdown by the name of the page's part; ``folder`` holds the benchmarks' results, by default runs/reference/cost."""
    folder = reference_folder() / "cost" if folder is None else folder
    parts: dict[str, tuple[str, Callable[[Results], str]]] = {
        "step_64": ("training_step_64", step),
        "step_256": ("training_step_256", step),
        "changes": ("step_changes", changes),
        "full_width_afhq": ("full_width_afhq", full_width),
        "full_width_celeba_hq": ("full_width_celeba_hq", full_width),
        "lazy_r1": ("lazy_r1", lazy_r1),
        "loading": ("loading", loading),
        "evaluation": ("evaluation", evaluation),
        "import_time": ("import_time", import_time),
        "sweeps": ("cost", sweeps),
        "domains": ("cost", domains),
        "gpus": ("cost", gpus),
    }
    found = {}
    for name, (file, make) in parts.items():
        path = folder / f"{file}.json"
        found[name] = make(json.loads(path.read_text(encoding="utf-8"))).rstrip() + "\n" if path.is_file() else ""
        if not found[name] and (BENCHMARKS / f"{file}.py").is_file():
            found[name] = not_measured(f"python benchmarks/{file}.py --json runs/reference/cost/{file}.json") + "\n"
    return found


def machine(result: Results) -> str:
    """What a result was measured on."""
    environment = result["environment"]
    where = environment["processor"] if environment["device"] == "cpu" else environment["device"]
    return f"{where}, {environment['threads']} thread{'s' if environment['threads'] > 1 else ''}, PyTorch {environment['packages']['torch']}"


def shown(figure) -> str:
    """A figure in a page of prose, as the notebooks show theirs."""
    figure.update_layout(template=template())
    return f"```{{raw}} html\n{figure_html(figure)}\n```"


def _gib(count: float) -> str:
    return f"{count / 2**30:.2f} GiB"


def step(result: Results) -> str:
    """The iteration written straight down against kdlib's."""
    case = result["case"]
    heads = [f"{case['size']} px, batch {case['batch']}", "seconds", "times faster", "memory of the iteration", "peak of the process"]
    lines = [
        [name, seconds_text(row["median_seconds"]), f"{row['times_faster_than_plain']:.2f}", _gib(row["memory_of_the_iteration_bytes"]),
         _gib(row["peak_memory_bytes"])]
        for name, row in result["variants"].items()
    ]  # fmt: skip
    rounds = len(next(iter(result["variants"].values()))["seconds"])
    about = f"Teacher capped at {case['teacher_alpha']}, student at {case['alpha']}, three domains; medians of {rounds} iterations on {machine(result)}."
    return joined(markdown_table(heads, lines), about)


def changes(result: Results) -> str:
    """What each change brings, one after the other."""
    case, rows = result["case"], result["rungs"]
    heads = ["with, besides all above it", "seconds", "times faster than plain", "GFLOP a picture"]
    lines = [[row["name"], seconds_text(row["seconds"]), f"{row['times_faster_than_plain']:.2f}", f"{row['flops_a_picture'] / 1e9:.2f}"] for row in rows]
    about = (
        f"{case['size']} px, batch {case['batch']}, teacher capped at {case['teacher_alpha']}, student at {case['alpha']}; "
        f"medians of {len(rows[0]['all_seconds'])} iterations in turns on {machine(result)}. Operations are those of convolutions and matrix products, counted."
    )
    return joined(markdown_table(heads, lines), about)


def _score_name(key: str) -> str:
    """'latent_frechet_factor_network' as tables have it: 'latent-guided Fréchet distance'."""
    guide, _, rest = key.partition("_")
    if guide not in GUIDES:
        return key.replace("_", " ")
    headline = next((h for h in (CRITTER_DISTANCE, *FACTORS) if h.key == rest), None)
    named = rest.replace("_factor_network", "_distance").replace("_", " ") if headline is None else headline.heading.split(" (")[0]
    return f"{guide}-guided {named}"


def lazy_r1(result: Results) -> str:
    """R1 on every iteration against R1 on every so many, over seeds."""
    kinds = list(result.values())
    heads = ["gradient penalty", *("every iteration" if name == "every 1" else f"{name} iterations" for name in result)]
    lines = []
    for name in kinds[0]["scores"]:
        cells = []
        for kind in kinds:
            score = kind["scores"][name]
            cells.append(f"{score['mean']:.3f}" + ("" if score["deviation"] is None else f" ± {score['deviation']:.3f}"))
        lines.append([_score_name(name), *cells])
    first = kinds[0]
    seeds = ", ".join(map(str, first["seeds"]))
    about = (
        f"Critters at {first['image_size']} px, α = {first['alpha']}, distilled, {first['iterations']:,} iterations, seeds {seeds}; "
        f"mean and standard deviation over seeds. {machine(first)}."
    )
    return joined(markdown_table(heads, lines), about)


def full_width(result: Results) -> str:
    """One sentence on the thesis's own size."""
    pictures = sum(result["pictures"].values())
    untrained = f"; {' and '.join(result['untrained'])} untrained, which changes no time" if result["untrained"] else ""
    return (
        f"Preset `{result['preset']}`, α = {result['alpha']}, batch {result['batch']}, {result['precision']}, on {pictures} real pictures: "
        f"{seconds_text(result['seconds_of_iterations'][-1])} an iteration, {_gib(result['peak_memory_bytes'])} at the peak of the process "
        f"({machine(result)}{untrained})."
    )


def loading(result: Results) -> str:
    """Making batches against the iterations that they are for."""
    files, parts = result["files"], [shown(loading_figure(result))]
    heads, lines = ["", "a batch", "pictures a second", "the iteration takes so many times as long"], []
    for size, row in result["sizes"].items():
        step_seconds = row["step"]["seconds_at_batch"]
        for name, load in row["loading"].items():
            seconds = load["seconds_a_batch"]
            lines.append([f"{size} px, {name}", seconds_text(seconds), f"{load['pictures_a_second']:,.0f}", f"{step_seconds / seconds:,.0f}"])
    parts.append(markdown_table(heads, lines))
    scaled = [f"{size} px (batch {row['step']['batch']})" for size, row in result["sizes"].items() if row["step"]["scaled"]]
    first = next(iter(result["sizes"].values()))
    about = (
        f"A batch of {first['batch']} has {first['pictures_a_batch']} pictures, augmented: sources and two references each. "
        f"{files['files']} JPEG files of {files['pixels']} px, {files['mean_bytes'] / 1024:.0f} KiB on average. {machine(result)}."
    )
    if scaled:
        about += f" The iteration was measured at a smaller batch and multiplied at {', '.join(scaled)}."
    parts.append(about)
    heads, lines = ["one iteration", "seconds", "times that without loading", "waited for its batch"], []
    for size, row in result["sizes"].items():
        for name, kind in row["iterations"].items():
            cells = [seconds_text(kind["seconds"]), f"{kind['ratio']:.3f}", f"{1e3 * kind['waited_seconds']:.1f} ms"]
            lines.append([f"{size} px, batch {row['step']['batch']}, {name}", *cells])
    parts.append(markdown_table(heads, lines))
    count = result["rounds"] * result["iterations"]
    parts.append(f"Medians of {count} iterations in turns, from files. " + _noise(result))
    return joined(*parts)


def _noise(result: Results) -> str:
    """How far two kinds that do the same work are apart: what the machine's other work did to the measurement."""
    ratios = [kind["ratio"] for row in result["sizes"].values() for kind in row["iterations"].values()]
    if min(ratios) < 1:
        return f"Ratios below 1, the smallest {min(ratios):.3f}, say how much the measurement scatters."
    return ""


def evaluation(result: Results) -> str:
    """One evaluation against the same protocol with files between its steps."""
    parts = []
    for name, case in result["cases"].items():
        settings = case["case"]
        heads = [name, "seconds", "times faster"]
        lines = [[kind, seconds_text(row["seconds"]), f"{row['times_faster_than_plain']:.1f}"] for kind, row in case["kinds"].items()]
        parts.append(markdown_table(heads, lines))
        spent = sorted(case["seconds_of_plain"].items(), key=lambda item: -item[1])
        parts.append(
            f"{case['outputs']:,} outputs judged by {' and '.join(settings['networks'])}, {settings['train']:,} training pictures a domain. "
            f"The scores agree within {case['largest_difference']:.0e}. The plain evaluation wrote {case['png_bytes'] / 2**20:.1f} MiB of PNG files; "
            f"it spent its time on {', '.join(f'{what} ({seconds_text(seconds)})' for what, seconds in spent)}."
        )
    parts.append(f"Model {result['model']}, medians of {result['rounds']} evaluation{'s' if result['rounds'] > 1 else ''} in turns, {machine(result)}.")
    return joined(*parts)


def import_time(result: Results) -> str:
    """What is waited for before any work."""
    rows = {name: row for kind in ("processes", "notebooks") for name, row in result.get(kind, {}).items()}
    lines = [[f"`{name}`" if name.startswith(("import ", "python ")) else name, seconds_text(row["seconds"])] for name, row in rows.items()]
    rounds = len(next(iter(result["processes"].values()))["all_seconds"])
    return joined(markdown_table(["a fresh process", "seconds"], lines), f"Medians of {rounds}, {machine(result)}.", _overhead(result))


def _overhead(result: Results) -> str:
    """A notebook's own overhead in a sentence; nothing where notebooks were not measured."""
    if "notebooks" not in result:
        return ""
    empty, imports, whole, again = (row["seconds"] for row in result["notebooks"].values())
    return (
        f"A notebook's own overhead is {seconds_text(imports)}: {seconds_text(empty)} for Papermill and the kernel, {seconds_text(imports - empty)} for what "
        f"is imported. In the smallest of studies that is {100 * imports / whole:.0f} % of a student's notebook; with its training done, its pictures and "
        f"figures take {seconds_text(again - imports)} more."
    )


def sweeps(result: Results) -> str:
    """Time, memory and operations against batch, width, size and domains."""
    parts = [shown(sweep_figure(result))]
    names = {"batch": "batch", "alpha": "α", "image_size": "px", "domains": "domains"}
    heads, lines = ["px", "batch", "α", "domains", "seconds", "peak of the process", "GFLOP"], []
    for sweep, rows in result["sweeps"].items():
        for row in rows:
            cells = [f"**{row[k]}**" if k == sweep else str(row[k]) for k in ("image_size", "batch", "alpha", "domains")]
            cost = ["does not fit", "–"] if row["seconds"] is None else [seconds_text(row["seconds"]), _gib(row["bytes"])]
            lines.append([*cells, *cost, f"{row['flops'] / 1e9:,.1f}"])
    widths = result["widths"]
    about = (
        f"Bold: what a group of rows varies ({', '.join(names[sweep] for sweep in result['sweeps'])}). First width {widths['base_width']} at every size, "
        f"teacher capped at {widths['teacher_alpha']}. The libraries alone take {_gib(result['libraries_bytes'])}. {machine(result)}."
    )
    return joined(*parts, markdown_table(heads, lines), about)


def domains(result: Results) -> str:
    """What one head for every domain adds, counted."""
    parts = []
    for size in sorted({row["image_size"] for row in result["heads"]}, reverse=True):
        rows = [row for row in result["heads"] if row["image_size"] == size]
        if not parts:
            parts.append(shown(heads_figure(result, size)))
        heads = [f"{size} px, domains", *(f"{name}, α = {rows[0][name]['alpha']}: {what}" for name in ("teacher", "student") for what in ("weights", "MACs")),
                 "student's $D$", "student's $D^s$"]  # fmt: skip
        lines = []
        for row in rows:
            cells = []
            for name in ("teacher", "student"):
                counts = row[name]
                macs = sum(counts["macs"][network] for network in ("G", "E", "F"))
                cells += [f"{counts['parameters']['G + E + F'] / 1e6:.2f} M", f"{macs / 1e9:.3f} G"]
            lines.append([str(row["domains"]), *cells, *(f"{row['student']['parameters'][n] / 1e6:.2f} M" for n in ("D", "D^s"))])
        parts += [markdown_table(heads, lines), _growth(rows)]
    return joined(*parts)


def _growth(rows: list[Results]) -> str:
    """Weights that one domain more adds, network by network: the same number for every further one."""
    first, last = rows[0], rows[-1]
    more = last["domains"] - first["domains"]
    each = {
        name: {n: (last[name]["parameters"][n] - first[name]["parameters"][n]) / more for n in ("E", "F", "D", "D^s")} for name in ("teacher", "student")
    }
    t, s = each["teacher"], each["student"]
    return (
        f"One domain more adds {t['E']:,.0f} weights to the teacher's $E$ and {t['F']:,.0f} to its $F$, "
        f"{s['E']:,.0f} to the student's $E$, {s['F']:,.0f} to its $F$, {s['D']:,.0f} to $D$ and {s['D^s']:,.0f} to $D^s$; none to either $G$."
    )


def gpus(result: Results) -> str:
    """Hours that the thesis's runs would take, all of them estimates."""
    if "estimates" not in result:
        return "Not estimated yet: `python benchmarks/cost.py --json runs/reference/cost/cost.json`."
    estimates = result["estimates"]
    reference = estimates["runs"]["afhq alpha128-kd"]
    heads, lines = ["AFHQ, α = 128, distilled", *(f"{name}, hours" for name in PRECISIONS.values()), "peaks in this order, TFLOP/s"], []
    for gpu, peaks in estimates["peaks_tflops"].items():
        cells = [_span(reference["hours"][gpu].get(precision)) for precision in PRECISIONS]
        lines.append([gpu, *cells, " / ".join("–" if peaks[p] is None else f"{peaks[p]:g}" for p in PRECISIONS)])
    shares = ", ".join(f"{100 * low:.0f} to {100 * high:.0f} % in {PRECISIONS[p]}" for p, (low, high) in estimates["utilisation"].items())
    parts = [
        f"One iteration of AFHQ's student of α = 128 makes {reference['flops_a_picture'] / 1e12:.2f} TFLOP a picture, so {reference['batch']} pictures "
        f"and {reference['iterations']:,} iterations make {reference['flops'] / 1e18:.2f} EFLOP (counted). Hours at {shares} of the peak (estimates):",
        markdown_table(heads, lines),
    ]
    heads, lines = ["run", "TFLOP a picture, counted", "V100, float32", "RTX 3090, float32", "A100, TF32", "H100, bfloat16"], []
    shown_gpus = (("Tesla V100 (SXM2)", "float32"), ("GeForce RTX 3090", "float32"), ("A100 (SXM4)", "tf32"), ("H100 (SXM5)", "bfloat16"))
    for name, run in estimates["runs"].items():
        data_set, kind = name.split()
        hours = [_span(run["hours"][gpu][precision]) + " h" for gpu, precision in shown_gpus]
        lines.append([f"{DATA_SETS[data_set]}: {RUNS[kind]}", f"{run['flops_a_picture'] / 1e12:.2f}", *hours])
    parts.append(markdown_table(heads, lines))
    author = estimates["author"]
    parts.append(
        f"The author's note, {author['days']:g} days a run on a V100, is the one measurement to hold this against. The iteration written straight down makes "
        f"{author['plain_flops_a_picture'] / 1e12:.2f} TFLOP a picture; {author['days']:g} days for it would be "
        f"{100 * author['share_of_float32_peak']:.0f} % of the float32 peak (estimate)."
    )
    return joined(*parts)


def _span(hours: list[float] | None) -> str:
    return "–" if hours is None else f"{ESTIMATED} {hours[0]:,.0f} to {hours[1]:,.0f}" if hours[0] >= 9.5 else f"{ESTIMATED} {hours[0]:.1f} to {hours[1]:.1f}"
