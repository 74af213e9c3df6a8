"""Frames written as an animated GIF (Pillow) or an MP4 with H.264 (the package imageio-ffmpeg, which brings ffmpeg along)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from kdlib.errors import InputError
from kdlib.files import write_atomically

ANIMATIONS = (".gif", ".mp4")
FASTEST = 50  # frames a second: a GIF counts in hundredths, and viewers slow down what asks for less than two


def write_animation(frames: Sequence[Image.Image], path: str | Path, fps: float = 12, repeat: bool = True) -> Path:
    """Write RGB ``frames`` of one size at ``fps`` frames a second; returns the path. The file appears whole or not at all.

    A GIF repeats for ever unless ``repeat`` is False; each frame has 256 colours of its own, and lasts a whole number of
    hundredths of a second. An MP4 needs an even width and height.
    Raises `InputError` for another ending than .gif or .mp4, no frames or frames of several sizes, an ``fps`` out of range, and
    an MP4 where imageio-ffmpeg is missing or fails.
    """
    path, frames = Path(path), list(frames)
    check_animation_name(path)
    if not frames:
        raise InputError(f"{path}: no frames to write")
    if len({frame.size for frame in frames}) > 1:
        raise InputError(f"{path}: frames of several sizes, {sorted({frame.size for frame in frames})}; an animation needs one")
    if not 0.1 <= fps <= FASTEST:
        raise InputError(f"fps = {fps}: from 0.1 to {FASTEST} frames a second")
    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    write_atomically(path, lambda temporary: write(frames, temporary, path, fps, repeat))
    return path


def check_animation_name(path: Path) -> None:
    """Raise `InputError` unless the file can be written as an animation here: by its ending, and by what is installed."""
    ending = path.suffix.lower()
    if ending not in ANIMATIONS:
        raise InputError(f"{path}: animations are written as {' or '.join(ANIMATIONS)}; end the name in one of them")
    if ending == ".mp4":
        _ffmpeg(path)


def _write_gif(frames: list[Image.Image], temporary: Path, path: Path, fps: float, repeat: bool) -> None:
    indexed = [frame.quantize(256) for frame in frames]
    again = {"loop": 0} if repeat else {}
    indexed[0].save(temporary, "gif", save_all=True, append_images=indexed[1:], duration=10 * round(100 / fps), **again)


def _write_mp4(frames: list[Image.Image], temporary: Path, path: Path, fps: float, repeat: bool) -> None:
    size = frames[0].size
    if size[0] % 2 or size[1] % 2:
        raise InputError(f"{path}: frames of {size[0]}x{size[1]}; an MP4 needs an even width and height, give another size")
    ffmpeg = _ffmpeg(path)
    # The temporary file's ending says nothing, hence -f. Blocks of 2: the default of 16 would resize frames without a word.
    output = ["-f", "mp4", "-movflags", "faststart"]
    settings = {"codec": "libx264", "quality": 8, "macro_block_size": 2, "output_params": output, "ffmpeg_log_level": "fatal"}
    try:
        writer = ffmpeg.write_frames(str(temporary), size, fps=fps, **settings)
        writer.send(None)
        for frame in frames:
            writer.send(np.ascontiguousarray(frame.convert("RGB")))
        writer.close()
        written, _ = ffmpeg.count_frames_and_secs(str(temporary))  # closing says nothing of a full disk
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: ffmpeg could not write it ({str(error).strip().splitlines()[0]})") from error
    if written != len(frames):
        raise InputError(f"{path}: ffmpeg wrote {written} of {len(frames)} frames; is the disk full?")


def _ffmpeg(path: Path):
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise InputError(f"{path}: MP4 needs the package imageio-ffmpeg (pip install imageio-ffmpeg); or end the name in .gif") from error
    return imageio_ffmpeg
