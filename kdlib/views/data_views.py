"""What the data notebook shows: tables and sheets of pictures, made from a preset's data set."""

import json

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML, Markdown
from pandas.io.formats.style import Styler
from torch import Tensor

from kdlib.augmentation import AugmentationSettings, WarpSettings, style_warp, thesis_augmentation
from kdlib.critters import CONTENT_FACTORS, CONTENT_RANGES, SHARED_STYLE_RANGES, SPECIES, STYLE_RANGES, factor_sweep
from kdlib.data import Dataset
from kdlib.grids import to_uint8
from kdlib.images import to_float
from kdlib.paths import shown
from kdlib.scoring.factor_network import REPORT
from kdlib.settings import Preset
from kdlib.validation import DataReport
from kdlib.views.plotting import image_grid

SWEPT = (*CONTENT_FACTORS, "fur_hue", "fur_lightness", "markings", "eye_hue", "background_hue")
STEPS = 7


def _pictures(images: Tensor) -> list[np.ndarray]:
    """uint8 [N 3 H W] -> arrays [H W 3]."""
    return list(images.permute(0, 2, 3, 1).numpy())


def report_summary(report: DataReport) -> str:
    """One Markdown paragraph: where the data lie, what was left out, what to know."""
    count = sum(not p.reason for p in report.pictures)
    lines = [f"{count:,} readable pictures in `{shown(report.root)}`, {len(report.bad)} unreadable, {len(report.ignored)} other files."]
    lines += [f"- **Problem.** {problem.replace(str(report.root), shown(report.root))}" for problem in report.problems]
    lines += [warning.replace(f"{report.root}/", "") for warning in report.warnings]
    return "\n\n".join(lines)


def contact_sheet(dataset: Dataset, columns: int = 10) -> HTML:
    """The first training pictures of every domain, a row a domain."""
    domains = range(len(dataset.domains))
    columns = min(columns, *dataset.train.counts)
    return image_grid([_pictures(dataset.train.images(d)[:columns]) for d in domains], row_labels=dataset.domains)


def augmentation_sheet(dataset: Dataset, preset: Preset, columns: int = 4) -> HTML:
    """One picture a domain, as it is, augmented, and warped as the style encoder sees it."""
    training = preset.training
    augmentation = AugmentationSettings(crop_probability=training.crop_probability, flip_probability=training.flip_probability)
    rng = np.random.default_rng(preset.training.seed)
    rows = []
    for d in range(len(dataset.domains)):
        picture = dataset.train.images(d)[0]
        augmented = torch.stack([thesis_augmentation(picture, rng, augmentation) for _ in range(columns)])
        copies = to_float(picture[None].expand(columns, -1, -1, -1))
        warped = to_uint8(style_warp(copies, rng, WarpSettings(strength=training.style_warp)))
        rows.append([*_pictures(picture[None]), *_pictures(augmented), *warped])
    heads = ["as drawn", *["augmented"] * columns, *["shown to E"] * columns]
    return image_grid(rows, heads, dataset.domains, width=60)


def factor_sheet(preset: Preset, image_size: int = 64) -> HTML | Markdown:
    """A row a factor: one critter drawn along that factor's range."""
    if preset.data.source != "critters":
        return Markdown("These pictures come with no known factors.")
    rows, labels = [], []
    for i, factor in enumerate(SWEPT):
        species = SPECIES[i % len(SPECIES)]
        low, high = (CONTENT_RANGES | STYLE_RANGES[species] | SHARED_STYLE_RANGES)[factor]
        rows.append(factor_sweep(species, factor, list(np.linspace(low, high, STEPS)), image_size))
        labels.append(factor.replace("_", " "))
    return image_grid(rows, row_labels=labels, width=64)


def factor_network_report(preset: Preset) -> Styler | Markdown:
    """Accuracy of the factor network on pictures of seeds it never saw, as its training script wrote it down."""
    if preset.data.source != "critters":
        return Markdown("The factor network knows Critters only; its scores are left out for these pictures.")
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    scores = report["accuracy"].get(str(preset.data.image_size), report["accuracy"]["64"])  # 64 px is what it resizes to
    frame = pd.DataFrame(scores["factors"]).T.rename_axis("factor").reset_index()
    return frame.style.hide(axis="index").format(precision=4)
