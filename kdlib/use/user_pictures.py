"""Pictures as people have them, made into what the networks see: files, folders, Pillow pictures, arrays, tensors.

========================  ===============================================  =====================================================
what                      shape                                            values
========================  ===============================================  =====================================================
path (str or Path)        a file; a folder stands for the pictures in it   as `kdlib.images` decodes them
PIL.Image.Image           any size, any mode `kdlib.images` knows          the EXIF orientation is applied, alpha laid over white
numpy array of uint8      [H W], [H W 3], [H W 4] (alpha)                  0 to 255
numpy array of floats     the same                                         0 to 1
torch tensor of floats    [3 H W]                                          -1 to 1, as networks give and take them
========================  ===============================================  =====================================================

A list or tuple of these is a batch, and so is an array or tensor with a leading N. Anything else is refused, not guessed at.
Arrays of floats and tensors are never rounded to 8 bits. Not in the thesis, whose pictures are square files of one size.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from kdlib.errors import InputError
from kdlib.images import PICTURE_SUFFIXES, UnreadablePicture, is_picture_name, read_picture, square, to_float, upright_rgb

FITS = ("crop", "pad", "stretch")
RANGE_TOLERANCE = 1e-3  # how far floats may leave their range: sums of float16 do, by less
NAMED = 20  # so many problems are named in one error


class UnreadableFile(InputError):
    """A picture's file that is not there or cannot be decoded; the message names it and says why."""


def read_squares(given: Any, image_size: int, fit: str = "crop") -> tuple[Tensor, bool]:
    """All of ``given`` (see the table above) as [N 3 image_size image_size] in [-1, 1], and whether it was a batch.

    ``fit``: "crop" keeps the largest square in the middle, "pad" keeps everything between white bars, "stretch" gives the aspect
    ratio up, as is done in training. Resized bilinearly with antialiasing; a tensor [3 image_size image_size] comes out as it is.
    Pictures are read one after the other, so that a folder of photographs need not fit into memory.
    Raises `InputError` naming every file that cannot be read, and for anything that is no picture or could be read in two ways.
    """
    if fit not in FITS:
        raise InputError(f"fit = {fit!r}: choose one of {', '.join(FITS)}")
    items, batch = picture_items(given)
    squares, unreadable = [], []
    for i, item in enumerate(items):
        try:
            squares.append(to_square(read_one(item, f"picture {i + 1}"), image_size, fit))
        except UnreadableFile as error:
            unreadable.append(str(error))
    if unreadable:
        raise InputError(summary(unreadable, len(items), "cannot be read"))
    return torch.stack(squares), batch


def summary(problems: list[str], count: int, what: str) -> str:
    """One problem by itself; several, of ``count`` pictures, as a list."""
    if len(problems) == 1:
        return problems[0]
    more = [f"... and {len(problems) - NAMED} more"] if len(problems) > NAMED else []
    return "\n- ".join([f"{len(problems)} of {count} pictures {what}:", *problems[:NAMED], *more])


def picture_files(place: str | Path) -> list[Path]:
    """The file, or the pictures in the folder, sorted by name; hidden ones and folders inside are passed over.

    Raises `InputError` for a folder without pictures; a file is not looked for.
    """
    place = Path(place).expanduser()
    if not place.is_dir():
        return [place]
    files = sorted(path for path in place.iterdir() if path.is_file() and is_picture_name(path) and not path.name.startswith("."))
    if not files:
        raise InputError(f"{place}: no pictures in this folder ({', '.join(sorted(PICTURE_SUFFIXES))})")
    return files


def picture_items(given: Any) -> tuple[list, bool]:
    """What is to be read one by one, and whether it was a batch; nothing is opened. Raises `InputError` for an empty batch."""
    if isinstance(given, (str, Path)) and Path(given).expanduser().is_dir():
        return picture_files(given), True
    if isinstance(given, (np.ndarray, Tensor)) and given.ndim == 4:
        items = list(given)
    elif isinstance(given, Iterable) and not isinstance(given, (str, Path, Image.Image, np.ndarray, Tensor)):
        items = [inner for item in given for inner in picture_items(item)[0]]
    else:
        return [given], False
    if not items:
        raise InputError("no pictures given: the batch is empty")
    return items, True


def read_one(item: Any, name: str = "picture") -> Image.Image | Tensor:
    """One picture, upright, at its own size: RGB, or a tensor [3 H W] in [-1, 1]. ``name``: of one without a file, in errors.

    Raises `UnreadableFile`, or `InputError` for what is no picture.
    """
    if isinstance(item, (str, Path)):
        try:
            return read_picture(Path(item).expanduser()).rgb
        except UnreadablePicture as error:
            raise UnreadableFile(f"{error.path}: {error.reason}") from error
    if isinstance(item, Image.Image):
        try:
            return upright_rgb(item)
        except (OSError, ValueError) as error:  # a file that Pillow has opened but not yet read may turn out damaged
            raise InputError(f"{getattr(item, 'filename', '') or name}: {error}") from error
    if isinstance(item, np.ndarray):
        return _from_array(item, name)
    if isinstance(item, Tensor):
        return _from_tensor(item, name)
    raise InputError(f"{name}: a {type(item).__name__} is no picture; give a path, a PIL image, an array [H W 3] or a tensor [3 H W]")


def _from_array(array: np.ndarray, name: str) -> Image.Image | Tensor:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or array.size == 0:
        raise InputError(f"{name}: an array of shape {list(array.shape)}; arrays are [H W], [H W 3] or [H W 4], with N before for a batch")
    if array.dtype == np.uint8:
        return upright_rgb(Image.fromarray(array))
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{name}: an array of {array.dtype}; give uint8 in 0 to 255 or floats in 0 to 1")
    values = torch.from_numpy(array.astype(np.float32))
    _check_range(values, 0, name, "arrays of floats")
    if values.ndim == 2:
        values = values[..., None].expand(-1, -1, 3)
    if values.shape[2] == 4:
        alpha = values[..., 3:]
        values = values[..., :3] * alpha + (1 - alpha)
    return (values.permute(2, 0, 1) * 2 - 1).clamp(-1, 1)


def _from_tensor(tensor: Tensor, name: str) -> Tensor:
    if tensor.ndim != 3 or tensor.shape[0] != 3 or tensor.numel() == 0:
        raise InputError(f"{name}: a tensor of shape {list(tensor.shape)}; tensors are [3 H W] or [N 3 H W]")
    if not tensor.is_floating_point():
        raise InputError(f"{name}: a tensor of {tensor.dtype}; give floats in -1 to 1, such as x / 127.5 - 1")
    values = tensor.detach().cpu().float()
    _check_range(values, -1, name, "tensors")
    return values


def _check_range(values: Tensor, low: float, name: str, what: str) -> None:
    least, most = values.min().item(), values.max().item()
    if not (low - RANGE_TOLERANCE <= least and most <= 1 + RANGE_TOLERANCE):  # so written, NaN fails too
        raise InputError(f"{name}: values from {least:.4g} to {most:.4g}; {what} are in {low} to 1")


def to_square(pixels: Image.Image | Tensor, size: int, fit: str = "crop") -> Tensor:
    """What `read_one` gives -> [3 size size] in [-1, 1]; ``fit`` as in `read_squares`."""
    width, height = pixels.size if isinstance(pixels, Image.Image) else (pixels.shape[2], pixels.shape[1])
    side = {"crop": min, "pad": max, "stretch": lambda *_: 0}[fit](width, height)
    left, top = (width - side) // 2, (height - side) // 2  # of the square, negative for bars
    if isinstance(pixels, Image.Image):
        if side and (width, height) != (side, side):
            whole, pixels = pixels, Image.new("RGB", (side, side), "white")
            pixels.paste(whole, (-left, -top))
        return to_float(square(pixels, size))
    if side:
        pixels = F.pad(pixels, (-left, side - width + left, -top, side - height + top), value=1.0)  # a negative width cuts
    if pixels.shape[1:] == (size, size):
        return pixels
    return F.interpolate(pixels[None], size=(size, size), mode="bilinear", antialias=True)[0]
