"""Face masks for the high-pass skip of CelebA-HQ's models (Choi et al. 2020; the thesis uses but does not describe them).

A frozen landmark network finds 98 points of the face; their heatmaps, sharpened and shifted by part, become two masks
that say where the source's fine detail is let through: mask 0, of the whole face, for features at 32x32; mask 1, without
jaw line, mouth and eyebrows, for those at 64x64 and 128x128 (`kdlib.networks.Generator`).

Masks are constants of an iteration: no gradient reaches the picture through them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlib.architecture import MASK_SIZE
from kdlib.errors import InputError
from kdlib.landmark_network import LANDMARKS, LandmarkNetwork

HEATMAP_SIZE = 64
THRESHOLD = 0.1  # weaker responses are noise

# (first landmark, end, rows up, power): the heatmaps from first to before end, raised to the power and moved up by that
# many rows (down if negative; what leaves the picture comes back at the other edge). A higher power narrows the spot.
# Landmarks in neither table count for nothing: 0-7 and 25-32 (sides of the jaw), 33 and 46 (outer ends of the eyebrows),
# 76 and 82 (corners of the mouth).
SHAPE = (  # mask 0 only
    (8, 25, 0, 3),  # chin
    (34, 46, -7, 2),  # eyebrows
    (47, 51, -7, 2),
    (77, 82, -8, 4),  # upper lip
    (83, 88, 8, 4),  # lower lip
    (88, 96, -2, 3),  # inner lip
)
DETAIL = (  # both masks
    (51, 52, 0, 1),  # bridge of the nose
    (52, 55, 4, 1),
    (55, 60, 8, 4),  # nostrils
    (60, 76, -8, 3),  # eyes, twice
    (60, 76, -24, 1),
    (96, 98, 0, 1),  # pupils
)


def _normalised(heatmaps: Tensor) -> Tensor:
    """Heatmaps at picture size, weak responses removed, each channel stretched to [0, 1]."""
    h = F.interpolate(heatmaps, size=MASK_SIZE, mode="bilinear", align_corners=True)
    h = torch.where(h < THRESHOLD, 0.0, h)
    low, high = h.amin(dim=(2, 3), keepdim=True), h.amax(dim=(2, 3), keepdim=True)
    return (h - low) / (high - low + 1e-6)


def _overlay(heatmaps: Tensor, parts: tuple[tuple[int, int, int, int], ...]) -> Tensor:
    """Sum of the parts' shaped heatmaps, [N 98 H W] -> [N 1 H W]."""
    spots = ((heatmaps[:, first:end] ** power).sum(dim=1, keepdim=True).roll(-up, dims=2) for first, end, up, power in parts)
    return sum(spots)


def masks_from_heatmaps(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Landmark heatmaps [N 98 64 64] -> (mask 0, mask 1), each [N 1 256 256] in [0, 1].

    Raises `InputError` for another shape; the boundary channel of the network must have been dropped.
    """
    if heatmaps.ndim != 4 or heatmaps.shape[1:] != (LANDMARKS, HEATMAP_SIZE, HEATMAP_SIZE):
        raise InputError(f"heatmaps of shape {list(heatmaps.shape)}: need [N {LANDMARKS} {HEATMAP_SIZE} {HEATMAP_SIZE}]")
    h = _normalised(heatmaps)
    detail = _overlay(h, DETAIL)
    return (detail + _overlay(h, SHAPE)).clamp(0, 1), detail.clamp(0, 1)


class LandmarkMasks(nn.Module):
    """The frozen landmark network as a maker of masks: always in eval mode, never trained, never differentiated.

    `kdlib.networks.Networks` holds it as ``landmarks``, apart from the networks that are trained, averaged and saved.
    """

    def __init__(self, network: LandmarkNetwork):
        super().__init__()
        self.network = network.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "LandmarkMasks":
        """Stay in eval mode: batch statistics of training would change what is frozen."""
        return super().train(False)

    @torch.no_grad()
    def masks(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures [N 3 256 256] in [-1, 1] -> (mask 0, mask 1), each [N 1 256 256] float32 in [0, 1].

        Always in float32, also under autocast: a power of 4 after a threshold is no place for 8 bits of mantissa.
        Raises `InputError` for any other size.
        """
        if x.ndim != 4 or x.shape[1:] != (3, MASK_SIZE, MASK_SIZE):
            raise InputError(
                f"pictures of shape {list(x.shape)}: face masks need [N 3 {MASK_SIZE} {MASK_SIZE}]; "
                "models with a high-pass skip (w_hpf > 0) exist at 256 px only"
            )
        with torch.autocast(x.device.type, enabled=False):
            return masks_from_heatmaps(self.network(x.float() * 0.5 + 0.5)[:, :LANDMARKS])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.masks(x)
