"""Pictures as people bring them, against Pillow's own transforms and plain arithmetic."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from kdlib.errors import InputError
from kdlib.images import load_image
from kdlib.use.user_pictures import picture_files, read_one, read_squares

SIZE = 16
ROUNDING = 1 / 127.5 + 1e-6  # one 8-bit level in [-1, 1]: Pillow rounds after each of its two passes, a tensor is never rounded


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def smooth(height, width):
    y, x = np.mgrid[0:1:height * 1j, 0:1:width * 1j]
    return np.stack([255 * x, 255 * y, 127 + 100 * np.sin(5 * x + 3 * y)], axis=-1).astype(np.uint8)


def levels(square):
    """[3 H W] in [-1, 1] -> [H W 3] in 0..255."""
    return ((square.numpy() + 1) * 127.5).round().astype(int).transpose(1, 2, 0)


def only(given, size=SIZE, fit="crop"):
    squares, batch = read_squares(given, size, fit)
    assert not batch and len(squares) == 1
    return squares[0]


# ---- geometry


@pytest.mark.parametrize("shape", [(40, 40), (40, 64), (64, 40)])
def test_crop_is_the_middle_square_resized(shape):
    rgb = Image.fromarray(noise(*shape))
    left, top = (rgb.width - 40) // 2, (rgb.height - 40) // 2
    want = rgb.crop((left, top, left + 40, top + 40)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(levels(only(rgb)), np.asarray(want))


@pytest.mark.parametrize("shape, turn", [((32, 64), False), ((64, 32), True)])
def test_pad_keeps_everything_between_white_bars(shape, turn):
    rgb = Image.fromarray(noise(*shape))
    square, want = levels(only(rgb, 16, "pad")), np.asarray(ImageOps.pad(rgb, (16, 16), Image.Resampling.BILINEAR, "white"))
    if turn:
        square, want = square.swapaxes(0, 1), want.swapaxes(0, 1)
    # A result's pixel is a mean over 8 of the source's, so that the one nearest to a bar has some of its white.
    np.testing.assert_array_equal(square[5:11], want[5:11])
    assert (square[:3] == 255).all() and (square[13:] == 255).all() and (want[:4] == 255).all()


def test_stretch_is_what_training_does(tmp_path):
    Image.fromarray(noise(30, 50)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(levels(only(tmp_path / "a.png", fit="stretch")), load_image(tmp_path / "a.png", SIZE).permute(1, 2, 0))


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(48, 48), (48, 64), (64, 48)])
def test_tensors_and_floats_go_the_way_of_pictures(fit, shape):
    array = smooth(*shape)
    picture = only(Image.fromarray(array), fit=fit)
    tensor = torch.from_numpy(array / np.float32(127.5) - 1).permute(2, 0, 1)
    assert (only(tensor, fit=fit) - picture).abs().max() <= 2 * ROUNDING
    assert (only(array / 255, fit=fit) - picture).abs().max() <= 2 * ROUNDING


def test_a_tensor_of_the_model_s_size_is_not_touched():
    x = torch.rand(3, SIZE, SIZE) * 2 - 1
    for fit in ("crop", "pad", "stretch"):
        assert torch.equal(only(x, fit=fit), x)
    assert not torch.equal(only(x.half()), x) and (only(x.half()) - x).abs().max() < 1e-3  # float16 keeps 11 bits


# ---- kinds


def test_alpha_is_laid_over_white():
    rgba = noise(SIZE, SIZE, 4)
    alpha = rgba[..., 3:] / 255
    want = rgba[..., :3] * alpha + 255 * (1 - alpha)
    for given in (rgba, Image.fromarray(rgba), rgba / 255):
        assert np.abs(levels(only(given)) - want).max() <= 1  # Pillow's alpha_composite rounds


@pytest.mark.parametrize("make", [
    lambda grey: Image.fromarray(grey),
    lambda grey: grey,
    lambda grey: grey / 255,
    lambda grey: Image.fromarray(grey.astype(np.uint16) * 256),  # 16 bits
])  # fmt: skip
def test_grey_gets_three_equal_channels(make):
    grey = noise(SIZE, SIZE)[..., 0]
    np.testing.assert_array_equal(levels(only(make(grey))), np.repeat(grey[..., None], 3, axis=2))


def test_cmyk_by_pillow_s_formula():
    cmyk = noise(SIZE, SIZE, 4).astype(int)
    got = levels(only(Image.fromarray(cmyk.astype(np.uint8), "CMYK")))
    want = (255 - cmyk[..., :3]) * (255 - cmyk[..., 3:]) / 255
    assert np.abs(got - want).max() <= 1  # Pillow computes in whole numbers


def test_exif_orientation_is_applied_to_files_and_to_opened_pictures(tmp_path):
    upright = noise(SIZE, SIZE)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned by a quarter to the left
    Image.fromarray(np.rot90(upright)).save(tmp_path / "a.png", exif=exif)
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.open(tmp_path / "a.png")):
        np.testing.assert_array_equal(levels(only(given)), upright)


# ---- batches


def test_folders_lists_and_leading_axes_are_batches(tmp_path):
    arrays = np.stack([noise(SIZE, SIZE, seed=i) for i in range(3)])
    for name, array in zip(("b.png", "c.JPG", "a.png"), arrays):
        Image.fromarray(array).save(tmp_path / name, "png")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "below").mkdir()
    assert [path.name for path in picture_files(tmp_path)] == ["a.png", "b.png", "c.JPG"]
    assert picture_files(tmp_path / "nothing.png") == [tmp_path / "nothing.png"]  # not looked for
    want = arrays[[2, 0, 1]]
    tensor = torch.from_numpy(want / np.float32(127.5) - 1).permute(0, 3, 1, 2)
    mixed = (tmp_path / "a.png", want[1], tensor[2])
    for given in (tmp_path, str(tmp_path), want, tensor, list(want), [want[:1], want[1:]], mixed, (x for x in want), [tmp_path / "a.png", want[1:]]):
        squares, batch = read_squares(given, SIZE)
        assert batch
        np.testing.assert_array_equal([levels(x) for x in squares], want)
    assert read_squares(want[0], SIZE)[1] is False
    for given in ([want[0]], want[:1], (want[0],)):
        squares, batch = read_squares(given, SIZE)
        assert batch and squares.shape == (1, 3, SIZE, SIZE)


def test_one_picture_keeps_its_size(tmp_path):
    Image.fromarray(noise(20, 30)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_one(tmp_path / "a.png"), noise(20, 30))
    assert read_one(torch.zeros(3, 20, 30)).shape == (3, 20, 30)


# ---- what is refused


def damaged(tmp_path):
    data = io.BytesIO()
    Image.fromarray(noise(64, 64)).save(data, "png")
    (tmp_path / "damaged.png").write_bytes(data.getvalue()[:2000])
    return tmp_path / "damaged.png"


def text(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    return tmp_path / "text.png"


def empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


@pytest.mark.parametrize("make, message", [
    (lambda t: t / "photo.png", r"photo\.png: the file cannot be opened \(No such file"),
    (text, r"text\.png: the content is not a JPEG, PNG, WebP or BMP picture"),
    (damaged, r"damaged\.png: the picture is truncated or damaged"),
    (lambda t: Image.open(damaged(t)), r"damaged\.png: "),
    (empty_folder, "empty: no pictures in this folder"),
    (lambda t: [], "no pictures given"),
    (lambda t: np.zeros((3, 20, 20), np.uint8), r"shape \[3, 20, 20\]; arrays are \[H W\]"),
    (lambda t: np.zeros((0, 20, 3), np.uint8), r"shape \[0, 20, 3\]"),
    (lambda t: np.zeros((20, 20, 3), np.int64), "an array of int64; give uint8"),
    (lambda t: np.full((20, 20, 3), -0.5), r"values from -0\.5 to -0\.5; arrays of floats are in 0 to 1"),
    (lambda t: np.full((20, 20, 3), 200.0), "values from 200 to 200"),
    (lambda t: np.full((20, 20, 3), np.nan), "values from nan"),
    (lambda t: torch.zeros(20, 20, 3), r"a tensor of shape \[20, 20, 3\]; tensors are \[3 H W\]"),
    (lambda t: torch.zeros(3, 20, 20, dtype=torch.uint8), r"a tensor of torch\.uint8; give floats"),
    (lambda t: torch.full((3, 20, 20), 2.0), r"values from 2 to 2; tensors are in -1 to 1"),
    (lambda t: 7, "a int is no picture"),
    (lambda t: [np.zeros((20, 20, 3), np.uint8), None], "picture 2: a NoneType is no picture"),
    (lambda t: Image.new("F", (4, 4)), "pixels of kind F"),
])  # fmt: skip
def test_what_is_no_picture_is_refused_in_one_line(tmp_path, make, message):
    with pytest.raises(InputError, match=message) as caught:
        read_squares(make(tmp_path), SIZE)
    assert "\n" not in str(caught.value)


def test_every_unreadable_file_is_named(tmp_path):
    Image.fromarray(noise(8, 8)).save(tmp_path / "good.png")
    for i in range(25):
        (tmp_path / f"{i:02}.png").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        read_squares(tmp_path, SIZE)
    lines = str(caught.value).splitlines()
    assert lines[0] == "25 of 26 pictures cannot be read:" and lines[-1] == "- ... and 5 more" and len(lines) == 22
    assert lines[1] == f"- {tmp_path / '00.png'}: the file is empty (0 bytes)"


def test_another_fit_is_refused():
    with pytest.raises(InputError, match="fit = 'squeeze': choose one of crop, pad, stretch"):
        only(noise(8, 8), fit="squeeze")
