"""How much a trained generator suffers when one of its stages loses width, beside what that saves.

    python benchmarks/stage_sensitivity.py --model mini/alpha48-kd --json runs/reference/width/sensitivity.json

One stage at a time, a resolution of the generator in both of its halves, is cut to a share of its channels (`kdlib.narrowing`), and what is
left is scored as it is, without training, by the protocol of the model's preset on fewer outputs. How well it would do if it were
trained so narrow is another question, which preset width asks.
"""

import argparse
import copy
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import torch
from common import options_of, preset_of, report

from kdlib import session
from kdlib.deploy.calibration import draw_inputs, translations
from kdlib.deploy.parity import headline_scores, output_errors
from kdlib.devices import prepare
from kdlib.errors import InputError
from kdlib.narrowing import narrowed
from kdlib.networks import Generator, Networks
from kdlib.profiling import layer_costs, meta_inputs
from kdlib.progress import progress_bar
from kdlib.runs import describe_environment
from kdlib.settings import MachineSettings
from kdlib.use.models import Model, load_model


def counts(generator: Generator) -> dict[str, int]:
    """Weights, and multiply-accumulates of convolutions and linear layers, as the module has them."""
    layers = layer_costs(copy.deepcopy(generator).to("meta"), *meta_inputs("G", generator.arch))
    return {name: int(layers[name].sum()) for name in ("parameters", "macs")}


def stages(generator: Generator) -> list[dict[str, int]]:
    """A row a stage, the finest first: its side in pixels, its width, the multiply-accumulates and elements into norms at its resolution."""
    layers = layer_costs(copy.deepcopy(generator).to("meta"), *meta_inputs("G", generator.arch))
    sides = layers["output"].map(lambda shape: shape[1] if len(shape) == 3 else 0)
    norms = layers["affine_norm_elements"] + layers["plain_norm_elements"]
    arch = generator.arch
    return [
        {"side": side, "width": width, "macs": int(layers["macs"][sides == side].sum()), "norm_elements": int(norms[sides == side].sum())}
        for side, width in zip(arch.generator_sizes, arch.generator_widths, strict=True)
    ]


def cases(widths: Sequence[int], shares: Sequence[float]) -> list[tuple[int, float, int]]:
    """(stage, share of its channels that goes, width that is left), at least one channel going and one staying."""
    wide = [(stage, width) for stage, width in enumerate(widths) if width > 1]
    found = {(stage, width - min(max(1, round(width * share)), width - 1)): share for stage, width in wide for share in shares}
    return [(stage, share, left) for (stage, left), share in found.items()]


def measure(model: Model, options: argparse.Namespace) -> dict[str, Any]:
    """The whole generator and every case: what it costs, how far its pictures are from the whole one's, its scores."""
    preset, nets = preset_of(model), model.nets
    few = {"outputs_per_source": options.outputs, "sources_per_domain": options.sources, "evaluation_seeds": 1}
    protocol = dataclasses.replace(preset, evaluation=dataclasses.replace(preset.evaluation, **few))
    dataset, judges = session.open_data(preset), session.judges_of(preset)
    inputs = draw_inputs(nets, dataset.val, options.pictures, preset.evaluation.evaluation_seed, "stage sensitivity")
    whole = translations(nets, inputs)

    def scored(these: Networks) -> dict[str, Any]:
        result = session.score(protocol, these, dataset, judges, progress=False)
        return {**counts(these.generator), "error": output_errors(translations(these, inputs), whole), "scores": headline_scores(result)}

    rows, widths = [], nets.arch.generator_widths
    for stage, share, left in progress_bar(cases(widths, options.shares), desc="stages"):
        generator = narrowed(nets.generator, stage, left)
        these = dataclasses.replace(nets, arch=generator.arch, generator=generator)
        side = nets.arch.generator_sizes[stage]
        rows.append({"stage": stage, "side": side, "width": widths[stage], "left": left, "share": share, **scored(these)})
    asked = {"sources_per_domain": options.sources, "outputs_per_source": options.outputs, "pictures": options.pictures}
    about = {"model": model.name, "alpha": nets.arch.alpha, "image_size": nets.arch.image_size, "weights": "one stage narrowed, not trained again"}
    return {
        **about, **asked, "stages": stages(nets.generator), "whole": scored(nets), "rows": rows, "environment": describe_environment(torch.device("cpu"))
    }  # fmt: skip


def text(result: dict[str, Any]) -> str:
    """The result as a table."""
    whole, guide = result["whole"], "reference"
    names = list(whole["scores"][guide])
    lines = [f"{result['model']}: {whole['macs'] / 1e6:.1f} M MACs, " + ", ".join(f"{n} {whole['scores'][guide][n]:.3g}" for n in names)]
    lines += [f"  {s['side']:>4} px, {s['width']:>4} channels: {100 * s['macs'] / whole['macs']:.0f} % of the MACs" for s in result["stages"]]
    for row in result["rows"]:
        saved = 100 * (1 - row["macs"] / whole["macs"])
        scores = ", ".join(f"{row['scores'][guide][n] - whole['scores'][guide][n]:+.3g}" for n in names)
        lines.append(f"  {row['side']:>4} px {row['width']:>4} -> {row['left']:<4} saves {saved:4.1f} %  error {row['error']['mean']:.4f}  {scores}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of(__doc__, device=False)
    parser.add_argument("--model", default="mini/alpha48-kd", help="a trained model of a preset (default: %(default)s)")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.125, 0.25, 0.5], help="of a stage's channels that go (default: 1/8 1/4 1/2)")
    parser.add_argument("--sources", type=int, default=0, help="a domain, of the validation part; 0: all (default: %(default)s)")
    parser.add_argument("--outputs", type=int, default=2, help="of each source, for each other domain (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=32, help="translations that are compared pixel by pixel (default: %(default)s)")
    options = parser.parse_args(arguments)
    return report(lambda: measured(options), text, options.json)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line asks for. Raises `InputError` for shares out of range, and where there is no such model."""
    prepare(MachineSettings(device="cpu", threads=options.threads))
    if not all(0 < share < 1 for share in options.shares):
        raise InputError("--shares: each must lie between 0 and 1")
    return measure(load_model(options.model), options)


if __name__ == "__main__":
    sys.exit(main())
