"""The networks of StarGAN-v2 and their compressed forms (thesis 2.4.1, 4.1.3 to 4.1.5, 4.2; Tables 4.1 to 4.6).

One `Architecture` describes a whole set: the same classes build teacher and student, which differ in the width cap
``alpha`` and in ``student`` (depthwise-separable encoders, first decoder convolution before upsampling). Discriminators
keep ordinary convolutions in both.

Shapes: image [N 3 H W] in [-1, 1], latent z [N Z], style s [N S], domain label y [N], logits [N].
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlib.architecture import SKIP_SIZES, TEACHER_ALPHA, Architecture, GeneratorDesign, check_masks_exist
from kdlib.blocks import AdaINResBlk, HighPass, MobileResBlk, ResBlk, instance_norm, laid_out_as, leaky_relu
from kdlib.errors import InputError


def select_domain(values: Tensor, y: Tensor) -> Tensor:
    """Per-domain outputs [N D ...] and labels y [N] -> the asked domain's, [N ...]."""
    return values[torch.arange(len(y), device=y.device), y]


def check_images(x: Tensor, size: int) -> None:
    """Raise `InputError` unless x is [N 3 size size]."""
    if x.ndim != 4 or x.shape[1:] != (3, size, size):
        raise InputError(f"pictures of shape {list(x.shape)}: these networks take [N 3 {size} {size}]")


def check_labels(y: Tensor, domains: int) -> None:
    """Raise `InputError` unless y is [N] of integers; their range is left to indexing, which must not wait for a GPU."""
    if y.ndim != 1 or y.is_floating_point():
        raise InputError(f"domain labels of shape {list(y.shape)}, {y.dtype}: need [N] integers from 0 to {domains - 1}")


class Content(NamedTuple):
    """What the generator's encoding half makes of N pictures; no style has touched it."""

    features: Tensor  # [N C h w], the bottleneck's
    skips: dict[int, Tensor]  # by feature size: what the high-pass skip adds to decoder features of that size

    def of(self, where: Tensor) -> "Content":
        """The contents of the pictures ``where`` [M], indices into these N, in any order and repeated as asked."""
        return Content(self.features[where], {size: skip[where] for size, skip in self.skips.items()})


class Generator(nn.Module):
    """G(x, s): translate pictures x [N 3 H W] into the style s [N S] -> [N 3 H W] (Tables 4.1, 4.2).

    From-RGB convolution, down blocks with instance norm, 2 bottleneck blocks with instance norm, 2 with AdaIN, up blocks
    with AdaIN, to-RGB. No tanh: outputs may leave [-1, 1] a little and are clamped where pictures are shown or stored.
    With ``pixel_shuffle`` from- and to-RGB see squares of pixels as one pixel of more channels (`GeneratorDesign`).
    """

    def __init__(self, arch: Architecture):
        super().__init__()
        self.arch = arch
        encoder_block = MobileResBlk if arch.student else ResBlk
        widths = arch.generator_widths
        colours = 3 * arch.pixel_shuffle**2
        self.from_rgb = nn.Conv2d(colours, widths[0], 3, padding=1)  # the thesis's tables say 1x1; their 1,792 weights are 3x3

        down = [encoder_block(a, b, normalize=True, downsample=True) for a, b in zip(widths, widths[1:])]
        bottleneck = [encoder_block(widths[-1], widths[-1], normalize=True) for _ in range(2)]
        self.encode = nn.ModuleList(down + bottleneck)

        decoder = {"style_dim": arch.style_dim, "conv_before_upsampling": arch.student, "residual_only": arch.w_hpf > 0}
        bottleneck = [AdaINResBlk(widths[-1], widths[-1], separable=arch.separable_bottleneck, **decoder) for _ in range(2)]
        up = [AdaINResBlk(b, a, upsample=True, separable=arch.separable_up, **decoder) for a, b in zip(widths, widths[1:])]
        self.decode = nn.ModuleList(bottleneck + up[::-1])

        self.to_rgb_norm = instance_norm(widths[0])
        self.to_rgb = nn.Conv2d(widths[0], colours, 1)
        self.high_pass = HighPass(arch.w_hpf) if arch.w_hpf > 0 else None

    def forward(self, x: Tensor, s: Tensor, masks: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """``masks``: two of [N 1 H W] in [0, 1], where the source's features are let through (needs ``w_hpf`` > 0)."""
        return self.render(self.content(x, masks), s)

    def content(self, x: Tensor, masks: tuple[Tensor, Tensor] | None = None) -> Content:
        """What is kept of pictures x [N 3 H W], whatever style they will be given: one content serves many ``render`` calls."""
        check_images(x, self.arch.image_size)
        if masks is not None and self.high_pass is None:
            raise InputError("masks were given to a generator without a high-pass skip: build it with w_hpf > 0")
        skips = {}
        if self.arch.pixel_shuffle > 1:
            x = laid_out_as(F.pixel_unshuffle(x, self.arch.pixel_shuffle), x)
        h = self.from_rgb(x)
        for block in self.encode:
            size = h.shape[2]
            if masks is not None and size in SKIP_SIZES:  # of the feature ENTERING the block; the bottleneck is smaller than any skip
                mask = F.interpolate(masks[0] if size == SKIP_SIZES[0] else masks[1], size=size, mode="bilinear")
                skips[size] = self.high_pass(mask * h)
            h = block(h)
        return Content(h, skips)

    def render(self, content: Content, s: Tensor, features: list[Tensor] | None = None) -> Tensor:
        """``content`` of N pictures in the styles s [N S] -> [N 3 H W]. To ``features``, if given, what leaves every decoder block is added."""
        h = content.features
        if s.shape != (len(h), self.arch.style_dim):
            raise InputError(f"styles of shape {list(s.shape)} for {len(h)} pictures: need [{len(h)} {self.arch.style_dim}]")
        for block in self.decode:
            h = block(h, s)
            if h.shape[2] in content.skips:
                h = h + content.skips[h.shape[2]]
            if features is not None:
                features.append(h)
        image = self.to_rgb(leaky_relu(laid_out_as(self.to_rgb_norm(h), h)))
        return laid_out_as(F.pixel_shuffle(image, self.arch.pixel_shuffle), image) if self.arch.pixel_shuffle > 1 else image


def convolutional_trunk(arch: Architecture, block: type[ResBlk]) -> tuple[list[nn.Module], int]:
    """From-RGB, down blocks to 4x4, then a 4x4 convolution to 1x1: the shared part of E and D; and its width."""
    widths = arch.widths(arch.encoder_down_blocks)
    layers = [nn.Conv2d(3, widths[0], 3, padding=1)]
    layers += [block(a, b, downsample=True) for a, b in zip(widths, widths[1:])]
    layers += [nn.LeakyReLU(0.2), nn.Conv2d(widths[-1], widths[-1], 4), nn.LeakyReLU(0.2)]
    return layers, widths[-1]


class StyleEncoder(nn.Module):
    """E(x, y): the style [N S] of pictures x [N 3 H W] as members of domains y [N] (Tables 4.3, 4.4)."""

    def __init__(self, arch: Architecture):
        super().__init__()
        self.arch = arch
        layers, width = convolutional_trunk(arch, MobileResBlk if arch.student else ResBlk)
        self.shared = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(width, arch.style_dim) for _ in range(arch.domains))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        check_images(x, self.arch.image_size)
        check_labels(y, self.arch.domains)
        h = self.shared(x).flatten(1)
        return select_domain(torch.stack([head(h) for head in self.heads], dim=1), y)  # [N D S] -> [N S]


class Discriminator(nn.Module):
    """D(x, y): logit [N] that x [N 3 H W] is a real picture of domain y [N]. Ordinary convolutions at any alpha."""

    def __init__(self, arch: Architecture):
        super().__init__()
        self.arch = arch
        layers, width = convolutional_trunk(replace(arch, alpha=arch.discriminator_alpha or arch.alpha), ResBlk)
        self.shared = nn.Sequential(*layers)
        self.heads = nn.Conv2d(width, arch.domains, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        check_images(x, self.arch.image_size)
        check_labels(y, self.arch.domains)
        return select_domain(self.heads(self.shared(x)).flatten(1), y)  # [N D] -> [N]


def hidden_layers(width_in: int, width: int, count: int, activation: type[nn.Module]) -> list[nn.Module]:
    layers = []
    for i in range(count):
        layers += [nn.Linear(width_in if i == 0 else width, width), activation()]
    return layers


class BranchedMLP(nn.Module):
    """4 hidden layers shared by all domains, then per domain 3 hidden layers and a linear output: [N I], y [N] -> [N O]."""

    def __init__(self, width_in: int, width: int, width_out: int, domains: int, activation: type[nn.Module]):
        super().__init__()
        self.domains, self.width_in = domains, width_in
        self.shared = nn.Sequential(*hidden_layers(width_in, width, 4, activation))
        branch = lambda: nn.Sequential(*hidden_layers(width, width, 3, activation), nn.Linear(width, width_out))  # noqa: E731
        self.branches = nn.ModuleList(branch() for _ in range(domains))

    def forward(self, code: Tensor, y: Tensor) -> Tensor:
        if code.ndim != 2 or code.shape[1] != self.width_in:
            raise InputError(f"codes of shape {list(code.shape)}: need [N {self.width_in}]")
        check_labels(y, self.domains)
        h = self.shared(code)
        return select_domain(torch.stack([branch(h) for branch in self.branches], dim=1), y)


class MappingNetwork(BranchedMLP):
    """F(z, y): a style [N S] of domain y [N] from a latent z [N Z] ~ N(0, 1) (Tables 4.5, 4.6, which total one branch)."""

    def __init__(self, arch: Architecture):
        super().__init__(arch.latent_dim, arch.mapping_units, arch.style_dim, arch.domains, nn.ReLU)


class StyleDiscriminator(BranchedMLP):
    """D^s(s, y): logit [N] that style s [N S] of domain y [N] comes from the teacher (thesis 4.2, Fig 4.3)."""

    def __init__(self, arch: Architecture):
        # LeakyReLU at PyTorch's default slope, 0.01, not the 0.2 of the convolutional networks.
        super().__init__(arch.style_dim, min(512, arch.alpha), 1, arch.domains, nn.LeakyReLU)

    def forward(self, s: Tensor, y: Tensor) -> Tensor:
        return super().forward(s, y).squeeze(1)


def initialise(network: nn.Module) -> nn.Module:
    """He-normal weights (fan-in, ReLU gain), zero biases (He et al. 2015; thesis 5.3.4). Norm layers start at identity."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if isinstance(network, Generator) and network.arch.pixel_shuffle > 1:
        with torch.no_grad():  # all pixels of a square start alike, else a checkerboard is the first thing to unlearn (Aitken et al. 2017)
            square = network.arch.pixel_shuffle**2
            network.to_rgb.weight.copy_(network.to_rgb.weight[::square].repeat_interleave(square, dim=0))
    return network


@dataclass
class Networks:
    """A set of networks built from one architecture. What translates is G, E and F; the discriminators only train it."""

    arch: Architecture
    generator: Generator
    style_encoder: StyleEncoder
    mapping_network: MappingNetwork
    discriminator: Discriminator | None = None
    style_discriminator: StyleDiscriminator | None = None
    landmarks: nn.Module | None = None  # frozen, CelebA-HQ only; never part of a student's weights

    TRANSLATING = ("generator", "style_encoder", "mapping_network")  # not annotated: no field

    def modules(self) -> Iterator[tuple[str, nn.Module]]:
        """(name, network) of every network present, the landmark network excepted."""
        for name in (*self.TRANSLATING, "discriminator", "style_discriminator"):
            if getattr(self, name) is not None:
                yield name, getattr(self, name)

    def to(self, device: torch.device | str) -> "Networks":
        for _, module in self.modules():
            module.to(device)
        if self.landmarks is not None:
            self.landmarks.to(device)
        return self

    def averaged_copy(self) -> "Networks":
        """G, E and F copied, frozen, in eval mode: where an exponential moving average starts."""
        copies = {name: copy.deepcopy(getattr(self, name)).eval().requires_grad_(False) for name in self.TRANSLATING}
        return Networks(self.arch, **copies, landmarks=self.landmarks)

    def masks(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Face masks of x [N 3 256 256] for the high-pass skip, constants; None for a model without one.

        Raises `InputError` if the model has the skip but no landmark network: it would translate, badly, without a word.
        """
        if self.arch.w_hpf == 0:
            return None
        if self.landmarks is None:
            raise InputError("a model with a high-pass skip needs face masks: set landmarks, see kdlib.released.load_landmarks")
        return self.landmarks.masks(x)


def build_networks(
    alpha: int = TEACHER_ALPHA, domains: int = 3, student: bool = False, w_hpf: float = 0, image_size: int = 256,
    *, base_width: int | None = None, style_dim: int = 64, latent_dim: int = 16, down_blocks: int | None = None,
    design: GeneratorDesign | None = None, seed: int | None = None,
) -> Networks:  # fmt: skip
    """All five networks, He-initialised.

    ``seed`` makes the weights reproducible without touching the global random state; None draws from that state.
    Raises `InputError` where `Architecture` does, and for a high-pass skip at a size without face masks.
    """
    arch = Architecture(image_size, domains, alpha, student, w_hpf, base_width, style_dim, latent_dim, down_blocks, design)
    return networks_of(arch, seed)


def networks_of(arch: Architecture, seed: int | None = None) -> Networks:
    """As `build_networks`, of an architecture."""
    check_masks_exist(arch.w_hpf, arch.image_size)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        kinds = (Generator, StyleEncoder, MappingNetwork, Discriminator, StyleDiscriminator)
        return Networks(arch, *(initialise(kind(arch)) for kind in kinds))
