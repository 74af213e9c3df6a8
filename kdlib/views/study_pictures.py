"""The same sources in the same styles through every model of a study, cut out of the samples that its runs keep.

A run's samples (`kdlib.trainer.write_samples`) show the first two val pictures of every domain in two latents and two references of
every domain, the same for all runs of a preset, so that models can be laid beside each other without any weights. The form is that
of the thesis's Figures 5.3 to 5.10, turned: a line a model, a column an ordered pair of domains.
"""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from kdlib.analysis.seeds import Group, StudyResults
from kdlib.errors import InputError
from kdlib.grids import GAP
from kdlib.paths import reference_folder, shown
from kdlib.runs import Run
from kdlib.views.plotting import image_grid

EACH = 2  # sources, latents and references a domain in a sample
WIDTH = 64  # pixels of a picture on the page


@dataclass(frozen=True)
class Samples:
    """One picture an ordered pair of domains: source, the reference that gave the style (none if latent-guided), translation."""

    pairs: tuple[str, ...]  # "cat → dog"
    sources: list[np.ndarray]
    references: list[np.ndarray] | None
    outputs: list[np.ndarray]


def run_of(group: Group) -> Run:
    """The kept run of the group's first seed."""
    return Run(reference_folder() / group["preset"] / group["run"])


def sample_file(run: Run, guide: str) -> Path | None:
    """The last sample of a run; None where none is kept."""
    return max((run.path / "samples").glob(f"{guide}_*.png"), default=None)


def cells(path: Path, domains: int, guide: str) -> list[list[np.ndarray]]:
    """The cells [H W 3] of a sample, line by line. Raises `InputError` where the picture is not such a grid."""
    lines, columns = EACH * domains + (guide == "reference"), EACH * domains + 1
    picture = np.asarray(Image.open(path).convert("RGB"))
    height, width = ((side + GAP) // count - GAP for side, count in zip(picture.shape, (lines, columns)))
    if picture.shape[:2] != ((height + GAP) * lines - GAP, (width + GAP) * columns - GAP):
        raise InputError(f"{shown(path)}: {picture.shape[1]} x {picture.shape[0]} px is no grid of {columns} x {lines} pictures")
    at = lambda i, j: picture[i * (height + GAP) :, j * (width + GAP) :][:height, :width]  # noqa: E731
    return [[at(i, j) for j in range(columns)] for i in range(lines)]


def samples(run: Run, guide: str) -> Samples | None:
    """The first source of every domain in the first style of every other one; None where the run keeps no samples."""
    path = sample_file(run, guide)
    if path is None:
        return None
    names = run.settings().domains
    head = int(guide == "reference")
    grid = cells(path, len(names), guide)
    pairs = [(a, b) for a in range(len(names)) for b in range(len(names)) if a != b]
    return Samples(
        tuple(f"{names[a]} → {names[b]}" for a, b in pairs),
        [grid[head + EACH * a][0] for a, _ in pairs],
        [grid[0][1 + EACH * b] for _, b in pairs] if head else None,
        [grid[head + EACH * a][1 + EACH * b] for a, b in pairs],
    )


def models_grid(results: StudyResults, guide: str) -> str:
    """HTML: source and style, then what every model makes of them, teacher first, then distilled students and those alone by width."""
    order = sorted(results.grid, key=lambda g: (g.is_student, not g["distilled"], -g["alpha"]))
    name = lambda g: g.label if g["distilled"] or not g.is_student else f"{g.label}, alone"  # noqa: E731
    found = {name(group): samples(run_of(group), guide) for group in order}
    found = {what: one for what, one in found.items() if one is not None}
    if not found:
        return ""
    first = next(iter(found.values()))
    rows, labels = [first.sources], ["source"]
    if first.references is not None:
        rows, labels = [*rows, first.references], [*labels, "style of"]
    rows += [one.outputs for one in found.values()]
    return image_grid(rows, first.pairs, [*labels, *found], width=WIDTH, caption=f"{guide.capitalize()}-guided").data


def whole_sample(group: Group, guide: str) -> str:
    """HTML: everything that a model's sample shows, in the form of the thesis's figures."""
    path = sample_file(run_of(group), guide)
    if path is None:
        return ""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    about = html.escape(f"{group.label}, {guide}-guided", quote=True)
    return (
        f'<figure class="kdgrid"><div><img src="data:image/png;base64,{data}" alt="{about}: sources down the side, styles along the top"></div>'
        f"<figcaption>{about}</figcaption></figure>"
    )


def strip(pictures: Sequence[np.ndarray], gap: int = 4) -> str:
    """Pictures side by side as the address of one picture, the gaps between them transparent; lossless."""
    height, width = pictures[0].shape[:2]
    canvas = np.zeros((height, len(pictures) * (width + gap) - gap, 4), np.uint8)
    for i, picture in enumerate(pictures):
        canvas[:, i * (width + gap) :][:, :width] = np.dstack([picture, np.full((height, width), 255, np.uint8)])
    buffer = io.BytesIO()
    Image.fromarray(canvas).save(buffer, "webp", lossless=True)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
