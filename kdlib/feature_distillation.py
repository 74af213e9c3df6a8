"""Feature distillation: the student's features, behind learned 1x1 convolutions, are drawn to the teacher's (no part of the thesis).

GAN Compression (Li et al. 2020, section 3.1): the sum over layers t of || G_t(x) - f_t(G'_t(x)) ||_2, where f_t maps the student's
channels to the teacher's and is trained together with the student. Here both networks' features are divided by their root mean
square, and layers are averaged, so that all weigh alike and the term's weight means the same at any depth: 1 is the error of saying
nothing, and about what training starts from, since adapters begin small. Without the student's own division its features, a tenth of
the teacher's at the start, would have to grow first. The adapters belong to training: they have a place in checkpoints, none in weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdlib.architecture import Architecture
from kdlib.errors import InputError
from kdlib.networks import initialise


def stage_layout(arch: Architecture, stages: Sequence[str]) -> list[tuple[int, int]]:
    """(channels, side) of a generator's features at ``stages``, in their order on the way of a picture.

    "bottleneck": what the encoding half puts out, no style in it yet. "decoder": what leaves each decoder block, the two at the
    bottleneck first.
    """
    places = list(zip(arch.generator_widths, arch.generator_sizes))[::-1]
    found = [places[0]] if "bottleneck" in stages else []
    return found + ([places[0], *places] if "decoder" in stages else [])


def stage_features(bottleneck: Tensor, decoder: Sequence[Tensor], stages: Sequence[str]) -> list[Tensor]:
    """Features [N C h w] at ``stages``, as `stage_layout` lists them."""
    return ([bottleneck] if "bottleneck" in stages else []) + (list(decoder) if "decoder" in stages else [])


class FeatureAdapters(nn.Module):
    """A 1x1 convolution a stage, from the student's channels to the teacher's.

    Stages are matched from the bottleneck outwards; where one generator has fewer (`GeneratorDesign`), the other's last are left
    out. Raises `InputError` where bottlenecks differ in size.
    """

    def __init__(self, student: Architecture, teacher: Architecture, stages: Sequence[str], seed: int):
        super().__init__()
        self.stages = tuple(stages)
        pairs = list(zip(stage_layout(student, stages), stage_layout(teacher, stages)))
        if any(mine[1] != its[1] for mine, its in pairs):
            raise InputError(
                f"lambda_feature: the student's bottleneck has {student.generator_sizes[-1]} px a side, its teacher's {teacher.generator_sizes[-1]}: "
                "features of different places cannot be compared; give both the same generator_down_blocks, or set lambda_feature = 0"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.adapters = initialise(nn.ModuleList(nn.Conv2d(mine[0], its[0], 1) for mine, its in pairs))
        with torch.no_grad():
            for adapter in self.adapters:
                adapter.weight.mul_(0.1)

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Squared difference [N] between the teacher's features and the student's adapted ones, both of size 1, mean over stages."""
        pairs = zip(self.adapters, student, teacher)
        errors = [(adapt(_of_size_one(mine)).float() - _of_size_one(its).float()).square().flatten(1).mean(1) for adapt, mine, its in pairs]
        return torch.stack(errors).mean(0)


def _of_size_one(features: Tensor) -> Tensor:
    """Features [N C h w] of each picture divided by their root mean square, through which no gradient goes."""
    squares = features.detach().float().square().flatten(1).mean(1).clamp(min=1e-12)  # features that say nothing stay 0
    return features * squares.rsqrt().to(features.dtype).view(-1, 1, 1, 1)
