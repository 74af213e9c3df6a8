"""Files that hold weights: atomic writing, safe reading.

Two kinds: a checkpoint (`torch.save`, everything that resuming needs) and final weights (safetensors, what is shipped).
Both are written to a temporary file in the same folder, flushed to the disk and renamed, so that a file that bears its
final name is whole, whatever happened while it was written. Nothing is ever unpickled beyond plain tensors and numbers.
"""

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kdlib.errors import InputError
from kdlib.files import write_atomically

CHECKPOINT_FORMAT = "kdlib checkpoint 1"


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` (nested dicts and lists of tensors, numbers, strings) as a checkpoint."""
    write_atomically(path, lambda temporary: torch.save({"format": CHECKPOINT_FORMAT, **content}, temporary))


def read_torch_file(path: Path) -> Any:
    """Content of a file of `torch.save`, tensors on the CPU, unpickling tensors and plain containers only.

    The one place where such a file is read. Raises `InputError`, naming the file, if it is missing, broken or holds more.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"{path}: no such file") from error
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: not a file of torch.save, or one that holds more than tensors, which could run code and is not opened"
        ) from error
    except Exception as error:  # bytes that are no such file can end the reading in nearly any error
        raise InputError(f"{path}: not a complete file of torch.save ({type(error).__name__}); remove it, or get it again") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint written by `save_checkpoint`, tensors on the CPU.

    Raises `InputError`, naming the file, if it is anything else: no such file, a truncated one, a pickle with code.
    """
    content = read_torch_file(path)
    if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
        raise InputError(f"{path}: a torch file, but not a checkpoint of this study ({CHECKPOINT_FORMAT!r})")
    return content


def save_weights(path: Path, networks: dict[str, nn.Module], about: dict[str, Any], precision: str = "float32") -> None:
    """Write networks' weights as safetensors, each tensor named ``network.tensor``; ``about`` goes into the header as JSON.

    ``precision``: "float32" or "float16", half the size; `load_weights` fills networks of float32 from either. One metadata
    entry, because safetensors writes several in no fixed order and equal runs must give equal files. Raises `InputError`,
    writing nothing, for a weight that half precision cannot hold.
    """
    tensors = {
        f"{name}.{key}": _in_precision(path, f"{name}.{key}", tensor.detach().cpu(), precision).contiguous()
        for name, network in networks.items()
        for key, tensor in network.state_dict().items()
    }
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata={"about": json.dumps(about)}))


def _in_precision(path: Path, name: str, tensor: Tensor, precision: str) -> Tensor:
    cast = tensor.to(getattr(torch, precision)) if tensor.is_floating_point() else tensor
    if not torch.isfinite(cast).all():
        raise InputError(f"{path}: {name} reaches {tensor.abs().max():.3g}, too much for {precision}; set weights_precision to float32")
    return cast


def load_weights(path: Path, networks: dict[str, nn.Module]) -> None:
    """Fill ``networks`` from a file of `save_weights`. Raises `InputError` listing missing, extra, misshapen tensors."""
    tensors, _ = read_weights(path)
    for name, network in networks.items():
        own = {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
        check_layout(path, name, network, own)
        network.load_state_dict(own)
    strangers = sorted({key.split(".")[0] for key in tensors} - set(networks))
    if strangers:
        raise InputError(f"{path}: holds networks that were not asked for: {', '.join(strangers)}")


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises `InputError` if it is none."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such weights file; train the run first, or name another")
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path}: not a safetensors file ({error})") from error


def check_layout(path: Path | str, name: str, network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Raise `InputError` unless ``tensors`` are exactly ``network``'s, by name and shape; lists every difference."""
    _refuse_misfits(network, tensors, f"{path}: {name} does not fit the networks")


def take_weights(mine: nn.Module, its: nn.Module, refused: str) -> None:
    """Give a network another's weights. Raises `InputError`, beginning with ``refused``, where their layouts differ."""
    _refuse_misfits(mine, its.state_dict(), refused)
    mine.load_state_dict(its.state_dict())


def _refuse_misfits(network: nn.Module, tensors: dict[str, Tensor], refused: str) -> None:
    problems = layout_problems({key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}, tensors)
    if problems:
        raise InputError(f"{refused}:\n  " + "\n  ".join(problems))


def layout_problems(expected: dict[str, tuple[int, ...]], found: dict[str, Tensor]) -> list[str]:
    """A sentence for every tensor of ``found`` that is missing, extra or misshapen against ``expected`` {name: shape}."""
    problems = []
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            problems.append(f"missing {name} {list(expected[name])}")
        elif name not in expected:
            problems.append(f"extra {name} {list(found[name].shape)}")
        elif expected[name] != tuple(found[name].shape):
            problems.append(f"{name} is {list(found[name].shape)}, should be {list(expected[name])}")
    return problems
