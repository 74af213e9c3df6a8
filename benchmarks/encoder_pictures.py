"""What a student's style encoder best learns its teacher's codes from: pictures moved at random, as they are, or its teacher's besides.

    python benchmarks/encoder_pictures.py --threads 1 --json runs/reference/small/encoder.json

A finished student's E is trained on by itself, so many steps in each way, by an L1 between its codes and its teacher's. Training pictures
and their reflections are shown moved at random (`kdlib.augmentation.affine_warp`), against the code of the picture as it is; or as they
are; or as they are with as many translations by the teacher. Then its codes of validation pictures are compared with the teacher's, and
the teacher's generator is scored with them, reference-guided: what is lost there is E's doing.
"""

import argparse
import copy
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from common import options_of, preset_of, report, with_outputs
from exchanged_networks import compared_codes
from torch import Tensor

from kdlib import session
from kdlib.augmentation import WarpSettings, affine_warp, draw_warps
from kdlib.data import Split
from kdlib.deploy.parity import headline_scores
from kdlib.devices import prepare
from kdlib.errors import InputError
from kdlib.images import to_float
from kdlib.losses import style_reconstruction_loss
from kdlib.networks import Networks, StyleEncoder
from kdlib.progress import progress_bar
from kdlib.runs import describe_environment
from kdlib.settings import MachineSettings
from kdlib.use.models import Model, common_domains, load_model

WAYS = {"moved at random": (True, False), "as they are": (False, False), "as they are, and the teacher's": (False, True)}  # moved, teacher's besides
BATCH, RATE, MANY = 16, 1e-3, 50

Pool = tuple[Tensor, Tensor, Tensor]  # pictures [N 3 H W], domains [N], the teacher's codes [N S]


@torch.no_grad()
def pool_of(teacher: Networks, pictures: Tensor, y: Tensor) -> Pool:
    """Pictures as members of domains y, with the codes that the teacher reads off them."""
    codes = [teacher.style_encoder(*part) for part in progress_bar(list(zip(pictures.split(MANY), y.split(MANY))), desc="codes")]
    return pictures, y, torch.cat(codes)


def real_pool(teacher: Networks, train: Split) -> Pool:
    """Training pictures of all domains and their reflections."""
    pictures = [to_float(train.images(k)[:]) for k in range(len(train.domains))]
    y = torch.cat([torch.full((len(own),), k) for k, own in enumerate(pictures)])
    x = torch.cat(pictures)
    return pool_of(teacher, torch.cat([x, x.flip(-1)]), torch.cat([y, y]))


@torch.no_grad()
def translated_pool(teacher: Networks, real: Pool, random: torch.Generator) -> Pool:
    """As many translations of these pictures, in styles of latents and of other pictures by turns."""
    x, y, codes = real
    count = len(x)
    wanted, style = torch.randint(teacher.arch.domains, (count,), generator=random), torch.randperm(count, generator=random)
    of_latents = teacher.mapping_network(torch.randn(count, teacher.arch.latent_dim, generator=random), wanted)
    by_latent = torch.arange(count) % 2 == 0
    wanted, styles = torch.where(by_latent, wanted, y[style]), torch.where(by_latent[:, None], of_latents, codes[style])
    sources = x[torch.randperm(count, generator=random)]
    parts = progress_bar(list(zip(sources.split(MANY), styles.split(MANY))), desc="translations")
    return pool_of(teacher, torch.cat([teacher.generator(*part).clamp(-1, 1) for part in parts]), wanted)


def train_on(encoder: StyleEncoder, pool: Pool, moved: bool, steps: int, seed: int) -> StyleEncoder:
    """A copy of ``encoder``, trained on: Adam, its rate falling to 0 over the second half."""
    encoder = copy.deepcopy(encoder).train().requires_grad_(True)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=RATE, betas=(0.9, 0.99))
    random, warps, warp = torch.Generator().manual_seed(seed), np.random.default_rng(seed), WarpSettings(strength=1.0)
    x, y, codes = pool
    for step in progress_bar(range(steps), desc="steps"):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, 2 * (1 - step / steps))
        drawn = torch.randint(len(x), (BATCH,), generator=random)
        pictures = affine_warp(x[drawn], draw_warps(BATCH, warps, warp), warp.padding) if moved else x[drawn]
        optimizer.zero_grad()
        style_reconstruction_loss(encoder(pictures, y[drawn]), codes[drawn]).backward()
        optimizer.step()
    return encoder.eval().requires_grad_(False)


def measure(teacher: Model, student: Model, steps: int, outputs: int, seed: int) -> dict[str, Any]:
    """A row a way, the encoder as it was first: ``codes`` (see `exchanged_networks.compared_codes`) and ``scores`` of the teacher's generator."""
    preset = with_outputs(preset_of(student), outputs)
    common_domains([teacher, student])
    dataset, judges = session.open_data(preset), session.judges_of(preset)
    real = real_pool(teacher.nets, dataset.train)
    both = tuple(map(torch.cat, zip(real, translated_pool(teacher.nets, real, torch.Generator().manual_seed(seed)))))
    own, rows = student.nets.style_encoder, []
    encoders = {"as trained": lambda: own}
    encoders |= {way: lambda m=moved, t=besides: train_on(own, both if t else real, m, steps, seed) for way, (moved, besides) in WAYS.items()}
    for way, made in encoders.items():
        encoder = made()
        result = session.score(preset, dataclasses.replace(teacher.nets, style_encoder=encoder), dataset, judges, progress=False)
        codes = compared_codes(teacher.nets, dataclasses.replace(student.nets, style_encoder=encoder), dataset.val)["reference"]
        rows.append({"way": way, "codes": codes, "scores": headline_scores(result)["reference"]})
    whole = session.score(preset, teacher.nets, dataset, judges, progress=False)
    about = {"teacher": teacher.name, "student": student.name, "steps": steps, "batch": BATCH, "outputs_per_source": outputs, "seed": seed}
    return {**about, "of_teacher": headline_scores(whole)["reference"], "rows": rows, "environment": describe_environment(torch.device("cpu"))}


def text(result: dict[str, Any]) -> str:
    """The result as a table."""
    lines = [f"E of {result['student']}, trained on for {result['steps']} steps; the generator of {result['teacher']}, reference-guided"]
    for row in [*result["rows"], {"way": "the teacher's own codes", "scores": result["of_teacher"], "codes": {"unexplained": 0.0}}]:
        told = ", ".join(f"{name} {value:.3g}" for name, value in row["scores"].items())
        lines.append(f"  {row['way']}: {row['codes']['unexplained']:.4f} of the variance unexplained; {told}")
    return "\n".join(lines)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line asks for. Raises `InputError` for models that are not there or do not fit each other."""
    prepare(MachineSettings(device="cpu", threads=options.threads))
    if options.steps < 1 or options.outputs < 2:
        raise InputError(f"--steps {options.steps}, --outputs {options.outputs}: at least 1 step, and 2 outputs a source for diversity")
    return measure(load_model(options.teacher), load_model(options.student), options.steps, options.outputs, options.seed)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of(__doc__, device=False)
    parser.add_argument("--teacher", default="mini/teacher", help="a run folder or a run's name (default: %(default)s)")
    parser.add_argument("--student", default="small/alpha24-kd-longer", help="likewise (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=2000, help="of each way (default: %(default)s)")
    parser.add_argument("--outputs", type=int, default=10, help="of each source, for each other domain (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    return report(lambda: measured(options), text, options.json)


if __name__ == "__main__":
    sys.exit(main())
