"""What every feature network behind a metric has in common: images in, one vector per image out, and the names of its scores.

A distance is defined by the network whose features it compares (thesis section 5.2: Inception-v3). So the network carries
the names of the scores computed from it, and nobody else makes such a name up: where a network and its preprocessing are
those of a published metric, the score bears that metric's name, else the network's ("frechet_squeezenet").
"""

import hashlib
from typing import Any

from torch import Tensor, nn

from kdlib.errors import InputError
from kdlib.scoring.metrics import KernelProtocol


class FeatureNetwork(nn.Module):
    """A frozen network whose features a metric compares. Subclasses implement ``forward``: images [N 3 H W] floating point
    in [-1, 1], holding whole 8-bit levels, to features [N D]; they resize and normalise for themselves."""

    name: str
    preprocessing: str  # what happens to the images before the network, for the record
    kernel = KernelProtocol(samples=2000)

    def __init__(self, dimension: int, weights_sha256: str):
        super().__init__()
        self.dimension = dimension
        self.weights_sha256 = weights_sha256
        self.warnings: list[str] = []

    @property
    def frechet_score(self) -> str:
        return f"frechet_{self.name}"

    @property
    def shift_score(self) -> str:
        """What the distance between the means has of the Frechet distance; the rest is the covariances'."""
        return f"{self.frechet_score}_shift"

    @property
    def kernel_score(self) -> str:
        return f"kernel_{self.name}"

    @property
    def diversity_score(self) -> str:
        """Mean Euclidean distance of features over the pairs of outputs of a source."""
        return f"diversity_{self.name}"

    def record(self) -> dict[str, Any]:
        """What a result says of the network: weights, preprocessing, names of its scores."""
        return {
            "name": self.name,
            "dimension": self.dimension,
            "weights_sha256": self.weights_sha256,
            "preprocessing": self.preprocessing,
            "scores": {"frechet": self.frechet_score, "kernel": self.kernel_score, "diversity": self.diversity_score},
            "kernel": self.kernel.record(),
        }

    def freeze(self) -> None:
        self.eval().requires_grad_(False)


def check_images(images: Tensor) -> None:
    """Raise InputError unless images are floating point [N 3 H W]."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise InputError(f"images must be floating point [N 3 H W] in [-1, 1], got {images.dtype} {list(images.shape)}")


def state_sha256(module: nn.Module) -> str:
    """SHA-256 over a module's parameters and buffers (name, shape, bytes), the same on every device."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
