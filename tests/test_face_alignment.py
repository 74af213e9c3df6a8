"""Alignment of faces: similarity transforms against numpy's least squares and Umeyama's, crops against the rule as it was published,
and whole pictures against where their coloured dots must come out."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from kdlib.errors import InputError
from kdlib.landmarks import LandmarkMasks
from kdlib.use import face_alignment
from kdlib.use.face_alignment import (
    FaceAligner,
    NoFace,
    Similarity,
    celeba_hq_frame,
    cut_out,
    face_features,
    landmarks_of,
    least_squares,
    read_mean_face,
)

FACE = np.array([[60.0, 70.0], [140.0, 76.0], [70.0, 150.0], [128.0, 156.0]])  # eyes, corners of the mouth; slightly turned


def rotated(points, degrees, scale=1.0, shift=(0.0, 0.0)):
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ turn.T + shift


# ---- similarity transforms


def test_least_squares_finds_a_similarity_that_there_is():
    got = least_squares(FACE, rotated(FACE, 33, 0.4, (5, -8)))
    assert abs(got.a) == pytest.approx(0.4) and np.degrees(np.angle(got.a)) == pytest.approx(33)
    np.testing.assert_allclose(got(FACE), rotated(FACE, 33, 0.4, (5, -8)), atol=1e-9)
    np.testing.assert_allclose(got.inverse()(got(FACE)), FACE, atol=1e-9)


def linear_solution(points, targets):
    """u = p x - q y + r, v = q x + p y + s, solved by numpy as linear equations in p, q, r, s."""
    x, y = points.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    p, q, r, s = np.linalg.lstsq(rows, targets.T.ravel(), rcond=None)[0]
    return np.stack([p * x - q * y + r, q * x + p * y + s], axis=1)


def umeyama(points, targets):
    """Umeyama 1991: rotation from the singular vectors of the covariance, without reflection."""
    p, t = points - points.mean(0), targets - targets.mean(0)
    u, d, vt = np.linalg.svd(t.T @ p / len(p))
    sign = np.diag([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    scale = np.trace(np.diag(d) @ sign) / (p**2).sum(1).mean()
    return scale * p @ (u @ sign @ vt).T + targets.mean(0)


@pytest.mark.parametrize("seed", range(3))
def test_least_squares_agrees_with_two_other_solutions(seed):
    points, targets = np.random.default_rng(seed).standard_normal((2, 6, 2))
    got = least_squares(points, targets)(points)
    np.testing.assert_allclose(got, linear_solution(points, targets), atol=1e-9)
    np.testing.assert_allclose(got, umeyama(points, targets), atol=1e-9)


# ---- CelebA-HQ's rule


def test_an_upright_face_comes_to_lie_where_the_rule_puts_it():
    # Eyes 90 apart, mouth 100 below: 4.0 * 90 = 3.6 * 100 = 360 is the side, and the centre lies 10 below the eyes.
    face = np.array([[155.0, 200.0], [245.0, 200.0], [170.0, 300.0], [230.0, 300.0]])
    got = celeba_hq_frame(face)(face)
    want = [[0.375, 0.5 - 10 / 360], [0.625, 0.5 - 10 / 360], [0.5 - 30 / 360, 0.75], [0.5 + 30 / 360, 0.75]]
    np.testing.assert_allclose(got, want, atol=1e-12)


def published_corners(face):
    """Corners of the crop rectangle, in real vectors, from the text of Karras et al. 2018, appendix C."""
    e0, e1, m0, m1 = face
    x = e1 - e0
    y = (e0 + e1) / 2 - (m0 + m1) / 2
    centre = (e0 + e1) / 2 - 0.1 * y
    side = max(4.0 * np.hypot(*x), 3.6 * np.hypot(*y))
    right = x - np.array([y[1], -y[0]])  # a quarter turn of y, which points up, to the left
    right /= np.hypot(*right)
    down = np.array([-right[1], right[0]])
    return np.array([centre + side / 2 * (a * right + b * down) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))])


@pytest.mark.parametrize("face", [FACE, rotated(FACE, -40), rotated(FACE, 170, 3, (900, 40)), FACE * [1, 0.6], FACE * [0.5, 1]])
def test_the_frame_takes_the_published_crop_to_the_unit_square(face):
    np.testing.assert_allclose(celeba_hq_frame(face)(published_corners(face)), [[0, 0], [1, 0], [1, 1], [0, 1]], atol=1e-9)


def test_however_a_photo_is_turned_the_face_comes_out_the_same():
    want = celeba_hq_frame(FACE)(FACE)
    for degrees, scale in ((10, 1), (-75, 0.3), (181, 7)):
        moved = rotated(FACE, degrees, scale, (30, 50))
        np.testing.assert_allclose(celeba_hq_frame(moved)(moved), want, atol=1e-9)


# ---- landmarks


def test_peaks_are_found_between_pixels():
    rng = np.random.default_rng(0)
    places = rng.uniform(2, 62, (98, 2))  # in heatmap pixels, (x, y)
    y, x = np.mgrid[0:64, 0:64] + 0.5
    maps = np.exp(-((x - places[:, 0, None, None]) ** 2 + (y - places[:, 1, None, None]) ** 2) / (2 * 1.5**2)) * rng.uniform(0.3, 1, (98, 1, 1))
    points, strength = landmarks_of(maps)
    np.testing.assert_allclose(points, places / 64, atol=1e-6)  # a Gaussian is what the formula is exact for
    np.testing.assert_array_equal(strength, maps.max(axis=(1, 2)))


@pytest.mark.parametrize("row, column", [(0, 0), (63, 63), (0, 30)])
def test_a_peak_at_the_border_stays_in_its_pixel(row, column):
    maps = np.full((98, 64, 64), -0.2)  # heatmaps have no final ReLU
    maps[:, row, column] = 0.8
    points, _ = landmarks_of(maps)
    assert np.abs(points * 64 - [column + 0.5, row + 0.5]).max() <= 0.5
    if (row, column) == (0, 30):
        assert points[0, 0] * 64 == pytest.approx(30.5)


def test_features_are_middles_of_the_eyes_and_corners_of_the_mouth():
    landmarks = np.random.default_rng(0).uniform(0, 256, (98, 2))
    left, right = [60, 61, 62, 63, 64, 65, 66, 67, 96], [68, 69, 70, 71, 72, 73, 74, 75, 97]
    want = [landmarks[left].mean(0), landmarks[right].mean(0), landmarks[76], landmarks[82]]
    np.testing.assert_allclose(face_features(landmarks), want)


def test_the_mean_face_is_read_in_parts_of_256_pixels(tmp_path):
    mean = np.random.default_rng(1).uniform(0, 256, (98, 2)).astype(np.float32)
    np.savez(tmp_path / "mean.npz", mean=mean)
    np.testing.assert_allclose(read_mean_face(tmp_path / "mean.npz"), face_features(mean.astype(float)) / 256)
    np.savez(tmp_path / "short.npz", mean=mean[:68])
    np.savez(tmp_path / "other.npz", std=mean)
    (tmp_path / "text.npz").write_text("hello")
    for name, message in (("short", "68 points; 98"), ("other", "no .npz with an array `mean`"), ("text", "no .npz"), ("none", "No such file")):
        with pytest.raises(InputError, match=f"{name}.npz: .*{message}"):
            read_mean_face(tmp_path / f"{name}.npz")


# ---- cutting out


def waves(x, y):
    """A smooth picture as a formula: [... 3] at points in pixels."""
    return np.stack([127 + 100 * np.sin(x / 9), 127 + 100 * np.cos(y / 11), 127 + 60 * np.sin((x + y) / 13)], axis=-1)


def pixels(width, height, function=waves):
    y, x = np.mgrid[0:height, 0:width] + 0.5
    return function(x, y).round().astype(np.uint8)


def test_what_is_cut_out_is_the_picture_at_the_transformed_places():
    frame = Similarity(complex(np.exp(0.3j) / 80), complex(0.1 - 0.4j))
    size = 64
    centres = (np.arange(size) + 0.5) / size
    places = frame.inverse()(np.stack(np.meshgrid(centres, centres), axis=-1))
    inside = (places > 3).all(-1) & (places < [197, 147]).all(-1)
    assert inside.mean() > 0.5
    got = cut_out(pixels(200, 150), frame, size).astype(float)
    # Twice half a level of rounding, and what splines miss of waves some 60 pixels long.
    assert np.abs(got - waves(places[..., 0], places[..., 1]))[inside].max() <= 1.5


def test_the_whole_picture_cut_out_is_itself_and_beyond_its_edges_it_is_mirrored():
    rgb = pixels(40, 40)
    np.testing.assert_array_equal(cut_out(rgb, Similarity(1 / 40, 0), 40), rgb)
    wider = cut_out(rgb, Similarity(1 / 60, complex(1 / 6, 1 / 6)), 60)
    want = np.stack([np.pad(rgb[..., c], 10, mode="symmetric") for c in range(3)], axis=-1)
    assert np.abs(wider.astype(int) - want).max() <= 1


def test_a_large_photo_is_averaged_down():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (240, 240, 3), dtype=np.uint8)
    want = rgb.reshape(60, 4, 60, 4, 3).mean(axis=(1, 3))
    assert np.abs(cut_out(rgb, Similarity(1 / 240, 0), 60) - want).max() <= 1


# ---- whole pictures

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 0, 255]])  # left eye, right eye, left corner, right corner
PARTS = [[*range(60, 68), 96], [*range(68, 76), 97], [76], [82]]


def photo(points, width, height, radius=6):
    """A grey picture with a coloured dot at each of four points."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    array = np.full((height, width, 3), 128.0)
    for (px, py), colour in zip(points, COLOURS):
        cover = np.clip(radius + 0.5 - np.hypot(x - px, y - py), 0, 1)[..., None]
        array = array * (1 - cover) + colour * cover
    return array.round().astype(np.uint8)


def dots(picture):
    """Centres of the four coloured dots of a picture, in pixels."""
    array = np.asarray(picture, float)
    y, x = np.mgrid[0 : array.shape[0], 0 : array.shape[1]] + 0.5
    centres = []
    for colour in COLOURS:
        weight = np.clip(1 - np.abs(array - colour).max(axis=-1) / 100, 0, None)
        centres.append([(x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()])
    return np.array(centres)


class Dots(nn.Module):
    """Stands for the landmark network: heatmaps [N 99 64 64] that respond to the dots' colours, in [N 3 256 256] in [0, 1]."""

    def forward(self, x):
        maps = torch.zeros(len(x), 99, 64, 64)
        for colour, part in zip(torch.tensor(COLOURS / 255, dtype=torch.float32), PARTS):
            near = (1 - (x - colour[:, None, None]).abs().amax(dim=1, keepdim=True) / 0.4).clamp(min=0)
            maps[:, part] = nn.functional.avg_pool2d(near, 8, 4, 2)
        return maps


@pytest.mark.parametrize("fit, width, height", [("crop", 300, 420), ("pad", 420, 300), ("crop", 256, 256), ("crop", 900, 800)])
@pytest.mark.parametrize("degrees", [0, 25, -50])
def test_a_turned_face_comes_out_upright_and_in_its_place(fit, width, height, degrees):
    scale = min(width, height) / 256
    face = rotated(FACE - FACE.mean(0), degrees, 0.7 * scale, (width / 2, height / 2))
    aligned = FaceAligner(LandmarkMasks(Dots()), size=320).align(photo(face, width, height, 6 * scale), fit)
    assert aligned.size == (320, 320)
    # A pixel of the stand-in's 64 is some 6 of these; it finds dots to within a fraction of it.
    assert np.abs(dots(aligned) - 320 * celeba_hq_frame(face)(face)).max() < 2.5


def test_the_mean_face_can_be_the_aim(tmp_path):
    mean = np.random.default_rng(2).uniform(0, 256, (98, 2))
    aim = np.array([[95.0, 115], [160, 115], [105, 185], [152, 185]])
    for part, point in zip(PARTS, aim):
        mean[part] = point
    np.savez(tmp_path / "mean.npz", mean=mean)
    face = rotated(FACE, 20, 0.8, (70, 20))
    aligned = FaceAligner(LandmarkMasks(Dots()), mean_face=tmp_path / "mean.npz").align(photo(face, 256, 256))
    assert np.abs(dots(aligned) - umeyama(face, aim)).max() < 2


def test_batches_come_back_as_lists():
    aligner = FaceAligner(LandmarkMasks(Dots()), size=64)
    one = photo(FACE, 256, 256)
    assert isinstance(aligner.align(one), Image.Image)
    together = aligner.align([one, Image.fromarray(one), torch.from_numpy(one / np.float32(127.5) - 1).permute(2, 0, 1)])
    for picture in together:
        np.testing.assert_array_equal(picture, aligner.align(one))


def test_what_cannot_be_aligned_is_refused(tmp_path):
    aligner = FaceAligner(LandmarkMasks(Dots()))
    Image.new("RGB", (300, 300), "gray").save(tmp_path / "wall.png")
    with pytest.raises(NoFace, match="wall.png: no face found; crop the picture"):
        aligner.align(tmp_path / "wall.png")
    with pytest.raises(NoFace, match="no face found"):  # everything in one place is no face
        aligner.align(photo(np.full((4, 2), 100.0), 256, 256))
    with pytest.raises(InputError, match="fit = 'stretch': choose crop or pad"):
        aligner.align(tmp_path / "wall.png", fit="stretch")
    with pytest.raises(InputError, match="size = 0"):
        FaceAligner(LandmarkMasks(Dots()), size=0)
    with pytest.raises(InputError, match="wing.ckpt"):
        FaceAligner(tmp_path / "wing.ckpt")


def test_the_network_is_read_from_its_file(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(face_alignment, "load_landmarks", lambda path: asked.append(path) or SimpleNamespace(network=Dots()))
    FaceAligner(tmp_path / "wing.ckpt")
    assert asked == [tmp_path / "wing.ckpt"]
