"""What scores say of blur alone: real pictures of the target domain, blurred or woven by known amounts, in place of translations.

    python benchmarks/blurred_pictures.py --json runs/reference/beyond/blurred.json

The translator is `kdlib.model_free`'s that returns training pictures of the target at random: by every distance between sets it is as good
as can be. What its scores lose is due to the blur (a Gaussian's deviation, in pixels) or the weave (every second column lighter, every
other one darker, by that much on a scale from -1 to 1) and to nothing else.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from common import options_of, report
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from kdlib import session
from kdlib.config import load_preset
from kdlib.devices import prepare
from kdlib.errors import InputError
from kdlib.model_free import RANDOM, StandIn, translator
from kdlib.networks import Content
from kdlib.progress import progress_bar
from kdlib.results import GUIDES
from kdlib.runs import describe_environment
from kdlib.settings import MachineSettings

SHOWN = ("frechet_factor_network", "kernel_factor_network", "domain_accuracy", "spectral_distance", "fine_detail")


def blurred(images: Tensor, deviation: float) -> Tensor:
    """Pictures [N 3 H W] after a Gaussian of this deviation in pixels; edges are continued by reflection."""
    reach = math.ceil(3 * deviation)
    return gaussian_blur(images, [2 * reach + 1] * 2, [deviation] * 2) if deviation > 0 else images


def woven(images: Tensor, amplitude: float) -> Tensor:
    """Pictures [N 3 H W] with ``amplitude`` added to even columns and taken from odd ones, within [-1, 1]."""
    signs = 1 - 2.0 * (torch.arange(images.shape[-1]) % 2)
    return (images + amplitude * signs).clamp(-1, 1)


class Spoilt(nn.Module):
    """A generator whose pictures are changed afterwards."""

    def __init__(self, generator: nn.Module, change: Callable[[Tensor], Tensor]):
        super().__init__()
        self.generator, self.change = generator, change

    def content(self, x: Tensor, masks: None = None) -> Content:
        return self.generator.content(x, masks)

    def render(self, content: Content, s: Tensor) -> Tensor:
        return self.change(self.generator.render(content, s))


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line asks for. Raises `InputError` for an amount below 0 and for a preset without factors."""
    prepare(MachineSettings(device="cpu", threads=options.threads))
    if min([*options.blur, *options.weave]) < 0:
        raise InputError(f"--blur {options.blur}, --weave {options.weave}: amounts must not be below 0")
    preset = load_preset(options.preset, outputs_per_source=options.outputs)
    if preset.data.source != "critters":
        raise InputError(f"preset {preset.name}: its pictures have no known factors; take one on Critters")
    dataset, judges = session.open_data(preset), session.judges_of(preset)
    asked = [("blur", blurred, amount) for amount in options.blur] + [("weave", woven, amount) for amount in options.weave]
    whole, rows = translator(RANDOM, dataset), []
    for kind, change, amount in progress_bar(asked, desc="amounts"):
        spoilt = Spoilt(whole.generator, lambda images, change=change, amount=amount: change(images, amount))
        result = session.score(preset, StandIn(spoilt, whole.style_encoder, whole.mapping_network), dataset, judges, progress=False)
        rows.append({"kind": kind, "amount": amount, "scores": {guide: {name: result[guide]["mean"][name] for name in SHOWN} for guide in GUIDES}})
    about = {"preset": preset.name, "outputs_per_source": options.outputs, "sources": sum(result["protocol"]["source_counts"].values())}
    return {**about, "rows": rows, "environment": describe_environment(torch.device("cpu"))}


def text(result: dict[str, Any]) -> str:
    """The result as a table."""
    lines = [f"training pictures of preset {result['preset']}, latent- / reference-guided"]
    for row in result["rows"]:
        first, second = (row["scores"][guide] for guide in GUIDES)
        lines.append(f"  {row['kind']} {row['amount']:g}: " + ", ".join(f"{name} {first[name]:.3g} / {second[name]:.3g}" for name in first))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of(__doc__, device=False)
    parser.add_argument("--preset", default="mini", help="whose pictures and judges (default: %(default)s)")
    parser.add_argument("--outputs", type=int, default=10, help="of each source, for each other domain (default: %(default)s)")
    parser.add_argument("--blur", type=float, nargs="*", default=[0.0, 0.5, 0.75, 1.0, 1.5], help="deviations in pixels (default: %(default)s)")
    parser.add_argument("--weave", type=float, nargs="*", default=[0.05], help="amplitudes (default: %(default)s)")
    options = parser.parse_args(arguments)
    return report(lambda: measured(options), text, options.json)


if __name__ == "__main__":
    sys.exit(main())
