"""Ways between styles against closed forms; animations as Pillow and ffmpeg read them back."""

import sys

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from kdlib.errors import InputError
from kdlib.use.animation import write_animation
from kdlib.use.interpolation import great_circle, path_between


def test_straight_lines_have_equal_steps_and_meet_every_key():
    keys = np.random.default_rng(0).standard_normal((3, 5))
    path = path_between(torch.from_numpy(keys), 4).numpy()
    t = np.arange(9) / 4
    want = np.stack([np.interp(t, np.arange(3), keys[:, d]) for d in range(5)], axis=1)
    np.testing.assert_allclose(path, want, atol=1e-12)


def test_a_loop_comes_back_without_repeating_its_first_frame():
    keys = torch.eye(3, dtype=torch.float64)
    path = path_between(keys, 5, loop=True)
    assert path.shape == (15, 3)
    torch.testing.assert_close(path[::5], keys)
    torch.testing.assert_close(path[14] - path[13], path[0] - path[14])  # the step over the seam is like the one before


@pytest.mark.parametrize("count, frames, loop, length", [(2, 1, False, 2), (2, 1, True, 2), (4, 6, False, 19), (4, 6, True, 24)])
def test_how_many_frames(count, frames, loop, length):
    for spherical in (False, True):
        assert len(path_between(torch.eye(8)[:count], frames, loop, spherical)) == length


def test_on_the_sphere_angles_grow_evenly_and_lengths_stay():
    rng = np.random.default_rng(1)
    a, b = (v / np.linalg.norm(v) for v in rng.standard_normal((2, 16)))
    path = path_between(torch.from_numpy(np.stack([a, b])), 10, spherical=True).numpy()
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 1, atol=1e-12)
    whole = np.arccos(a @ b)
    np.testing.assert_allclose(np.arccos((path[:-1] * path[1:]).sum(1)), whole / 10, rtol=1e-6)
    # Shoemake's formula, evaluated by hand at a quarter of the way, for vectors of different lengths
    u, v, w = 2 * a, 3 * b, whole / 4
    got = great_circle(torch.from_numpy(u)[None], torch.from_numpy(v)[None], torch.tensor([[0.25]], dtype=torch.float64))[0].numpy()
    np.testing.assert_allclose(got, (np.sin(3 * w) * u + np.sin(w) * v) / np.sin(whole), atol=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_parallel_and_opposite_vectors_go_straight(sign):
    a = torch.linspace(-1, 2, 8)[None]
    got = great_circle(a, sign * 2 * a, torch.tensor([[0.5]]))
    torch.testing.assert_close(got, (a + sign * 2 * a) / 2)


@pytest.mark.parametrize("keys, frames, message", [
    (torch.zeros(1, 4), 3, "1 style to interpolate between: give at least two"),
    (torch.zeros(2, 4), 0, "frames = 0: at least 1"),
    (torch.zeros(2, 4), -2, "frames = -2: at least 1"),
])  # fmt: skip
def test_what_is_no_way_is_refused(keys, frames, message):
    with pytest.raises(InputError, match=message):
        path_between(keys, frames)


# ---- files


def frames_of(count, size=(32, 24)):
    """A square that moves over a gradient."""
    x = np.linspace(0, 255, size[0])
    frames = []
    for i in range(count):
        array = np.stack([np.tile(x, (size[1], 1)), np.full((size[1], size[0]), 90), np.full((size[1], size[0]), 160)], axis=-1)
        array[4:12, 2 * i : 2 * i + 8] = (250, 240, 20)
        frames.append(Image.fromarray(array.astype(np.uint8)))
    return frames


def mean_error(got, want):
    return np.mean([np.abs(np.asarray(a, float) - np.asarray(b, float)).mean() for a, b in zip(got, want, strict=True)])


@pytest.mark.parametrize("repeat", [True, False])
def test_a_gif_has_the_frames_the_rate_and_the_repetition(tmp_path, repeat):
    frames = frames_of(7)
    with Image.open(write_animation(frames, tmp_path / "a.gif", fps=8, repeat=repeat)) as gif:
        assert (gif.n_frames, gif.size, gif.info["duration"]) == (7, (32, 24), 120)  # 12.5 hundredths of a second, rounded
        assert gif.info.get("loop") == (0 if repeat else None)
        back = [frame.convert("RGB") for frame in ImageSequence.Iterator(gif)]
    assert mean_error(back, frames) < 2  # 256 colours for some 32 of them


def test_an_mp4_has_the_frames_and_the_rate(tmp_path):
    frames = frames_of(9, (48, 30))  # no multiples of 16, to which imageio-ffmpeg would resize
    path = write_animation(frames, str(tmp_path / "a.MP4"), fps=5)
    assert imageio_ffmpeg.count_frames_and_secs(str(path)) == (9, pytest.approx(9 / 5, abs=0.05))
    reader = imageio_ffmpeg.read_frames(str(path))
    about = next(reader)
    assert (about["size"], about["fps"], about["codec"]) == ((48, 30), 5, "h264")
    back = [Image.frombytes("RGB", about["size"], data) for data in reader]
    assert mean_error(back, frames) < 8  # H.264 halves the resolution of colour


@pytest.mark.parametrize("name, frames, fps, message", [
    ("a.avi", frames_of(2), 12, r"a\.avi: animations are written as \.gif or \.mp4"),
    ("a", frames_of(2), 12, r"animations are written as"),
    ("a.gif", [], 12, "no frames"),
    ("a.gif", [*frames_of(1), *frames_of(1, (8, 40))], 12, "frames of several sizes"),
    ("a.gif", frames_of(2), 0, r"fps = 0: from 0\.1 to 50"),
    ("a.gif", frames_of(2), float("nan"), "fps = nan"),
    ("a.mp4", frames_of(2), 60, "fps = 60"),
    ("a.mp4", frames_of(2, (33, 24)), 12, "frames of 33x24; an MP4 needs an even width and height"),
])  # fmt: skip
def test_what_cannot_be_written_leaves_nothing_behind(tmp_path, name, frames, fps, message):
    with pytest.raises(InputError, match=message):
        write_animation(frames, tmp_path / name, fps)
    assert not list(tmp_path.iterdir())


def test_a_missing_ffmpeg_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # what Python does for a package that is not there
    with pytest.raises(InputError, match=r"a\.mp4: MP4 needs the package imageio-ffmpeg .*; or end the name in \.gif"):
        write_animation(frames_of(2), tmp_path / "a.mp4")


def test_a_failing_ffmpeg_loses_nothing(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"old")
    with monkeypatch.context() as patch, pytest.raises(InputError, match="ffmpeg wrote 1 of 3 frames; is the disk full?"):
        patch.setattr(imageio_ffmpeg, "count_frames_and_secs", lambda path: (1, 0.1))
        write_animation(frames_of(3), tmp_path / "a.mp4")

    def broken(*_, **__):
        yield
        raise OSError("[Errno 32] Broken pipe\n\nFFMPEG COMMAND: ...")  # the form of imageio-ffmpeg's own

    monkeypatch.setattr(imageio_ffmpeg, "write_frames", broken)
    with pytest.raises(InputError, match=r"a\.mp4: ffmpeg could not write it \(\[Errno 32\] Broken pipe\)$"):
        write_animation(frames_of(3), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1
