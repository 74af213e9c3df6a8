"""The thesis's augmentation against torchvision and Pillow, the style warp against scipy and exact cases."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional

from kdlib.augmentation import (
    AugmentationSettings,
    WarpSettings,
    affine_warp,
    draw_crop,
    draw_warps,
    style_warp,
    thesis_augmentation,
)
from kdlib.errors import InputError

THESIS = AugmentationSettings()
DRAWS = 4000


def picture(seed=0, side=48):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (3, side, side), dtype=np.uint8))


def batch(seed=0, count=4, side=16, dtype=torch.float32):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2 - 1


def test_settings_are_the_thesis_ones():
    assert dataclasses.astuple(THESIS) == (0.5, (0.8, 1.0), (0.9, 1.1), 0.5)


def test_crops_are_distributed_as_torchvisions():
    rng, side = np.random.default_rng(1), 64
    ours = np.array([draw_crop(side, side, rng, THESIS.crop_scale, THESIS.crop_ratio) for _ in range(DRAWS)])
    with torch.random.fork_rng():
        torch.manual_seed(1)
        image = torch.empty(3, side, side)
        theirs = np.array([RandomResizedCrop.get_params(image, [0.8, 1.0], [0.9, 1.1]) for _ in range(DRAWS)])
    top, left, height, width = ours.T
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= side).all() and (left + width <= side).all()
    # Rounding each side to a whole pixel moves it by 0.5 / 54 of itself at most: 64 px * sqrt(0.8 * 0.9) is 54.3.
    slack = 2 * 0.5 / 54
    assert (height * width >= 0.8 * side**2 * (1 - slack)).all()
    assert (width / height >= 0.9 * (1 - slack)).all() and (width / height <= 1.1 * (1 + slack)).all()
    for column in (*range(4), "area"):
        a, b = (x.T[2] * x.T[3] if column == "area" else x.T[column] for x in (ours, theirs))
        assert stats.ks_2samp(a, b).pvalue > 1e-4, column  # fixed seeds; by chance below 1e-4 once in 2,000 choices of them


@pytest.mark.parametrize("size", [(10, 100), (100, 10), (33, 37)])
@pytest.mark.parametrize("ratio", [(0.9, 1.1), (1.5, 1.6)])
def test_a_crop_that_never_fits_is_central(size, ratio):
    scale = (5.0, 6.0)  # five times the area: no draw can fit
    expected = RandomResizedCrop.get_params(torch.empty(3, *size), list(scale), list(ratio))
    assert draw_crop(*size, np.random.default_rng(0), scale, ratio) == expected


def test_augmentation_is_crop_resize_flip():
    """The same draws carried out by torchvision's tensor code."""
    kinds = set()
    for seed in range(40):
        image, rng = picture(seed), np.random.default_rng(seed)
        expected = image
        cropped = rng.random() < 0.5
        if cropped:
            top, left, height, width = draw_crop(48, 48, rng, (0.8, 1.0), (0.9, 1.1))
            expected = functional.resized_crop(image, top, left, height, width, [48, 48])
        flipped = rng.random() < 0.5
        if flipped:
            expected = functional.hflip(expected)
        result = thesis_augmentation(image, np.random.default_rng(seed))
        assert result.dtype == torch.uint8 and result.shape == image.shape
        # 1: torchvision's and Pillow's integer resizing may round differently; an untouched picture must be exact.
        assert (result.int() - expected.int()).abs().max() <= (1 if cropped else 0)
        kinds.add((cropped, flipped))
    assert len(kinds) == 4


def test_half_are_cropped_and_half_are_flipped():
    image, rng = torch.zeros(3, 16, 16, dtype=torch.uint8), np.random.default_rng(2)
    image[:, :, :8] = 200  # mirrored or not is seen on its left edge
    image[:, 0] = 100  # whether the first row survives whole tells a crop, nearly always
    flips = sum(int(thesis_augmentation(image, rng)[0, 8, 0]) < 100 for _ in range(DRAWS))
    only_crop = dataclasses.replace(THESIS, flip_probability=0.0, crop_scale=(0.8, 0.81))
    crops = sum(not torch.equal(thesis_augmentation(image, rng, only_crop), image) for _ in range(DRAWS))
    five_sigma = 5 * np.sqrt(DRAWS / 4)
    assert abs(flips - DRAWS / 2) < five_sigma and abs(crops - DRAWS / 2) < five_sigma


def test_augmentation_can_be_switched_off():
    off = AugmentationSettings(crop_probability=0.0, flip_probability=0.0)
    assert all(torch.equal(thesis_augmentation(picture(), np.random.default_rng(s), off), picture()) for s in range(20))


@pytest.mark.parametrize(
    ("settings", "values", "message"),
    [
        (AugmentationSettings, {"crop_probability": 1.5}, "crop_probability=1.5"),
        (AugmentationSettings, {"flip_probability": -0.1}, "flip_probability=-0.1"),
        (AugmentationSettings, {"crop_scale": (0.0, 1.0)}, "crop_scale"),
        (AugmentationSettings, {"crop_scale": (0.8, 1.2)}, "<= 1.0"),
        (AugmentationSettings, {"crop_ratio": (1.1, 0.9)}, "low <= high"),
        (WarpSettings, {"strength": 2.0}, "strength=2.0"),
        (WarpSettings, {"scale": (0.8,)}, "scale"),
        (WarpSettings, {"shift": -1.0}, "shift=-1.0"),
        (WarpSettings, {"padding": "zeros"}, "reflection"),
    ],
)
def test_impossible_settings(settings, values, message):
    with pytest.raises(InputError, match=message):
        settings(**values)


# Bilinear weights of exact cases come from coordinates rounded in float32, about 16 px * 6e-8 off; colours span 2.
EXACT = 1e-5


def test_exact_warps():
    images = batch()
    maps = {
        "identity": ([[1, 0, 0], [0, 1, 0]], images),
        "flip": ([[-1, 0, 0], [0, 1, 0]], images.flip(-1)),
        # reads (x, y) from (-y, x): what lies on the right edge goes to the bottom edge, a quarter turn clockwise
        "turn": ([[0, 1, 0], [-1, 0, 0]], torch.rot90(images, -1, (2, 3))),
    }
    for name, (matrix, expected) in maps.items():
        result = affine_warp(images, torch.tensor(matrix, dtype=torch.float32).expand(4, 2, 3))
        assert torch.allclose(result, expected, atol=EXACT), name
    shifted = affine_warp(images, torch.tensor([[1, 0, 2 * 3 / 16], [0, 1, -2 * 2 / 16]]).expand(4, 2, 3))
    assert torch.allclose(shifted[:, :, 2:, :13], images[:, :, :14, 3:], atol=EXACT)  # reads 3 px right, 2 px up


@pytest.mark.parametrize(("padding", "mode"), [("reflection", "reflect"), ("border", "nearest")])
def test_random_warps_against_scipy(padding, mode):
    side, images = 16, batch(dtype=torch.float64)
    maps = draw_warps(4, np.random.default_rng(3), WarpSettings(rotation=60, shift=0.4)).double()
    result = affine_warp(images, maps, padding).numpy()
    centres = (2 * np.arange(side) + 1) / side - 1
    y, x = np.meshgrid(centres, centres, indexing="ij")
    for image, matrix, warped in zip(images.numpy(), maps.numpy(), result):
        source_x, source_y = (row[0] * x + row[1] * y + row[2] for row in matrix)
        places = [((source + 1) * side - 1) / 2 for source in (source_y, source_x)]
        expected = [ndimage.map_coordinates(channel, places, order=1, mode=mode) for channel in image]
        assert np.abs(warped - expected).max() < 1e-9  # both in float64


def parts(maps):
    """Angle (degrees), scale, shift in shares of the side and mirroring of affine maps."""
    linear = maps[:, :, :2].double().numpy()
    mirrored = np.linalg.det(linear) < 0
    linear[mirrored, :, 0] *= -1
    scale = 1 / np.sqrt(np.linalg.det(linear))
    rotation = linear * scale[:, None, None]
    assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(2), atol=1e-5)  # no shear; maps are float32
    return np.rad2deg(np.arctan2(linear[:, 1, 0], linear[:, 0, 0])), scale, maps[:, :, 2].numpy() / 2, mirrored


@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_warps_fill_their_ranges_evenly(strength):
    maps = draw_warps(DRAWS, np.random.default_rng(4), WarpSettings(strength=strength))
    assert maps.dtype == torch.float32 and maps.shape == (DRAWS, 2, 3)
    angle, scale, shift, mirrored = parts(maps)
    uniform = {
        "angle": angle / (25 * strength),
        "scale": (np.log(scale) / strength - np.log(0.8)) / np.log(1.25 / 0.8) * 2 - 1,
        "x": shift[:, 0] / (0.15 * strength),
        "y": shift[:, 1] / (0.15 * strength),
    }
    for name, value in uniform.items():
        assert np.abs(value).max() <= 1 + 1e-4, name  # float32
        assert stats.kstest(value, stats.uniform(-1, 2).cdf).pvalue > 1e-4, name  # fixed seed, as above
    rate = 0.5 * strength
    assert abs(mirrored.sum() - DRAWS * rate) < 5 * np.sqrt(DRAWS * rate * (1 - rate))  # five sigma


def test_a_scale_above_one_enlarges():
    images = -torch.ones(1, 3, 32, 32)
    images[:, :, 12:20, 12:20] = 1.0
    twice = WarpSettings(rotation=0, scale=(2.0, 2.0), shift=0, flip_probability=0)
    area = (style_warp(images, np.random.default_rng(0), twice)[0, 0] > 0).sum()
    assert area == 16 * 16


def test_every_picture_moves_its_own_way_and_repeatably():
    same = batch(count=1).expand(8, -1, -1, -1)
    first = style_warp(same, np.random.default_rng(5))
    assert torch.equal(first, style_warp(same, np.random.default_rng(5)))
    assert len({tuple(image.flatten().tolist()) for image in first}) == 8
    assert first.abs().max() <= 1.0


def test_strength_zero_is_the_identity():
    images = batch()
    still = WarpSettings(strength=0.0)
    assert torch.equal(style_warp(images, np.random.default_rng(0), still), images)
    maps = draw_warps(4, np.random.default_rng(0), still)
    assert torch.equal(maps, torch.eye(2, 3).expand(4, 2, 3))


def test_gradients_reach_the_pictures():
    images = batch(count=2, side=6, dtype=torch.float64).requires_grad_()
    maps = draw_warps(2, np.random.default_rng(6))
    assert torch.autograd.gradcheck(lambda x: affine_warp(x, maps), images)
    assert torch.autograd.gradcheck(lambda x: affine_warp(x, maps, "border"), images)


def test_half_precision_pictures_are_placed_as_precisely():
    images = batch(side=64)
    maps = draw_warps(4, np.random.default_rng(7))
    result = affine_warp(images.bfloat16(), maps)
    assert result.dtype == torch.bfloat16
    # 2 * 2**-9: input and output are each rounded to 8 bits of mantissa; wrong places would show as differences near 1
    assert (result.float() - affine_warp(images, maps)).abs().max() < 2 * 2**-8


def test_shapes_are_checked():
    with pytest.raises(InputError, match="square pictures"):
        affine_warp(torch.zeros(2, 3, 8, 6), torch.zeros(2, 2, 3))
    with pytest.raises(InputError, match="one map each"):
        affine_warp(torch.zeros(2, 3, 8, 8), torch.zeros(3, 2, 3))
