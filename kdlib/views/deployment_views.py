"""What the deployment notebook shows, made from the report of an export (`kdlib.deploy.deployment`)."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from IPython.display import HTML, Markdown, display
from PIL import Image

from kdlib.deploy.calibration import draw_inputs, translations
from kdlib.deploy.deployment import PRECISIONS, exported_runners, subject_of
from kdlib.deploy.exported import exported_networks
from kdlib.deploy.latency import RUNTIMES, machine_load, runners, statistics_of, take_turns
from kdlib.deploy.layer_profile import by_kind, profile_eager, profile_onnxruntime
from kdlib.deploy.runtimes import runtime_versions
from kdlib.errors import InputError
from kdlib.grids import to_uint8
from kdlib.paths import REPOSITORY, from_repository
from kdlib.runs import describe_environment
from kdlib.session import open_data
from kdlib.settings import Preset
from kdlib.use.models import load_model
from kdlib.views.latency_figures import share_figure
from kdlib.views.plotting import BLUE, VERMILLION, image_grid

EXAMPLE = REPOSITORY / "examples" / "translate_without_torch.py"
SHOWN_RUNTIMES = ["eager", "onnxruntime", "openvino"]  # compiling takes longer than a reader waits
# A module that cannot be found: what a machine without PyTorch would say.
WITHOUT_TORCH = "import runpy, sys; sys.modules['torch'] = None; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"


def about(report: dict[str, Any]) -> str:
    """Markdown: what was exported, and where it lies."""
    described = report["about"]
    rows = {
        "model": f"`{report['model']}`, {described['what']}",
        "folder": f"`{report['folder']}`",
        "trained on": described["training_data"],
        "licence": described["licence"],
        "commit of the export": f"`{described['commit'][:10]}`" + (" with changes" if described["commit"].endswith("+changes") else ""),
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())])


def _precisions(report: dict[str, Any]) -> list[str]:
    return [p for p in PRECISIONS if any(file.startswith(f"{p}/") for file in report["bytes"])]


def pictures(report: dict[str, Any], preset: Preset, count: int = 6) -> HTML:
    """Validation pictures translated by PyTorch and by every precision's files, row by row."""
    nets, folder = load_model(report["model"]).nets, from_repository(report["folder"])
    inputs = draw_inputs(nets, open_data(preset, progress=False).val, count, preset.evaluation.evaluation_seed, "pictures")
    rows = {"source": inputs["generator"][0], "PyTorch": translations(nets, inputs)}
    for precision in _precisions(report):
        rows[precision] = translations(exported_networks(nets, exported_runners(folder, precision)), inputs)
    cells = [list(to_uint8(torch.from_numpy(row))) for row in rows.values()]
    return image_grid(cells, row_labels=list(rows), caption="One model, run from its files")


def sensitivity_figure(report: dict[str, Any], network: str = "generator") -> go.Figure | Markdown:
    """Error of the generator's output with one layer alone quantised, layer by layer in the order of the network; a sentence where none was."""
    record = report.get("quantisation", {}).get(network)
    if record is None:
        return Markdown("*No 8-bit networks in this export, so no layer was quantised alone.*")
    order = {row["layer"]: row for row in sorted(record["sensitivity"], key=lambda row: row["place"])}
    colours = [VERMILLION if layer in record["in_float"] else BLUE for layer in order]
    names = [layer.rpartition("/")[0] for layer in order]
    values = [row["relative"] for row in order.values()]
    figure = go.Figure(go.Bar(x=names, y=values, marker_color=colours, hovertemplate="%{x}: %{y:.4f}<extra></extra>"))
    figure.update_yaxes(title_text="error of the picture, relative")
    figure.update_xaxes(tickangle=-60, tickfont_size=10)
    figure.update_layout(title="Each layer quantised alone (red: left in float)", height=430)
    return figure


def measure(report: dict[str, Any], rounds: int, threads: int = 0) -> dict[str, Any]:
    """Times of the generator in every runtime and precision, in the form that `kdlib.book.deployment_report` shows."""
    model = load_model(report["model"])
    subject = subject_of(model, from_repository(report["folder"]))
    before = machine_load()
    calls, refused = runners(subject, SHOWN_RUNTIMES, threads)
    seconds = take_turns(calls, rounds)
    variants = [{"model": v.subject, "runtime": v.runtime, "precision": v.precision} for v in seconds]
    rows = [{**one, **statistics_of(s), "seconds": s} for one, s in zip(variants, seconds.values())]
    load = {"machine_before": before, "machine_after": machine_load()}
    environment = describe_environment(torch.device("cpu")) | load | {"runtimes": runtime_versions()}
    return {"rows": rows, "refused": refused, "threads": threads or torch.get_num_threads(), "environment": environment}


def layers(report: dict[str, Any], threads: int = 0) -> None:
    """Two figures: shares of time and MACs by kind of layer, in PyTorch and in ONNX Runtime."""
    subject = subject_of(load_model(report["model"]), from_repository(report["folder"]))
    eager = profile_eager(subject.network, [torch.from_numpy(a) for a in subject.inputs])
    onnx = profile_onnxruntime(subject.files["fp32"], subject.inputs, eager, threads=threads)
    for runtime, rows in (("eager", eager), ("onnxruntime", onnx)):
        display(share_figure({"model": subject.name, "runtime": RUNTIMES[runtime], "kinds": by_kind(rows).to_dict("records")}))


def example() -> str:
    """Markdown: the program that translates without PyTorch."""
    return f"```python\n{EXAMPLE.read_text(encoding='utf-8')}```"


def run_example(report: dict[str, Any], preset: Preset) -> HTML:
    """That program, run by a process that cannot import PyTorch, on a validation picture: source and result for every domain."""
    dataset = open_data(preset, progress=False)
    source = dataset.val.files(0)[0]
    folder = from_repository(report["folder"]) / _precisions(report)[-1]
    cells = [np.asarray(Image.open(source).convert("RGB").resize((dataset.image_size,) * 2))]
    with tempfile.TemporaryDirectory() as place:
        for domain in dataset.domains:
            result = Path(place) / f"{domain}.png"
            command = [sys.executable, "-c", WITHOUT_TORCH, str(EXAMPLE), f"{folder}/", str(source), domain, str(result)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise InputError(f"{EXAMPLE.name}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
            cells.append(np.asarray(Image.open(result)))
    return image_grid([cells], ["source", *dataset.domains], caption=f"From {folder.name} files, without PyTorch")
