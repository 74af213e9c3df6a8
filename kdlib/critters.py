"""Critters, the embedded data set: cat, dog and fox faces drawn by code from sampled factors.

Content, shared by all species: position, size, tilt, gaze, mouth opening. Style, with ranges of its own for each species: the fur's
hue and lightness, the amount of markings, eye colour, background. Because every factor of every picture is known, a translation can
be scored by what a Frechet distance does not see: did pose and gaze survive, did the style come from the reference?

The folder layout is AFHQ's ({train,val}/{domain}/*.png) with a factors.csv beside the pictures. The thesis uses AFHQ and CelebA-HQ;
this data set is the study's own and stands in for them where neither a download nor a GPU is at hand.
"""

from __future__ import annotations

import argparse
import colorsys
import csv
import json
import os
import tempfile
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import PIL
from PIL import Image
from tqdm import tqdm

from kdlib.critters_drawing import Colour, draw_critter
from kdlib.errors import InputError
from kdlib.progress import progress_bar

SPECIES = ("cat", "dog", "fox")
SPLITS = ("train", "val")
CONTENT_FACTORS = ("x", "y", "size", "tilt", "gaze", "mouth")
STYLE_FACTORS = (
    *("fur_red", "fur_green", "fur_blue", "markings"),
    *("eye_red", "eye_green", "eye_blue"),
    *("background_red", "background_green", "background_blue"),
)
# Raise it whenever the same settings would give other pictures: folders made by another version are then refused, not mixed in.
GENERATOR_VERSION = 1
MANIFEST = "manifest.json"
IMAGE_SIZES = (32, 512)

CONTENT_RANGES = {
    "x": (0.38, 0.62),
    "y": (0.46, 0.62),
    "size": (0.23, 0.31),
    "tilt": (-30.0, 30.0),
    "gaze": (-1.0, 1.0),
    "mouth": (0.0, 1.0),
}
# Hues in degrees; a negative hue is the same colour as that hue + 360, so that a range can run through red.
STYLE_RANGES = {
    "cat": {"fur_hue": (-150.0, 50.0), "fur_lightness": (0.40, 0.82), "eye_hue": (45.0, 215.0)},
    "dog": {"fur_hue": (-30.0, 70.0), "fur_lightness": (0.34, 0.86), "eye_hue": (20.0, 200.0)},
    "fox": {"fur_hue": (-50.0, 45.0), "fur_lightness": (0.42, 0.72), "eye_hue": (30.0, 180.0)},
}
SHARED_STYLE_RANGES = {
    "markings": (0.0, 1.0),
    "eye_lightness": (0.48, 0.70),
    "background_hue": (0.0, 360.0),
    "background_lightness": (0.45, 0.88),
}


@dataclass(frozen=True)
class Critter:
    """One animal: its species and the factors that were sampled for it.

    x, y: middle of the head as fractions of the picture's width and height, from the upper left corner.
    size: the head's radius as a fraction of the picture's width.
    tilt: degrees, positive is clockwise. gaze: -1 looks to the picture's left, 1 to its right. mouth: 0 closed, 1 wide open.
    Hues in degrees (any turn), lightness in [0, 1] as in HSL; markings: 0 none, 1 full contrast.
    """

    species: str
    x: float
    y: float
    size: float
    tilt: float
    gaze: float
    mouth: float
    fur_hue: float
    fur_lightness: float
    markings: float
    eye_hue: float
    eye_lightness: float
    background_hue: float
    background_lightness: float

    def __post_init__(self) -> None:
        if self.species not in SPECIES:
            raise InputError(f"Unknown species {self.species!r}: choose one of {', '.join(SPECIES)}.")
        if not self.size > 0:
            raise InputError(f"The size of a critter is its head's radius as a fraction of the picture, above 0; got {self.size}.")
        for name in ("fur_lightness", "markings", "eye_lightness", "background_lightness", "mouth"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"A critter's {name} lies in [0, 1]; got {getattr(self, name)}.")

    @property
    def fur_rgb(self) -> Colour:
        """The coat's colour. Warm hues are saturated, cold ones nearly grey: ginger and blue-grey, never a green cat."""
        warmth = 0.5 + 0.5 * np.cos(np.radians(self.fur_hue - 28))
        return _rgb(self.fur_hue, self.fur_lightness, 0.14 + 0.60 * warmth)

    @property
    def eye_rgb(self) -> Colour:
        """The iris's colour."""
        return _rgb(self.eye_hue, self.eye_lightness, 0.75)

    @property
    def background_rgb(self) -> Colour:
        """The background's colour in the upper half of the picture; it darkens a little towards the lower edge."""
        return _rgb(self.background_hue, self.background_lightness, 0.50)

    def factors(self) -> dict[str, float]:
        """Every factor by name: CONTENT_FACTORS, STYLE_FACTORS (colours as RGB in [0, 1]), then the sampled hues and lightnesses."""
        values = {name: value for name, value in asdict(self).items() if name != "species"}
        for part in ("fur", "eye", "background"):
            colour = getattr(self, f"{part}_rgb")
            values |= {f"{part}_{channel}": colour[k] for k, channel in enumerate(("red", "green", "blue"))}
        return {name: values[name] for name in FACTOR_COLUMNS}


SAMPLED_FACTORS = tuple(field.name for field in fields(Critter) if field.name != "species")
FACTOR_COLUMNS = (*CONTENT_FACTORS, *STYLE_FACTORS, *(n for n in SAMPLED_FACTORS if n not in CONTENT_FACTORS + STYLE_FACTORS))


def _rgb(hue: float, lightness: float, saturation: float) -> Colour:
    """HSL to RGB, rounded to 8 bits so that the factor is the very colour the picture shows."""
    return tuple(round(255 * c) / 255 for c in colorsys.hls_to_rgb(hue / 360 % 1.0, lightness, saturation))


def sample_critter(species: str, rng: np.random.Generator) -> Critter:
    """Draw every factor uniformly from its range. Rounded to 6 decimals, so that factors.csv holds the exact values."""
    if species not in SPECIES:
        raise InputError(f"Unknown species {species!r}: choose one of {', '.join(SPECIES)}.")
    ranges = CONTENT_RANGES | STYLE_RANGES[species] | SHARED_STYLE_RANGES
    return Critter(species, **{name: round(float(rng.uniform(*ranges[name])), 6) for name in SAMPLED_FACTORS})


def critter_at(species: str, index: int, *, split: str, seed: int) -> Critter:
    """The critter number `index` of a split: a function of these four alone, whatever else is generated."""
    if split not in SPLITS or species not in SPECIES:
        raise InputError(f"No pictures for split {split!r}, species {species!r}: splits are {SPLITS}, species {SPECIES}.")
    return sample_critter(species, np.random.default_rng([seed, SPLITS.index(split), SPECIES.index(species), index]))


def render(critter: Critter, image_size: int) -> Image.Image:
    """The critter as an RGB picture, image_size x image_size, for sizes of 32 to 512 px."""
    if not IMAGE_SIZES[0] <= image_size <= IMAGE_SIZES[1]:
        raise InputError(f"Critters are drawn at {IMAGE_SIZES[0]} to {IMAGE_SIZES[1]} px; got image_size={image_size}.")
    return draw_critter(critter, image_size)


def factor_sweep(species: str, factor: str, values: list[float], image_size: int, seed: int = 0) -> list[Image.Image]:
    """One critter drawn once for each value of one sampled factor (a field of Critter), all its other factors held fixed."""
    if factor not in SAMPLED_FACTORS:
        raise InputError(f"Cannot sweep {factor!r}: choose one of {', '.join(SAMPLED_FACTORS)}.")
    ranges = CONTENT_RANGES | STYLE_RANGES[species] | SHARED_STYLE_RANGES
    middle = {name: sum(ranges[name]) / 2 for name in CONTENT_FACTORS}
    critter = replace(critter_at(species, 0, split="train", seed=seed), **middle)
    return [render(replace(critter, **{factor: float(value)}), image_size) for value in values]


def generate(
    root: str | Path,
    *,
    image_size: int = 64,
    train_per_domain: int = 1000,
    val_per_domain: int = 200,
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Write the data set {train,val}/{cat,dog,fox}/NNNNN.png, a factors.csv beside the pictures and a manifest.json; return `root`.

    The folder appears complete or not at all. A folder already made with these settings is kept as it is.

    Raises InputError for settings out of range, or when `root` holds anything else (other settings, other files).
    """
    root = Path(root)
    settings = {
        "generator_version": GENERATOR_VERSION,
        "image_size": image_size,
        "train_per_domain": train_per_domain,
        "val_per_domain": val_per_domain,
        "seed": seed,
    }
    for name, lowest in (("image_size", IMAGE_SIZES[0]), ("train_per_domain", 1), ("val_per_domain", 0), ("seed", 0)):
        if not isinstance(settings[name], int) or settings[name] < lowest:
            raise InputError(f"Critters: {name} must be a whole number of at least {lowest}; got {settings[name]!r}.")
    if image_size > IMAGE_SIZES[1]:
        raise InputError(f"Critters are drawn at up to {IMAGE_SIZES[1]} px; got image_size={image_size}.")
    if _already_made(root, settings):
        return root

    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as scratch:
        building = Path(scratch) / root.name
        total = len(SPECIES) * (train_per_domain + val_per_domain)
        with progress_bar(total=total, desc="drawing critters", unit="picture", disable=not progress) as bar:
            for split, count in zip(SPLITS, (train_per_domain, val_per_domain), strict=True):
                for species in SPECIES:
                    _write_domain(building / split / species, species, split, count, image_size, seed, bar)
        manifest = {"dataset": "critters", "settings": settings, "pillow": PIL.__version__}
        (building / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        try:
            os.replace(building, root)
        except OSError:
            # Another process may have finished the same folder meanwhile; anything else is reported as it is.
            if not _already_made(root, settings):
                raise
    return root


def _already_made(root: Path, settings: dict[str, int]) -> bool:
    """Whether `root` holds the data set of these settings; InputError when it holds something else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / MANIFEST).read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{root} exists but has no readable {MANIFEST} of Critters. Choose another folder, or remove this one if nothing in it is needed."
        ) from None
    if found != settings:
        differing = [f"{k}: there {found.get(k)!r}, asked {v!r}" for k, v in settings.items() if found.get(k) != v]
        raise InputError(f"{root} holds Critters made with other settings ({'; '.join(differing)}). Choose another folder or remove this one.")
    return True


def _write_domain(folder: Path, species: str, split: str, count: int, image_size: int, seed: int, bar: tqdm) -> None:
    folder.mkdir(parents=True)
    with open(folder / "factors.csv", "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["file", *FACTOR_COLUMNS])
        for index in range(count):
            critter, file = critter_at(species, index, split=split, seed=seed), f"{index:05d}.png"
            render(critter, image_size).save(folder / file, format="PNG", optimize=False, compress_level=6)
            table.writerow([file, *(f"{value:.6f}" for value in critter.factors().values())])
            bar.update()


def main(arguments: list[str] | None = None) -> None:
    """`python -m kdlib.critters FOLDER`: write the data set."""
    parser = argparse.ArgumentParser(prog="python -m kdlib.critters", description="Draw the Critters data set.")
    parser.add_argument("root", type=Path, help="folder to make")
    parser.add_argument("--image-size", type=int, default=64, help="pixels a side, 32 to 512")
    parser.add_argument("--train-per-domain", type=int, default=1000)
    parser.add_argument("--val-per-domain", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    print(generate(**vars(parser.parse_args(arguments)), progress=True))


if __name__ == "__main__":
    main()
