"""One kind of progress bar: on stderr, lively on a terminal, sparing in a log or a notebook."""

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(*args: Any, **options: Any) -> tqdm:
    """A tqdm bar on stderr. Away from a terminal every redraw becomes a line of a file, so it redraws every ten seconds only."""
    lively = sys.stderr.isatty()
    return tqdm(*args, file=sys.stderr, mininterval=0.2 if lively else 10.0, maxinterval=60.0, dynamic_ncols=lively, **options)
