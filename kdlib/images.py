"""Decoding one picture file into RGB, and the square picture the networks see.

The thesis trains on tidy RGB JPEGs (CelebA-HQ, AFHQ) and needs no rules for anything else; what people bring is less tidy.
The rules here, each held by a test:

- Files are recognised by content, not by suffix: JPEG, PNG, WebP, BMP. Of an animation the first frame is used.
- Grey pictures get three equal channels. Samples of 16 bits keep their high byte, as Pillow does for 16-bit colour.
- Transparency (alpha, a transparent palette entry or colour) is laid over white, which is what a page would show.
- CMYK follows Pillow: samples are taken to be inverted, as Adobe writes them, whether or not the file says so; then
  R = (255 - C) (255 - K) / 255 and so on. Colour profiles are not applied.
- The EXIF orientation is applied, so that a picture is upright as in any viewer.
- Resizing to a square is what torchvision's ``Resize([size, size])`` does to a PIL picture: bilinear with antialiasing, the
  aspect ratio given up.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose

from kdlib.errors import InputError

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")  # JPEG opens MPO, as some phones write it, too
MAX_PIXELS = 2**30 // 12  # 89 million, Pillow's own limit; a file that claims more is a mistake or a decompression bomb

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_PLAIN_MODES = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"})


class UnreadablePicture(InputError):
    """A file with a picture's suffix that cannot be decoded. ``path`` is the file, ``reason`` says why in a few words."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}. Replace or delete the file, or leave it out with skip_bad=True.")
        self.path = Path(path)
        self.reason = reason


@dataclass(frozen=True)
class Picture:
    """A decoded file. ``rgb`` is upright, mode RGB, at its stored size; ``format`` and ``mode`` are those of the file."""

    rgb: Image.Image
    format: str
    mode: str


def is_picture_name(path: Path) -> bool:
    """Whether the file's suffix, in either case, promises a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def read_bytes(path: Path | str) -> bytes:
    """The file's bytes. Raises :class:`UnreadablePicture` if it is missing, empty or may not be read."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UnreadablePicture(path, f"the file cannot be opened ({error.strerror or error})") from error
    if not data:
        raise UnreadablePicture(path, "the file is empty (0 bytes)")
    return data


def decode(data: bytes, path: Path | str) -> Picture:
    """Decode the bytes of one picture file into upright RGB; ``path`` only names it in errors.

    Raises :class:`UnreadablePicture` for truncated or damaged data, for anything but the formats above, and for a picture of
    more than ``MAX_PIXELS``.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as stored:
            if stored.width * stored.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            return Picture(upright_rgb(stored), stored.format or "", stored.mode)
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        reason = "the content is not a JPEG, PNG, WebP or BMP picture, or damaged at its beginning"
        raise UnreadablePicture(path, reason) from error
    except Image.DecompressionBombError as error:
        reason = f"it claims more than {MAX_PIXELS // 10**6} million pixels, far more than any picture used here"
        raise UnreadablePicture(path, reason) from error
    except Exception as error:  # on damaged data Pillow's decoders raise nearly anything: OSError, SyntaxError, struct.error
        raise UnreadablePicture(path, f"the picture is truncated or damaged ({error})") from error


def read_picture(path: Path | str) -> Picture:
    """Read and decode one file. Raises :class:`UnreadablePicture`."""
    return decode(read_bytes(path), path)


def square(rgb: Image.Image, image_size: int) -> torch.Tensor:
    """An RGB picture of any size as uint8 ``[3 image_size image_size]`` in 0..255 (bilinear, antialiased)."""
    if rgb.size != (image_size, image_size):
        rgb = rgb.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(rgb).transpose(2, 0, 1).copy())


def load_image(path: Path | str, image_size: int) -> torch.Tensor:
    """One file as uint8 ``[3 image_size image_size]``. Raises :class:`UnreadablePicture`."""
    return square(read_picture(path).rgb, image_size)


def to_float(images: torch.Tensor) -> torch.Tensor:
    """uint8 in 0..255 of any shape to float32 in [-1, 1], the range of every network here."""
    return images.float() / 127.5 - 1.0


def upright_rgb(image: Image.Image) -> Image.Image:
    """A Pillow picture of any supported mode as RGB, turned by its EXIF orientation. Raises ValueError for other modes."""
    rgb, method = _to_rgb(image), _UPRIGHT.get(_orientation(image))
    return rgb if method is None else rgb.transpose(method)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255, which turns nearly every 16-bit picture white.
        high_byte = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return Image.fromarray(high_byte).convert("RGB")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    if image.mode in _PLAIN_MODES:
        return image.convert("RGB")
    raise ValueError(f"pixels of kind {image.mode} are not supported")


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # a garbled EXIF block raises nearly anything; it says nothing about orientation, and the pixels are fine
        return 1
