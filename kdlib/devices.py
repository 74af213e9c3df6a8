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


def prepare(machine: MachineSettings, allow_tf32: bool = False) -> torch.device:
    """Set threads and TF32 (off unless asked: it rounds to 10 bits of mantissa) and return the device."""
    if machine.threads:
        torch.set_num_threads(machine.threads)
    torch.backends.cuda.matmul.allow_tf32 = allow_tf32
    torch.backends.cudnn.allow_tf32 = allow_tf32
    return resolve_device(machine.device)
