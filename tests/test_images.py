"""Decoding: every kind of file against pixels computed here with numpy, and every kind of damage against its message."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torchvision.transforms import Resize

from kdlib.errors import InputError
from kdlib.images import UnreadablePicture, load_image, read_picture, to_float

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (6, 5), dtype=np.uint8)


def pixels(path):
    return np.asarray(read_picture(path).rgb).astype(int)


def over_white(colour, alpha):
    alpha = alpha[..., None].astype(float)
    return (colour * alpha + 255 * (255 - alpha)) / 255


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour_type, rows):
    """A PNG written by the specification, for kinds Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp", "a.webp", "a.WebP"])
def test_lossless_formats_keep_every_pixel(tmp_path, name):
    Image.fromarray(COLOURS).save(tmp_path / name, **({"lossless": True} if "web" in name.lower() else {}))
    assert np.array_equal(pixels(tmp_path / name), COLOURS)
    loaded = load_image(tmp_path / name, 8)
    assert loaded.dtype == torch.uint8 and loaded.shape == (3, 8, 8)


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.JPG"])
def test_jpeg_is_close(tmp_path, name):
    smooth = np.zeros((16, 16, 3), np.uint8) + np.array([200, 90, 30], np.uint8)
    Image.fromarray(smooth).save(tmp_path / name, quality=95)
    assert np.abs(pixels(tmp_path / name) - smooth).max() <= 3  # flat colour: only the rounding of YCbCr and quantisation


def test_content_counts_not_the_suffix(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(pixels(tmp_path / "a.jpg"), COLOURS)
    assert read_picture(tmp_path / "a.jpg").format == "PNG"


def test_of_several_frames_the_first_counts(tmp_path):
    flat = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    flat[0].save(tmp_path / "a.webp", save_all=True, append_images=flat[1:], lossless=True)
    flat[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=flat[1:], quality=95)  # what some phones write
    for name in ("a.webp", "a.jpg"):
        assert np.abs(pixels(tmp_path / name) - (255, 0, 0)).max() <= 3  # JPEG of a flat colour, as above
    assert read_picture(tmp_path / "a.jpg").format == "MPO"


def test_colour_profiles_are_not_applied(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=profile)
    assert np.array_equal(pixels(tmp_path / "a.png"), COLOURS)


def test_grey_and_bilevel(tmp_path):
    grey = COLOURS[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey > 127).save(tmp_path / "bilevel.png")
    assert np.array_equal(pixels(tmp_path / "grey.png"), np.stack([grey] * 3, -1))
    assert np.array_equal(pixels(tmp_path / "bilevel.png"), np.stack([(grey > 127) * 255] * 3, -1))
    assert read_picture(tmp_path / "bilevel.png").mode == "1"


def test_alpha_is_laid_over_white(tmp_path):
    Image.fromarray(np.dstack([COLOURS, ALPHA])).save(tmp_path / "rgba.png")
    Image.fromarray(np.dstack([COLOURS[..., 0], ALPHA]), "LA").save(tmp_path / "la.png")
    grey = np.stack([COLOURS[..., 0]] * 3, -1)
    # 1: Pillow composites in integers and may round the other way.
    assert np.abs(pixels(tmp_path / "rgba.png") - over_white(COLOURS, ALPHA)).max() <= 1
    assert np.abs(pixels(tmp_path / "la.png") - over_white(grey, ALPHA)).max() <= 1


def test_webp_alpha_is_laid_over_white(tmp_path):
    Image.fromarray(np.dstack([COLOURS, ALPHA])).save(tmp_path / "a.webp", lossless=True, exact=True)
    assert np.abs(pixels(tmp_path / "a.webp") - over_white(COLOURS, ALPHA)).max() <= 1  # as above


def test_palette_with_and_without_transparency(tmp_path):
    palette = np.array([[255, 0, 0], [0, 200, 10], [7, 8, 9]], np.uint8)
    index = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    image = Image.fromarray(index, "P")
    image.putpalette(palette.tobytes())
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "one.png", transparency=1)
    image.save(tmp_path / "partly.png", transparency=bytes([255, 128, 0]))
    assert np.array_equal(pixels(tmp_path / "plain.png"), palette[index])
    expected = palette[index].copy()
    expected[index == 1] = 255
    assert np.array_equal(pixels(tmp_path / "one.png"), expected)
    alpha = np.array([255, 128, 0])[index]
    assert np.abs(pixels(tmp_path / "partly.png") - over_white(palette[index], alpha)).max() <= 1  # as above


def test_a_transparent_colour_becomes_white(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png", transparency=tuple(int(v) for v in COLOURS[2, 3]))
    expected = COLOURS.copy()
    expected[2, 3] = 255
    assert np.array_equal(pixels(tmp_path / "a.png"), expected)


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3)])
def test_sixteen_bits_keep_the_high_byte(tmp_path, colour_type, channels):
    ramp = np.linspace(0, 65535, 512).astype(">u2")
    rows = b"\0" + np.repeat(ramp, channels).astype(">u2").tobytes()
    (tmp_path / "a.png").write_bytes(png(512, 1, 16, colour_type, rows))
    expected = np.stack([ramp.astype(int) // 256] * 3, -1)[None]
    assert np.array_equal(pixels(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("adobe", [True, False])
def test_cmyk(tmp_path, adobe):
    """Adobe's files, which Pillow writes, hold inverted samples and an APP14 segment; without it they are read the same way."""
    patches = np.array([[0, 0, 0, 0], [255, 0, 0, 0], [0, 200, 40, 30], [90, 10, 160, 120]], np.uint8)
    cmyk = np.repeat(np.repeat(patches.reshape(2, 2, 4), 16, 0), 16, 1)  # flat in each 16 px block, hence hardly any JPEG error
    buffer = io.BytesIO()
    Image.fromarray(cmyk, "CMYK").save(buffer, "JPEG", quality=100, subsampling=0)
    data = buffer.getvalue()
    if not adobe:
        start = data.index(b"\xff\xee")
        length = struct.unpack(">H", data[start + 2 : start + 4])[0]
        data = data[:start] + data[start + 2 + length :]
    (tmp_path / "a.jpg").write_bytes(data)
    assert read_picture(tmp_path / "a.jpg").mode == "CMYK"
    ink = cmyk.astype(float)
    expected = (255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255
    assert np.abs(pixels(tmp_path / "a.jpg") - expected).max() <= 3  # JPEG quantisation at quality 100, twice rounded


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOURS).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(pixels(tmp_path / "a.png"), UPRIGHT[orientation](COLOURS))


def test_exif_orientation_of_a_jpeg_and_of_16_bits(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    block = np.zeros((16, 32, 3), np.uint8)
    block[:, 16:] = 250  # right half bright: upright, the lower half is
    Image.fromarray(block).save(tmp_path / "a.jpg", exif=exif)
    deep = RNG.integers(0, 65536, (4, 7), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png", exif=exif)
    assert np.abs(pixels(tmp_path / "a.jpg") - np.rot90(block, -1)).max() <= 3  # flat blocks, as above
    assert np.array_equal(pixels(tmp_path / "a.png")[..., 0], np.rot90(deep // 256, -1))


def test_garbled_exif_leaves_the_pixels_alone(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.webp", lossless=True, exif=b"Exif\0\0this is no TIFF header")
    assert np.array_equal(pixels(tmp_path / "a.webp"), COLOURS)


def test_resizing_is_torchvisions_and_antialiased(tmp_path):
    image = Image.fromarray(RNG.integers(0, 256, (37, 53, 3), dtype=np.uint8))
    image.save(tmp_path / "a.png")
    for size in (16, 64):
        expected = np.asarray(Resize([size, size])(image)).transpose(2, 0, 1)
        assert np.array_equal(load_image(tmp_path / "a.png", size).numpy(), expected)
    checks = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checks).save(tmp_path / "b.png")
    # A filter that covers 16 x 16 checks leaves grey; without antialiasing only black and white would come out.
    assert np.abs(load_image(tmp_path / "b.png", 8).numpy().astype(int) - 127).max() <= 2


def test_to_float_spans_minus_one_to_one():
    levels = torch.arange(256, dtype=torch.uint8)
    # 1e-6: a few float32 roundings near 1
    assert np.allclose(to_float(levels).numpy(), np.linspace(-1, 1, 256), atol=1e-6)
    assert to_float(levels).dtype == torch.float32 and levels[255] == 255


def encoded(suffix):
    buffer = io.BytesIO()
    noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    noise.save(buffer, {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP"}[suffix])
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_truncated_files_are_named(tmp_path, suffix, kept):
    path, data = tmp_path / f"cut.{suffix}", encoded(suffix)
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(UnreadablePicture, match="truncated|damaged") as error:
        load_image(path, 32)
    assert str(path) in str(error.value) and "skip_bad=True" in str(error.value)
    assert error.value.path == path and isinstance(error.value, InputError)


def test_damage_inside_a_png(tmp_path):
    data = bytearray(encoded("png"))
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(UnreadablePicture, match="damaged"):
        load_image(tmp_path / "a.png", 32)


def gif():
    buffer = io.BytesIO()
    Image.new("P", (4, 4)).save(buffer, "GIF")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty (0 bytes)"),
        (b"<html>not found</html>", "not a JPEG, PNG, WebP or BMP"),
        (gif(), "not a JPEG, PNG, WebP or BMP"),
        (b"\xff\xd8\xff", "not a JPEG, PNG, WebP or BMP"),
    ],
)
def test_files_that_are_no_pictures(tmp_path, data, reason):
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(UnreadablePicture) as error:
        load_image(tmp_path / "a.jpg", 32)
    assert reason in error.value.reason and str(tmp_path / "a.jpg") in str(error.value)


def test_missing_file_and_folder(tmp_path):
    (tmp_path / "folder.png").mkdir()
    for name in ("missing.png", "folder.png"):
        with pytest.raises(UnreadablePicture, match="cannot be opened") as error:
            load_image(tmp_path / name, 32)
        assert name in str(error.value)


@pytest.mark.parametrize("side", [10_000, 50_000])  # either side of the size at which Pillow itself refuses
def test_decompression_bomb(tmp_path, side):
    (tmp_path / "a.png").write_bytes(png(side, side, 8, 2, b""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(UnreadablePicture, match="more than 89 million pixels"):
            load_image(tmp_path / "a.png", 32)
