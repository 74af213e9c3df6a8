"""Translators without a model: what they do is known beforehand, so a table of scores can be read against theirs.

- ``source`` returns the source as it is. Everything is kept, nothing is translated.
- ``random`` returns a training picture of the target domain, drawn at random. Its outputs are real pictures, so a distance
  between sets can ask for nothing better; they have nothing to do with the source or the reference.
- ``reference`` returns the reference; latent-guided, the training picture that the latent stands for. Its style code is the whole
  picture, so it rebuilds any picture from that picture's own code and fulfils the cycle loss (thesis Eq. 10) to the last digit.

Each stands in for generator, style encoder and mapping network, and is evaluated by the same protocol as any model
(kdlib.scoring.evaluation). Nothing in it depends on the batch size: a draw is a function of the source's, reference's or latent's numbers.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdlib.data import Dataset, Split
from kdlib.images import to_float
from kdlib.networks import Content

SOURCE, RANDOM, REFERENCE = TRANSLATORS = ("source", "random", "reference")


@dataclass(frozen=True)
class StandIn:
    """What `kdlib.scoring.evaluation.evaluate` asks of networks."""

    generator: nn.Module
    style_encoder: nn.Module
    mapping_network: nn.Module

    def masks(self, x: Tensor) -> None:
        """No skip, hence no masks."""


def translator(name: str, dataset: Dataset) -> StandIn:
    """One of ``TRANSLATORS``, whose training pictures are the data set's."""
    if name == SOURCE:
        return StandIn(_Source(), _Flat(), _Number())
    if name == REFERENCE:
        return StandIn(_FromStyle(), _Flat(), _Drawn(dataset.train))
    return StandIn(_Random(dataset.train), _Number(), _Number())


def uniform(rows: Tensor) -> Tensor:
    """Rows [N ...] -> a number in [0, 1) each, [N] float64, that looks drawn at random and depends on the row's bytes alone."""
    digests = (hashlib.sha256(row.tobytes()).digest() for row in rows.detach().cpu().contiguous().numpy())
    return torch.tensor([int.from_bytes(digest[:4], "big") / 2**32 for digest in digests], dtype=torch.float64)


def pick(split: Split, y: Tensor, where: Tensor) -> Tensor:
    """The pictures [N 3 H W] in [-1, 1] of domains y [N] that lie at ``where`` [N] in [0, 1) of all pictures of their domain."""
    counts = torch.tensor(split.counts, dtype=torch.float64)[y]
    indices = (where * counts).long()
    pictures = torch.empty(len(y), 3, split.image_size, split.image_size)
    for domain in y.unique().tolist():
        of_domain = y == domain
        pictures[of_domain] = to_float(split.images(domain)[indices[of_domain].numpy()])
    return pictures


class _Flat(nn.Module):
    """A style encoder whose code is the whole picture, [N 3 H W] -> [N 3HW]."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x.flatten(1)


class _Number(nn.Module):
    """A style encoder or mapping network whose code is the domain and a random number: [N ...], [N] -> [N 2]."""

    def forward(self, rows: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y.double(), uniform(rows)], dim=1)


class _Drawn(nn.Module):
    """A mapping network whose code is a whole training picture of the domain, drawn by the latent."""

    def __init__(self, split: Split):
        super().__init__()
        self.split = split

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return pick(self.split, y, uniform(z)).flatten(1)


class _Source(nn.Module):
    """A generator that returns its source."""

    def content(self, x: Tensor, masks: None = None) -> Content:
        return Content(x, {})

    def render(self, content: Content, s: Tensor) -> Tensor:
        return content.features


class _FromStyle(_Source):
    """A generator that returns the picture that is its style."""

    def render(self, content: Content, s: Tensor) -> Tensor:
        return s.view_as(content.features)


class _Random(nn.Module):
    """A generator that returns a training picture of the style's domain, another one for every source in every style."""

    def __init__(self, split: Split):
        super().__init__()
        self.split = split

    def content(self, x: Tensor, masks: None = None) -> Content:
        return Content(uniform(x), {})

    def render(self, content: Content, s: Tensor) -> Tensor:
        return pick(self.split, s[:, 0].long(), (content.features + s[:, 1]) % 1)
