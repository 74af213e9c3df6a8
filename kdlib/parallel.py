"""Data-parallel training: several processes, each with its part of every batch, that stay equal to one process with all of it.

Started by ``torchrun --nproc-per-node N -m kdlib train ...`` (gloo on CPUs, NCCL on GPUs). All processes hold the same weights and
optimiser states, because all see the mean of everyone's gradients before each of an iteration's updates; losses are means over
equal parts, so the mean of gradients is the gradient of the whole batch. DistributedDataParallel is not used: it expects one
backward pass through one network, where an iteration here has up to twelve, each for other networks, some of them differentiated
twice (R1).
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from kdlib.errors import InputError


@dataclass(frozen=True)
class Workers:
    """This process among those that train together: number ``rank`` of ``count``."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def part(self, size: int) -> slice:
        """This process's rows of a batch of ``size``. Raises `InputError` unless it splits evenly."""
        if size % self.count:
            raise InputError(f"batch_size = {size} cannot be shared evenly among {self.count} processes: take a multiple of {self.count}")
        own = size // self.count
        return slice(self.rank * own, (self.rank + 1) * own)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their mean over all processes, in place, in one exchange. Every process must call it alike."""
        if self.count == 1 or not tensors:
            return
        together = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(together)
        together /= self.count
        torch._foreach_copy_(list(tensors), [p.view_as(t) for p, t in zip(together.split([t.numel() for t in tensors]), tensors)])

    def gather(self, values: Tensor) -> Tensor:
        """Everyone's values [n] in the order of the batch, [n count], the same for every process, which must all call it."""
        if self.count == 1:
            return values
        everyones = [torch.empty_like(values) for _ in range(self.count)]
        dist.all_gather(everyones, values.contiguous())
        return torch.cat(everyones)

    @contextlib.contextmanager
    def first_then_others(self) -> Iterator[None]:
        """What is inside is done by the first process alone, then by the others: they find the files that it has made."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.count > 1:
            dist.barrier()


def workers() -> Workers:
    """This process's place; alone unless `joined`."""
    return Workers(dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else Workers()


@contextlib.contextmanager
def joined(device: str = "auto") -> Iterator[Workers]:
    """Meet the other processes that torchrun started; alone where there are none. On GPUs each takes the one of its number."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Workers()
        return
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield workers()
    finally:
        dist.destroy_process_group()
