"""The generator's blocks with their operations in another order, or joined: the same function of the same weights in less time.

Nearest-neighbour upsampling copies each pixel four times, so whatever treats all pixels alike can come before it, on a quarter of them:

* "reordered": a student's second AdaIN and activation, which follow the upsampling directly (statistics of a picture do not change when
  each of its pixels is there four times), and the shortcut's 1x1 convolution, the teacher's too. The result is the same to rounding.
* "transposed": besides, upsampling and the 3x3 convolution after it become one transposed convolution, 4x4 with stride 2, whose
  kernel is the sum of the 3x3 weights that meet the same small pixel: 16 multiplications for four pixels in the place of 36, and
  no upsampled map is written. It stores 16 weights for every 9. Separable up blocks keep the two apart.

A down block's pooling averages four pixels, and whatever is linear and treats all pixels alike can come after it:

* "strided": "reordered", and in the down blocks pooling goes before the shortcut's and the separable convolutions' 1x1 convolution,
  on a quarter of the pixels, and 3x3 convolution and pooling become one 4x4 convolution with stride 2: 16 multiplications in the
  place of 36, and no map of full size is written.
* "joined": "transposed" and "strided".

For export only. Training keeps the blocks as the thesis has them, and MACs are counted on those (`kdlib.profiling`).
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlib.blocks import UNIT_VARIANCE, AdaINResBlk, ResBlk, SeparableConv, leaky_relu
from kdlib.deploy.forms import FORMS
from kdlib.errors import InputError
from kdlib.networks import Generator


def inference_form(generator: Generator, form: str) -> Generator:
    """A copy of a generator whose blocks have one of `FORMS`; layers keep their names. Raises `InputError` for another."""
    if form not in FORMS:
        raise InputError(f"form = {form!r}: must be one of {', '.join(FORMS)}")
    made = copy.deepcopy(generator)
    if form != "plain":
        for i, block in enumerate(made.decode):
            if block.upsample:
                made.decode[i] = ReorderedBlk(block, transposed=form in ("transposed", "joined"))
    if form in ("strided", "joined"):
        for i, block in enumerate(made.encode):
            if block.downsample:
                made.encode[i] = StridedBlk(block)
    return made


class ReorderedBlk(nn.Module):
    """`AdaINResBlk` with upsampling, [N C H W], style [N S] -> [N D 2H 2W], from the layers of such a block."""

    def __init__(self, block: AdaINResBlk, transposed: bool):
        super().__init__()
        self.norm1, self.norm2, self.conv1, self.conv2, self.shortcut = block.norm1, block.norm2, block.conv1, block.conv2, block.shortcut
        self.up_is_second, self.residual_only = block.conv_before_upsampling, block.residual_only
        self.transposed = transposed and not isinstance(block.conv2, SeparableConv)
        if self.transposed:
            after = "conv2" if self.up_is_second else "conv1"
            setattr(self, after, upsampling_convolution(getattr(block, after)))

    def _up(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="nearest")

    def _convolve_up(self, convolution: nn.Module, x: Tensor) -> Tensor:
        return convolution(x) if self.transposed else convolution(self._up(x))

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        residual = leaky_relu(self.norm1(x, s))
        residual = self.conv1(residual) if self.up_is_second else self._convolve_up(self.conv1, residual)
        residual = leaky_relu(self.norm2(residual, s))
        residual = self._convolve_up(self.conv2, residual) if self.up_is_second else self.conv2(residual)
        return residual if self.residual_only else (self._up(self.shortcut(x)) + residual) * UNIT_VARIANCE


def upsampling_convolution(convolution: nn.Conv2d) -> nn.ConvTranspose2d:
    """Nearest-neighbour upsampling by 2, then a 3x3 convolution with padding 1, as one transposed convolution, padding included."""
    weight = convolution.weight.detach()  # [O I 3 3]
    # Of output pixel o and tap t the upsampled pixel is o + t - 1, the small one i = (o + t - 1) // 2, and a transposed convolution
    # reaches it by kernel index a = o + 1 - 2 i: with t = 2 - a or 3 - a, as far as there are such taps.
    places = torch.zeros(4, 3, dtype=weight.dtype, device=weight.device)
    for a in range(4):
        for t in (2 - a, 3 - a):
            if 0 <= t < 3:
                places[a, t] = 1
    made = nn.ConvTranspose2d(weight.shape[1], weight.shape[0], 4, stride=2, padding=1, bias=convolution.bias is not None)
    made = made.to(weight.device, weight.dtype).requires_grad_(False)
    made.weight.copy_(torch.einsum("at,bu,oitu->ioab", places, places, weight))
    if convolution.bias is not None:
        made.bias.copy_(convolution.bias.detach())
    return made


class StridedBlk(nn.Module):
    """`ResBlk` or `MobileResBlk` with pooling, [N C H W] -> [N D H/2 W/2], from the layers of such a block."""

    def __init__(self, block: ResBlk):
        super().__init__()
        self.norm1, self.norm2, self.conv1, self.conv2, self.shortcut = block.norm1, block.norm2, block.conv1, block.conv2, block.shortcut
        if isinstance(self.conv1, SeparableConv):
            self.conv1.depthwise = pooling_convolution(self.conv1.depthwise)
        else:
            self.conv1 = pooling_convolution(self.conv1)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.conv1(leaky_relu(self.norm1(x)))
        residual = self.conv2(leaky_relu(self.norm2(residual)))
        return (self.shortcut(F.avg_pool2d(x, 2)) + residual) * UNIT_VARIANCE


def pooling_convolution(convolution: nn.Conv2d) -> nn.Conv2d:
    """A 3x3 convolution with padding 1, depthwise or not, then average pooling by 2, as one 4x4 convolution with stride 2."""
    weight = convolution.weight.detach()  # [O I 3 3]
    made = nn.Conv2d(
        convolution.in_channels, convolution.out_channels, 4, stride=2, padding=1, groups=convolution.groups, bias=convolution.bias is not None
    ).to(weight.device, weight.dtype).requires_grad_(False)  # fmt: skip
    # The four pixels of a square see the kernel at four places: their mean is the kernel convolved with a square of quarters.
    made.weight.copy_(sum(F.pad(weight, (j, 1 - j, i, 1 - i)) for i in (0, 1) for j in (0, 1)) / 4)
    if convolution.bias is not None:
        made.bias.copy_(convolution.bias.detach())
    return made
