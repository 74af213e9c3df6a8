"""Reference- and latent-guided grids of any models side by side: the thesis's Figures 5.3 to 5.10, in form.

The figures show AFHQ and CelebA-HQ test pictures through the original networks (Figs 5.3, 5.5, 5.7, 5.9) and through the
students of alpha = 128 (Figs 5.4, 5.6, 5.8, 5.10): sources down the side, references or several latents of every domain along
the top. Here the models share one picture, and with it the sources, the references and the latents.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from IPython.display import HTML, display
from PIL import Image
from torch import Tensor

from kdlib.data import step_rng
from kdlib.devices import prepare
from kdlib.errors import InputError
from kdlib.files import write_atomically
from kdlib.grids import BATCH_SIZE, latent_guided, reference_guided, to_uint8
from kdlib.images import UnreadablePicture, is_picture_name, load_image, to_float
from kdlib.labelled_grid import LabelledGrid
from kdlib.paths import from_here, shown
from kdlib.session import data_root
from kdlib.settings import MachineSettings, Preset
from kdlib.use.models import Model, common_domains, load_model
from kdlib.views.plotting import image_grid

PAGE_WIDTH = 600  # pixels that a grid has on a page of the book
PAGE_PIXELS = 96  # cells of larger models are reduced to this on a page; files keep every pixel


@dataclass(frozen=True)
class Pictures:
    """Pictures of a folder: uint8 ``[N 3 H W]``, the domain folder ("" if there is none) and the file of each."""

    images: Tensor
    domains: tuple[str, ...]
    files: tuple[Path, ...]


@dataclass(frozen=True)
class GuidedGrid:
    """What one guide's figure shows. ``outputs[m][i][j]`` [H W 3]: source i in style j by the model headed ``headings[m]``.

    ``columns[j]`` is the domain of style j; ``references`` its picture, None for latents.
    """

    guide: str
    headings: tuple[str, ...]
    sources: list[np.ndarray]
    source_domains: tuple[str, ...]
    columns: tuple[str, ...]
    references: list[np.ndarray] | None
    outputs: list[list[list[np.ndarray]]]
    caption: str

    def labelled(self) -> LabelledGrid:
        """All models side by side, sources once at the left."""
        rows = [[source, *(cell for model in self.outputs for cell in model[i])] for i, source in enumerate(self.sources)]
        row_groups = _runs(self.source_domains)
        if self.references is not None:
            rows.insert(0, [None, *self.references * len(self.outputs)])
            row_groups.insert(0, ("reference", 1))
        return LabelledGrid(
            rows,
            blocks=[("", 1), *((heading, len(self.columns)) for heading in self.headings)],
            columns=[("source", 1), *_runs(self.columns) * len(self.outputs)],
            rows=row_groups,
            caption=self.caption,
        )

    def html(self, model: int) -> HTML:
        """One model's grid for a page, its cells reduced to ``PAGE_PIXELS`` where they are larger."""
        rows = [[source, *cells] for source, cells in zip(self.sources, self.outputs[model])]
        labels = list(self.source_domains)
        if self.references is not None:
            rows.insert(0, [None, *self.references])
            labels.insert(0, "reference")
        rows = [[None if cell is None else _for_page(cell) for cell in row] for row in rows]
        heads = ["source", *(label if first else "" for label, n in _runs(self.columns) for first in [True, *[False] * (n - 1)])]
        width = max(40, min(64, PAGE_WIDTH // len(heads) - 4))
        return image_grid(rows, heads, labels, width=width, caption=f"{self.guide}: {self.headings[model]}")


def read_pictures(folder: Path | str, image_size: int, limit: int, skip: int = 0, by_domain: bool = False) -> Pictures:
    """The first ``limit`` pictures, by name, of every domain in ``folder``/<domain>, or of a folder without subfolders.

    Pictures are made square as for training (`kdlib.images`). ``skip`` leaves out so many before, unless fewer than one picture
    would remain. With ``by_domain`` a folder without subfolders is refused. Raises `InputError` naming the folder or file.
    """
    folder = from_here(folder)
    if limit < 1:
        raise InputError(f"limit = {limit}: show at least one picture a domain")
    if not folder.is_dir():
        raise InputError(f"{shown(folder)}: no such folder of pictures")
    flat = _picture_files(folder)
    domains = {path.name: _picture_files(path) for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")}
    domains = {name: files for name, files in domains.items() if files}
    if flat and domains:
        raise InputError(f"{shown(folder)}: holds pictures both in itself and in {', '.join(domains)}; give one kind")
    if not flat and not domains:
        raise InputError(f"{shown(folder)}: no pictures in it, nor in folders below it; put some into {shown(folder)}/<domain>/")
    if flat and by_domain:
        raise InputError(f"{shown(folder)}: references need their domain; put them into {shown(folder)}/<domain>/")
    chosen = []
    for domain, files in domains.items() or [("", flat)]:
        skipped = skip if len(files) > skip else 0
        chosen += [(domain, path) for path in files[skipped : skipped + limit]]
    try:
        images = torch.stack([load_image(path, image_size) for _, path in chosen])
    except UnreadablePicture as error:
        raise InputError(f"{shown(error.path)}: {error.reason}; replace or remove the file") from error
    return Pictures(images, tuple(domain for domain, _ in chosen), tuple(path for _, path in chosen))


def val_pictures(model: Model, preset: Preset | None = None) -> Path:
    """Folder of the val pictures of ``preset``, or of the preset that ``model`` was trained by; Critters are drawn on first use."""
    preset = preset or model.preset
    if preset is None:
        raise InputError(f"{model.name}: a released checkpoint does not say which pictures it was made for; name folders of sources and references")
    return data_root(preset.data, progress=False) / "val"


def compare(
    models: Sequence[Model],
    sources: Path | str,
    references: Path | str | None = None,
    *,
    latents: int = 3,
    seed: int = 777,
    limit: int = 4,
    batch_size: int = BATCH_SIZE,
) -> tuple[GuidedGrid, GuidedGrid]:
    """The reference-guided and the latent-guided grid of ``models`` on the pictures of two folders.

    ``limit`` pictures a domain, from either folder; without ``references``, or where both are one folder, references are the
    pictures that follow the sources. Every model gets the same ``latents`` latents, which are a function of ``seed`` alone.
    Raises `InputError` for models that do not fit each other, and for pictures that do not fit the models.
    """
    models = list(models)
    if latents < 1 or batch_size < 1:
        raise InputError(f"latents = {latents}, batch_size = {batch_size}: must be at least 1")
    names, arch = common_domains(models), models[0].nets.arch
    folder, wanted = from_here(references or sources), read_pictures(sources, arch.image_size, limit)
    same = folder.resolve() == from_here(sources).resolve()
    given = read_pictures(folder, arch.image_size, limit, skip=limit if same else 0, by_domain=True)
    names = _domain_names(names, given.domains, arch.domains, folder)
    y = torch.tensor([names.index(domain) for domain in given.domains])
    x, x_ref = to_float(wanted.images), to_float(given.images)
    z = torch.from_numpy(step_rng(seed, 0, "grids").standard_normal((latents, arch.latent_dim), dtype=np.float32))

    by_latent, by_reference = [], []
    for model in models:
        device = next(model.nets.generator.parameters()).device
        by_reference.append(reference_guided(model.nets, x.to(device), x_ref.to(device), y.to(device), batch_size)[1:])
        by_latent.append(latent_guided(model.nets, x.to(device), z.to(device), batch_size))
    shared = dict(headings=tuple(_heading(model, models) for model in models), sources=list(to_uint8(x)), source_domains=wanted.domains)
    counts = "; ".join(f"{model.name}: {_weights(model) / 1e6:.2f} M weights" for model in models)
    reference = GuidedGrid(
        "Reference-guided", **shared, columns=given.domains, references=list(to_uint8(x_ref)), outputs=_without_source(by_reference),
        caption=f"Reference-guided. {counts}",
    )  # fmt: skip
    latent = GuidedGrid(
        "Latent-guided", **shared, columns=tuple(name for name in names for _ in z), references=None, outputs=_without_source(by_latent),
        caption=f"Latent-guided, the same {latents} latent{'s' if latents > 1 else ''} in every domain (seed {seed}). {counts}",
    )  # fmt: skip
    return reference, latent


def load_models(
    paths: Sequence[Path | str | None], landmarks: Path | str | None = None, device: str | None = None, preset: Preset | None = None
) -> list[Model]:
    """The models of ``paths`` (see `load_model`; None is left out) on one device.

    Where ``landmarks`` or ``device`` are not given they are those of ``preset``, if there is one.
    """
    machine = preset.machine if preset else MachineSettings()
    on = prepare(replace(machine, device=device or machine.device))
    return [load_model(path, landmarks or machine.landmarks or None, on) for path in paths if path is not None]


def save_grids(grids: Sequence[GuidedGrid], folder: Path) -> list[Path]:
    """Write every grid as ``folder``/reference_guided.png or latent_guided.png, each whole or not at all; returns the paths."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{shown(Path(folder))}: no folder can be made there ({error.strerror}); name another") from error
    paths = []
    for grid in grids:
        path = Path(folder) / f"{grid.guide.lower().replace('-', '_')}.png"
        picture = grid.labelled().picture()
        write_atomically(path, lambda temporary, picture=picture: picture.save(temporary, "png"))
        paths.append(path)
    return paths


def show(grid: GuidedGrid) -> None:
    """Display every model's grid, one below the other: side by side they would not fit a page."""
    display(*(grid.html(i) for i in range(len(grid.headings))))


def summary(models: Sequence[Model]) -> str:
    """Markdown: which models are shown, and how large they are."""
    lines = [f"| {model.label} | `{model.name}` | {_weights(model):,} |" for model in models]
    return "\n".join(["| model | name | weights of G, E and F |", "|---|---|---:|", *lines])


def _domain_names(known: tuple[str, ...] | None, found: Sequence[str], count: int, folder: Path) -> tuple[str, ...]:
    """Domain y's name is item y. Models that know none take them from the references' folders, sorted."""
    folders = tuple(sorted(set(found)))
    if known is None:
        if len(folders) != count:
            raise InputError(
                f"{shown(folder)}: holds {len(folders)} folders of pictures ({', '.join(folders)}), the models have {count} domains and do not "
                "name them; give one folder a domain, in alphabetical order as in training"
            )
        return folders
    strangers = [name for name in folders if name not in known]
    if strangers:
        raise InputError(f"{shown(folder)}: {', '.join(strangers)} is no domain of the models, which know {', '.join(known)}")
    return known


def _heading(model: Model, models: list[Model]) -> str:
    """What the model is; its name besides where that does not tell it from another."""
    return model.label if [m.label for m in models].count(model.label) == 1 else f"{model.label} ({model.name})"


def _weights(model: Model) -> int:
    return sum(p.numel() for _, network in model.nets.modules() for p in network.parameters())


def _without_source(models: list[list[list[np.ndarray]]]) -> list[list[list[np.ndarray]]]:
    return [[row[1:] for row in rows] for rows in models]


def _picture_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file() and is_picture_name(p) and not p.name.startswith("."))


def _runs(labels: Sequence[str]) -> list[tuple[str, int]]:
    """Equal neighbours as (label, how many)."""
    return [(label, len(list(same))) for label, same in groupby(labels)]


def _for_page(cell: np.ndarray) -> np.ndarray:
    if len(cell) <= PAGE_PIXELS:
        return cell
    return np.asarray(Image.fromarray(cell).resize((PAGE_PIXELS, PAGE_PIXELS), Image.Resampling.BOX))
