"""Draws a Critter: flat shapes in face coordinates, painted large with Pillow and averaged down.

Face coordinates: the origin is the middle of the head, one unit is the head's radius, x points to the picture's right and y
down. Every shape is a polygon moved to the picture by one similarity (turn by the tilt, scale by the size, shift to x, y), so a
factor changes the drawing smoothly. All shapes are mirror images of themselves: flipping a picture left to right gives exactly
the critter with x -> 1 - x, tilt -> -tilt, gaze -> -gaze.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from kdlib.critters import Critter

Colour = tuple[float, float, float]  # RGB in [0, 1]

INK: Colour = (0.13, 0.09, 0.11)
WHITE: Colour = (0.98, 0.96, 0.93)
PINK: Colour = (0.95, 0.62, 0.62)
THROAT: Colour = (0.42, 0.08, 0.12)
TONGUE: Colour = (0.93, 0.45, 0.47)
MIRROR = np.array([-1.0, 1.0])
LINE = 0.07  # outline width, in head radii


class Anatomy(NamedTuple):
    """What differs between the species' eyes and mouths, in head radii (angles in degrees)."""

    eye_centre: tuple[float, float]
    eye_radii: tuple[float, float]
    eye_slant: float
    pupil_radii: tuple[float, float]
    pupil_travel: float
    nose_centre: tuple[float, float]
    nose_radii: tuple[float, float]
    mouth_top: float
    mouth_half_width: float
    mouth_depth: float


ANATOMY = {
    "cat": Anatomy((0.44, -0.08), (0.29, 0.30), 0, (0.10, 0.22), 0.17, (0, 0.33), (0.11, 0.08), 0.46, 0.26, 0.50),
    "dog": Anatomy((0.37, -0.25), (0.25, 0.27), 0, (0.13, 0.14), 0.12, (0, 0.22), (0.24, 0.16), 0.54, 0.32, 0.56),
    "fox": Anatomy((0.44, -0.02), (0.30, 0.22), 16, (0.11, 0.18), 0.16, (0, 0.60), (0.15, 0.11), 0.77, 0.22, 0.46),
}


def mix(first: Colour, second: Colour, amount: float) -> Colour:
    """`first` at amount 0, `second` at amount 1."""
    return tuple(a + (b - a) * amount for a, b in zip(first, second, strict=True))


def eight_bit(colour: Colour) -> tuple[int, int, int]:
    """RGB in [0, 1] to the nearest 8-bit colour."""
    return tuple(round(255 * channel) for channel in colour)


def ellipse(centre: tuple[float, float], radii: tuple[float, float], slant: float = 0.0) -> np.ndarray:
    """[48 2] points of an ellipse whose axes are turned clockwise by `slant` degrees."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    points = np.stack([radii[0] * np.cos(angle), radii[1] * np.sin(angle)], axis=1)
    return points @ rotation(slant).T + np.asarray(centre)


def rotation(degrees: float) -> np.ndarray:
    """[2 2] matrix that turns points clockwise as seen on the picture (y points down)."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cos, -sin], [sin, cos]])


def closed_curve(points: list[tuple[float, float]]) -> np.ndarray:
    """A closed Catmull-Rom spline through the points, eight samples between two of them."""
    p1 = np.asarray(points, dtype=float)
    p0, p2, p3 = np.roll(p1, 1, axis=0), np.roll(p1, -1, axis=0), np.roll(p1, -2, axis=0)
    t = (np.arange(8) / 8)[None, :, None]
    p0, p1, p2, p3 = (p[:, None, :] for p in (p0, p1, p2, p3))
    curve = 2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    return (curve / 2).reshape(-1, 2)


def symmetric_curve(right_half: list[tuple[float, float]]) -> np.ndarray:
    """A closed curve from its right half, which runs from the middle of the top to the middle of the bottom."""
    return closed_curve(right_half + [(-x, y) for x, y in reversed(right_half[1:-1])])


def ear(inner: tuple[float, float], tip: tuple[float, float], outer: tuple[float, float], bulge: float) -> np.ndarray:
    """A pointed ear: two bowed sides that meet in the tip."""
    inner, tip, outer = (np.asarray(point) for point in (inner, tip, outer))
    middle = (inner + outer) / 2
    t = np.linspace(0, 1, 12)[:, None]
    sides = []
    for start, end in ((inner, tip), (tip, outer)):
        chord = (start + end) / 2
        bend = chord + bulge * (chord - middle) / np.linalg.norm(chord - middle)
        sides.append((1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end)
    return np.concatenate(sides)


def shrunk(points: np.ndarray, factor: float, towards: tuple[float, float]) -> np.ndarray:
    """The shape scaled about a point."""
    return np.asarray(towards) + factor * (points - np.asarray(towards))


@lru_cache(maxsize=1)
def shapes() -> dict[str, np.ndarray]:
    """The fixed outlines, [points 2] in face coordinates; names ending in _r are the right one of a pair."""
    cat_ear = ear((0.16, -0.70), (0.80, -1.42), (1.00, -0.18), 0.10)
    fox_ear = ear((0.12, -0.60), (0.82, -1.58), (1.02, -0.05), 0.10)
    return {
        "cat_head": symmetric_curve(
            [(0, -0.80), (0.45, -0.80), (0.86, -0.50), (1.05, 0.0), (1.10, 0.38), (0.84, 0.66), (0.45, 0.87), (0, 0.92)]
        ),
        "cat_ear_r": cat_ear,
        "cat_ear_inside_r": shrunk(cat_ear, 0.60, (0.64, -0.62)),
        "cat_crown": ear((-0.11, -0.82), (0.0, -0.26), (0.11, -0.82), 0.02),
        "cat_crown_r": ear((0.24, -0.84), (0.27, -0.42), (0.44, -0.80), 0.02),
        "cat_cheek_high_r": ear((1.10, 0.06), (0.70, 0.26), (1.14, 0.24), 0.02),
        "cat_cheek_low_r": ear((1.08, 0.40), (0.66, 0.44), (0.98, 0.58), 0.02),
        "cat_muzzle_r": ellipse((0.19, 0.50), (0.29, 0.24)),
        "dog_head": symmetric_curve(
            [(0, -0.92), (0.5, -0.86), (0.82, -0.52), (0.88, 0.0), (0.80, 0.45), (0.62, 0.84), (0.3, 1.02), (0, 1.05)]
        ),
        "dog_ear_r": closed_curve(
            [(0.42, -0.90), (0.86, -0.94), (1.20, -0.52), (1.38, 0.15), (1.26, 0.66), (0.98, 0.62), (0.84, 0.10), (0.74, -0.42)]
        ),
        "dog_muzzle": symmetric_curve([(0, 0.02), (0.32, 0.10), (0.58, 0.42), (0.56, 0.78), (0.28, 1.0), (0, 1.03)]),
        "dog_patch_r": closed_curve(
            [(0.14, -0.86), (0.52, -0.84), (0.78, -0.5), (0.85, -0.06), (0.70, 0.22), (0.40, 0.16), (0.15, -0.16), (0.10, -0.5)]
        ),
        "fox_head": symmetric_curve(
            [(0, -0.74), (0.42, -0.74), (0.80, -0.42), (1.00, 0.02), (1.28, 0.40), (0.84, 0.62), (0.46, 0.84), (0.20, 1.10), (0, 1.15)]
        ),
        "fox_ear_r": fox_ear,
        "fox_ear_inside_r": shrunk(fox_ear, 0.60, (0.66, -0.60)),
        "fox_ear_tip_r": shrunk(fox_ear, 0.45, (0.82, -1.58)),
        "fox_cheek_r": closed_curve(
            [(0.02, 1.12), (0.06, 0.86), (0.20, 0.52), (0.46, 0.30), (0.84, 0.28), (1.24, 0.39), (0.82, 0.60), (0.44, 0.82), (0.18, 1.07)]
        ),
        "fox_mask_r": closed_curve([(0.08, 0.50), (0.12, 0.02), (0.36, -0.34), (0.82, -0.38), (0.86, 0.02), (0.46, 0.32), (0.20, 0.54)]),
    }


class Canvas:
    """Paints polygons given in face coordinates on a picture `scale` times larger than the one asked for."""

    def __init__(self, critter: Critter, image_size: int):
        # Four samples a pixel and side at least; small pictures get more, so that 32 px and 64 px show the same drawing.
        self.scale = max(4, -(-256 // image_size))
        self.image_size = image_size
        side = image_size * self.scale
        self.image = _background(critter.background_rgb, side)
        self._draw = ImageDraw.Draw(self.image)
        self._unit = critter.size * side
        self._linear = rotation(critter.tilt).T * self._unit
        # Pillow's pixel centres lie on whole numbers; the picture's middle is therefore (side - 1) / 2.
        self._origin = np.array([critter.x, critter.y]) * side - 0.5

    def _place(self, points: np.ndarray) -> list[tuple[float, float]]:
        return [tuple(point) for point in (points @ self._linear + self._origin).tolist()]

    def fill(self, points: np.ndarray, colour: Colour, outline: Colour | None = None) -> None:
        """Fill a shape; with `outline`, draw a line of width LINE centred on its border first."""
        placed = self._place(points)
        if outline is not None:
            self._draw.line(placed + placed[:2], fill=eight_bit(outline), width=max(1, round(LINE * self._unit)), joint="curve")
        self._draw.polygon(placed, fill=eight_bit(colour))

    def pair(self, points: np.ndarray, colour: Colour, outline: Colour | None = None) -> None:
        """Fill a shape and its mirror image."""
        self.fill(points, colour, outline)
        self.fill(points * MIRROR, colour, outline)

    def stroke(self, points: np.ndarray, colour: Colour, width: float) -> None:
        """An open line, `width` in head radii."""
        self._draw.line(self._place(points), fill=eight_bit(colour), width=max(1, round(width * self._unit)), joint="curve")

    def finished(self) -> Image.Image:
        """The picture at the size asked for: the plain mean of scale x scale samples."""
        return self.image.reduce(self.scale)


def _background(colour: Colour, side: int) -> Image.Image:
    """A soft vertical gradient: exactly `colour` in the upper half, down to 82 % of it at the lower edge."""
    fade = 1 - 0.18 * np.clip(np.arange(side) / (side - 1) * 2 - 1, 0, 1)
    rows = np.rint(255 * np.asarray(colour)[None, :] * fade[:, None]).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(rows[:, None, :], (side, side, 3))))


def draw_critter(critter: Critter, image_size: int) -> Image.Image:
    """The critter as an RGB picture of image_size x image_size pixels."""
    canvas = Canvas(critter, image_size)
    {"cat": _cat, "dog": _dog, "fox": _fox}[critter.species](canvas, critter)
    return canvas.finished()


def _tones(critter: Critter) -> tuple[Colour, Colour, Colour, Colour]:
    """Fur, its outline, its lighter shade, and the colour of the markings (the fur itself when their amount is 0)."""
    fur = critter.fur_rgb
    dark = mix(fur, INK, 0.82)
    return fur, mix(fur, INK, 0.62), mix(fur, WHITE, 0.72), mix(fur, dark, critter.markings)


def _cat(canvas: Canvas, critter: Critter) -> None:
    part, anatomy = shapes(), ANATOMY["cat"]
    fur, line, light, marking = _tones(critter)
    canvas.pair(part["cat_ear_r"], fur, line)
    canvas.pair(part["cat_ear_inside_r"], PINK)
    _jaw(canvas, critter, anatomy, light, line)
    canvas.fill(part["cat_head"], fur, line)
    canvas.fill(part["cat_crown"], marking)
    for name in ("cat_crown_r", "cat_cheek_high_r", "cat_cheek_low_r"):
        canvas.pair(part[name], marking)
    canvas.pair(part["cat_muzzle_r"], light)
    _mouth(canvas, critter, anatomy)
    canvas.fill(ellipse(anatomy.nose_centre, anatomy.nose_radii), mix(PINK, THROAT, 0.25))
    for height in (0.30, 0.50, 0.70):
        whisker = np.array([(0.46, 0.42 + 0.35 * (height - 0.42)), (1.36, height)])
        canvas.stroke(whisker, line, 0.035)
        canvas.stroke(whisker * MIRROR, line, 0.035)
    _eyes(canvas, critter, anatomy)


def _dog(canvas: Canvas, critter: Critter) -> None:
    part, anatomy = shapes(), ANATOMY["dog"]
    fur, line, light, marking = _tones(critter)
    _jaw(canvas, critter, anatomy, light, line)
    canvas.fill(part["dog_head"], fur, line)
    canvas.pair(part["dog_patch_r"], marking)
    canvas.fill(part["dog_muzzle"], light)
    canvas.pair(part["dog_ear_r"], mix(fur, INK, 0.30), line)
    _mouth(canvas, critter, anatomy)
    canvas.fill(ellipse(anatomy.nose_centre, anatomy.nose_radii), INK)
    _eyes(canvas, critter, anatomy)


def _fox(canvas: Canvas, critter: Critter) -> None:
    part, anatomy = shapes(), ANATOMY["fox"]
    fur, line, light, marking = _tones(critter)
    canvas.pair(part["fox_ear_r"], fur, line)
    canvas.pair(part["fox_ear_tip_r"], marking)
    canvas.pair(part["fox_ear_inside_r"], mix(fur, INK, 0.55))
    _jaw(canvas, critter, anatomy, WHITE, line)
    canvas.fill(part["fox_head"], fur, line)
    canvas.pair(part["fox_mask_r"], marking)
    canvas.pair(part["fox_cheek_r"], mix(light, WHITE, 0.75))
    _mouth(canvas, critter, anatomy)
    canvas.fill(ellipse(anatomy.nose_centre, anatomy.nose_radii), INK)
    _eyes(canvas, critter, anatomy)


def _eyes(canvas: Canvas, critter: Critter, anatomy: Anatomy) -> None:
    """Eyes filled with the iris colour; the pupils move sideways with the gaze, +1 being the picture's right at tilt 0."""
    for side in (1, -1):
        x, y = anatomy.eye_centre[0] * side, anatomy.eye_centre[1]
        canvas.fill(ellipse((x, y), anatomy.eye_radii, -side * anatomy.eye_slant), critter.eye_rgb, INK)
        pupil = (x + anatomy.pupil_travel * critter.gaze, y)
        canvas.fill(ellipse(pupil, anatomy.pupil_radii), INK)
        canvas.fill(ellipse((pupil[0], pupil[1] - 0.08), (0.045, 0.05)), WHITE)


def _jaw(canvas: Canvas, critter: Critter, anatomy: Anatomy, colour: Colour, line: Colour) -> None:
    """The lower jaw behind the head; it shows below the chin when the mouth is wide open."""
    bottom = anatomy.mouth_top + anatomy.mouth_depth * critter.mouth + 0.14
    middle = (anatomy.mouth_top + bottom) / 2
    canvas.fill(ellipse((0, middle), (anatomy.mouth_half_width * 1.15, bottom - middle)), colour, line)


def _mouth(canvas: Canvas, critter: Critter, anatomy: Anatomy) -> None:
    """A w-shaped lip line under the nose and, below it, the opening with a tongue."""
    width, top, depth = anatomy.mouth_half_width, anatomy.mouth_top, anatomy.mouth_depth * critter.mouth
    x = np.linspace(-1, 1, 33)
    lip = np.stack([width * x, top + 0.07 * np.abs(np.sin(np.pi * x))], axis=1)
    lower = np.stack([width * x, top + np.maximum(depth * np.sqrt(1 - x**2), lip[:, 1] - top)], axis=1)
    canvas.fill(np.concatenate([lip, lower[::-1]]), THROAT)
    canvas.fill(ellipse((0, top + 0.70 * depth), (0.58 * width, 0.25 * depth)), TONGUE)
    canvas.stroke(lip, INK, 0.055)
    canvas.stroke(np.array([anatomy.nose_centre, (0.0, top)]), INK, 0.055)
