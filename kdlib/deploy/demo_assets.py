"""What the book's live demo shows: teacher and student as ONNX files, and a manifest from which the page learns all about them.

    python -m kdlib.deploy.demo_assets --teacher mini/teacher --student small/alpha24-kd-longest

writes book/_static/models:

    teacher_generator.onnx, ...   three networks a model, made by `kdlib.deploy.export` (or taken from an export of int8)
    manifest.json                 sizes, weights, MACs, inputs of each; directions for the sliders that move a style
    example_*.png                 one translation, for readers who open the book from disk, where a page may not load models

Other models take their place by the same command; neither the page nor its scripts name a run.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kdlib.critters import SPECIES, critter_at, render
from kdlib.deploy import deployment
from kdlib.deploy.export import OUTPUTS, exportable, input_names, to_onnx, trace
from kdlib.deploy.onnx_files import half_weights, load_onnx, save_onnx, with_metadata
from kdlib.deploy.style_directions import QUANTITIES, Direction, common_directions, style_directions
from kdlib.errors import InputError
from kdlib.files import write_text
from kdlib.images import square, to_float
from kdlib.networks import Networks
from kdlib.paths import REPOSITORY, shown
from kdlib.profiling import cost
from kdlib.runs import STUDENT, TEACHER
from kdlib.use.models import Model, common_domains, load_model

FORMAT = 1  # of the manifest; demo.js reads this one
MANIFEST = "manifest.json"
FOLDER = REPOSITORY / "book" / "_static" / "models"
PRECISIONS = {"fp16": "float16", "fp32": "float32", "int8": "int8"}  # how weights are stored; the arithmetic is float32 but for int8's
LETTERS = {"generator": "G", "style_encoder": "E", "mapping_network": "F"}


def make_assets(teacher: str | Path, student: str | Path, folder: Path = FOLDER, precisions: tuple[str, str] = ("fp16", "fp16")) -> dict[str, Any]:
    """Fill ``folder`` with two models (named as for `kdlib.use.models.load_model`) for the page; returns the manifest.

    ``precisions``: of teacher and student, keys of `PRECISIONS`; "int8" takes the files that `python -m kdlib export` made. The folder
    appears whole or not at all. Raises InputError where the models do not fit the page or each other.
    """
    models = {TEACHER: load_model(teacher), STUDENT: load_model(student)}
    for role, model in models.items():
        if model.nets.arch.student != (role == STUDENT):
            raise InputError(f"{model.name}: is no {role}")
    if (domains := common_domains(list(models.values()))) != SPECIES:
        raise InputError(f"the live demo draws critters ({', '.join(SPECIES)}); these models translate {', '.join(domains or ('unknown domains',))}")
    if (sizes := {m.nets.arch.style_dim for m in models.values()}) and len(sizes) > 1:
        raise InputError(f"teacher and student have styles of different lengths: {sorted(sizes)}")
    directions = {role: style_directions(model.nets, domains) for role, model in models.items()}
    chosen = common_directions(directions)

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        building = Path(scratch) / "models"
        entries = []
        for (role, model), path, precision in zip(models.items(), (teacher, student), precisions, strict=True):
            entry = _write_model(building, role, model, path, precision)
            entry["directions"] = {name: _rounded(directions[role][name]) for name in chosen}
            entries.append(entry)
        _write_example(building, models)
        arch = models[TEACHER].nets.arch
        manifest = {
            "format": FORMAT,
            "image_size": arch.image_size,
            "latent_dim": arch.latent_dim,
            "style_dim": arch.style_dim,
            "domains": list(domains),
            "directions": [
                {"name": q.name, "label": q.label, "obeyed": {role: round(found[name].obeyed, 2) for role, found in directions.items()}}
                for name in chosen
                for q in QUANTITIES
                if q.name == name
            ],
            "models": entries,
        }
        write_text(building / MANIFEST, _as_text(manifest))
        if folder.exists():
            os.replace(folder, Path(scratch) / "previous")
        os.replace(building, folder)
    return manifest


def _write_model(folder: Path, role: str, model: Model, path: str | Path, precision: str) -> dict[str, Any]:
    """The three networks of a model as files; its entry in the manifest."""
    costs = cost(model.nets)
    networks = {}
    for name in Networks.TRANSLATING:
        file = folder / f"{role}_{name}.onnx"
        save_onnx(file, _onnx(name, model, path, precision))
        content = file.read_bytes()
        networks[name] = {
            "file": file.name,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "inputs": list(input_names(name, model.nets.arch)),
            "output": OUTPUTS[name][0],
            "parameters": costs[f"parameters_{LETTERS[name]}"],
            "macs": costs[f"macs_{LETTERS[name]}"],
        }
    return {
        "name": role,
        "role": role,
        "run": model.name,
        "label": model.label,
        "alpha": model.nets.arch.alpha,
        "precision": PRECISIONS[precision],
        "parameters": costs["parameters"],
        "macs": costs["macs"],
        "bytes": sum(network["bytes"] for network in networks.values()),
        "networks": networks,
    }


def _onnx(name: str, model: Model, path: str | Path, precision: str) -> Any:
    """A network of a model as ONNX, with metadata that says whose it is."""
    if precision == "int8":
        file = deployment.export_folder(path) / precision / f"{name}.onnx"
        if not file.is_file():
            raise InputError(f"{shown(file)}: no such file; `python -m kdlib export {path}` makes it")
        return load_onnx(file)
    about = {**deployment.describe(model, deployment.run_at(path)), "network": name, "precision": precision}
    made = to_onnx(name, trace(name, exportable(model.nets)[name], model.nets.arch), model.nets.arch, {})
    return with_metadata(half_weights(made) if precision == "fp16" else made, about)


def _as_text(manifest: dict[str, Any]) -> str:
    """JSON, a list of numbers on one line."""
    on_one_line = lambda found: f"[{', '.join(found[1].split())}]".replace(",,", ",")  # noqa: E731
    return re.sub(r"\[([-\d.e,\s]+)\]", on_one_line, json.dumps(manifest, indent=1)) + "\n"


def _rounded(direction: Direction) -> dict[str, list[float]]:
    return {domain: [round(float(v), 4) for v in vector] for domain, vector in direction.vectors.items()}


@torch.inference_mode()
def _write_example(folder: Path, models: dict[str, Model]) -> None:
    """A cat in the style of a dog: source, reference and both translations as PNG files."""
    size = models[TEACHER].nets.arch.image_size
    source, reference = (square(render(critter_at(species, 3, split="val", seed=777), size), size) for species in SPECIES[:2])
    pictures = {"source": source, "style": reference}
    x, y = to_float(torch.stack([source, reference]))[:, None], torch.tensor([SPECIES.index("dog")])
    for role, model in models.items():
        nets = model.nets
        made = nets.generator(x[0], nets.style_encoder(x[1], y))[0]
        pictures[role] = ((made.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    for name, picture in pictures.items():
        _png(picture).save(folder / f"example_{name}.png")


def _png(picture: Tensor) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(picture.permute(1, 2, 0).numpy()))


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m kdlib.deploy.demo_assets`: the exit status."""
    parser = argparse.ArgumentParser(prog="python -m kdlib.deploy.demo_assets", description="Make the models of the book's live demo.")
    parser.add_argument("--teacher", default="mini/teacher", help="a run folder or a run's name (default: %(default)s)")
    parser.add_argument("--student", default="small/alpha24-kd-longest", help="likewise (default: %(default)s)")
    for role in (TEACHER, STUDENT):
        parser.add_argument(f"--{role}-precision", choices=PRECISIONS, default="fp16", help="how its numbers are stored (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to fill (default: book/_static/models)")
    options = parser.parse_args(arguments)
    try:
        manifest = make_assets(options.teacher, options.student, options.out, (options.teacher_precision, options.student_precision))
    except InputError as error:
        print(f"demo_assets: {error}", file=sys.stderr)
        return 1
    for entry in manifest["models"]:
        print(f"{entry['run']}: {entry['parameters']:,} weights, {entry['bytes'] / 1e6:.2f} MB ({entry['precision']})")
    print(f"sliders: {', '.join(d['label'] for d in manifest['directions']) or 'none that both models obey'}")
    print(shown(options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
