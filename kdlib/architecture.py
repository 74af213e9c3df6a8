"""What has to be known to build a set of networks: sizes, widths, depths (thesis 4.1.3 to 4.1.5, 5.3.4). Numbers only, no PyTorch.

The first width is 2**14 / image_size as in StarGAN-v2, 64 at 256 px. That rule explodes at small sizes (256 channels
at 64 px), so presets for small pictures set ``base_width``.
"""

from dataclasses import dataclass

from kdlib.errors import InputError

TEACHER_ALPHA = 512
SKIP_SIZES = (32, 64, 128)  # feature sizes that get a high-pass skip; the first uses mask 0, the others mask 1
MASK_SIZE = 256  # pixels: what the landmark network was trained on, and the only size whose face masks it gives here


@dataclass(frozen=True)
class Architecture:
    """What has to be known to build a set of networks.

    Raises `InputError` for an image size that is no power of two from 32 to 512, fewer than two domains, a width below 1,
    or a generator of a depth that cannot be (`check_down_blocks`).
    """

    image_size: int = 256
    domains: int = 3
    alpha: int = TEACHER_ALPHA  # cap on every width: channels of convolutions, hidden units of linear layers
    student: bool = False
    w_hpf: float = 0.0  # > 0: high-pass skip steered by face masks (CelebA-HQ)
    base_width: int | None = None  # width after the first convolution; None: 2**14 / image_size
    style_dim: int = 64
    latent_dim: int = 16
    down_blocks: int | None = None  # of the generator; None: StarGAN-v2's rule, see `generator_down_blocks`

    def __post_init__(self):
        if self.image_size not in (32, 64, 128, 256, 512):
            raise InputError(f"image_size = {self.image_size}: must be 32, 64, 128, 256 or 512")
        if self.domains < 2:
            raise InputError(f"domains = {self.domains}: translation needs at least 2 domains")
        if self.w_hpf < 0:
            raise InputError(f"w_hpf = {self.w_hpf}: must be 0 (no high-pass skip) or positive")
        for name in ("alpha", "base_width", "style_dim", "latent_dim"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} = {value}: must be at least 1")
        if self.down_blocks is not None:
            check_down_blocks(self.down_blocks, self.image_size, self.w_hpf)

    @property
    def first_width(self) -> int:
        return min(self.base_width or 2**14 // self.image_size, self.alpha)

    def widths(self, blocks: int) -> list[int]:
        """Widths entering and leaving ``blocks`` downsampling blocks, doubling up to the cap: ``blocks + 1`` numbers."""
        return [min(self.first_width * 2**i, self.alpha) for i in range(blocks + 1)]

    @property
    def generator_down_blocks(self) -> int:
        """``down_blocks``, else log2(image_size) - 4, so a 16x16 bottleneck; one more, 8x8, with the high-pass skip."""
        return self.down_blocks or self.image_size.bit_length() - 1 - 4 + (self.w_hpf > 0)

    @property
    def encoder_down_blocks(self) -> int:
        """log2(image_size) - 2 of style encoder and discriminator: down to 4x4."""
        return self.image_size.bit_length() - 1 - 2


def check_down_blocks(down_blocks: int, image_size: int, w_hpf: float) -> None:
    """Raise `InputError` for a generator with so many down blocks that instance norm has nothing to average, or with none.

    With the high-pass skip its bottleneck must be smaller than every feature that gets a skip (`SKIP_SIZES`).
    """
    log2 = image_size.bit_length() - 1
    least, most = max(1, log2 - 4) if w_hpf > 0 else 1, log2 - 1
    if not least <= down_blocks <= most:
        reason = f", since the high-pass skip needs one smaller than {SKIP_SIZES[0]}x{SKIP_SIZES[0]}" if least > 1 else ""
        raise InputError(
            f"generator_down_blocks = {down_blocks} with image_size = {image_size}: must be {least} to {most}, for a bottleneck of "
            f"{image_size >> least}x{image_size >> least} to 2x2{reason}; leave it out for StarGAN-v2's rule"
        )


def check_masks_exist(w_hpf: float, image_size: int) -> None:
    """Raise `InputError` for a high-pass skip at a picture size that has no face masks.

    A generator alone works at any size, with masks from elsewhere or without any; what is trained and evaluated needs them.
    """
    if w_hpf > 0 and image_size != MASK_SIZE:
        raise InputError(
            f"w_hpf = {w_hpf} with image_size = {image_size}: the high-pass skip is steered by face masks, which exist at "
            f"{MASK_SIZE} px only; set image_size = {MASK_SIZE}, or w_hpf = 0 for networks without the skip"
        )
