"""A distance between pictures in a network's features, for a student to learn from (no part of the thesis).

Which network: the teacher's discriminator, as in "Distilling portable GANs for image translation" (Chen et al. 2020, their
perceptual loss; before them Larsen et al. 2016), or SqueezeNet, trained on photographs (perceptual losses: Johnson et al. 2016). Never
one that scores: a student that learned from the factor network would be marked by its own teacher.

The distance is that of Zhang et al. (2018, section 3, "the unreasonable effectiveness of deep features") without their learned
weights: feature vectors are brought to length 1 at every position, squared differences summed over channels, averaged over
positions and layers. So layers and networks of any scale weigh alike; Chen et al. take the plain L1.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlib.networks import Discriminator


class DiscriminatorMaps(nn.Module):
    """What leaves the first convolution, at the pictures' own size, and each residual block of a discriminator: pictures [N 3 H W] ->
    [[N C h w], ...]. All domains share these."""

    def __init__(self, discriminator: Discriminator):
        super().__init__()
        self.layers = discriminator.shared[:-3]  # behind them: activation, 4x4 convolution, activation

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [self.layers[0](x)]
        for block in self.layers[1:]:
            maps.append(block(maps[-1]))
        return maps


class SqueezeNetMaps(nn.Module):
    """SqueezeNet's features before each pooling and at its end, at the pictures' own size: [N 3 H W] -> four of [N C h w].

    The same weights and preprocessing as of the score (`kdlib.scoring.features.SqueezeNetFeatures`), which enlarges pictures first.
    Raises `InputError` where the weights are not there.
    """

    def __init__(self):
        super().__init__()
        from kdlib.scoring.features import SqueezeNetFeatures  # with it comes torchvision

        network = SqueezeNetFeatures()
        self.layers, self.mean = network.layers, network.mean

    def forward(self, x: Tensor) -> list[Tensor]:
        maps, h = [], (x.float() + 1) * 127.5 - self.mean
        for layer in self.layers:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(h)
            h = layer(h)
        return [*maps, h]


def perceptual_distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Distance [N] in [0, 4] of two lists of maps [N C h w]; 0 where all are the same but for a positive factor."""
    pairs = [(F.normalize(x.float(), dim=1), F.normalize(y.float(), dim=1)) for x, y in zip(a, b, strict=True)]
    return torch.stack([(x - y).square().sum(1).mean((1, 2)) for x, y in pairs]).mean(0)
