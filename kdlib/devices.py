"""Choice of device, and the numerical switches that change results."""

import torch

from kdlib.errors import InputError
from kdlib.settings import MachineSettings


def resolve_device(name: str = "auto") -> torch.device:
    """'auto' is cuda, else mps, else cpu. Raises `InputError` for a device that this machine or PyTorch does not have."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device = {name!r}: not available here ({str(error).splitlines()[0]}); use auto or cpu") from error
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is worth computing in there. PyTorch's convolutions for CPUs take it from AVX-512 on, and on newer ARM.

    On other processors each number is converted by itself: a forward pass takes thirty to fifty times as long as in float32.
    """
    if device.type != "cpu":
        return True
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def computed_precision(precision: str, device: torch.device) -> str:
    """What the forward passes of a run of this ``precision`` compute in on ``device``: float32 where bfloat16 is not to be had."""
    return "float32" if precision == "bfloat16" and not has_bfloat16(device) else precision


def prepare(machine: MachineSettings, allow_tf32: bool = False) -> torch.device:
    """Set threads and TF32 (off unless asked: it rounds to 10 bits of mantissa) and return the device."""
    if machine.threads:
        torch.set_num_threads(machine.threads)
    torch.backends.cuda.matmul.allow_tf32 = allow_tf32
    torch.backends.cudnn.allow_tf32 = allow_tf32
    return resolve_device(machine.device)
