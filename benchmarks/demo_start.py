"""Seconds until the live demo of a built book shows its first picture, in Chromium without a window, each time with an empty cache.

    python benchmarks/demo_start.py --book _build/html --json runs/reference/deployment/demo.json --pictures book/figures

The clock starts with the page's navigation and stops when the student's first translation is drawn: page, scripts, onnxruntime-web and
networks come from a plain web server on this machine. Also how long a translation takes there afterwards. ``--pictures``: the page as it is
then, in light and dark, as demo_light.png and demo_dark.png. Needs the extra ``test`` and a Chromium ($CHROMIUM, or on the PATH).
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from browsers import FLAGS, PATIENCE, chromium_path, served
from common import options_of, report

from kdlib.errors import InputError
from kdlib.progress import progress_bar
from kdlib.runs import describe_environment

PAGE = "book/demo.html"
WINDOW = {"width": 1280, "height": 900}
FIRST = """() => document.querySelector('#demo-student[data-state="ready"]') && performance.now()"""


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line asks for. Raises `InputError` where there is no built demo, or no browser to look at it."""
    if not (options.book / PAGE).is_file():
        raise InputError(f"{options.book}: has no {PAGE}; `make book` builds it")
    if (browser := chromium_path()) is None:
        raise InputError("no Chromium on the PATH; install one, or set CHROMIUM")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise InputError("playwright is not installed: pip install -e '.[test]'") from error
    starts, times = [], []
    with served(options.book) as address, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS.split())
        for i in progress_bar(range(options.rounds), desc="starts"):
            theme = ("light", "dark")[i % 2]
            context = chromium.new_context(viewport=WINDOW, color_scheme=theme)  # with a cache of its own, empty
            page = context.new_page()
            page.set_default_timeout(PATIENCE)
            page.goto(f"{address}/{PAGE}")
            starts.append(page.wait_for_function(FIRST).json_value() / 1000)
            page.wait_for_function("document.querySelector('#demo-verdict').textContent.includes('as fast as the teacher here')")
            times.append({role: page.inner_text(f"#demo-{role} .demo-fact") for role in ("teacher", "student")})
            if options.pictures:
                page.screenshot(path=options.pictures / f"demo_{theme}.png")
            context.close()
        version = chromium.version
        chromium.close()
    about = {"browser": f"Chromium {version}", "rounds": options.rounds, "median_seconds": round(statistics.median(starts), 2)}
    return {**about, "seconds": [round(s, 2) for s in starts], "times": times, "environment": describe_environment(torch.device("cpu"))}


def text(result: dict[str, Any]) -> str:
    """The result in words."""
    return f"first picture after {result['median_seconds']} s (median of {result['rounds']}: {result['seconds']}), {result['browser']}; {result['times'][-1]}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of(__doc__, device=False, threads=False)
    parser.add_argument("--book", type=Path, default=Path("_build/html"), help="folder of a built book (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=6, help="starts, in light and dark in turns (default: %(default)s)")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the page")
    options = parser.parse_args(arguments)
    return report(lambda: measured(options), text, options.json)


if __name__ == "__main__":
    sys.exit(main())
