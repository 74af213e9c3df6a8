"""Milliseconds of one translation: teacher and students in PyTorch, ONNX Runtime and OpenVINO, in every precision that runs.

    python benchmarks/latency.py --size 64 --json runs/reference/deployment/MACHINE/latency_64.json
    python benchmarks/latency.py --size 256 --json runs/reference/deployment/MACHINE/latency_256.json
    python benchmarks/latency.py --model mini/teacher --model mini/alpha48-kd
    python benchmarks/latency.py --size 256 --candidates benchmarks/width_candidates.toml --json runs/reference/width/MACHINE/latency_256.json

MACHINE is a name for the processor, avx2 or amx, whose results stay together. Batch 1, the generator alone; all variants take turns
(`kdlib.deploy.latency`). Without ``--model`` the networks are untrained, with norms and biases drawn at random, and
the 8-bit ones have every convolution and linear layer quantised: what they paint is noise, and takes as long as anything else. At
256 px they are the thesis's, at 64 px as wide as those of preset mini. With ``--model`` they are those of
`python -m kdlib export`, with the layers in float that it left so. With ``--candidates`` a file names the students: their widths by
resolution, separable up blocks, pixel shuffle, order of operations.
"""

import argparse
import dataclasses
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

import torch
from common import options_of, report

from kdlib.analysis.speed import JOINED_TEACHER
from kdlib.architecture import Architecture, GeneratorDesign
from kdlib.deploy.deployment import export_folder, subject_of
from kdlib.deploy.export import example_inputs, exportable, to_onnx, trace
from kdlib.deploy.forms import FORMS, in_form
from kdlib.deploy.latency import RUNTIMES, Subject, Variant, case_of, machine_load, memory_of, runners, statistics_of, take_turns
from kdlib.deploy.onnx_files import half_weights, save_onnx
from kdlib.deploy.quantisation import measure_ranges, quantisable, quantise
from kdlib.deploy.runtimes import arithmetic, runtime_versions
from kdlib.devices import prepare
from kdlib.errors import InputError
from kdlib.networks import Generator, Networks, build_networks, networks_of
from kdlib.profiling import network_costs
from kdlib.progress import progress_bar
from kdlib.runs import describe_environment
from kdlib.settings import MachineSettings
from kdlib.use.models import load_model

# First width, width cap of the teacher, those of the students.
SIZES = {64: (24, 192, (24, 48, 96)), 256: (None, 512, (64, 96, 128, 160))}
TEACHER, NETWORK = "teacher", "generator"


def randomised(network: Generator, seed: int = 0) -> Generator:
    """Biases and norms drawn: at zero and one, where they start, an exporter leaves them out."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape, generator=random) * 0.05)
    return network


def untrained(size: int, alphas: Sequence[int] | None = None) -> dict[str, Networks]:
    """Teacher and students of a picture size by name."""
    base_width, teacher_alpha, own = SIZES[size]
    options = {"domains": 3, "image_size": size, "base_width": base_width, "seed": 0}
    found = {TEACHER: build_networks(teacher_alpha, **options)}
    found |= {f"α = {alpha}": build_networks(alpha, student=True, **options) for alpha in alphas or own}
    for nets in found.values():
        randomised(nets.generator)
    return found


def candidates(file: Path, size: int) -> dict[str, tuple[Networks, str]]:
    """Untrained teacher and the students of a file of candidates (benchmarks/width_candidates.toml says how), with their forms, by name."""
    base_width, teacher_alpha, _ = SIZES[size]
    try:
        asked = tomllib.loads(file.read_text(encoding="utf-8")).get(str(size), {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{file}: no candidates could be read ({error})") from error
    if not asked:
        raise InputError(f"{file}: has no candidates at {size} px; write them in a table [{size}]")
    teacher = build_networks(teacher_alpha, image_size=size, base_width=base_width, seed=0)
    found = {TEACHER: (teacher, "plain"), JOINED_TEACHER: (teacher, "joined")}  # what a new order of operations brings, it brings the teacher, too
    for name, settings in asked.items():
        own = dict(settings)
        alpha, form, mapping = own.pop("alpha", teacher_alpha), own.pop("form", "plain"), own.pop("mapping_width", None)
        try:
            arch = Architecture(size, 3, alpha, True, base_width=base_width, design=GeneratorDesign(**own) if own else None, mapping_width=mapping)
        except TypeError as error:
            known = ", ".join(("alpha", "form", "mapping_width", *(field.name for field in dataclasses.fields(GeneratorDesign))))
            raise InputError(f"{file}: {name}: {error}; settings are {known}") from error
        found[name] = (networks_of(arch, seed=0), form)
    for nets in {id(nets): nets for nets, _ in found.values()}.values():
        randomised(nets.generator)
    return found


def subject_of_networks(name: str, nets: Networks, folder: Path, form: str = "plain") -> Subject:
    """The generator of untrained networks, exported into ``folder`` in every precision."""
    network = exportable(nets, form)[NETWORK]
    model = to_onnx(NETWORK, trace(NETWORK, network, nets.arch), nets.arch, {"model": name})
    inputs = tuple(t.numpy() for t in example_inputs(NETWORK, nets.arch, 4, seed=1))
    files = {precision: folder / f"{precision}.onnx" for precision in ("fp32", "fp16", "int8")}
    save_onnx(files["fp32"], model)
    save_onnx(files["fp16"], half_weights(model))
    save_onnx(files["int8"], quantise(model, measure_ranges(model, inputs, 1), quantisable(model)))
    return Subject(name, network, files, tuple(a[:1] for a in inputs), form)


def subject_of_model(path: str, form: str = "plain") -> tuple[Subject, Networks]:
    """The generator of a trained model, with the files of its export in this form."""
    model = load_model(path)
    return subject_of(model, export_folder(path, form)), model.nets


def measure(subjects: dict[str, tuple[Subject, Networks]], options: argparse.Namespace, threads: int, device: torch.device) -> dict:
    """Everything about every variant of every subject."""
    before, calls, refused = machine_load(), {}, {}
    for subject, _ in progress_bar(subjects.values(), desc="loading"):
        found, why_not = runners(subject, options.runtimes, threads)
        calls, refused = calls | found, refused | why_not
    seconds = take_turns(calls, options.rounds, options.timed)
    rows = []
    for variant in calls if options.no_memory else progress_bar(calls, desc="memory"):
        subject, nets = subjects[variant.subject]
        peak = {}
        if not options.no_memory:
            try:
                peak = memory_of(variant, subject, threads, case_of(nets.arch))
            except InputError as error:  # an hour of times must not be lost for it
                refused[f"memory of {variant.label}"] = str(error)
        rows.append({**row(variant, subject, nets, seconds[variant]), **peak})
    costs = {name: {**cost(nets), "form": subject.form} for name, (subject, nets) in subjects.items()}
    environment = describe_environment(device) | {"machine_before": before, "machine_after": machine_load(), "runtimes": runtime_versions()}
    environment["arithmetic"] = arithmetic()
    asked = {"rounds": options.rounds, "timed": options.timed, "threads": threads}
    asked |= {"note": options.note} if options.note else {}
    return {**asked, "models": costs, "rows": rows, "refused": refused, "environment": environment}


def row(variant: Variant, subject: Subject, nets: Networks, seconds: list[float]) -> dict:
    """What is known of a variant; PyTorch's has no file of its own, so its weights are counted."""
    size = subject.files[variant.stored].stat().st_size if variant.stored else 4 * sum(p.numel() for p in nets.generator.parameters())
    return {
        "model": variant.subject, "runtime": variant.runtime, "precision": variant.precision, "file_bytes": size,
        **statistics_of(seconds), "seconds": [round(s, 5) for s in seconds],
    }  # fmt: skip


def cost(nets: Networks) -> dict:
    """Weights and MACs of the generator, counted."""
    counted = network_costs(nets.arch, ["G"]).loc["G"]
    return {**case_of(nets.arch), "parameters": int(counted["parameters"]), "macs": int(counted["macs"])}


def text(result: dict) -> str:
    """The result as a table, a group of rows a model."""
    teacher = next(iter(result["models"]))
    first = {(r["runtime"], r["precision"]): r["median_seconds"] for r in result["rows"] if r["model"] == teacher}
    lines = [f"{'':<34}{'median':>10}{'p90':>10}{'a second':>10}{'against':>9}{'file':>13}{'peak':>11}"]
    for name, counted in result["models"].items():
        lines.append(f"{name}: {counted['image_size']} px, {counted['parameters'] / 1e6:.2f} M weights, {counted['macs'] / 1e9:.2f} G MACs")
        for r in (r for r in result["rows"] if r["model"] == name):
            peak = f"{r['peak_bytes'] / 2**20:7.0f} MiB" if "peak_bytes" in r else ""
            lines.append(
                f"  {RUNTIMES[r['runtime']]:<18}{r['precision']:<14}{1e3 * r['median_seconds']:7.1f} ms{1e3 * r['p90_seconds']:7.1f} ms"
                f"{1 / r['median_seconds']:10.1f}{_times(first, r):>9}"
                f"{r['file_bytes'] / 2**20:9.2f} MiB{peak}"
            )
    lines += [f"not measured: {label} ({why})" for label, why in result["refused"].items()]
    load = [result["environment"][when]["load"] for when in ("machine_before", "machine_after")]
    lines.append(f"{result['threads']} threads, load of the machine {load[0]} before, {load[1]} after (1 a busy core)")
    return "\n".join(lines)


def _times(first: dict, row: dict) -> str:
    """How many times faster than the first model in the same runtime and precision; nothing where that was refused."""
    of_first = first.get((row["runtime"], row["precision"]))
    return "" if of_first is None else f"{of_first / row['median_seconds']:.1f}x"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of(__doc__, device=False)
    parser.add_argument("--size", type=int, choices=tuple(SIZES), default=64, help="pixels of untrained networks (default: %(default)s)")
    parser.add_argument("--alphas", type=int, nargs="+", help="width caps of untrained students (default: 24 48 96; at 256 px 64 96 128 160)")
    parser.add_argument("--model", action="append", default=[], help="a trained, exported model in their place; may be given several times")
    parser.add_argument("--candidates", type=Path, help="file of students of --size, e.g. benchmarks/width_candidates.toml")
    parser.add_argument("--note", default="", help="a remark that is written into the result, e.g. that the machine was busy")
    parser.add_argument("--form", choices=FORMS, nargs="+", default=["plain"], help="of the generators, see kdlib.deploy.inference_form; several: all of them")
    parser.add_argument("--runtimes", nargs="+", choices=tuple(RUNTIMES), default=list(RUNTIMES))
    parser.add_argument("--rounds", type=int, default=10, help="turns of each variant (default: %(default)s)")
    parser.add_argument("--timed", type=int, default=3, help="timed calls a turn (default: %(default)s)")
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory, for which every variant gets a process of its own")
    options = parser.parse_args(arguments)
    return report(lambda: measured(options), text, options.json)


def measured(options: argparse.Namespace) -> dict:
    """What the command line asks for. Raises `InputError` where a model, its export or a file of candidates is missing or unfit."""
    device = prepare(MachineSettings(device="cpu", threads=options.threads))
    threads = torch.get_num_threads()
    if options.model:
        trained = [subject_of_model(path, form) for form in options.form for path in options.model]
        return measure({subject.name: (subject, nets) for subject, nets in trained}, options, threads, device)
    if options.candidates:
        made = candidates(options.candidates, options.size)
    else:
        plain = untrained(options.size, options.alphas)
        made = {in_form(name, form): (nets, form) for form in options.form for name, nets in plain.items()}
    with tempfile.TemporaryDirectory() as folder:
        subjects = {
            name: (subject_of_networks(name, nets, Path(folder) / str(i), form), nets)
            for i, (name, (nets, form)) in enumerate(progress_bar(made.items(), desc="exporting"))
        }
        return measure(subjects, options, threads, device)


if __name__ == "__main__":
    sys.exit(main())
