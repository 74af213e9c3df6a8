"""Grids of translations: sources down the side, styles along the top (the form of the thesis's Figs 5.3 to 5.10)."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kdlib.data import Dataset, step_rng
from kdlib.images import to_float
from kdlib.networks import Networks
from kdlib.scoring.protocol import to_8_bits

GAP = 2  # pixels between cells
BATCH_SIZE = 32  # translations at a time


def to_uint8(images: Tensor) -> np.ndarray:
    """Pictures [N 3 H W] in [-1, 1] -> [N H W 3] in 0..255, clamped and rounded as for evaluation."""
    return to_8_bits(images.detach().float().cpu()).permute(0, 2, 3, 1).numpy()


def assemble(rows: list[list[np.ndarray | None]], scale: int = 1) -> Image.Image:
    """Cells [H W 3] (None: blank) in rows -> one picture with white gaps, cells enlarged ``scale`` times."""
    height, width = next(cell.shape[:2] for row in rows for cell in row if cell is not None)
    height, width = height * scale, width * scale
    canvas = Image.new("RGB", (len(rows[0]) * (width + GAP) - GAP, len(rows) * (height + GAP) - GAP), "white")
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            if cell is not None:
                picture = Image.fromarray(cell).resize((width, height), Image.Resampling.NEAREST)
                canvas.paste(picture, (j * (width + GAP), i * (height + GAP)))
    return canvas


@torch.no_grad()
def latent_guided(nets: Networks, sources: Tensor, latents: Tensor, batch_size: int = BATCH_SIZE) -> list[list[np.ndarray]]:
    """Rows: a source, then its translation into every domain by every latent. sources [N 3 H W], latents [L Z]."""
    domains = range(nets.arch.domains)
    columns = [nets.mapping_network(latents, latents.new_full((len(latents),), y, dtype=torch.long)) for y in domains]
    return _rows(nets, sources, torch.cat(columns), batch_size)


@torch.no_grad()
def reference_guided(
    nets: Networks, sources: Tensor, references: Tensor, y: Tensor, batch_size: int = BATCH_SIZE
) -> list[list[np.ndarray | None]]:
    """A first row of references, then a row a source. references [M 3 H W] of domains y [M]."""
    head = [None, *to_uint8(references)]
    styles = [nets.style_encoder(*part) for part in zip(references.split(batch_size), y.split(batch_size))]
    return [head, *_rows(nets, sources, torch.cat(styles), batch_size)]


class Demonstration(NamedTuple):
    """Rows of cells [H W 3] with the columns' headings, latent- and reference-guided."""

    latent: list[list[np.ndarray]]
    latent_columns: list[str]
    reference: list[list[np.ndarray | None]]
    reference_columns: list[str]


def demonstration(nets: Networks, dataset: Dataset, device: torch.device | str = "cpu", sources: int = 2) -> Demonstration:
    """The first ``sources`` val pictures of every domain in two latents and two references of every domain.

    References are the val pictures after the sources, or the first ones where there are no more.
    """
    pictures = [to_float(dataset.val.images(d)[: sources + 2]).to(device) for d in range(len(dataset.domains))]
    references = [p[sources:] if len(p) > sources else p[:1] for p in pictures]
    y = torch.tensor([d for d, r in enumerate(references) for _ in r], device=device)
    z = torch.from_numpy(step_rng(0, 0, "demonstration").standard_normal((2, nets.arch.latent_dim), dtype=np.float32))
    x = torch.cat([p[:sources] for p in pictures])
    return Demonstration(
        latent_guided(nets, x, z.to(device)),
        ["source", *(name for name in dataset.domains for _ in z)],
        reference_guided(nets, x, torch.cat(references), y),
        ["", *(dataset.domains[d] for d in y.tolist())],
    )


def _rows(nets: Networks, sources: Tensor, styles: Tensor, batch_size: int) -> list[list[np.ndarray]]:
    rows = []
    for source in sources:
        masks = nets.masks(source[None])
        row = [*to_uint8(source[None])]
        for s in styles.split(batch_size):
            x = source.expand(len(s), *source.shape)
            row.extend(to_uint8(nets.generator(x, s, masks and tuple(m.expand(len(s), *m.shape[1:]) for m in masks))))
        rows.append(row)
    return rows
