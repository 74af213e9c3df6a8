"""Portraits turned, moved and scaled as CelebA-HQ's were, which is how its models know faces.

The landmark network finds the eyes and the corners of the mouth; one similarity transform (rotation, scale, shift) then takes
the face to where it lies in CelebA-HQ. There are two ways to say where:

* `celeba_hq_frame`, the default: the crop rectangle by which CelebA-HQ itself was made (Karras et al. 2018, appendix C). With
  eyes e, e', mouth corners m, m', x' = e' - e and y' from the middle of the mouth to the middle of the eyes: centre 0.1 |y'|
  below the eyes, side max(4.0 |x'|, 3.6 |y'|), upright along x' - rot90(y').
* `least_squares` to the mean face, where its landmarks are given (`celeba_lm_mean.npz`, released with StarGAN-v2).

StarGAN-v2's own alignment (its mode `align`) mixes the two: the rotation of the first, and the mean face's scale and centroid.
It also reduces pictures to 256 px before it turns them, and blurs what it mirrors beyond their edges; here the full picture is
turned, and the mirrored part stays sharp. Points are pairs (x, y), from the upper left corner of the upper left pixel.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import map_coordinates
from torch import Tensor

from kdlib.architecture import MASK_SIZE
from kdlib.errors import InputError
from kdlib.grids import to_uint8
from kdlib.landmark_network import LANDMARKS
from kdlib.landmarks import THRESHOLD, LandmarkMasks
from kdlib.released import load_landmarks
from kdlib.use.user_pictures import picture_items, read_one, to_square

# Of the 98 landmarks of WFLW: an eye's outline and its pupil, and the corners of the mouth; left as seen in the picture.
LEFT_EYE = (*range(60, 68), 96)
RIGHT_EYE = (*range(68, 76), 97)
LEFT_CORNER, RIGHT_CORNER = 76, 82
USED = (*LEFT_EYE, *RIGHT_EYE, LEFT_CORNER, RIGHT_CORNER)


class NoFace(InputError):
    """A picture in which the landmark network sees no face."""


@dataclass(frozen=True)
class Similarity:
    """Points z = x + iy to ``a`` z + ``b``: rotation by the angle of ``a``, scale by its modulus, shift by ``b``; never a mirror image."""

    a: complex
    b: complex

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """[... 2] -> [... 2]."""
        return _pairs(self.a * _complex(points) + self.b)

    def inverse(self) -> "Similarity":
        return Similarity(1 / self.a, -self.b / self.a)


def least_squares(points: np.ndarray, targets: np.ndarray) -> Similarity:
    """The similarity that takes points [N 2] nearest to targets [N 2], by the sum of squared distances. N at least 2, not all one point."""
    z, w = _complex(points), _complex(targets)
    centred = z - z.mean()
    a = np.vdot(centred, w - w.mean()) / np.vdot(centred, centred).real
    return Similarity(complex(a), complex(w.mean() - a * z.mean()))


def celeba_hq_frame(features: np.ndarray) -> Similarity:
    """From a picture with these features [4 2] (see `face_features`) to the square [0, 1] x [0, 1] that CelebA-HQ would show of it."""
    left_eye, right_eye, left_corner, right_corner = _complex(features)
    across = right_eye - left_eye
    up = (left_eye + right_eye - left_corner - right_corner) / 2
    centre = (left_eye + right_eye) / 2 - 0.1 * up
    upright = across + 1j * up  # y points down, so that a quarter turn of up, towards the right, is a factor of i
    a = abs(upright) / upright / max(4.0 * abs(across), 3.6 * abs(up))
    return Similarity(complex(a), complex(0.5 + 0.5j - a * centre))


def face_features(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks [98 2] -> middles of the left and the right eye, left and right corner of the mouth, [4 2]."""
    eyes = [landmarks[list(eye)].mean(axis=0) for eye in (LEFT_EYE, RIGHT_EYE)]
    return np.stack([*eyes, landmarks[LEFT_CORNER], landmarks[RIGHT_CORNER]])


def landmarks_of(heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Heatmaps [98 h w] -> points [98 2] in [0, 1] of the picture's width and height, and how strongly each responds, [98].

    The peak's place between pixels is that of a Gaussian through the peak and its two neighbours, in either direction.
    """
    channels, height, width = heatmaps.shape
    rows, columns = np.divmod(heatmaps.reshape(channels, -1).argmax(axis=1), width)
    at = np.arange(channels)
    logs = np.log(np.pad(np.maximum(heatmaps, 1e-6), ((0, 0), (1, 1), (1, 1)), mode="edge"))

    def between(below: np.ndarray, peak: np.ndarray, above: np.ndarray) -> np.ndarray:
        bend = 2 * peak - below - above
        return np.where(bend > 1e-9, (above - below) / np.maximum(2 * bend, 1e-9), 0).clip(-0.5, 0.5)

    r, c = rows + 1, columns + 1
    x = columns + 0.5 + between(logs[at, r, c - 1], logs[at, r, c], logs[at, r, c + 1])
    y = rows + 0.5 + between(logs[at, r - 1, c], logs[at, r, c], logs[at, r + 1, c])
    return np.stack([x / width, y / height], axis=1), heatmaps[at, rows, columns]


def read_mean_face(path: str | Path) -> np.ndarray:
    """Features [4 2], in the unit square, of the mean face in `celeba_lm_mean.npz`: 98 points at 256 px, under "mean"."""
    path = Path(path).expanduser()
    try:
        with np.load(path) as content:
            mean = np.asarray(content["mean"], np.float64).reshape(-1, 2)
    except (OSError, ValueError, KeyError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no .npz with an array `mean` of points"
        raise InputError(f"{path}: {reason}; give celeba_lm_mean.npz, as released with StarGAN-v2") from error
    if len(mean) != LANDMARKS or not np.isfinite(mean).all():
        raise InputError(f"{path}: its mean face has {len(mean)} points; {LANDMARKS} finite ones are needed")
    return face_features(mean) / MASK_SIZE


def cut_out(rgb: np.ndarray, frame: Similarity, size: int) -> np.ndarray:
    """What ``frame`` takes to the unit square, of a picture [H W 3] uint8 -> [size size 3] uint8, mirrored beyond its edges.

    Cubic splines; where the result is less than half as fine as the picture, that is averaged down first.
    """
    pixels = 1 / abs(frame.a) / size  # of the picture, for one of the result
    factor = max(1, int(pixels))
    if factor > 1:
        rgb = np.asarray(Image.fromarray(rgb).reduce(factor))
    centres = (np.arange(size) + 0.5) / size
    places = frame.inverse()(np.stack(np.meshgrid(centres, centres), axis=-1)) / factor - 0.5
    channels = [map_coordinates(rgb[..., c].astype(np.float32), [places[..., 1], places[..., 0]], order=3, mode="reflect") for c in range(3)]
    return np.stack(channels, axis=-1).round().clip(0, 255).astype(np.uint8)


class FaceAligner:
    """Aligns portraits to ``size`` pixels a side.

    ``landmarks``: the landmark network, or its file `wing.ckpt`; ``mean_face``: celeba_lm_mean.npz, else `celeba_hq_frame` decides.
    """

    def __init__(
        self, landmarks: str | Path | LandmarkMasks, *, size: int = MASK_SIZE, mean_face: str | Path | None = None, device: str | torch.device = "cpu"
    ):
        if not 1 <= size <= 4096:
            raise InputError(f"size = {size}: from 1 to 4096 pixels a side")
        masks = landmarks if isinstance(landmarks, LandmarkMasks) else load_landmarks(Path(landmarks).expanduser())
        self.network, self.device, self.size = masks.network.to(device), device, size
        self.mean_face = None if mean_face is None else read_mean_face(mean_face)

    def align(self, pictures: Any, fit: str = "crop") -> Image.Image | list[Image.Image]:
        """Pictures as `kdlib.use.user_pictures` reads them, of one face each -> aligned RGB pictures of ``size``, one or a list.

        The network looks at a square of 256 px, made by ``fit``: "crop" the middle, or "pad". It was trained on faces that fill the
        picture, so crop by hand first where a face is small. Raises `NoFace`, an `InputError`, where it finds none.
        """
        if fit not in ("crop", "pad"):
            raise InputError(f"fit = {fit!r}: choose crop or pad; a stretched face cannot be aligned")
        items, batch = picture_items(pictures)
        aligned = [self._align(item, f"picture {i + 1}", fit) for i, item in enumerate(items)]
        return aligned if batch else aligned[0]

    def _align(self, item: Any, name: str, fit: str) -> Image.Image:
        pixels = read_one(item, name)
        rgb = to_uint8(pixels[None])[0] if isinstance(pixels, Tensor) else np.asarray(pixels)
        height, width = rgb.shape[:2]
        points, strength = self._landmarks(to_square(pixels, MASK_SIZE, fit)[None])
        features = face_features(points)
        spread = np.abs(features - features.mean(axis=0)).max()
        if np.median(strength[list(USED)]) < THRESHOLD or spread < 1 / MASK_SIZE:
            name = item if isinstance(item, (str, Path)) else name
            raise NoFace(f"{name}: no face found; crop the picture so that one face, upright or nearly so, fills most of it")
        side = min(width, height) if fit == "crop" else max(width, height)
        features = features * side + (np.array([width, height]) - side) / 2
        frame = celeba_hq_frame(features) if self.mean_face is None else least_squares(features, self.mean_face)
        return Image.fromarray(cut_out(rgb, frame, self.size))

    @torch.no_grad()
    def _landmarks(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """A picture [1 3 256 256] in [-1, 1] -> its landmarks [98 2] in the unit square, and their strengths [98]."""
        heatmaps = self.network(x.to(self.device) * 0.5 + 0.5)[0, :LANDMARKS]
        return landmarks_of(heatmaps.cpu().double().numpy())


def _complex(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, np.float64)
    return points[..., 0] + 1j * points[..., 1]


def _pairs(z: np.ndarray) -> np.ndarray:
    return np.stack([z.real, z.imag], axis=-1)
