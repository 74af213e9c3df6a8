"""How much memory this process needed."""

import re
import resource
import sys
from pathlib import Path


def peak_memory() -> int:
    """Bytes of memory of this process at its peak, libraries included.

    On Linux from /proc: there getrusage gives a process that was started by a larger one the larger one's peak.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
