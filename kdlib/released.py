"""Checkpoints released with StarGAN-v2 (Choi et al. 2020) and by the thesis's author (TinyStarGAN-v2), read and written.

`100000_nets_ema.ckpt` is a `torch.save` of {"generator": tensors, "mapping_network": ..., "style_encoder": ..., and mostly
"fan": ...}, the last being the face-landmark network, which `wing.ckpt` holds alone under "state_dict". What the networks
are (student or teacher, widths, domains, size) is not written in the file: it is read off the tensors' names and shapes.

One function, `released_name`, holds the whole dictionary between their names and ours; both directions come from it.
Nothing but tensors is ever unpickled.
"""

import re
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from kdlib.architecture import Architecture
from kdlib.blocks import HighPass
from kdlib.checkpoints import layout_problems, read_torch_file
from kdlib.errors import InputError
from kdlib.files import write_atomically
from kdlib.landmark_network import DEPTH, LandmarkNetwork
from kdlib.landmarks import LandmarkMasks
from kdlib.networks import Generator, MappingNetwork, Networks, StyleEncoder

CLASSES = {"generator": Generator, "mapping_network": MappingNetwork, "style_encoder": StyleEncoder}
LANDMARKS = "fan"
FILTER = "hpf.filter"  # the high-pass kernel: a buffer in newer copies of StarGAN-v2's code, absent from older ones
COUNTERS = "num_batches_tracked"  # of batch normalisation; without effect, and absent from files of old PyTorch versions

State = dict[str, Tensor]

# (our name, theirs) as regular expressions, per network; the first that matches the name's beginning counts.
_BEGINNINGS = {
    "generator": [(r"to_rgb_norm\.", "to_rgb.0."), (r"to_rgb\.", "to_rgb.2.")],
    "mapping_network": [(r"branches\.", "unshared.")],
    "style_encoder": [(r"heads\.", "unshared.")],
    LANDMARKS: [
        (r"stem\.", "conv1.conv."),
        (r"stem_norm\.", "bn1."),
        (r"blocks\.(\d)\.", lambda m: f"conv{int(m[1]) + 2}."),
        (r"entrance\.", "m0.coordconv.conv."),
        # Their hourglass counts its levels from the inside, from 1.
        (r"hourglass\.kept\.(\d)\.", lambda m: f"m0.b1_{DEPTH - int(m[1])}."),
        (r"hourglass\.down\.(\d)\.", lambda m: f"m0.b2_{DEPTH - int(m[1])}."),
        (r"hourglass\.bottom\.", "m0.b2_plus_1."),
        (r"hourglass\.up\.(\d)\.", lambda m: f"m0.b3_{DEPTH - int(m[1])}."),
        (r"head_block\.", "top_m_0."),
        (r"head_conv\.", "conv_last0."),
        (r"head_norm\.", "bn_end0."),
        (r"to_heatmaps\.", "l0."),
    ],
}
# Inside blocks, wherever they stand.
_BLOCK_PARTS = [(".depthwise.", ".conv.0."), (".pointwise.", ".conv.1."), (".affine.", ".fc."), (".shortcut.", ".conv1x1.")]


def released_name(network: str, name: str) -> str:
    """The released name of our tensor ``name`` of ``network`` (generator, mapping_network, style_encoder or fan)."""
    for pattern, replacement in _BEGINNINGS[network]:
        name, found = re.subn(f"^{pattern}", replacement, name)
        if found:
            break
    if network == LANDMARKS:
        name = name.replace(".shortcut.", ".downsample.")
        return re.sub(r"\.(norm|conv)s\.(\d)\.", lambda m: f".{'bn' if m[1] == 'norm' else 'conv'}{int(m[2]) + 1}.", name)
    for ours, theirs in _BLOCK_PARTS:
        name = name.replace(ours, theirs)
    return name


def released_layout(arch: Architecture) -> dict[str, dict[str, tuple[int, ...]]]:
    """{network: {released tensor name: shape}} of what translates, without building anything."""
    with torch.device("meta"):
        return {name: _layout(name, kind(arch)) for name, kind in CLASSES.items()}


def landmark_layout() -> dict[str, tuple[int, ...]]:
    """{released tensor name: shape} of the landmark network, as in `wing.ckpt`."""
    with torch.device("meta"):
        return _layout(LANDMARKS, LandmarkNetwork())


def _layout(name: str, network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {released_name(name, key): tuple(tensor.shape) for key, tensor in network.state_dict().items()}


def load_released(path: str | Path, landmarks: str | Path | None = None) -> Networks:
    """G, E and F of a released `*_nets_ema.ckpt`, in eval mode, frozen, on the CPU; teacher or student, of any width.

    Models with a high-pass skip (CelebA-HQ) get their landmark network from the file ``landmarks`` (`wing.ckpt`), else
    from the checkpoint's own ``fan`` entry; for other models both are ignored. A `module.` before every name, and the
    kernel ``hpf.filter``, may be there or not; without it w_hpf is taken to be 1, as in every released file.
    Raises `InputError` for a file that is missing or broken or holds anything but tensors; and, listing every tensor that
    is missing, extra or misshapen, for one that does not fit.
    """
    path = Path(path)
    content = _read(path)
    found = _translating_states(path, content)
    arch = detect_architecture(path, found)
    if arch.w_hpf > 0:
        found["generator"].pop(FILTER, None)
        if landmarks is None and LANDMARKS not in content:
            raise InputError(f"{path}: has a high-pass skip and no landmark network ({LANDMARKS}); give wing.ckpt as `landmarks`")
        if landmarks is None:
            found[LANDMARKS] = _state(path, LANDMARKS, content[LANDMARKS])

    expected = {**released_layout(arch), LANDMARKS: landmark_layout()}
    problems = [problem for name, state in found.items() for problem in _differences(name, expected[name], state)]
    if problems:
        kind = f"{'student' if arch.student else 'teacher'} of width cap {arch.alpha}"
        raise InputError(
            f"{path}: read as a {kind}, {arch.domains} domains, {arch.image_size} px, its tensors do not fit:\n  "
            + "\n  ".join(problems)
        )

    with torch.random.fork_rng(devices=[]):  # weights that are overwritten must not cost the caller random numbers
        nets = Networks(arch, **{name: kind(arch) for name, kind in CLASSES.items()})
    for name, network in nets.modules():
        _fill(name, network, found[name])
        network.eval().requires_grad_(False)
    if arch.w_hpf > 0:
        nets.landmarks = _landmark_masks(found[LANDMARKS]) if landmarks is None else load_landmarks(landmarks)
    return nets


def _translating_states(path: Path, content: dict) -> dict[str, State]:
    """The tensors of G, E and F. Raises `InputError` if the file holds other networks."""
    missing = [name for name in CLASSES if name not in content]
    strangers = [str(name) for name in content if name not in (*CLASSES, LANDMARKS)]
    if missing or strangers:
        raise InputError(
            f"{path}: holds {', '.join(map(str, content)) or 'nothing'}; a released checkpoint of moving averages, "
            f"100000_nets_ema.ckpt, holds {', '.join(CLASSES)} and perhaps {LANDMARKS}"
        )
    return {name: _state(path, name, content[name]) for name in CLASSES}


def load_landmarks(path: str | Path) -> LandmarkMasks:
    """The landmark network of `wing.ckpt`, or of a released checkpoint with a ``fan`` entry, as a maker of masks.

    Raises `InputError` as `load_released` does; further tensors in `wing.ckpt` (of a network trained with more
    hourglasses than the one used) are no fault.
    """
    path = Path(path)
    content = _read(path)
    entry = next((key for key in ("state_dict", LANDMARKS) if key in content), None)
    if entry is None:
        raise InputError(f"{path}: has neither state_dict (wing.ckpt) nor {LANDMARKS} (a released checkpoint)")
    layout, tensors = landmark_layout(), _state(path, entry, content[entry])
    if entry == "state_dict":
        tensors = {name: tensor for name, tensor in tensors.items() if name in layout}
    problems = _differences(entry, layout, tensors)
    if problems:
        raise InputError(f"{path}: not the 98-landmark network:\n  " + "\n  ".join(problems))
    return _landmark_masks(tensors)


def save_landmarks(path: str | Path, landmarks: LandmarkMasks) -> None:
    """Write the landmark network alone, as `wing.ckpt` holds it."""
    content = {"state_dict": _rename(LANDMARKS, landmarks.network)}
    write_atomically(Path(path), lambda temporary: torch.save(content, temporary))


def save_released(path: str | Path, nets: Networks, with_filter: bool = False) -> None:
    """Write G, E and F, and the landmark network of a model with a high-pass skip, as StarGAN-v2's code names them.

    Teachers can then be loaded by StarGAN-v2's code and students by TinyStarGAN-v2's, both of which build networks with
    a first width of 2**14 / image_size only. ``with_filter`` adds the high-pass kernel, which StarGAN-v2's code asks for
    since it supports several GPUs; its released file has none, and TinyStarGAN-v2's code refuses it.
    Raises `InputError` where the landmark network, which that code expects in the file, is missing, and for a generator that
    code does not build: of another depth (read back, one more block would pass for the high-pass skip's) or design; for an F of another
    width than its rule's.
    """
    arch, path = nets.arch, Path(path)
    if arch.design is not None:
        *names, last = (field.name for field in fields(arch.design))
        raise InputError(f"{path}: {', '.join(names)} and {last} are no part of this format; export the model to ONNX instead")
    if arch.generator_down_blocks != replace(arch, down_blocks=None).generator_down_blocks:
        raise InputError(f"{path}: generator_down_blocks = {arch.generator_down_blocks} is not StarGAN-v2's rule, the only depth of this format")
    if (units := arch.mapping_units) != (usual := replace(arch, mapping_width=None).mapping_units):
        raise InputError(f"{path}: mapping_width = {units} is not StarGAN-v2's rule, {usual} here, the only one that this format's readers know")
    content = {name: _rename(name, getattr(nets, name)) for name in CLASSES}
    if arch.w_hpf > 0:
        if not isinstance(nets.landmarks, LandmarkMasks):
            raise InputError(f"{path}: a model with a high-pass skip is released with its landmark network; set nets.landmarks")
        content[LANDMARKS] = _rename(LANDMARKS, nets.landmarks.network)
        if with_filter:
            content["generator"][FILTER] = nets.generator.high_pass.kernel.cpu().clone()
        elif arch.w_hpf != 1:
            raise InputError(f"{path}: w_hpf = {arch.w_hpf} stands in no file without the kernel; save with_filter=True")
    # The older of torch's two formats: StarGAN-v2's code asks for PyTorch 1.4, which cannot read the newer.
    write_atomically(path, lambda temporary: torch.save(content, temporary, _use_new_zipfile_serialization=False))


def detect_architecture(path: Path, found: dict[str, State]) -> Architecture:
    """What the networks in ``found`` ({network: {released name: tensor}}) are, read off names and shapes.

    Raises `InputError`, naming ``path``, where a tensor is missing that this is read from, or the networks contradict
    each other.
    """

    def shape(network: str, name: str, dimensions: int) -> tuple[int, ...]:
        tensor = found[network].get(name)
        if tensor is None or tensor.ndim != dimensions:
            raise InputError(f"{path}: {network} has no tensor {name} of {dimensions} dimensions: not a StarGAN-v2 network")
        return tuple(tensor.shape)

    encoder_blocks = max(0, _count(found["style_encoder"], r"shared\.(\d+)\.conv1\.") - 1)  # shared.0 is from-RGB
    down_blocks = max(0, _count(found["generator"], r"encode\.(\d+)\.") - 2)  # the last two are the bottleneck
    extra = down_blocks - (encoder_blocks - 2)
    if extra not in (0, 1):
        raise InputError(
            f"{path}: {down_blocks} downsampling blocks in the generator and {encoder_blocks} in the style encoder: "
            "StarGAN-v2 has two fewer in the generator, or one fewer with a high-pass skip"
        )
    w_hpf = float(extra)
    if extra and FILTER in found["generator"]:
        kernel = found["generator"][FILTER].float()
        w_hpf = 8 / kernel[1, 1].item() if kernel.shape == (3, 3) and kernel[1, 1] > 0 else 0
        if w_hpf == 0 or not torch.allclose(kernel, HighPass(w_hpf).kernel):
            raise InputError(f"{path}: {FILTER} is not the high-pass kernel, 8 amid -1, over a positive weight")
    first_width = shape("generator", "from_rgb.weight", 4)[0]
    hidden_width, latent_dim = shape("mapping_network", "shared.0.weight", 2)
    widest = shape("style_encoder", f"shared.{encoder_blocks + 2}.weight", 4)[0]
    size = 2 ** (encoder_blocks + 2)
    alpha = max(hidden_width, widest)
    try:
        return Architecture(
            image_size=size,
            domains=_count(found["mapping_network"], r"unshared\.(\d+)\."),
            alpha=alpha,
            student=any(".conv1.conv." in name for name in found["generator"]),
            w_hpf=w_hpf,
            base_width=None if first_width == min(2**14 // size, alpha) else first_width,
            style_dim=shape("mapping_network", "unshared.0.6.weight", 2)[0],
            latent_dim=latent_dim,
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _count(names: Iterable[str], pattern: str) -> int:
    """One more than the largest index that ``pattern`` finds at the beginning of a name."""
    return max((int(match[1]) + 1 for match in (re.match(pattern, name) for name in names) if match), default=0)


def _read(path: Path) -> dict:
    """The dictionary that a file of torch.save holds."""
    content = read_torch_file(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, not a dictionary of networks")
    return content


def _state(path: Path, name: str, entry: object) -> State:
    """A network's tensors by released name, without the prefix that several GPUs leave."""
    if not isinstance(entry, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in entry.items()):
        raise InputError(f"{path}: its entry {name} is not a dictionary of named tensors")
    return {key.removeprefix("module."): tensor for key, tensor in entry.items()}


def _differences(network: str, expected: dict[str, tuple[int, ...]], found: State) -> list[str]:
    """What does not fit; counters of batch norms, which nothing uses, may be missing."""
    needed = {name: shape for name, shape in expected.items() if name in found or not name.endswith(COUNTERS)}
    return [f"{network}: {problem}" for problem in layout_problems(needed, found)]


def _rename(name: str, network: nn.Module) -> State:
    """Our network's tensors under their released names, on the CPU."""
    return {released_name(name, key): tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}


def _fill(name: str, network: nn.Module, found: State) -> None:
    """Give our network the tensors of ``found``, whose layout has been checked."""
    own = network.state_dict()
    network.load_state_dict({key: found.get(released_name(name, key), tensor) for key, tensor in own.items()})


def _landmark_masks(found: State) -> LandmarkMasks:
    with torch.random.fork_rng(devices=[]):
        network = LandmarkNetwork()
    _fill(LANDMARKS, network, found)
    return LandmarkMasks(network)
