"""Feature networks behind the metrics: images in, one vector per image out.

One class per network, all used alike: ``network(images [N 3 H W] in [-1, 1]) -> features [N D]``, with a ``name`` that
every score computed from it carries ("frechet_squeezenet"), its dimension D and the SHA-256 of its weights. The thesis
(section 5.2) uses Inception-v3 for FID and AlexNet for LPIPS, whose weights have to be downloaded; the two networks
here work without, and their scores are therefore never called FID or LPIPS.

To add a network: a subclass of ``FeatureNetwork`` that resizes and normalises for itself, and a line in
``FEATURE_NETWORKS``.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import squeezenet1_0

from kdlib.checkpoints import read_torch_file
from kdlib.errors import InputError
from kdlib.factor_network import load_factor_network

WEIGHTS_VARIABLE = "KDLIB_WEIGHTS"


class FeatureNetwork(nn.Module):
    """A frozen network whose features a metric compares. Subclasses implement ``forward``: [N 3 H W] -> [N D]."""

    name: str  # part of every score's name
    preprocessing: str  # what happens to the images before the network, for the record

    def __init__(self, dimension: int, weights_sha256: str):
        super().__init__()
        self.dimension = dimension
        self.weights_sha256 = weights_sha256
        self.warnings: list[str] = []

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


def find_weights(file_name: str, what: str, weights: str | Path | None = None) -> Path:
    """The local file of a network's weights.

    ``weights`` is that file or the folder that holds ``file_name``; without it the environment variable KDLIB_WEIGHTS
    names the folder. Raises InputError that says which file (``what`` describes it) to put where.
    """
    given = weights or os.environ.get(WEIGHTS_VARIABLE)
    if not given:
        raise InputError(
            f"{what} is needed: put the file {file_name} into a folder and name that folder in the environment "
            f"variable {WEIGHTS_VARIABLE} (or pass weights=...)"
        )
    path = Path(given)
    path = path / file_name if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"{path} does not exist: put {what} there, or name its folder in {WEIGHTS_VARIABLE}")
    return path


class FactorNetworkFeatures(FeatureNetwork):
    """Penultimate features of the network trained on Critters' factors. Meaningful for Critters only.

    ``network`` is what ``kdlib.factor_network.load_factor_network`` returns (the default); it resizes by itself.
    """

    name = "factor_network"
    preprocessing = "the factor network's own (it resizes by itself)"

    def __init__(self, network: nn.Module | None = None):
        if network is None:
            network = load_factor_network()
        with torch.no_grad():
            like = next(network.parameters(), torch.empty(0))
            dimension = network(torch.zeros(1, 3, 64, 64, device=like.device)).features.shape[1]
        super().__init__(dimension, state_sha256(network))
        self.network = network
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        check_images(images)
        return self.network(images).features


class SqueezeNetFeatures(FeatureNetwork):
    """SqueezeNet 1.0 (Iandola et al. 2016) trained on ImageNet: its last fire module, averaged over space, [N 512].

    The weights are the original Caffe release in torchvision's layout. They expect RGB in 0..255 minus (123, 117, 104)
    at 227 px, which is not torchvision's usual normalisation. Images are resized bilinearly with antialiasing.

    Features are divided by 16. Their root mean square over pictures of animals and of faces is 14 to 17, and the kernel
    distance's (x . y / D + 1)^3 is meant for features of order 1: undivided, the 1 would be lost. Frechet distances are
    256 times and diversities 16 times smaller for it, which changes no comparison.
    """

    name = "squeezenet"
    preprocessing = "bilinear with antialiasing to 227 px, RGB in 0..255 minus (123, 117, 104); features / 16"
    file_name = "squeezenet1_0.pth"
    what = "SqueezeNet 1.0's ImageNet weights (the Caffe release converted to torchvision's squeezenet1_0)"
    known_sha256 = "84da5d8bfdba027496e45e7fa9ed63a2a02f1d1fa21ebeb0666610a2abb148c7"
    image_size = 227
    feature_scale = 1 / 16

    def __init__(self, weights: str | Path | None = None):
        path = find_weights(self.file_name, self.what, weights)
        super().__init__(512, hashlib.sha256(path.read_bytes()).hexdigest())
        with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and not used
            network = squeezenet1_0(weights=None)
        try:
            network.load_state_dict(read_torch_file(path))
        except (InputError, RuntimeError, TypeError, AttributeError) as error:  # the latter three: other tensors, or none
            raise InputError(f"{path} does not hold {self.what}: {error}") from error
        if self.weights_sha256 != self.known_sha256:
            self.warnings.append(
                f"{path.name} differs from the SqueezeNet weights behind the reference results (SHA-256 "
                f"{self.weights_sha256[:12]}, expected {self.known_sha256[:12]}): do not compare scores with those"
            )
        # The classifier that follows is not used. Channels last: the same numbers in half the time on a CPU.
        self.layers = network.features.to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor([123.0, 117.0, 104.0]).view(1, 3, 1, 1), persistent=False)
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        check_images(images)
        pixels = (images.float() + 1) * 127.5
        size = (self.image_size, self.image_size)
        pixels = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=True)
        return self.layers(pixels - self.mean).mean(dim=(2, 3)) * self.feature_scale


# Called with ``weights``: a file, a folder or None.
FEATURE_NETWORKS: dict[str, Callable[[str | Path | None], FeatureNetwork]] = {
    "factor_network": lambda weights: FactorNetworkFeatures(),
    "squeezenet": SqueezeNetFeatures,
}


def load_feature_network(
    name: str, *, weights: str | Path | None = None, device: torch.device | str = "cpu"
) -> FeatureNetwork:
    """A feature network by name ("factor_network" or "squeezenet"), frozen, on ``device``.

    ``weights``: see ``find_weights``; ignored by the factor network, whose weights come with kdlib. Raises InputError
    on an unknown name and on missing or wrong weights.
    """
    if name not in FEATURE_NETWORKS:
        raise InputError(f"unknown feature network {name!r}: choose one of {', '.join(FEATURE_NETWORKS)}")
    return FEATURE_NETWORKS[name](weights).to(device)
