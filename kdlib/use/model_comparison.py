"""The same pictures through several models, with what each of them takes: one figure, and the numbers on it.

Time is that of one picture, style code, face masks where needed and the way back from the device included, on the device that the
models are on, with as many threads as PyTorch has. The models take turns, so that whatever else a machine does meets all of them.
Weights are those of G, E and F. The thesis compares weights and multiply-accumulates (Table 5.3), not time.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from kdlib.errors import InputError
from kdlib.grids import to_uint8
from kdlib.labelled_grid import FAINT, INK, SMALLEST_FONT
from kdlib.use.models import common_domains
from kdlib.use.translate import DEFAULT_SEED, Domain, Translator
from kdlib.use.user_pictures import read_squares

WARM_UP = 3  # translations that are not counted: the first ones also allocate and choose algorithms
CELL = 256  # pixels that a picture is enlarged to, at least, so that the numbers fit above it
MOST_ROWS = 20


@dataclass(frozen=True)
class Taken:
    """What one model takes: ``milliseconds`` a picture (a median), ``parameters``, ``file_size`` in bytes if there is a file."""

    name: str
    label: str
    milliseconds: float
    parameters: int
    file_size: int | None

    def figures(self) -> tuple[str, str]:
        """Time, and size, in words."""
        size = "" if self.file_size is None else f", {self.file_size / 1e6:.2f} MB"
        return f"{self.milliseconds:.1f} ms", f"{self.parameters / 1e6:.3f} M weights{size}"


@dataclass(frozen=True)
class Comparison:
    """``figure``: sources down the side, the references where there are any, and a column a model; ``models`` in that order."""

    figure: Image.Image
    models: tuple[Taken, ...]
    repeats: int

    def table(self) -> str:
        """The numbers as text, with each model's ratio to the first."""
        first, lines = self.models[0], []
        for m in self.models:
            speed, weights = first.milliseconds / m.milliseconds, first.parameters / m.parameters
            ratio = "" if m is first else f"  ({speed:.1f}x the speed, {weights:.1f}x fewer weights)"
            lines.append(f"{m.name:{max(len(m.name) for m in self.models)}}  {', '.join(m.figures())}{ratio}")
        return "\n".join(lines)


def compare_models(
    translators: Sequence[Translator], pictures: Any, domain: Domain, *, seed: Any = None, latent: Any = None, reference: Any = None,
    fit: str = "crop", repeats: int = 11,
) -> Comparison:  # fmt: skip
    """``pictures`` through every model in the same style (see `Translator.translate`), each model timed ``repeats`` times.

    Raises `InputError` for models of different sizes or domains, for more than 20 results, and where `translate` does.
    """
    common_domains([t.model for t in translators])
    if repeats < 1:
        raise InputError(f"repeats = {repeats}: time at least one translation")
    x, _ = read_squares(pictures, translators[0].image_size, fit)
    shown = [("source", x)]
    if reference is not None:
        reference, _ = read_squares(reference, translators[0].image_size, fit)
        shown.append(("reference", reference))
    guide = {"seed": seed, "latent": latent, "reference": reference}
    count = max(len(x), len(translators[0].styles(domain, **guide)))
    if count > MOST_ROWS:
        raise InputError(f"{count} results to compare: one figure holds {MOST_ROWS}; give fewer pictures")
    outputs = [t.translate(x, domain, **guide) for t in translators]
    columns = [_repeated(to_uint8(images), count) for _, images in shown] + [[np.asarray(made) for made in column] for column in outputs]
    seconds = _time(translators, x[:1], domain, repeats, _one_style(translators[0], seed, latent, shown[1:]))
    taken = tuple(Taken(t.name, _label(t, translators), 1e3 * s, t.parameters, t.file_size) for t, s in zip(translators, seconds))
    device = translators[0].device
    threads = f", {_counted(torch.get_num_threads(), 'thread')}" if device.type == "cpu" else ""
    caption = f"To {_named(translators[0], domain)}. Time of one picture: median of {repeats}, {device.type}{threads}."
    heads = [*((name,) for name, _ in shown), *((t.label, *t.figures()) for t in taken)]
    return Comparison(_figure(columns, heads, caption), taken, repeats)


def _one_style(translator: Translator, seed: Any, latent: Any, references: Sequence[tuple[str, Tensor]]) -> dict[str, Any]:
    """The first style that was asked for, as a latent or as a picture [3 H W], so that reading it is not timed."""
    for _, images in references:
        return {"reference": images[0]}
    if latent is not None:
        return {"latent": torch.as_tensor(np.asarray(latent, np.float32)).reshape(-1, translator.latent_dim)[0]}
    return {"latent": translator.latent(int(np.ravel(DEFAULT_SEED if seed is None else seed)[0]))}


def _time(translators: Sequence[Translator], x: Tensor, domain: Any, repeats: int, guide: dict[str, Any]) -> list[float]:
    """Median seconds of one translation by each model."""
    domain = domain if isinstance(domain, (str, int)) else domain[0]
    seconds: list[list[float]] = [[] for _ in translators]
    for turn in range(WARM_UP + repeats):
        for translator, taken in zip(translators, seconds):
            start = time.perf_counter()
            translator.render(x, translator.styles(domain, **guide))
            if turn >= WARM_UP:
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def _label(translator: Translator, others: Sequence[Translator]) -> str:
    label = translator.model.label
    return label if [t.model.label for t in others].count(label) == 1 else f"{label} ({translator.name})"


def _named(translator: Translator, domain: Any) -> str:
    domains = [domain] if isinstance(domain, (str, int)) else list(domain)
    return ", ".join(translator.domains[translator.domain_index(d)] for d in domains)


def _repeated(cells: np.ndarray, count: int) -> list[np.ndarray]:
    return list(cells) if len(cells) == count else [cells[0]] * count


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _figure(columns: Sequence[Sequence[np.ndarray]], heads: Sequence[Sequence[str]], caption: str) -> Image.Image:
    """Columns of pictures [H W 3] of one size, enlarged pixel by pixel, under heads of up to three lines in one size of letters."""
    scale = -(-CELL // len(columns[0][0]))
    side = scale * len(columns[0][0])
    size = side // 12
    while size > SMALLEST_FONT and any(ImageFont.load_default(size).getlength(line) > side for head in heads for line in head):
        size -= 1
    font, line, gap = ImageFont.load_default(size), int(1.4 * size), side // 16
    top = gap + 3 * line
    canvas = Image.new("RGB", (len(columns) * (side + gap) + gap, top + len(columns[0]) * (side + gap) + 2 * line), "white")
    draw = ImageDraw.Draw(canvas)
    for i, (head, cells) in enumerate(zip(heads, columns, strict=True)):
        left = gap + i * (side + gap)
        for j, text in enumerate(head):
            draw.text((left, gap // 2 + (3 - len(head) + j) * line), text, font=font, fill=FAINT if j else INK)
        for j, cell in enumerate(cells):
            canvas.paste(Image.fromarray(cell).resize((side, side), Image.Resampling.NEAREST), (left, top + j * (side + gap)))
    draw.text((gap, canvas.height - 2 * line), caption, font=font, fill=FAINT)
    return canvas
