"""One picture out of many: cells in groups of rows and columns, with labels that can be read (for PNG files, not for pages)."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kdlib.errors import InputError

SMALLEST_CELL = 64  # pixels; smaller pictures are enlarged, pixel by pixel
INK, FAINT = (26, 26, 26), (110, 110, 110)
SMALLEST_FONT = 9
Groups = Sequence[tuple[str, int]]  # (label, how many rows or columns it spans)


@dataclass(frozen=True)
class LabelledGrid:
    """Cells [H W 3] uint8 of one size (None: blank) under two lines of headings, beside a line of labels.

    ``blocks`` and ``columns`` label the columns from left to right, ``rows`` the rows from top to bottom; each spans them all.
    Between groups of ``columns`` and ``rows`` the gap is wider than between cells, between ``blocks`` it is widest.
    Raises `InputError` where cells and labels do not fit.
    """

    cells: Sequence[Sequence[np.ndarray | None]]
    blocks: Groups
    columns: Groups
    rows: Groups
    caption: str = ""

    def __post_init__(self) -> None:
        shapes = {cell.shape for row in self.cells for cell in row if cell is not None}
        if len(shapes) != 1 or len({len(row) for row in self.cells}) != 1:
            raise InputError(f"a labelled grid needs cells of one shape in rows of one length, got shapes {sorted(shapes)}")
        height, width = len(self.cells), self._width
        for name, groups, wanted in (("blocks", self.blocks, width), ("columns", self.columns, width), ("rows", self.rows, height)):
            if sum(n for _, n in groups) != wanted or min(n for _, n in groups) < 1:
                raise InputError(f"a labelled grid's {name} span {[n for _, n in groups]}, where there are {wanted}")

    @property
    def _width(self) -> int:
        return len(self.cells[0])

    @property
    def scale(self) -> int:
        """How many times the cells are enlarged."""
        return -(-SMALLEST_CELL // min(self._shape))

    @property
    def _shape(self) -> tuple[int, int]:
        return next(cell.shape[:2] for row in self.cells for cell in row if cell is not None)

    @property
    def _unit(self) -> int:
        """The gap between two cells; every other length but the cells' follows from it."""
        return max(2, min(self._shape) * self.scale // 32)

    @property
    def _font_size(self) -> int:
        return max(14, 5 * self._unit)

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Left, upper, right, lower pixel of a cell in the picture, right and lower excluded."""
        height, width = (side * self.scale for side in self._shape)
        wide = self._starts(self.columns)[1:]
        widest = self._starts(self.blocks)[1:]
        x = self._left + column * (width + self._unit) + 3 * self._unit * sum(s <= column for s in wide)
        x += 7 * self._unit * sum(s <= column for s in widest)
        y = self._top + row * (height + self._unit) + 3 * self._unit * sum(s <= row for s in self._starts(self.rows)[1:])
        return x, y, x + width, y + height

    def picture(self) -> Image.Image:
        """The grid as an RGB picture on white."""
        _, _, right, lower = self.box(len(self.cells) - 1, self._width - 1)
        margin = 2 * self._unit
        lines = _wrapped(self.caption, self._font_size, right - self._left)
        feet = [_text(line, self._font_size, right - self._left, FAINT) for line in lines]
        canvas = Image.new("RGB", (right + margin, lower + 2 * margin + sum(foot.height for foot in feet)), "white")
        for i, foot in enumerate(feet):
            canvas.paste(foot, (self._left, lower + margin + i * foot.height))
        for i, row in enumerate(self.cells):
            for j, cell in enumerate(row):
                if cell is not None:
                    left, upper, right, lower = self.box(i, j)
                    canvas.paste(Image.fromarray(cell).resize((right - left, lower - upper), Image.Resampling.NEAREST), (left, upper))
        self._draw_labels(canvas)
        return canvas

    @property
    def _left(self) -> int:
        return 2 * self._unit + 2 * self._font_size * any(label for label, _ in self.rows)

    @property
    def _top(self) -> int:
        return 2 * self._unit + 2 * self._font_size * (any(label for label, _ in self.blocks) + any(label for label, _ in self.columns))

    @staticmethod
    def _starts(groups: Groups) -> list[int]:
        return [0, *accumulate(n for _, n in groups)][:-1]

    def _draw_labels(self, canvas: Image.Image) -> None:
        line = 2 * self._font_size
        y = 2 * self._unit
        for groups, size, ink in ((self.blocks, int(1.15 * self._font_size), INK), (self.columns, self._font_size, FAINT)):
            if not any(label for label, _ in groups):
                continue
            for start, (label, count) in zip(self._starts(groups), groups):
                left, right = self.box(0, start)[0], self.box(0, start + count - 1)[2]
                # A heading may use the gaps beside it: a narrow group's name is often wider than its cells.
                text = _text(label, size, right - left + 2 * self._unit, ink)
                canvas.paste(text, ((left + right - text.width) // 2, y + (line - text.height) // 2))
            y += line
        if any(label for label, _ in self.rows):
            for start, (label, count) in zip(self._starts(self.rows), self.rows):
                upper, lower = self.box(start, 0)[1], self.box(start + count - 1, 0)[3]
                text = _text(label, self._font_size, lower - upper, FAINT).rotate(90, expand=True)
                canvas.paste(text, (2 * self._unit + (line - text.width) // 2, (upper + lower - text.height) // 2))


def _wrapped(text: str, size: int, width: int) -> list[str]:
    """The words of ``text`` in lines of at most ``width`` pixels where words allow it; no lines for no words."""
    font, lines = ImageFont.load_default(size), []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _text(label: str, size: int, width: int, ink: tuple[int, int, int]) -> Image.Image:
    """A line of text on white, in a smaller font or cut short where ``width`` pixels do not hold it."""
    label = _plain(label)
    font = ImageFont.load_default(size)
    while font.getlength(label) > width and size > SMALLEST_FONT:
        size -= 1
        font = ImageFont.load_default(size)
    if font.getlength(label) > width:
        while label and font.getlength(f"{label}...") > width:
            label = label[:-1]
        label += "..."
    above, below = font.getmetrics()
    picture = Image.new("RGB", (max(1, round(font.getlength(label))), above + below), "white")
    ImageDraw.Draw(picture).text((0, 0), label, font=font, fill=ink)
    return picture


def _plain(label: str) -> str:
    """What Pillow's own font can write: ASCII, accents left off, '?' for the rest."""
    folded = "".join(c for c in unicodedata.normalize("NFKD", label) if not unicodedata.combining(c))
    return folded.encode("ascii", "replace").decode("ascii")
