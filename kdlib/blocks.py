"""Building blocks of StarGAN-v2 and of its compressed form (thesis 4.1.1, 4.1.2, Figs 4.1 and 4.2).

Teacher and student stand side by side. They differ in two places only:

* encoder blocks: `ResBlk` (two 3x3 convolutions) against `MobileResBlk` (each replaced by depthwise 3x3 + pointwise 1x1);
* decoder blocks: `AdaINResBlk` upsamples before its first convolution in the teacher and after it in the student. The
  thesis does not mention the second difference; only with it do its MACs (Table 5.3) come out.

The thesis's Fig 4.2 draws the pooling elsewhere than the networks that were trained have it; the order here is theirs.

Shapes: feature map [N C H W], style [N S].
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAKY_SLOPE = 0.2
UNIT_VARIANCE = 1 / math.sqrt(2)  # the sum of two unit-variance paths, brought back to unit variance


def leaky_relu(x: Tensor) -> Tensor:
    """LeakyReLU with the slope of every convolutional network here, 0.2."""
    return F.leaky_relu(x, LEAKY_SLOPE)


def instance_norm(channels: int) -> nn.Module:
    """Affine instance normalisation (thesis 2.2.6): statistics per picture and channel, in training and after."""
    return nn.InstanceNorm2d(channels, affine=True)


def laid_out_as(y: Tensor, x: Tensor) -> Tensor:
    """``y`` in the memory layout of ``x`` [N C H W]. PyTorch's instance norm gives up channels_last, in which all else here is
    faster; left alone, what follows it works on a mixture of both layouts, forwards and backwards."""
    last = torch.channels_last
    return y.contiguous(memory_format=last) if x.is_contiguous(memory_format=last) and not x.is_contiguous() else y


class SeparableConv(nn.Module):
    """Depthwise 3x3 then pointwise 1x1, both with bias, nothing between (thesis 2.2.4).

    Weights: 9 C + C for the depthwise, C D + D for the pointwise, against 9 C D + D of the convolution it replaces.
    """

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.depthwise = nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in)
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class ResBlk(nn.Module):
    """Pre-activation residual block of the teacher's encoders and of every discriminator (Fig 4.1).

    (IN) - LeakyReLU - conv1 - average pool - (IN) - LeakyReLU - conv2, plus a shortcut of 1x1 convolution (where widths
    differ) and average pool; the sum is divided by sqrt(2). [N C H W] -> [N D H/2 W/2], or H W without ``downsample``.
    """

    def __init__(self, channels_in: int, channels_out: int, *, normalize: bool = False, downsample: bool = False):
        super().__init__()
        self.conv1 = self.convolution(channels_in, channels_in)
        self.conv2 = self.convolution(channels_in, channels_out)
        self.norm1 = instance_norm(channels_in) if normalize else nn.Identity()
        self.norm2 = instance_norm(channels_in) if normalize else nn.Identity()
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1, bias=False) if channels_in != channels_out else nn.Identity()
        self.downsample = downsample

    @staticmethod
    def convolution(channels_in: int, channels_out: int) -> nn.Module:
        return nn.Conv2d(channels_in, channels_out, 3, padding=1)

    def _pool(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2) if self.downsample else x

    def forward(self, x: Tensor) -> Tensor:
        residual = self._pool(self.conv1(leaky_relu(laid_out_as(self.norm1(x), x))))
        residual = self.conv2(leaky_relu(laid_out_as(self.norm2(residual), residual)))
        return (self._pool(self.shortcut(x)) + residual) * UNIT_VARIANCE


class MobileResBlk(ResBlk):
    """The student's encoder block: `ResBlk` with both convolutions depthwise separable (thesis 4.1.2, Fig 4.2)."""

    @staticmethod
    def convolution(channels_in: int, channels_out: int) -> nn.Module:
        return SeparableConv(channels_in, channels_out)


class AdaIN(nn.Module):
    """Adaptive instance normalisation: (1 + gamma(s)) IN(x) + beta(s), with gamma and beta linear in the style.

    With zero biases the scale starts near one, which is what the thesis (5.3.4) calls scaling biases set to one.
    """

    def __init__(self, channels: int, style_dim: int):
        super().__init__()
        self.affine = nn.Linear(style_dim, 2 * channels)

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        gamma, beta = self.affine(s)[:, :, None, None].chunk(2, dim=1)  # each [N C 1 1]
        return torch.addcmul(beta, 1 + gamma, laid_out_as(F.instance_norm(x), x))


class AdaINResBlk(nn.Module):
    """Decoder block: AdaIN - LeakyReLU - (up x2) - conv1 - AdaIN - LeakyReLU - conv2, style [N S] into both AdaINs.

    ``conv_before_upsampling`` (the student) runs conv1 at the lower resolution, a quarter of its MACs.
    ``residual_only`` (models with a high-pass skip) leaves the shortcut out of the sum; its 1x1 weights exist all the
    same, as they do in the released checkpoints and in the thesis's counts.
    ``separable`` makes both convolutions depthwise separable, which the thesis does in the encoder half alone.
    """

    def __init__(
        self, channels_in: int, channels_out: int, style_dim: int, *,
        upsample: bool = False, conv_before_upsampling: bool = False, residual_only: bool = False, separable: bool = False,
    ):  # fmt: skip
        super().__init__()
        convolution = MobileResBlk.convolution if separable else ResBlk.convolution
        self.norm1 = AdaIN(channels_in, style_dim)
        self.norm2 = AdaIN(channels_out, style_dim)
        self.conv1 = convolution(channels_in, channels_out)
        self.conv2 = convolution(channels_out, channels_out)
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1, bias=False) if channels_in != channels_out else nn.Identity()
        self.upsample = upsample
        self.conv_before_upsampling = conv_before_upsampling
        self.residual_only = residual_only

    def _up(self, x: Tensor) -> Tensor:
        # Nearest neighbour; the thesis's section 2.2.7 describes bilinear upsampling, which only masks undergo.
        return F.interpolate(x, scale_factor=2, mode="nearest") if self.upsample else x

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        residual = leaky_relu(self.norm1(x, s))
        residual = self._up(self.conv1(residual)) if self.conv_before_upsampling else self.conv1(self._up(residual))
        residual = self.conv2(leaky_relu(self.norm2(residual, s)))
        if self.residual_only:
            return residual
        return (self.shortcut(self._up(x)) + residual) * UNIT_VARIANCE


class HighPass(nn.Module):
    """Depthwise 3x3 high-pass filter, 8 at the centre and -1 around it, divided by ``w_hpf`` (CelebA-HQ's skip)."""

    def __init__(self, w_hpf: float):
        super().__init__()
        kernel = torch.full((3, 3), -1.0)
        kernel[1, 1] = 8.0
        self.register_buffer("kernel", kernel / w_hpf, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel.expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])
