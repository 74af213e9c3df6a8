"""What the pages on speed share: the aim, with which teacher a network is compared, and results of several machines, a folder each.

Times are those of one processor. What benchmarks/latency.py and benchmarks/layer_profile.py find stands in a folder that is named after
it, ``MACHINE/latency_256.json``, and the pages show the machines one after the other.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdlib.architecture import Architecture
from kdlib.deploy.forms import in_form
from kdlib.results import not_measured

AIM = {"times_faster": 10, "pictures_a_second": 30, "fewer_weights": 20}  # of the generator at 256 px on two cores of a CPU; weights of G, E and F
JOINED_TEACHER = in_form("teacher", "joined")
UNJUDGED = ("int8", "int8 and bf16")  # of untrained networks: every layer quantised, and no picture to judge what that costs

# The best of these that a processor has names it in headings.
INSTRUCTIONS = {
    "amx_int8": "AMX", "avx512_vnni": "AVX-512 and VNNI", "avx_vnni": "AVX2 and VNNI", "avx512f": "AVX-512, without VNNI", "avx2": "AVX2, without VNNI",
}  # fmt: skip
MACHINE = "MACHINE"  # in commands, where the reader puts a name for the processor

Models = dict[str, dict[str, Any]]


def by_machine(folder: Path, name: str) -> list[Path]:
    """The results of this name, a machine each."""
    return sorted(folder.glob(f"*/{name}.json"))


def of_machines(folder: Path, name: str, make: Callable[[dict[str, Any]], str], command: str) -> str:
    """What ``make`` writes of each machine's result, one after the other below a heading; the command where there is none."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in by_machine(folder, name)]
    if not results:
        return not_measured(command)
    return "\n\n".join(part for result in results for part in (f"**{processor(result)}.**", make(result)) if part)


def processor(result: dict[str, Any]) -> str:
    """The processor of a result and the best of its instructions for short numbers."""
    environment = result["environment"]
    has = next((label for flag, label in INSTRUCTIONS.items() if flag in environment.get("arithmetic", ())), "")
    return environment["processor"] + (f" ({has})" if has else "")


def teacher_of(models: Models, model: str) -> str:
    """The name of the teacher that a network's time is compared with: one whose operations were reordered, with the reordered teacher.

    The order of operations is no property of a student. Where only the plain teacher was measured, it is that.
    """
    first = next(iter(models))
    return JOINED_TEACHER if models[model].get("form", "plain") != "plain" and JOINED_TEACHER in models else first


def architecture_of(counted: dict[str, Any]) -> Architecture:
    """The architecture that a result was counted on."""
    return Architecture(**{name: value for name, value in counted.items() if name in Architecture.__dataclass_fields__})


def times_fewer_weights(models: Models, model: str) -> float:
    """How many times fewer weights than the teacher a network's G, E and F have together."""
    from kdlib.profiling import network_costs  # with it comes PyTorch, which the rest of these pages does without

    whole, own = (network_costs(architecture_of(models[name])).loc["total", "parameters"] for name in (next(iter(models)), model))
    return float(whole / own)


def milliseconds(seconds: float) -> str:
    """Milliseconds with two or three digits that count: 0.53 ms, 7.6 ms, 52 ms, 520 ms."""
    value = 1e3 * seconds
    return f"{value:.2f} ms" if value < 0.995 else f"{value:.1f} ms" if value < 9.95 else f"{value:,.0f} ms"
