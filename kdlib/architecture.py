"""What has to be known to build a set of networks: sizes, widths, depths (thesis 4.1.3 to 4.1.5, 5.3.4). Numbers only, no PyTorch.

The first width is 2**14 / image_size as in StarGAN-v2, 64 at 256 px. That rule explodes at small sizes (256 channels
at 64 px), so presets for small pictures set ``base_width``.

The thesis narrows every layer by one cap. `GeneratorDesign` says where else a generator's width may go; by default nowhere.
"""

from dataclasses import dataclass

from kdlib.errors import InputError

TEACHER_ALPHA = 512
SKIP_SIZES = (32, 64, 128)  # feature sizes that get a high-pass skip; the first uses mask 0, the others mask 1
MASK_SIZE = 256  # pixels: what the landmark network was trained on, and the only size whose face masks it gives here


@dataclass(frozen=True)
class GeneratorDesign:
    """How a generator differs from the thesis's, which is this one's default (no part of the thesis).

    ``pixel_shuffle`` = r is the sub-pixel convolution of ESPCN (Shi et al. 2016): each square of r x r pixels enters as one of 3 r**2
    channels and leaves likewise, so that no layer runs at more than 1 / r of the picture's side. The r - 1 outermost halvings fall
    away; every stage that is left keeps its side and its width.
    """

    stage_widths: tuple[int, ...] = ()  # channels at every resolution from the finest to the bottleneck; empty: doubling up to alpha
    separable_up: bool = False  # the up blocks' convolutions depthwise separable, as the encoder half's are in the thesis
    separable_bottleneck: bool = False  # the same of the decoder's blocks at the bottleneck's resolution
    pixel_shuffle: int = 1  # 1, 2 or 4: side of the square of pixels that enters and leaves as one; 1: none

    def __post_init__(self):
        object.__setattr__(self, "stage_widths", tuple(self.stage_widths))  # of JSON, a list
        if self.pixel_shuffle not in (1, 2, 4):
            raise InputError(f"pixel_shuffle = {self.pixel_shuffle}: must be 1 (none), 2 or 4")
        if any(width < 1 for width in self.stage_widths):
            raise InputError(f"stage_widths = {list(self.stage_widths)}: each must be at least 1")


@dataclass(frozen=True)
class Architecture:
    """What has to be known to build a set of networks.

    Raises `InputError` for an image size that is no power of two from 32 to 512, fewer than two domains, a width below 1,
    or a generator of a depth that cannot be (`check_down_blocks`) or of a design that does not fit its depth.
    """

    image_size: int = 256
    domains: int = 3
    alpha: int = TEACHER_ALPHA  # cap on every width: channels of convolutions, hidden units of linear layers
    student: bool = False
    w_hpf: float = 0.0  # > 0: high-pass skip steered by face masks (CelebA-HQ)
    base_width: int | None = None  # width after the first convolution; None: 2**14 / image_size
    style_dim: int = 64
    latent_dim: int = 16
    down_blocks: int | None = None  # from the picture's side to the bottleneck; None: StarGAN-v2's rule, log2(image_size) - 4
    design: GeneratorDesign | None = None  # None: the thesis's
    mapping_width: int | None = None  # hidden units of F; None: by the cap, see `mapping_units`
    discriminator_alpha: int | None = None  # cap on D's widths alone; None: alpha

    def __post_init__(self):
        if self.image_size not in (32, 64, 128, 256, 512):
            raise InputError(f"image_size = {self.image_size}: must be 32, 64, 128, 256 or 512")
        if self.domains < 2:
            raise InputError(f"domains = {self.domains}: translation needs at least 2 domains")
        if self.w_hpf < 0:
            raise InputError(f"w_hpf = {self.w_hpf}: must be 0 (no high-pass skip) or positive")
        for name in ("alpha", "base_width", "style_dim", "latent_dim", "mapping_width", "discriminator_alpha"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} = {value}: must be at least 1")
        if self.down_blocks is not None:
            check_down_blocks(self.down_blocks, self.image_size, self.w_hpf)
        if isinstance(self.design, dict):  # as `dataclasses.asdict` and JSON have it
            object.__setattr__(self, "design", GeneratorDesign(**self.design))
        self._check_design()

    def _check_design(self) -> None:
        if self.generator_down_blocks < 1:
            raise InputError(
                f"pixel_shuffle = {self.pixel_shuffle} with image_size = {self.image_size}: leaves no down block, since the bottleneck is "
                f"{self.image_size >> self._halvings}x{self.image_size >> self._halvings}; set a smaller one"
            )
        stages = [str(size) for size in self.generator_sizes]
        if self.design is not None and len(self.design.stage_widths) not in (0, len(stages)):
            raise InputError(
                f"stage_widths = {list(self.design.stage_widths)}: this generator has {len(stages)} stages, at {', '.join(stages)} px; "
                "give a width for each, the finest first"
            )

    @property
    def first_width(self) -> int:
        return min(self.base_width or 2**14 // self.image_size, self.alpha)

    def widths(self, blocks: int) -> list[int]:
        """Widths entering and leaving ``blocks`` downsampling blocks, doubling up to the cap: ``blocks + 1`` numbers."""
        return [min(self.first_width * 2**i, self.alpha) for i in range(blocks + 1)]

    @property
    def _halvings(self) -> int:
        """From the picture's side to the bottleneck's: ``down_blocks``, or log2(image_size) - 4, so 16x16; one more with the skip, 8x8."""
        return self.down_blocks or self.image_size.bit_length() - 1 - 4 + (self.w_hpf > 0)

    @property
    def pixel_shuffle(self) -> int:
        return self.design.pixel_shuffle if self.design is not None else 1

    @property
    def separable_up(self) -> bool:
        return self.design is not None and self.design.separable_up

    @property
    def separable_bottleneck(self) -> bool:
        return self.design is not None and self.design.separable_bottleneck

    @property
    def generator_down_blocks(self) -> int:
        """Down blocks, and up blocks, that the generator has: all halvings but those that ``pixel_shuffle`` makes."""
        return self._halvings - (self.pixel_shuffle.bit_length() - 1)

    @property
    def generator_sizes(self) -> list[int]:
        """Sides in pixels of the generator's stages, from the finest to the bottleneck: one more than down blocks."""
        return [self.image_size // self.pixel_shuffle >> i for i in range(self.generator_down_blocks + 1)]

    @property
    def generator_widths(self) -> list[int]:
        """Channels at every one of ``generator_sizes``; by default each resolution's own by the doubling rule."""
        if self.design is not None and self.design.stage_widths:
            return list(self.design.stage_widths)
        return self.widths(self._halvings)[self.pixel_shuffle.bit_length() - 1 :]

    @property
    def mapping_units(self) -> int:
        """Hidden units of F's layers: ``mapping_width``, else the cap, but no more than StarGAN-v2's 512."""
        return self.mapping_width or min(512, self.alpha)

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
