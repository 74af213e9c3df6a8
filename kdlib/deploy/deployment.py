"""A trained model made ready for devices: exported, quantised, compared with PyTorch's. One folder a model:

    <folder>/fp32/  generator.onnx, style_encoder.onnx, mapping_network.onnx (and landmarks.onnx for models with a high-pass skip)
             fp16/  the same, weights stored in half precision
             int8/  the same, computing on 8-bit integers where that costs no quality (`kdlib.deploy.quantisation`)
             pt2/   the same as ExportedPrograms, which PyTorch loads without this library
             export.json   settings, sizes, errors, scores of each

`examples/translate_without_torch.py` shows what it takes to use such a folder. Metadata is inside each file
(`kdlib.deploy.export_metadata`).
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdlib import session
from kdlib.data import Dataset
from kdlib.deploy import quantisation
from kdlib.deploy.calibration import choosing_set, draw_inputs, translations
from kdlib.deploy.export import LANDMARKS_NAME, example_inputs, exportable, load_program, save_program, to_onnx, trace
from kdlib.deploy.export_metadata import describe
from kdlib.deploy.exported import exported_networks
from kdlib.deploy.forms import in_form
from kdlib.deploy.latency import Subject
from kdlib.deploy.onnx_files import half_weights, load_onnx, save_onnx, with_metadata
from kdlib.deploy.parity import Inputs, Tolerance, headline_scores, output_errors, psnr, run_in_batches
from kdlib.deploy.runtimes import Runner, eager, onnxruntime, openvino, runtime_versions
from kdlib.errors import InputError
from kdlib.files import write_text
from kdlib.networks import Networks
from kdlib.paths import runs_folder, shown
from kdlib.progress import progress_bar
from kdlib.runs import Run, describe_environment
from kdlib.scoring.judges import Judges
from kdlib.settings import Preset
from kdlib.use.model_names import find_model
from kdlib.use.models import Model, load_model

PRECISIONS = ("fp32", "fp16", "int8")
PROGRAM = "pt2"
REPORT = "export.json"
FORMAT = 2  # of the report; a folder of another one is made anew


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """What is made of a model, and how carefully."""

    precisions: tuple[str, ...] = PRECISIONS  # "fp32" is always among them
    form: str = "plain"  # of the generator's up blocks: the same function in another order, see kdlib.deploy.inference_form
    scores: bool = True  # evaluate every precision by the preset's protocol, beside PyTorch
    tolerance: Tolerance = Tolerance()  # of what is quantised
    calibration_pictures: int = 64  # translations that ranges are measured on
    test_pictures: int = 16  # others, that sensitivities and errors are measured on
    choosing_sources: int = 20  # training pictures a domain that candidates are scored on
    choosing_outputs: int = 5  # of each
    seed: int = 777  # of all that is drawn
    threads: int = 0  # of the runtimes; 0: their choice

    def __post_init__(self):
        strangers = [p for p in self.precisions if p not in PRECISIONS]
        if strangers:
            raise InputError(f"precisions = {', '.join(self.precisions)}: {', '.join(strangers)} is none of {', '.join(PRECISIONS)}")
        for name, least in (("calibration_pictures", 2), ("test_pictures", 2), ("choosing_sources", 2), ("choosing_outputs", 2), ("threads", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} = {getattr(self, name)}: must be at least {least}")


def run_at(path: str | Path) -> Run | None:
    """The run that ``path`` names, as `kdlib.use.models.load_model` understands it; None for a released checkpoint."""
    place = find_model(path)
    return Run(place.resolve()) if place.is_dir() else None


def export_folder(path: str | Path, form: str = "plain") -> Path:
    """Where the export of a model goes unless said otherwise: beside the reader's own run of that name, in a folder a form."""
    run = run_at(path)
    if run is None:
        raise InputError(f"{path}: a released checkpoint belongs to no run; say where to put the files, --out FOLDER")
    return runs_folder() / run.settings().preset.name / run.name / ("export" if form == "plain" else f"export-{form}")


def export(
    path: str | Path, out: Path | None = None, settings: ExportSettings = ExportSettings(), preset: Preset | None = None,
    landmarks: str | Path | None = None, progress: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Export the model at ``path`` (see `load_model`) to folder ``out``; returns the report, as written to its export.json.

    ``preset`` brings the pictures and the protocol; by default that which a run was trained by. A released checkpoint needs one to be
    quantised or scored. A folder that holds the same export already is left alone.
    Raises `InputError` where a model, its pictures or its masks are missing, or do not fit each other.
    """
    out = export_folder(path, settings.form) if out is None else Path(out).resolve()
    model, run = load_model(path, landmarks), run_at(path)
    preset = preset or model.preset
    if preset is not None and model.domains is None:
        model = dataclasses.replace(model, domains=session.domain_names(preset))
    about = describe(model, run) | {"form": settings.form}
    if preset is None and (settings.scores or "int8" in settings.precisions):
        raise InputError(f"{model.name}: quantising and scoring need pictures; name a preset that has them, or ask for neither")
    what = {name: text for name, text in about.items() if name != "commit"}  # a later commit alone is no reason to do it all again
    asked = {name: value for name, value in dataclasses.asdict(settings).items() if name != "threads"}  # any number computes the same
    key = json.loads(json.dumps({"format": FORMAT, "about": what, "settings": asked}))
    key["evaluation"] = preset.as_dict()["evaluation"] if preset else None
    key["pictures"] = _pictures(preset, settings)
    done = _report(out)
    if done.get("key") == key and all((out / file).is_file() for file in done["bytes"]):
        return done
    for file in (REPORT, *done.get("bytes", ())):  # an interrupted export leaves no report, and none leaves files of another
        (out / file).unlink(missing_ok=True)
    maker = _Maker(model, out, settings, preset, about, progress)
    maker.write_float_files()
    if "int8" in settings.precisions:
        maker.quantise()
    report = {"key": key, "model": model.name, "folder": shown(out), **maker.report()}
    write_text(out / REPORT, as_text(report))
    return report


def as_text(report: dict[str, Any]) -> str:
    """A report as its file has it."""
    return json.dumps(report, indent=1) + "\n"


def _pictures(preset: Preset | None, settings: ExportSettings) -> list[str] | None:
    """Hashes of the pictures that an export is quantised or scored on; None where it looks at none."""
    if preset is None or not (settings.scores or "int8" in settings.precisions):
        return None
    dataset = session.open_data(preset)
    return [dataset.train.content_hash, dataset.val.content_hash]


def exported_runners(folder: Path, precision: str, threads: int = 0) -> dict[str, Runner]:
    """The three networks of an export's folder in ONNX Runtime, by name."""
    return {name: onnxruntime(folder / precision / f"{name}.onnx", threads) for name in Networks.TRANSLATING}


def subject_of(model: Model, folder: Path) -> Subject:
    """The generator of a model in the form that its files in an export's folder have, ready to be timed.

    Raises `InputError` where they are missing.
    """
    name = "generator"
    files = {file.parent.name: file for file in sorted(folder.glob(f"*/{name}.onnx"))}
    if "fp32" not in files:
        raise InputError(f"{shown(folder)}: no export there: python -m kdlib export {model.name}")
    inputs = tuple(t.numpy() for t in example_inputs(name, model.nets.arch, 1, seed=1))
    form = _report(folder).get("key", {}).get("settings", {}).get("form", "plain")
    return Subject(in_form(model.name, form), exportable(model.nets, form)[name], files, inputs, form)


def _report(folder: Path) -> dict[str, Any]:
    """The report of an earlier export; empty if there is none."""
    try:
        return json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}


class _Maker:
    """One export under way."""

    def __init__(self, model: Model, out: Path, settings: ExportSettings, preset: Preset | None, about: dict[str, str], progress: bool):
        self.nets, self.out, self.settings, self.about, self.progress = model.nets, out, settings, about, progress
        self.networks = exportable(model.nets, settings.form)
        self.preset, self.dataset, self.judges = preset, None, None
        self.quantisation: dict[str, Any] = {}
        if preset is not None:
            self.dataset: Dataset = session.open_data(preset, progress)
            arch = model.nets.arch
            domains, size = self.dataset.domains, self.dataset.image_size
            if (len(domains), size) != (arch.domains, arch.image_size) or model.domains not in (None, domains):
                raise InputError(f"{model.name}: made for other pictures than preset {preset.name!r} has, {', '.join(domains)} at {size} px")
            self.judges: Judges = session.judges_of(preset)

    def file(self, precision: str, name: str) -> Path:
        return self.out / precision / f"{name}.{PROGRAM if precision == PROGRAM else 'onnx'}"

    def _save(self, precision: str, name: str, model: Any) -> None:
        save_onnx(self.file(precision, name), with_metadata(model, {**self.about, "network": name, "precision": precision}))

    def write_float_files(self) -> None:
        for name, network in progress_bar(self.networks.items(), desc="export", disable=not self.progress):
            program = trace(name, network, self.nets.arch)
            save_program(self.file(PROGRAM, name), program, {**self.about, "network": name, "precision": "fp32"})
            model = to_onnx(name, program, self.nets.arch, {})
            self._save("fp32", name, model)
            if "fp16" in self.settings.precisions:
                self._save("fp16", name, half_weights(model))

    def quantise(self) -> None:
        """Choose, network by network, which layers compute on integers; the other networks stay PyTorch's meanwhile."""
        s = self.settings
        ranges_of = draw_inputs(self.nets, self.dataset.train, s.calibration_pictures, s.seed)
        tests = draw_inputs(self.nets, self.dataset.train, s.test_pictures, s.seed, "sensitivity")
        pictures = choosing_set(self.dataset, s.choosing_sources, s.seed)
        few = dataclasses.replace(self.preset.evaluation, outputs_per_source=s.choosing_outputs, sources_per_domain=0, evaluation_seeds=1)
        protocol = dataclasses.replace(self.preset, evaluation=few)
        of_float, wanted = session.score(protocol, self.nets, pictures, self.judges, progress=False), translations(self.nets, tests)
        for name in Networks.TRANSLATING:
            model = load_onnx(self.file("fp32", name))
            ranges = quantisation.measure_ranges(model, ranges_of[name])
            rows = quantisation.sensitivity(model, ranges, tests[name], threads=s.threads)

            def violations(candidate: Any, name: str = name) -> list[str]:
                nets = exported_networks(self.nets, {name: quantisation.in_memory(candidate, s.threads)})
                like_float = psnr(translations(nets, tests), wanted)
                if noisy := s.tolerance.noise(like_float):
                    return noisy  # without the scores, which take far longer
                return s.tolerance.violations(session.score(protocol, nets, pictures, self.judges, progress=False), of_float, like_float)

            chosen, record = quantisation.choose(model, ranges, [row["layer"] for row in rows], violations)
            self._save("int8", name, chosen)
            self.quantisation[name] = {"sensitivity": rows, **record}
        if LANDMARKS_NAME in self.networks:  # masks are thresholds and powers of heatmaps: no place for 8 bits
            self._save("int8", LANDMARKS_NAME, half_weights(load_onnx(self.file("fp32", LANDMARKS_NAME))))

    def report(self) -> dict[str, Any]:
        precisions = [p for p in PRECISIONS if p == "fp32" or p in self.settings.precisions]
        files = [self.file(p, name) for p in (*precisions, PROGRAM) for name in self.networks]
        report: dict[str, Any] = {
            "about": self.about,
            "bytes": {str(f.relative_to(self.out)): f.stat().st_size for f in files},
            "errors": self._errors(precisions),
            "environment": describe_environment(torch.device("cpu")) | {"runtimes": runtime_versions()},
        }
        if self.quantisation:
            report["quantisation"] = self.quantisation
        if self.settings.scores:
            report["scores"] = self._scores(precisions)
        return report

    def _inputs(self, name: str) -> Inputs:
        """What errors are measured on: validation pictures where there are any, else noise."""
        count = self.settings.test_pictures
        if self.dataset is not None and name in Networks.TRANSLATING:
            return draw_inputs(self.nets, self.dataset.val, count, self.settings.seed, "errors")[name]
        return tuple(t.numpy() for t in example_inputs(name, self.nets.arch, count, self.settings.seed))

    def _errors(self, precisions: Sequence[str]) -> list[dict[str, Any]]:
        """A row for every network, runtime and precision."""
        rows = []
        for name, network in exportable(self.nets).items():
            if name == LANDMARKS_NAME:
                continue  # two outputs; its masks are compared in the tests
            inputs, batch = self._inputs(name), 8
            want = run_in_batches(eager(network), inputs, batch)
            runners: list[tuple[str, str, Runner]] = [("ExportedProgram", "fp32", eager(load_program(self.file(PROGRAM, name))[0]))]
            for precision in precisions:
                runners.append(("ONNX Runtime", precision, onnxruntime(self.file(precision, name), self.settings.threads)))
                runners += [("OpenVINO", precision, run) for run in self._in_openvino(precision, "fp32", [name]).values()]
            runners += [("OpenVINO", "bf16", run) for run in self._in_openvino("fp32", "bf16", [name]).values()]
            for runtime, precision, run in runners:
                errors = output_errors(run_in_batches(run, inputs, batch), want)
                rows.append({"network": name, "runtime": runtime, "precision": precision, **errors})
        return rows

    def _in_openvino(self, precision: str, arithmetic: str, names: Sequence[str] = Networks.TRANSLATING) -> dict[str, Runner]:
        """Networks of a precision in OpenVINO, by name; none where the processor lacks the arithmetic or OpenVINO refuses a file.

        An export must not end there: what is missing in its report was refused.
        """
        try:
            return {name: openvino(self.file(precision, name), self.settings.threads, arithmetic) for name in names}
        except (InputError, RuntimeError) as error:
            print(f"{self.about['model']}, OpenVINO, {precision} in {arithmetic}: refused ({str(error).strip().splitlines()[0]})", file=sys.stderr)
            return {}

    def _scores(self, precisions: Sequence[str]) -> dict[str, Any]:
        """Headline scores on the same draws: PyTorch's networks, every precision's by ONNX Runtime, and what OpenVINO computes in its own way."""
        runners = {p: exported_runners(self.out, p, self.settings.threads) for p in precisions}
        if "int8" in precisions:
            runners["int8, OpenVINO"] = self._in_openvino("int8", "fp32")
        runners["bf16, OpenVINO"] = self._in_openvino("fp32", "bf16")
        candidates = {"PyTorch": self.nets, **{name: exported_networks(self.nets, run) for name, run in runners.items() if run}}
        results = {n: session.score(self.preset, nets, self.dataset, self.judges, progress=self.progress) for n, nets in candidates.items()}
        inputs = draw_inputs(self.nets, self.dataset.val, self.settings.test_pictures, self.settings.seed, "errors")
        pictures = {name: translations(nets, inputs) for name, nets in candidates.items()}
        psnrs = {name: psnr(pictures[name], pictures["PyTorch"]) for name in results}
        of_float, tolerance = results["PyTorch"], self.settings.tolerance
        return {
            "protocol": of_float["protocol"],
            "of": {name: headline_scores(result) for name, result in results.items()},
            "psnr": {name: value for name, value in psnrs.items() if np.isfinite(value)},
            "violations": {name: tolerance.violations(result, of_float, psnrs[name]) for name, result in results.items()},
        }
