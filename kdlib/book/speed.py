"""What the pages on speed share: the aim, and with which teacher a network is compared, from results of benchmarks/latency.py."""

from typing import Any

from kdlib.architecture import Architecture
from kdlib.deploy.forms import in_form

AIM = {"times_faster": 10, "pictures_a_second": 30, "fewer_weights": 20}  # of the generator at 256 px on two cores of a CPU; weights of G, E and F
JOINED_TEACHER = in_form("teacher", "joined")
UNJUDGED = ("int8", "int8 and bf16")  # of untrained networks: every layer quantised, and no picture to judge what that costs

Models = dict[str, dict[str, Any]]


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
