"""Writing files so that a file that bears its final name is whole, whatever happened while it was written.

Apart from `checkpoints`, because tables and settings are written and read without PyTorch, whose import takes seconds.
"""

import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then fsync and rename it.

    If anything fails (a full disk, say) the temporary file is removed, what stood at ``path`` stays, and an OSError is
    raised that names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        temporary.chmod(0o666 & ~_umask())  # some writers make files that only their owner may read
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        # torch and safetensors wrap a failed write in errors of their own; whoever catches OSError must see it.
        if isinstance(error, (RuntimeError, SafetensorError)):
            raise OSError(f"{path}: could not be written ({error}); is the disk full?") from error
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the rename itself must survive a power cut
    finally:
        os.close(directory)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
