"""What is waited for before any work is done: importing kdlib, its command line, starting a notebook.

    python benchmarks/import_time.py --json runs/reference/cost/import_time.json

Medians over fresh processes, taken in turns; the first round fills the system's file cache and is not counted. Of notebooks
everything is timed that Papermill does. "04_student" is a distilled student of preset smoke, six iterations; what it imports is read
off its source.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from common import options_of, write_result

from kdlib.paths import REPOSITORY

NOTEBOOK = "notebooks/04_student.py"

Command = Callable[[int], list[str]]  # of round number so and so


def imports_of(notebook: str) -> str:
    """The import statements of a notebook."""
    lines = (REPOSITORY / notebook).read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line.startswith(("import ", "from ")))


def processes() -> dict[str, Command]:
    """Plain processes by what they do."""
    statements = imports_of(NOTEBOOK)
    given = {
        "Python itself": ["-c", "pass"],
        "import kdlib": ["-c", "import kdlib"],
        "python -m kdlib --help": ["-m", "kdlib", "--help"],
        "python -m kdlib results": ["-m", "kdlib", "results"],
        "import torch": ["-c", "import torch"],
        "what 04_student imports": ["-c", statements],
    }
    return {name: lambda i, arguments=arguments: [sys.executable, *arguments] for name, arguments in given.items()}


def notebooks(folder: Path) -> dict[str, Command]:
    """Papermill on notebooks, which lie in ``folder`` where they are made up."""
    for name, code in (("empty", "pass"), ("imports", imports_of(NOTEBOOK))):
        (folder / f"{name}.py").write_text(f"# %%\n{code}\n", encoding="utf-8")

    def papermill(source: str, *parameters: str) -> Command:
        given = lambda i: [p.format(i) for p in parameters]  # noqa: E731
        options = ["--no-progress-bar", "--log-level", "WARNING"]
        return lambda i: [sys.executable, "-m", "papermill", source, str(folder / f"out{i}.ipynb"), *options, *given(i)]

    student = ("-p", "preset", "smoke", "-p", "alpha", "8", "-p", "distill", "True", "-p", "run", "student{}")
    return {
        "an empty notebook": papermill(str(folder / "empty.py")),
        "a notebook that imports what 04_student does": papermill(str(folder / "imports.py")),
        "04_student, preset smoke": papermill(NOTEBOOK, *student),
        "04_student once more, its training finished": papermill(NOTEBOOK, *student),
    }


def measure(commands: dict[str, Command], rounds: int, environment: dict[str, str]) -> dict[str, dict]:
    """Median seconds of every command; one more round comes first."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for i in range(rounds + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            done = subprocess.run(command(i), cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr}")
            if i:
                seconds[name].append(time.perf_counter() - start)
        print(f"round {i} of {rounds}", file=sys.stderr)
    return {name: {"seconds": round(statistics.median(s), 3), "all_seconds": [round(v, 3) for v in s]} for name, s in seconds.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of(__doc__, device=False, threads=False)
    parser.add_argument("--rounds", type=int, default=7, help="processes of each kind (default: %(default)s)")
    parser.add_argument("--no-notebooks", action="store_true", help="plain processes only")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        environment = {**os.environ, "KDLIB_RUNS": str(folder / "runs"), "KDLIB_DATA": str(folder / "data")}
        rows = {"processes": measure(processes(), options.rounds, environment)}
        if not options.no_notebooks:
            teacher = [sys.executable, "-m", "kdlib", "train", "--preset", "smoke"]
            subprocess.run(teacher, cwd=REPOSITORY, env=environment, check=True, capture_output=True)
            rows["notebooks"] = measure(notebooks(folder), options.rounds, environment)

    import torch  # here, as what follows needs it: this process should stay as small as its children

    from kdlib.runs import describe_environment

    result = {**rows, "environment": describe_environment(torch.device("cpu"))}
    for kind, found in rows.items():
        print(kind)
        for name, row in found.items():
            print(f"  {name:<48} {row['seconds']:7.2f} s")
    write_result(result, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
