"""What a processor without 8-bit dot products makes of 8-bit files: sums that are cut off, and weights of seven bits that prevent it.

    python benchmarks/integer_sums.py --json runs/reference/deployment/integer_sums.json

Every layer of G and of E is quantised, with weights of eight and of seven bits, and run twice by ONNX Runtime: as it runs a file, on
integers, and node by node, where products are those of floats and nothing can be cut off. Errors are against the float32 network, on
validation pictures. Where both ways agree, the file means the same on every processor.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import torch
from common import options_of, preset_of, report

from kdlib import session
from kdlib.deploy.calibration import draw_inputs
from kdlib.deploy.export import exportable, to_onnx, trace
from kdlib.deploy.parity import output_errors, run_in_batches
from kdlib.deploy.quantisation import in_memory, measure_ranges, quantisable, quantise
from kdlib.deploy.runtimes import arithmetic, runtime_versions
from kdlib.devices import prepare
from kdlib.runs import describe_environment
from kdlib.settings import MachineSettings
from kdlib.use.models import Model, load_model

NETWORKS = ("generator", "style_encoder")
WAYS = {"file": True, "definition": False}
BATCH = 8


def measure(model: Model, pictures: int, seed: int, threads: int) -> list[dict[str, Any]]:
    """A row a network and number of bits: relative errors as the file is run and as it is defined."""
    dataset, nets, rows = session.open_data(preset_of(model)), model.nets, []
    of_training, of_validation = (draw_inputs(nets, split, pictures, seed) for split in (dataset.train, dataset.val))
    for name in NETWORKS:
        onnx = to_onnx(name, trace(name, exportable(nets, "plain")[name], nets.arch), nets.arch, {})
        want = run_in_batches(in_memory(onnx, threads), of_validation[name], BATCH)
        ranges = measure_ranges(onnx, of_training[name], BATCH)
        for bits in (8, 7):
            made = quantise(onnx, ranges, quantisable(onnx), bits)
            found = {way: run_in_batches(in_memory(made, threads, optimised), of_validation[name], BATCH) for way, optimised in WAYS.items()}
            rows.append({"model": model.name, "network": name, "bits": bits} | {way: output_errors(got, want)["relative"] for way, got in found.items()})
    return rows


def text(result: dict[str, Any]) -> str:
    """The result as a table."""
    lines = [f"relative error with every layer quantised, on {', '.join(result['environment']['arithmetic'])}"]
    lines += [
        f"  {r['model']:<28}{r['network']:<16}weights of {r['bits']} bits: as run {r['file']:.3f}, as defined {r['definition']:.3f}" for r in result["rows"]
    ]
    return "\n".join(lines)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line asks for. Raises `InputError` for a model that is not there."""
    prepare(MachineSettings(device="cpu", threads=options.threads))
    names = options.model or ["mini/teacher", "mini/alpha48-kd"]
    rows = [row for name in names for row in measure(load_model(name), options.pictures, options.seed, options.threads)]
    environment = describe_environment(torch.device("cpu")) | {"arithmetic": arithmetic(), "runtimes": runtime_versions()}
    return {"pictures": options.pictures, "rows": rows, "environment": environment}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of(__doc__, device=False)
    parser.add_argument("--model", action="append", default=[], help="a run's name; may be given several times (default: mini's teacher and a student)")
    parser.add_argument("--pictures", type=int, default=64, help="translations, for ranges and for errors (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=777, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    return report(lambda: measured(options), text, options.json)


if __name__ == "__main__":
    sys.exit(main())
