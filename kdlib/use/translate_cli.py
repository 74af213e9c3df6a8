"""The commands that use a model: ``python -m kdlib translate | interpolate | align``. Nothing heavy is loaded before one runs."""

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlib.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from kdlib.use.translate import Translator

PICTURE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP"}
DEFAULT_MODEL = "mini/teacher"
TOGETHER = 64  # pictures of a folder that are in memory at a time


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the three commands, each with its function as ``body``."""
    translate = commands.add_parser("translate", help="translate pictures of one's own")
    translate.add_argument("pictures", nargs="+", metavar="PICTURE", help="files or folders, of any size; each goes into every domain and style")
    compare = "one figure of several models, with times and sizes; without a MODEL, of the preset's teacher and distilled students"
    translate.add_argument("--compare", nargs="*", metavar="MODEL", help=compare)
    translate.set_defaults(body=_translate)
    interpolate = commands.add_parser("interpolate", help="move a picture from style to style, as a GIF or an MP4")
    interpolate.add_argument("pictures", metavar="PICTURE", help="a file, of any size")
    interpolate.add_argument("--frames", type=int, default=12, help="from one style to the next (default: %(default)s)")
    interpolate.add_argument("--fps", type=float, default=12, help="frames a second (default: %(default)s)")
    interpolate.add_argument("--loop", action="store_true", help="come back to the first style; a GIF then repeats for ever")
    through = "straight lines between styles, or the sphere of latents (default: %(default)s)"
    interpolate.add_argument("--through", choices=("styles", "latents"), default="styles", help=through)
    interpolate.set_defaults(body=_interpolate)
    for command, out in ((translate, "a picture, or a folder for several"), (interpolate, "a .gif or .mp4")):
        command.add_argument("--to", action="append", required=True, metavar="DOMAIN", help="domain, e.g. dog; may be given several times")
        command.add_argument("--seed", type=int, nargs="+", help="of the style's latent; several make several styles (default: 0)")
        command.add_argument("--reference", nargs="+", metavar="PICTURE", help="take the style from pictures of that domain instead")
        command.add_argument("--model", default=DEFAULT_MODEL, help="a run's name or folder, or a released *_nets_ema.ckpt (default: %(default)s)")
        command.add_argument("--domains", help="names of a released checkpoint's domains, in the order of training: cat,dog,wild")
        command.add_argument("--landmarks", help="wing.ckpt, for a model with a high-pass skip that does not come with it")
        command.add_argument("--fit", choices=("crop", "pad", "stretch"), default="crop", help="how a picture is made square (default: %(default)s)")
        command.add_argument("--size", type=_size, help="of the result: pixels a side, or WIDTHxHEIGHT (default: the model's)")
        command.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: %(default)s)")
        command.add_argument("-o", "--out", type=Path, required=True, help=out)
    align = commands.add_parser("align", help="turn, move and scale portraits as CelebA-HQ's are, for the faces models")
    align.add_argument("pictures", nargs="+", metavar="PICTURE", help="files or folders, one face each")
    align.add_argument("--landmarks", help="wing.ckpt, or a released faces model that holds it (default: that of a finished run)")
    align.add_argument("--mean-face", help="celeba_lm_mean.npz: align to the mean face (default: CelebA-HQ's own rule, which needs no file)")
    align.add_argument("--fit", choices=("crop", "pad"), default="crop", help="search a picture's middle, or all of it (default: %(default)s)")
    align.add_argument("--size", type=int, default=256, help="pixels a side of the result (default: %(default)s)")
    align.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: %(default)s)")
    align.add_argument("-o", "--out", type=Path, required=True, help="a picture, or a folder for several")
    align.set_defaults(body=_align)


def _translate(options: argparse.Namespace) -> int:
    from kdlib.use.translate import DEFAULT_SEED, load
    from kdlib.use.user_pictures import read_squares, summary

    _check_out(options.out)
    translator = load(options.model, **_loading(options))
    if options.compare is not None:
        return _compare(options, translator)
    if options.seed and options.reference:
        raise InputError("--seed and --reference: a style comes from one of them")
    if options.reference:
        references, _ = read_squares(options.reference, translator.image_size, options.fit)
        guides = {stem: {"reference": picture} for stem, picture in zip(_files(options.reference), references, strict=True)}
    else:
        guides = {f"seed{seed}": {"latent": translator.latent(seed)} for seed in options.seed or [DEFAULT_SEED]}
    styles = {f"to_{domain}_{name}": (translator.domain_index(domain), guide) for domain in options.to for name, guide in guides.items()}
    files = _files(options.pictures)
    names = [f"{stem}_{style}.png" for stem in files for style in styles]
    places = _places(options.out, names, [*options.pictures, *(options.reference or [])])
    problems: list[str] = []
    for part in _parts(list(files.items())):
        squares = {}
        for stem, file in part:
            with _noting(problems):
                squares[stem], _ = read_squares(file, translator.image_size, options.fit)
        for style, (domain, guide) in styles.items() if squares else ():
            made = translator.translate(list(squares.values()), domain, **guide, size=options.size)
            for stem, picture in zip(squares, made, strict=True):
                _write(picture, places[f"{stem}_{style}.png"])
    if problems:
        raise InputError(summary(problems, len(files), "are not translated"))
    return 0


def _compare(options: argparse.Namespace, translator: "Translator") -> int:
    from kdlib.use.model_comparison import compare_models
    from kdlib.use.model_names import available_models
    from kdlib.use.translate import load

    if options.size is not None:
        raise InputError("--size: a comparison shows every model's own pixels; leave it out")
    others = options.compare
    if not others:
        preset = translator.name.partition("/")[0]
        mates = [name for name in available_models() if re.fullmatch(rf"{re.escape(preset)}/(teacher|alpha\d+-kd)", name)]
        others = [name for name in mates if name != translator.name]
        if not others:
            raise InputError(f"--compare: there is no finished model beside {translator.name} yet; name one, or train some: python -m kdlib study")
    beside = [load(name, **_loading(options)) for name in others]
    translators = sorted([translator, *beside], key=lambda t: t.nets.arch.student)  # teachers first, otherwise as given
    comparison = compare_models(translators, options.pictures, options.to, seed=options.seed, reference=options.reference, fit=options.fit)
    print(comparison.table())
    (place,) = _places(options.out, ["comparison.png"], [*options.pictures, *(options.reference or [])]).values()
    _write(comparison.figure, place)
    return 0


def _interpolate(options: argparse.Namespace) -> int:
    from kdlib.use.animation import check_animation_name, write_animation
    from kdlib.use.translate import load

    check_animation_name(options.out)
    _check_not_read([options.out], [options.pictures, *(options.reference or [])])
    translator = load(options.model, **_loading(options))
    frames = translator.interpolate(
        options.pictures, options.to, seed=options.seed, reference=options.reference, frames=options.frames, loop=options.loop,
        through=options.through, fit=options.fit, size=options.size,
    )  # fmt: skip
    with _writing(options.out):
        print(write_animation(frames, options.out, options.fps, repeat=options.loop))
    return 0


def _align(options: argparse.Namespace) -> int:
    from kdlib.devices import resolve_device
    from kdlib.use.face_alignment import FaceAligner
    from kdlib.use.user_pictures import summary

    _check_out(options.out)
    files = _files(options.pictures)
    places = _places(options.out, [f"{stem}.png" for stem in files], options.pictures)
    landmarks = options.landmarks or _landmarks_at_hand()
    aligner = FaceAligner(landmarks, size=options.size, mean_face=options.mean_face, device=resolve_device(options.device))
    problems: list[str] = []
    for stem, file in files.items():
        made = None
        with _noting(problems):
            made = aligner.align(file, options.fit)
        if made:
            _write(made, places[f"{stem}.png"])
    if problems:
        raise InputError(summary(problems, len(files), "are not aligned"))
    return 0


def _loading(options: argparse.Namespace) -> dict[str, Any]:
    domains = [name.strip() for name in options.domains.split(",")] if options.domains else None
    return {"device": options.device, "landmarks": options.landmarks, "domains": domains}


def _landmarks_at_hand() -> Path:
    from kdlib.paths import runs_folder
    from kdlib.runs import LANDMARKS_FILE

    found = sorted(runs_folder().glob(f"*/*/{LANDMARKS_FILE}"))
    if not found:
        raise InputError(f"--landmarks: name {LANDMARKS_FILE}, the face-landmark network released with StarGAN-v2; no run here has it")
    return found[0]


def _files(given: Sequence[str]) -> dict[str, Path]:
    """Every picture in files and folders, in the order they are read in, by its name without suffix, unless two would be the same.

    Raises `InputError` for two files of one name, whose results would be one file.
    """
    from kdlib.use.user_pictures import picture_files

    files = [file for item in given for file in picture_files(item)]
    stems, names = Counter(file.stem for file in files), Counter(file.name for file in files)
    twice = [str(file) for file in files if names[file.name] > 1]
    if twice:
        raise InputError(f"{' and '.join(twice[:2])}: their results would have the same name; give them one at a time")
    return {file.name if stems[file.stem] > 1 else file.stem: file for file in files}


def _parts(items: list) -> Iterator[list]:
    for start in range(0, len(items), TOGETHER):
        yield items[start : start + TOGETHER]


@contextmanager
def _noting(problems: list[str]) -> Iterator[None]:
    """What is wrong with one picture does not keep the others from being made."""
    try:
        yield
    except InputError as error:
        problems.append(str(error))


def _places(out: Path, names: Sequence[str], inputs: Sequence[str]) -> dict[str, Path]:
    """Where each result goes: into the file ``out``, of a single one, or under its name into the folder ``out``."""
    if out.suffix and not out.is_dir():
        if len(names) > 1:
            raise InputError(f"{out}: {len(names)} pictures do not fit into one file; name a folder")
        places = {name: out for name in names}
    else:
        places = {name: out / name for name in names}
    _check_not_read(places.values(), inputs)
    return places


def _write(picture: "Image.Image", path: Path) -> None:
    from kdlib.files import write_atomically

    form = PICTURE_FORMATS[path.suffix.lower()]
    quality = {"quality": 95} if form in ("JPEG", "WEBP") else {}
    with _writing(path):
        write_atomically(path, lambda temporary: picture.save(temporary, form, **quality))
    print(path)


def _check_out(out: Path) -> None:
    """Raise `InputError`, before anything is computed, for a file that is no picture's."""
    if out.suffix and not out.is_dir() and out.suffix.lower() not in PICTURE_FORMATS:
        raise InputError(f"{out}: pictures are written as {', '.join(PICTURE_FORMATS)}; end the name in one of them")


def _check_not_read(paths: Iterable[Path], inputs: Sequence[str]) -> None:
    """Raise `InputError` if something would be written over a picture that is read."""
    from kdlib.use.user_pictures import picture_files

    read = {file.resolve() for item in inputs for file in picture_files(item)}
    for path in paths:
        if path.resolve() in read:
            raise InputError(f"{path}: this is one of the pictures that are read; give the result another name")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _size(text: str) -> int | tuple[int, int]:
    if not (match := re.fullmatch(r"(\d+)(?:x(\d+))?", text)):
        raise argparse.ArgumentTypeError(f"{text!r}: give pixels a side, such as 256, or WIDTHxHEIGHT")
    return (int(match[1]), int(match[2])) if match[2] else int(match[1])
