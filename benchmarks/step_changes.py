"""Which change to the plain iteration brings what: seconds, and operations counted, of iterations with one change more each.

    python benchmarks/step_changes.py --json runs/reference/cost/step_changes.json

From the iteration written straight down (`plain_step.py`) to `kdlib.training_step`, at 64 px. All rungs take turns in one process.
Every rung computes the same losses and the same updates.
"""

import dataclasses
import statistics
import sys
from collections.abc import Callable, Sequence

import torch
from common import computable, options_of, write_result
from plain_step import PlainStep
from torch import Tensor
from training_step import CASES, DECAY, Case, ours, take_turns

from kdlib.devices import prepare
from kdlib.learner import average_decay, update_average
from kdlib.networks import Networks
from kdlib.runs import describe_environment
from kdlib.settings import LossWeights, MachineSettings, TrainingSettings
from kdlib.step_cost import count_flops


class ChangedStep(PlainStep):
    """The plain iteration with some of the changes. ``fused``: in the optimisers and the moving average; ``needed``: gradients."""

    def __init__(self, nets: Networks, teacher: Networks, *, channels_last: bool = False, fused: bool = False, needed: bool = False):
        if channels_last:
            for _, network in (*nets.modules(), *teacher.modules()):
                network.to(memory_format=torch.channels_last)
        super().__init__(nets, TrainingSettings(), LossWeights(), DECAY, teacher)
        self.fused, self.needed = fused, needed
        if fused:
            for name, optimizer in self.adam.items():
                options = optimizer.defaults | {"foreach": None, "fused": True}
                self.adam[name] = torch.optim.Adam(getattr(nets, name).parameters(), **options)

    def apply(self, total: Tensor, *names: str) -> None:
        if not self.needed:
            super().apply(total, *names)
            return
        total.backward(inputs=[p for name in names for p in getattr(self.nets, name).parameters()])
        for name in names:
            self.adam[name].step()
            self.adam[name].zero_grad()

    def move_average(self, step: int) -> None:
        if self.fused:
            update_average(self.average, self.nets, average_decay(self.training, step))
        else:
            super().move_average(step)


def changed(**changes: bool) -> Callable[[Case, torch.device], Callable[[int], dict[str, float]]]:
    def make(case: Case, device: torch.device) -> Callable[[int], dict[str, float]]:
        student, teacher = case.networks()
        step = ChangedStep(student.to(device), teacher.to(device), **changes)
        return lambda i: step.iteration(case.noise(i).to(device), i)

    return make


RUNGS = {
    "plain": changed(),
    "channels_last": changed(channels_last=True),
    "fused Adam, moving average in one call": changed(channels_last=True, fused=True),
    "gradients only where needed": changed(channels_last=True, fused=True, needed=True),
    "content shared, pictures kept between updates": ours("float32"),
    "bfloat16": ours("bfloat16"),
}


def measure(case: Case, device: torch.device, rounds: int, warm_up: int) -> list[dict]:
    """A row a rung: median seconds, and operations a picture."""
    one, rungs = dataclasses.replace(case, batch=1), computable(RUNGS, device)
    flops = {name: count_flops(lambda make=make: make(one, torch.device("cpu"))(0)) for name, make in rungs.items()}
    seconds = take_turns(rungs, case, device, rounds, warm_up)
    medians = {name: statistics.median(all_of) for name, all_of in seconds.items()}
    plain = medians["plain"]
    return [
        {
            "name": name, "seconds": round(median, 4), "times_faster_than_plain": round(plain / median, 3), "flops_a_picture": flops[name],
            "all_seconds": seconds[name],
        }
        for name, median in medians.items()
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of(__doc__)
    parser.add_argument("--batch", type=int, default=8, help="pictures an iteration (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="timed iterations of each rung (default: %(default)s)")
    parser.add_argument("--warm-up", type=int, default=2, help="iterations before them (default: %(default)s)")
    options = parser.parse_args(arguments)
    case = dataclasses.replace(CASES[64], batch=options.batch)
    device = prepare(MachineSettings(device=options.device, threads=options.threads))
    rows = measure(case, device, options.rounds, options.warm_up)
    result = {"case": dataclasses.asdict(case), "rungs": rows, "environment": describe_environment(device)}
    for row in rows:
        print(f"  {row['name']:<46} {row['seconds']:8.3f} s {row['times_faster_than_plain']:6.2f}x {row['flops_a_picture'] / 1e9:8.2f} GFLOP a picture")
    write_result(result, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
