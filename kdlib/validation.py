"""The check of a folder data set before anything is trained on it: what is there, what cannot be read, what to do about it.

A data set is a folder ``{train,val}/{domain}/picture``, as AFHQ and CelebA-HQ are laid out for StarGAN-v2; domains are sorted
by name. Every file is read and decoded once, so that a run of days does not end at a damaged file. Not in the thesis.

In a domain's folder, files with a picture's suffix must be readable; hidden files and ``.csv``, ``.json`` and ``.txt`` files go
with pictures and are passed over; anything else is left alone too, but reported as ignored.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from kdlib.errors import InputError
from kdlib.images import PICTURE_SUFFIXES, UnreadablePicture, decode, is_picture_name, read_bytes
from kdlib.progress import progress_bar

SPLITS = ("train", "val")
COMPANION_SUFFIXES = frozenset({".csv", ".json", ".txt"})
WORKERS = min(8, os.cpu_count() or 1)
Expected = Mapping[str, Mapping[str, int]]  # {split: {domain: pictures}}

_PAIR = 2  # reference pictures come in pairs of two different pictures of one domain
_NAMED = 50  # so many unreadable files are named in an error; the report lists all
_SQUEEZED = 1.25  # from this ratio of long to short side on, making a picture square is worth a warning


@dataclass(frozen=True)
class PictureRecord:
    """What is known about one file with a picture's suffix. ``reason`` says why it cannot be read; if it can, it is empty.

    ``width`` and ``height`` are in pixels after the EXIF orientation; ``mode`` is Pillow's, as stored; ``sha256`` is of the
    file's bytes. All are left at their defaults if the file cannot be read.
    """

    path: Path
    split: str
    domain: str
    reason: str = ""
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Listing:
    """Names only: the domains of each split that exists, the (split, domain, file) of every picture, and what is ignored."""

    root: Path
    domains: dict[str, tuple[str, ...]]
    pictures: tuple[tuple[str, str, Path], ...]
    ignored: tuple[Path, ...]


@dataclass(frozen=True)
class DataReport:
    """What ``inspect_dataset`` found. ``problems`` stop a training run, ``warnings`` do not; ``str(report)`` shows all.

    ``expected`` are the counts to compare with, such as those of the thesis's Table 5.1; splits it leaves out may have any.
    """

    root: Path
    image_size: int | None
    batch_size: int | None
    domains: dict[str, tuple[str, ...]]
    pictures: tuple[PictureRecord, ...]
    ignored: tuple[Path, ...]
    expected: Expected = field(default_factory=dict)

    def readable(self, split: str, domain: str) -> list[PictureRecord]:
        """The pictures of one domain that can be read, sorted by file name."""
        return [p for p in self.pictures if p.split == split and p.domain == domain and not p.reason]

    @property
    def bad(self) -> list[PictureRecord]:
        """The files with a picture's suffix that cannot be read."""
        return [p for p in self.pictures if p.reason]

    @property
    def problems(self) -> list[str]:
        """Everything that stops a training run, one sentence each: first the folders, then every unreadable file."""
        return [*self._layout_problems(), *(f"{p.path}: {p.reason}." for p in self.bad)]

    @property
    def warnings(self) -> list[str]:
        """What a person should know but may accept: other counts than expected, enlarged or squeezed pictures, the same file twice."""
        return [*self._expectation_warnings(), *self._size_warnings(), *self._duplicate_warnings()]

    def raise_if_unusable(self, skip_bad: bool = False) -> None:
        """Raise :class:`InputError` naming every problem; with ``skip_bad`` unreadable files alone are none."""
        layout, bad = self._layout_problems(), [] if skip_bad else self.bad
        if not layout and not bad:
            return
        lines = layout + [f"{p.path}: {p.reason}." for p in bad[:_NAMED]]
        if len(bad) > _NAMED:
            lines.append(f"... and {len(bad) - _NAMED} more unreadable files.")
        if bad:
            lines.append("Replace or delete unreadable files, or leave them out with skip_bad=True.")
        raise InputError("\n- ".join([f"The data set {self.root} cannot be used as it is:", *lines]))

    def table(self) -> pd.DataFrame:
        """One row per split and domain. ``side_*``: the shorter side of the readable pictures in pixels, NaN without any.

        Where counts are expected there is a column of them, "" for none, and a row for every domain that is missing.
        """
        rows = []
        for split, domains in self.domains.items():
            missing = [domain for domain in self.expected.get(split, ()) if domain not in domains]
            for domain in (*domains, *missing):
                found = self.readable(split, domain)
                sides = [min(p.width, p.height) for p in found]
                rows.append(
                    {
                        "split": split,
                        "domain": domain,
                        "pictures": len(found),
                        "expected": self.expected.get(split, {}).get(domain, ""),
                        "unreadable": sum(p.split == split and p.domain == domain for p in self.bad),
                        "side_min": min(sides, default=np.nan),
                        "side_median": np.median(sides) if sides else np.nan,
                        "side_max": max(sides, default=np.nan),
                        "formats": _tally(p.format for p in found),
                        "modes": _tally(p.mode for p in found),
                    }
                )
        columns = "split domain pictures expected unreadable side_min side_median side_max formats modes".split()
        return pd.DataFrame(rows, columns=[name for name in columns if self.expected or name != "expected"])

    def __str__(self) -> str:
        sections = [f"Data set {self.root}", self.table().to_string(index=False) if self.domains else "(no pictures found)"]
        for title, lines in (
            ("Problems", self.problems),
            ("Warnings", self.warnings),
            ("Ignored", [str(path) for path in self.ignored]),
        ):
            if lines:
                sections.append("\n- ".join([f"{title}:", *lines]))
        if not self.problems:
            sections.append("No problem found.")
        return "\n\n".join(sections)

    def _layout_problems(self) -> list[str]:
        if not self.root.is_dir():
            return [f"{self.root} is not a folder: give the folder that holds train/ and val/."]
        problems = []
        for split in SPLITS:
            if split not in self.domains:
                problems.append(f"{self.root / split} is missing: put pictures into {split}/<domain>/, one folder per domain.")
            elif len(self.domains[split]) < 2:
                found = ", ".join(self.domains[split]) or "none"
                problems.append(
                    f"{self.root / split} needs at least two domain folders to translate between, found {found}: "
                    f"put pictures into {split}/<domain>/."
                )
        if all(split in self.domains for split in SPLITS):
            for here, there in (SPLITS, SPLITS[::-1]):
                problems += [
                    f"Domain {domain} is in {here} but not in {there}: make {self.root / there / domain} or remove "
                    f"{here}/{domain}."
                    for domain in self.domains[here]
                    if domain not in self.domains[there]
                ]
        return problems + self._count_problems()

    def _count_problems(self) -> list[str]:
        problems = []
        counts = Counter((p.split, p.domain) for p in self.pictures if not p.reason)
        for split, domains in self.domains.items():
            for domain in domains:
                count, folder = counts[split, domain], self.root / split / domain
                if count == 0:
                    suffixes = ", ".join(sorted(PICTURE_SUFFIXES))
                    problems.append(f"{folder} holds no readable picture ({suffixes}): add some or remove the folder.")
                elif count < _PAIR:
                    use = "a pair of references" if split == "train" else "an evaluation"
                    problems.append(f"{folder} holds {count} readable picture; {use} needs {_PAIR}: add pictures.")
        total = sum(counts["train", domain] for domain in self.domains.get("train", ()))
        if self.batch_size is not None and 0 < total < self.batch_size:
            problems.append(
                f"{self.root / 'train'} holds {total} readable pictures, fewer than a batch of {self.batch_size}: "
                f"add pictures or lower batch_size."
            )
        return problems

    def _expectation_warnings(self) -> list[str]:
        differing = []
        for split, expected in self.expected.items():
            domains = self.domains.get(split)
            for domain in sorted({*domains, *expected}) if domains is not None else ():  # a split that is not there is a problem of its own
                found, place = len(self.readable(split, domain)), f"{split}/{domain}"
                if domain not in domains:
                    differing.append(f"{place} is not there, expected {expected[domain]:,} pictures")
                elif domain not in expected:
                    differing.append(f"{place} is not expected, found {found:,} pictures")
                elif found != expected[domain]:
                    differing.append(f"{place} expected {expected[domain]:,} pictures, found {found:,}")
        if not differing:
            return []
        return [
            f"Other pictures than expected: {'; '.join(differing)}. These are not the thesis's splits (Table 5.1), so scores on them do not "
            "compare with its Table 5.2."
        ]

    def _size_warnings(self) -> list[str]:
        warnings = []
        for split, domains in self.domains.items():
            for domain in domains:
                found = self.readable(split, domain)
                small = [p for p in found if self.image_size is not None and min(p.width, p.height) < self.image_size]
                if small:
                    least = min(small, key=lambda p: min(p.width, p.height))
                    warnings.append(
                        f"{len(small)} of {len(found)} pictures in {split}/{domain} are smaller than {self.image_size} px (the "
                        f"smallest is {least.width}x{least.height}) and are enlarged, which blurs them: consider a smaller "
                        f"image_size."
                    )
                long = [p for p in found if max(p.width, p.height) > _SQUEEZED * min(p.width, p.height)]
                if long:
                    example = f"{long[0].path.name}, {long[0].width}x{long[0].height}"
                    warnings.append(
                        f"{len(long)} of {len(found)} pictures in {split}/{domain} are far from square (such as {example}) and "
                        f"are squeezed into a square: crop them first."
                    )
        return warnings

    def _duplicate_warnings(self) -> list[str]:
        places = defaultdict(list)
        for picture in self.pictures:
            if not picture.reason:
                places[picture.sha256].append(picture)
        warnings = []
        for what, why, key in (
            ("in both train and val", "scores on val are then flattered", lambda p: p.split),
            ("in more than one domain", "their label is then ambiguous", lambda p: p.domain),
        ):
            twice = [same for same in places.values() if len({key(p) for p in same}) > 1]
            if twice:
                first = " and ".join(str(p.path.relative_to(self.root)) for p in twice[0])
                warnings.append(f"Pictures that are byte for byte {what}: {len(twice)} (such as {first}); {why}.")
        return warnings


def list_pictures(root: Path | str) -> Listing:
    """List what a data set's folders hold, without opening a file. What is missing is left out, not an error."""
    root = Path(root)
    domains, pictures, ignored = {}, [], []
    for split in SPLITS:
        if not (root / split).is_dir():
            continue
        folders = list(_visible(root / split))
        ignored += [path for path in folders if not path.is_dir() and _is_stray(path)]
        domains[split] = tuple(path.name for path in folders if path.is_dir())
        for domain in domains[split]:
            for path in _visible(root / split / domain):
                if path.is_dir() or not is_picture_name(path):
                    ignored += [path] if _is_stray(path) else []
                else:
                    pictures.append((split, domain, path))
    return Listing(root, domains, tuple(pictures), tuple(ignored))


def inspect_dataset(
    root: Path | str, image_size: int | None = None, batch_size: int | None = None, expected: Expected | None = None
) -> DataReport:
    """Read every file of the data set at ``root`` and report. Never raises for what it finds; see ``raise_if_unusable``.

    ``image_size`` (pixels) and ``batch_size`` are those of the training to come, ``expected`` the numbers of pictures there should
    be, {"train": {"cat": 5153, ...}, "val": {...}}; without them their checks are left out.
    """
    return inspect_listing(list_pictures(root), image_size, batch_size, expected=expected)


def inspect_listing(
    listing: Listing,
    image_size: int | None = None,
    batch_size: int | None = None,
    keep: Callable[[Path, Image.Image], None] | None = None,
    expected: Expected | None = None,
) -> DataReport:
    """``inspect_dataset`` for files already listed. ``keep`` receives every decoded picture, from several threads."""

    def examine(picture: tuple[str, str, Path]) -> PictureRecord:
        split, domain, path = picture
        try:
            data = read_bytes(path)
            decoded = decode(data, path)
        except UnreadablePicture as error:
            return PictureRecord(path, split, domain, error.reason)
        if keep is not None:
            keep(path, decoded.rgb)
        sha256 = hashlib.sha256(data).hexdigest()
        return PictureRecord(path, split, domain, "", *decoded.rgb.size, decoded.format, decoded.mode, sha256)

    pool = ThreadPoolExecutor(WORKERS)
    try:
        found = pool.map(examine, listing.pictures)
        # The bar shows itself only when reading takes longer than two seconds.
        records = tuple(progress_bar(found, "Reading pictures", len(listing.pictures), leave=False, delay=2.0))
    finally:
        pool.shutdown(cancel_futures=True)
    return DataReport(listing.root, image_size, batch_size, listing.domains, records, listing.ignored, expected or {})


def _visible(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir(), key=lambda path: path.name) if not path.name.startswith("."))


def _is_stray(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() not in COMPANION_SUFFIXES


def _tally(values: Iterator[str]) -> str:
    return ", ".join(f"{value} {count}" for value, count in Counter(values).most_common())
