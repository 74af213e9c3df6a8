"""Command line: ``python -m kdlib study | results | keep``."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from kdlib.errors import InputError


def parser() -> argparse.ArgumentParser:
    """Commands and their options."""
    top = argparse.ArgumentParser(prog="python -m kdlib", description="StarGAN-v2 compression by knowledge distillation: the study.")
    commands = top.add_subparsers(dest="command", required=True)
    study = commands.add_parser("study", help="run a preset's grid of notebooks")
    study.add_argument("--preset", default="quick", help="a shipped preset or a .toml file (default: %(default)s)")
    study.add_argument("--lanes", type=int, default=0, help="notebooks at a time (default: one a core up to four; one with a GPU)")
    results = commands.add_parser("results", help="print the table of all finished runs")
    results.add_argument("--json", action="store_true", help="as JSON rows, every score included")
    results.add_argument("--preset", help="this preset's runs only")
    results.add_argument("--readme", action="store_true", help="write the table of the runs kept in git into README.md")
    keep = commands.add_parser("keep", help="copy a finished run's results to runs/reference, the runs that are kept in git")
    keep.add_argument("run", type=Path, help="a run folder, e.g. runs/quick/teacher")
    keep.add_argument("--weights", action="store_true", help="its weights and executed notebooks too, for others to start from")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "study":
            from kdlib.study import run_study

            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the notebooks under way are ended too
            return 1 if run_study(options.preset, options.lanes) else 0
        if options.command == "keep":
            from kdlib.reference import keep

            print(keep(options.run, options.weights))
            return 0
        from kdlib import reference, results

        rows = [r for r in results.result_rows() if options.preset in (None, r["preset"])]
        if options.readme:
            print(reference.write_readme_table())
        else:
            print(results.as_json(rows) if options.json else results.as_text(rows))
        return 0
    except InputError as error:
        print(f"kdlib {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nkdlib {options.command}: interrupted; the same command goes on from the last checkpoints", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
