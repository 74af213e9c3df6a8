"""Choice of device, the numerical switches that change results, and the memory that was needed."""

import re
import resource
import sys
from pathlib import Path

import torch

from kdlib.config import MachineSettings
from kdlib.errors import InputError


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


def peak_memory() -> int:
    """Bytes of memory of this process at its peak, libraries included.

    On Linux from /proc: there getrusage gives a process that was started by a larger one the larger one's peak.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
