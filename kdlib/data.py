"""Folder data sets in memory, and the batches a training step is given.

A data set is a folder ``{train,val}/{domain}/picture`` (see ``validation`` for what is checked, ``images`` for how files are
decoded). Batches follow the thesis and StarGAN-v2: source pictures are drawn so that every domain is equally likely, which is
what weighting each picture by the inverse of its domain's count does; references come in pairs of one domain, balanced
likewise. Two differences: the two pictures of a pair are always different, where StarGAN-v2 lets them coincide by chance; and
a batch is a pure function of (seed, step), where StarGAN-v2 draws one long list. This makes a resumed run equal to an
unbroken one.
"""

from __future__ import annotations

import hashlib
import os
import warnings
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from kdlib.augmentation import AugmentationSettings, augment, draw_augmentation
from kdlib.errors import InputError
from kdlib.images import load_image, square
from kdlib.parallel import Workers
from kdlib.validation import WORKERS, DataReport, Expected, inspect_listing, list_pictures

CACHE_BYTES = 4 * 2**30


class PicturesOnDemand:
    """Stands for a uint8 tensor ``[n 3 H W]`` too large to keep: what is indexed is read from its files each time.

    Indexing takes what a tensor's first axis takes: an int gives ``[3 H W]``; a slice, or a list, array or tensor of ints or
    bools, gives ``[k 3 H W]``. Raises :class:`InputError` if a file has become unreadable since the data set was opened.
    """

    def __init__(self, files: Sequence[Path], image_size: int) -> None:
        self.files = tuple(files)
        self.shape = torch.Size([len(self.files), 3, image_size, image_size])
        self.dtype = torch.uint8

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray | torch.Tensor) -> torch.Tensor:
        chosen = np.arange(len(self.files))[index]
        load = partial(load_image, image_size=self.shape[-1])
        if chosen.ndim == 0:
            return load(self.files[chosen])
        if len(chosen) == 0:
            return torch.empty((0, *self.shape[1:]), dtype=self.dtype)
        with ThreadPoolExecutor(min(WORKERS, len(chosen))) as pool:
            return torch.from_numpy(np.stack([picture.numpy() for picture in pool.map(load, [self.files[i] for i in chosen])]))


Pictures = torch.Tensor | PicturesOnDemand


@dataclass(frozen=True, eq=False)
class Split:
    """One of train and val. Domains are numbered as in ``domains``, pictures of a domain in the order of their file names.

    ``content_hash`` identifies the pictures, to store statistics under: the SHA-256 (hex) over one line
    ``{domain}/{file name} {SHA-256 of the file's bytes}`` per readable picture, domains and names in order. It depends neither
    on where the data set lies nor on ``image_size``.
    """

    name: str
    domains: tuple[str, ...]
    image_size: int
    content_hash: str
    _files: tuple[tuple[Path, ...], ...]
    _images: tuple[Pictures, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Pictures per domain."""
        return tuple(len(files) for files in self._files)

    def files(self, domain: int) -> list[Path]:
        """The files of one domain, in the order of ``images(domain)``."""
        return list(self._files[domain])

    def images(self, domain: int) -> Pictures:
        """The pictures of one domain, uint8 ``[n 3 H W]`` in 0..255: a tensor, or ``PicturesOnDemand``, indexed alike."""
        return self._images[domain]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A checked data set. Domain ``y`` is ``domains[y]`` in both splits; ``report`` is what the check found."""

    domains: tuple[str, ...]
    image_size: int
    train: Split
    val: Split
    report: DataReport


def open_dataset(
    root: Path | str,
    image_size: int,
    skip_bad: bool = False,
    batch_size: int | None = None,
    cache_bytes: int = CACHE_BYTES,
    expected: Expected | None = None,
) -> Dataset:
    """Check the data set at ``root`` and make it ready at ``image_size`` pixels.

    Every file is read once. If all pictures at that size fit into ``cache_bytes`` of memory (3 ``image_size``^2 bytes each)
    they are kept, otherwise each is decoded again when it is asked for. ``expected``: see `inspect_dataset`.

    Raises :class:`InputError` naming every problem (see ``DataReport.problems``). With ``skip_bad`` unreadable files are left
    out instead, and a warning names them; the report's warnings are issued in any case.
    """
    if image_size < 1:
        raise InputError(f"image_size={image_size}: give a positive number of pixels.")
    listing = list_pictures(root)
    fits = len(listing.pictures) * 3 * image_size**2 <= cache_bytes
    decoded: dict[Path, torch.Tensor] = {}

    def keep(path: Path, rgb: Image.Image) -> None:
        decoded[path] = square(rgb, image_size)

    report = inspect_listing(listing, image_size, batch_size, keep if fits else None, expected)
    report.raise_if_unusable(skip_bad)
    left_out = [f"{p.path}: {p.reason}." for p in report.bad]
    if left_out:
        warnings.warn("\n- ".join([f"Unreadable files left out: {len(left_out)}", *left_out]), stacklevel=2)
    for message in report.warnings:
        warnings.warn(message, stacklevel=2)
    domains = listing.domains["train"]
    train, val = (_make_split(name, domains, image_size, report, decoded if fits else None) for name in ("train", "val"))
    return Dataset(domains, image_size, train, val, report)


@dataclass(frozen=True, eq=False)
class Batch:
    """What one training step is given.

    x, x_ref, x_ref2: images ``[N 3 H W]`` in [-1, 1]; y, y_ref: domain labels ``[N]`` int64; z, z2: latents
    ``[N latent_dim]`` from N(0, 1). x_ref and x_ref2 are two different pictures of domain y_ref.
    """

    x: torch.Tensor
    y: torch.Tensor
    x_ref: torch.Tensor
    x_ref2: torch.Tensor
    y_ref: torch.Tensor
    z: torch.Tensor
    z2: torch.Tensor

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device; a pinned one is on its way when this returns."""
        return Batch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))

    def pinned(self) -> Batch:
        """The same batch in page-locked memory."""
        return Batch(*(getattr(self, field.name).pin_memory() for field in fields(self)))


class TrainingBatches:
    """Batches as a pure function of the step: ``batch(step)`` depends only on the data, the settings and (seed, step)."""

    def __init__(
        self,
        split: Split,
        batch_size: int,
        latent_dim: int,
        seed: int,
        augmentation: AugmentationSettings = AugmentationSettings(),
        workers: Workers = Workers(),
    ) -> None:
        for name, value, least in (("batch_size", batch_size, 1), ("latent_dim", latent_dim, 1), ("seed", seed, 0)):
            if value < least:
                raise InputError(f"{name}={value}: give a whole number of at least {least}.")
        if min(split.counts) < 2:
            counts = dict(zip(split.domains, split.counts))
            raise InputError(f"{split.name} has {counts} pictures: each domain needs at least 2.")
        self.split = split
        self.batch_size = batch_size
        self.latent_dim = latent_dim
        self.seed = seed
        self.augmentation = augmentation
        self.own = workers.part(batch_size)

    def batch(self, step: int) -> Batch:
        """The batch of one step (0, 1, ...), on the CPU; of several workers each gets its rows of it. Safe in several threads."""
        size, counts = self.batch_size, np.array(self.split.counts)
        draw = step_rng(self.seed, step, "pictures")
        y, y_ref = draw.integers(len(counts), size=(2, size))
        source = draw.integers(counts[y])
        first = draw.integers(counts[y_ref])
        second = draw.integers(counts[y_ref] - 1)
        second += second >= first  # uniform over the other pictures of the domain
        side = self.split.image_size
        draw = step_rng(self.seed, step, "augmentation")
        changes = [draw_augmentation(side, side, draw, self.augmentation) for _ in range(3 * size)]  # drawn for all, made for one's own
        changes = [change for start in (0, size, 2 * size) for change in changes[start : start + size][self.own]]
        y, y_ref, source, first, second = (values[self.own] for values in (y, y_ref, source, first, second))
        pictures = self._fetch(np.concatenate([y, y_ref, y_ref]), np.concatenate([source, first, second]))

        # In numpy, as are the gathering below and `augment`: torch would start a second team of threads in the thread that prefetches, and
        # the two teams would wait for each other's cores in every training step.
        levels = np.stack([augment(picture, *change).numpy() for picture, change in zip(pictures, changes, strict=True)])
        x, x_ref, x_ref2 = torch.from_numpy(levels / np.float32(127.5) - np.float32(1)).split(len(y))  # as images.to_float

        draw = step_rng(self.seed, step, "latents")
        z, z2 = torch.from_numpy(draw.standard_normal((2, size, self.latent_dim), dtype=np.float32)[:, self.own])
        return Batch(x, torch.from_numpy(y), x_ref, x_ref2, torch.from_numpy(y_ref), z, z2)

    def _fetch(self, domains: np.ndarray, indices: np.ndarray) -> torch.Tensor:
        side = self.split.image_size
        pictures = np.empty((len(domains), 3, side, side), np.uint8)
        for domain in np.unique(domains):
            here, kept = domains == domain, self.split.images(domain)
            kept = kept.numpy() if isinstance(kept, torch.Tensor) else kept
            pictures[here] = kept[indices[here]]
        return torch.from_numpy(pictures)


class BatchSource(Protocol):
    """Anything with batches that are a pure function of the step."""

    def batch(self, step: int) -> Batch: ...


def prefetch(
    batches: BatchSource, first_step: int, stop_step: int, depth: int = 2, pin: bool = False
) -> Iterator[tuple[int, Batch]]:
    """Yield ``(step, batch)`` for ``range(first_step, stop_step)``, the next ``depth`` batches being made in the background.

    The batches are those of ``batches.batch(step)``, whatever the depth. An error raised there is raised here, at its step.
    The background thread ends with the iterator: when it is exhausted, closed, or dropped. ``pin``: in page-locked memory, from
    where a GPU fetches while it computes.
    """
    if depth < 1:
        raise InputError(f"depth={depth}: at least one batch has to be made ahead.")
    worker = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    steps = range(first_step, stop_step)

    def make(step: int) -> Batch:
        return batches.batch(step).pinned() if pin else batches.batch(step)

    try:
        pending = deque(worker.submit(make, step) for step in steps[:depth])
        for step in steps:
            batch = pending.popleft().result()
            if step + depth in steps:
                pending.append(worker.submit(make, step + depth))
            yield step, batch
    finally:
        worker.shutdown(cancel_futures=True)


def step_rng(seed: int, step: int, purpose: str) -> np.random.Generator:
    """An independent generator for each (seed, step, purpose), all of them explicit: Philox keyed through ``SeedSequence``.

    Drawing more for one purpose never changes another. ``seed`` and ``step`` are whole numbers of at least 0.
    """
    if seed < 0 or step < 0:
        raise InputError(f"seed={seed}, step={step}: give whole numbers of at least 0.")
    key = np.random.SeedSequence(seed, spawn_key=(step, zlib.crc32(purpose.encode())))
    return np.random.Generator(np.random.Philox(key))


def _make_split(
    name: str, domains: tuple[str, ...], image_size: int, report: DataReport, decoded: dict[Path, torch.Tensor] | None
) -> Split:
    """``decoded`` is emptied as its pictures move into one tensor per domain, so that they are not held twice."""
    digest = hashlib.sha256()
    files, images = [], []
    for domain in domains:
        records = report.readable(name, domain)
        for record in records:
            digest.update(os.fsencode(f"{domain}/{record.path.name} {record.sha256}\n"))
        files.append(tuple(record.path for record in records))
        if decoded is None:
            images.append(PicturesOnDemand(files[-1], image_size))
        else:
            images.append(torch.empty((len(records), 3, image_size, image_size), dtype=torch.uint8))
            for row, record in zip(images[-1], records):
                row.copy_(decoded.pop(record.path))
    return Split(name, domains, image_size, digest.hexdigest(), tuple(files), tuple(images))
