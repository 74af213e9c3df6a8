"""What is done to pictures before a network sees them in training: the thesis's augmentation, a warp for the style encoder.

``thesis_augmentation`` is StarGAN-v2's, which the thesis keeps: with probability 0.5 a random resized crop (scale 0.8 to 1,
ratio 0.9 to 1.1), then a horizontal flip with probability 0.5. One difference: the crop is taken from the picture at the
training size, not from the file at its own size, so that decoded pictures can be kept in memory.

``style_warp`` is not in the thesis. A style code of 64 numbers can hold a whole simple drawing, pose included; then the cycle
loss is met through the code and the source is ignored. Pictures shown to the style encoder are therefore moved at random,
so that pose is of no use in the code. The warp is differentiable, because some of those pictures come from the generator.

All randomness comes from the numpy generator that is passed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from kdlib.errors import InputError


def _check_probability(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise InputError(f"{name}={value}: give a number from 0 to 1.")


def _check_range(name: str, value: tuple[float, float], highest: float = math.inf) -> None:
    if len(value) != 2 or not 0.0 < value[0] <= value[1] <= highest:
        limit = "" if highest == math.inf else f" <= {highest}"
        raise InputError(f"{name}={value}: give two numbers (low, high) with 0 < low <= high{limit}.")


@dataclass(frozen=True)
class AugmentationSettings:
    """The thesis's augmentation. Ranges are (low, high); scale is a share of the area, ratio is width over height."""

    crop_probability: float = 0.5
    crop_scale: tuple[float, float] = (0.8, 1.0)
    crop_ratio: tuple[float, float] = (0.9, 1.1)
    flip_probability: float = 0.5

    def __post_init__(self) -> None:
        _check_probability("crop_probability", self.crop_probability)
        _check_probability("flip_probability", self.flip_probability)
        _check_range("crop_scale", self.crop_scale, highest=1.0)
        _check_range("crop_ratio", self.crop_ratio)


@dataclass(frozen=True)
class WarpSettings:
    """The random movement of pictures shown to the style encoder.

    ``strength`` scales the whole movement: 0 leaves pictures as they are, 1 is what the other fields say.
    """

    rotation: float = 25.0  # degrees, at most, either way
    scale: tuple[float, float] = (0.8, 1.25)  # above 1 enlarges; uniform in its logarithm
    shift: float = 0.15  # share of the picture's side, at most, either way, along each axis
    flip_probability: float = 0.5
    strength: float = 1.0
    padding: str = "reflection"  # what fills the border: "reflection" or "border"

    def __post_init__(self) -> None:
        _check_probability("flip_probability", self.flip_probability)
        _check_probability("strength", self.strength)
        _check_range("scale", self.scale)
        if not (0.0 <= self.rotation <= 180.0 and 0.0 <= self.shift <= 1.0):
            raise InputError(
                f"rotation={self.rotation}, shift={self.shift}: give a rotation from 0 to 180 degrees and a shift from 0 to 1."
            )
        if self.padding not in ("reflection", "border"):
            raise InputError(f'padding={self.padding!r}: use "reflection" or "border".')


def thesis_augmentation(
    image: torch.Tensor, rng: np.random.Generator, settings: AugmentationSettings = AugmentationSettings()
) -> torch.Tensor:
    """One picture uint8 ``[3 H W]`` on the CPU to another of the same size: perhaps cropped and enlarged, perhaps mirrored.

    The result may be a view of ``image``.
    """
    return augment(image, *draw_augmentation(*image.shape[-2:], rng, settings))


def draw_augmentation(
    height: int, width: int, rng: np.random.Generator, settings: AugmentationSettings = AugmentationSettings()
) -> tuple[tuple[int, int, int, int] | None, bool]:
    """What happens to one picture: the crop (see ``draw_crop``) or None, and whether it is mirrored."""
    crop = None
    if rng.random() < settings.crop_probability:
        crop = draw_crop(height, width, rng, settings.crop_scale, settings.crop_ratio)
    return crop, bool(rng.random() < settings.flip_probability)


def augment(image: torch.Tensor, crop: tuple[int, int, int, int] | None, flip: bool) -> torch.Tensor:
    """Do what ``draw_augmentation`` has drawn. In numpy: torch would mirror a large picture with a team of threads."""
    pixels = image.numpy()
    if crop is not None:
        top, left, height, width = crop
        cut = Image.fromarray(pixels.transpose(1, 2, 0)).crop((left, top, left + width, top + height))
        pixels = np.array(cut.resize(pixels.shape[:0:-1], Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    return torch.from_numpy(pixels[..., ::-1].copy() if flip else pixels)


def draw_crop(
    height: int, width: int, rng: np.random.Generator, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Draw (top, left, height, width) in pixels as ``torchvision.transforms.RandomResizedCrop`` defines it.

    The area is uniform in ``scale``, the ratio uniform in its logarithm; a crop that does not fit is drawn again, ten times at
    most, after which the largest central crop with an allowed ratio is taken.
    """
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(log_low, log_high))
        crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(rng.integers(height - crop_height + 1))
            left = int(rng.integers(width - crop_width + 1))
            return top, left, crop_height, crop_width
    crop_width = min(width, round(height * ratio[1]))
    crop_height = min(height, round(width / ratio[0]))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def style_warp(images: torch.Tensor, rng: np.random.Generator, settings: WarpSettings = WarpSettings()) -> torch.Tensor:
    """Move every picture of a batch ``[N 3 H H]`` at random: rotation, scale, shift, flip. Differentiable.

    At strength 0 the batch itself is returned.
    """
    if settings.strength == 0.0:
        return images
    return affine_warp(images, draw_warps(len(images), rng, settings), settings.padding)


def draw_warps(count: int, rng: np.random.Generator, settings: WarpSettings = WarpSettings()) -> torch.Tensor:
    """Draw one affine map per picture, float32 ``[N 2 3]`` on the CPU, in ``affine_grid``'s convention.

    A map takes a place in the result to the place in the source it is read from; coordinates run from -1 to 1 over the
    picture, so a shift of 15 % of the side is 0.3.
    """
    strength = settings.strength
    angle = np.deg2rad(settings.rotation) * strength * rng.uniform(-1.0, 1.0, count)
    log_scale = strength * rng.uniform(math.log(settings.scale[0]), math.log(settings.scale[1]), count)
    shift = 2.0 * settings.shift * strength * rng.uniform(-1.0, 1.0, (count, 2))
    mirror = np.where(rng.random(count) < settings.flip_probability * strength, -1.0, 1.0)
    cosine, sine = np.cos(angle) * np.exp(-log_scale), np.sin(angle) * np.exp(-log_scale)
    maps = np.stack(
        [
            np.stack([cosine * mirror, -sine, shift[:, 0]], axis=1),
            np.stack([sine * mirror, cosine, shift[:, 1]], axis=1),
        ],
        axis=1,
    )
    return torch.from_numpy(maps.astype(np.float32))


def affine_warp(images: torch.Tensor, maps: torch.Tensor, padding: str = "reflection") -> torch.Tensor:
    """Read square pictures ``[N 3 H H]`` through affine maps ``[N 2 3]`` (see ``draw_warps``), bilinearly. Differentiable.

    Reflection is about the outer edge of the border pixels. On CUDA the gradient towards the pictures is summed in no fixed
    order, as for any ``grid_sample``.
    """
    if images.ndim != 4 or images.shape[-1] != images.shape[-2] or maps.shape != (len(images), 2, 3):
        raise InputError(
            f"images {list(images.shape)} with maps {list(maps.shape)}: need square pictures [N 3 H H] and one map each "
            f"[N 2 3]."
        )
    precise = torch.promote_types(images.dtype, torch.float32)  # places in bfloat16 would be off by whole pixels
    grid = F.affine_grid(maps.to(images.device, precise), list(images.shape), align_corners=False)
    moved = F.grid_sample(images.to(precise), grid, mode="bilinear", padding_mode=padding, align_corners=False)
    return moved.to(images.dtype)
