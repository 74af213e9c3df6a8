"""The face-landmark network behind CelebA-HQ's masks (kdlib.landmarks makes the masks).

A face alignment network (Bulat and Tzimiropoulos 2017) with a single hourglass of depth 4 (Newell et al. 2016), whose
convolutions at the entrance also see where a pixel is (CoordConv, Liu et al. 2018), as trained by Wang et al. 2019 with
the adaptive wing loss: 98 landmarks of the WFLW data set and the face's boundary, one heatmap each. 6,333,603 weights,
which the thesis leaves out of its counts: a ratio with them is smaller than the one it prints.

It is never trained here, only loaded (`kdlib.released.load_landmarks`) and frozen.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LANDMARKS = 98
DEPTH = 4  # of the hourglass: 64x64 down to 4x4
WIDTH = 256  # channels inside the hourglass


class CoordConv(nn.Conv2d):
    """A convolution that is also given three maps: row and column in [-1, 1] and the distance from the centre in [0, 1]."""

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int, **options: int):
        super().__init__(channels_in + 3, channels_out, kernel_size, **options)

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.linspace(-1, 1, x.shape[2], device=x.device, dtype=x.dtype)
        columns = torch.linspace(-1, 1, x.shape[3], device=x.device, dtype=x.dtype)
        row, column = torch.meshgrid(rows, columns, indexing="ij")
        distance = torch.hypot(row, column) / 2**0.5  # the corners are at 1
        maps = torch.stack([row, column, distance]).expand(len(x), -1, -1, -1)
        return super().forward(torch.cat([x, maps], dim=1))


class MultiScaleBlock(nn.Module):
    """Residual block of three chained BN - ReLU - 3x3 convolutions whose outputs, D/2, D/4 and D/4 wide, are joined.

    [N C H W] -> [N D H W]. The shortcut is BN - ReLU - 1x1 convolution where C differs from D. No convolution has a bias.
    """

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        widths = (channels_in, channels_out // 2, channels_out // 4, channels_out // 4)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[:-1])
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in zip(widths, widths[1:]))
        self.shortcut = nn.Identity()
        if channels_in != channels_out:
            projection = nn.Conv2d(channels_in, channels_out, 1, bias=False)
            self.shortcut = nn.Sequential(nn.BatchNorm2d(channels_in), nn.ReLU(), projection)

    def forward(self, x: Tensor) -> Tensor:
        scales, h = [], x
        for norm, conv in zip(self.norms, self.convs):
            h = conv(F.relu(norm(h)))
            scales.append(h)
        return torch.cat(scales, dim=1) + self.shortcut(x)


class Hourglass(nn.Module):
    """Halve the map ``depth`` times, keeping a branch at every size, and come back up adding them: [N C H W] -> the same.

    Lists are ordered from the largest size to the smallest.
    """

    def __init__(self, depth: int, width: int):
        super().__init__()
        block = lambda: MultiScaleBlock(width, width)  # noqa: E731
        self.kept = nn.ModuleList(block() for _ in range(depth))
        self.down = nn.ModuleList(block() for _ in range(depth))
        self.bottom = block()
        self.up = nn.ModuleList(block() for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        branches = []
        for kept, down in zip(self.kept, self.down):
            branches.append(kept(x))
            x = down(F.avg_pool2d(x, 2))
        x = self.bottom(x)
        for up, branch in zip(reversed(self.up), reversed(branches)):
            x = branch + F.interpolate(up(x), scale_factor=2, mode="nearest")
        return x


class LandmarkNetwork(nn.Module):
    """Faces [N 3 256 256] in [0, 1] (not [-1, 1]) -> heatmaps [N 99 64 64]: 98 landmarks, then the boundary. No final ReLU."""

    def __init__(self):
        super().__init__()
        self.stem = CoordConv(3, 64, 7, stride=2, padding=3)
        self.stem_norm = nn.BatchNorm2d(64)
        self.blocks = nn.ModuleList([MultiScaleBlock(64, 128), MultiScaleBlock(128, 128), MultiScaleBlock(128, WIDTH)])
        self.entrance = CoordConv(WIDTH, WIDTH, 1)
        self.hourglass = Hourglass(DEPTH, WIDTH)
        self.head_block = MultiScaleBlock(WIDTH, WIDTH)
        self.head_conv = nn.Conv2d(WIDTH, WIDTH, 1)
        self.head_norm = nn.BatchNorm2d(WIDTH)
        self.to_heatmaps = nn.Conv2d(WIDTH, LANDMARKS + 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.stem_norm(self.stem(x)))  # [N 64 128 128]
        h = F.avg_pool2d(self.blocks[0](h), 2)  # [N 128 64 64]
        h = self.blocks[2](self.blocks[1](h))  # [N 256 64 64]
        h = self.head_block(self.hourglass(self.entrance(h)))
        return self.to_heatmaps(F.relu(self.head_norm(self.head_conv(h))))
