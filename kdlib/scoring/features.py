"""The feature networks that work without a download, and the list of all of them by name.

The thesis (section 5.2) measures in Inception-v3's features, whose weights are fetched on first use (inception.py). The two
networks here need no network connection: Critters' factor network comes with kdlib, and SqueezeNet's weights are a file
that you provide. Their scores carry the network's name and are never called FID or KID.

To add a network: a subclass of ``FeatureNetwork``, and a line in ``FEATURE_NETWORKS``. What needs torchvision imports it when it is
made: that import takes as long as PyTorch's own, and most notebooks have no use for it.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlib.checkpoints import read_torch_file
from kdlib.errors import InputError
from kdlib.scoring.factor_network import load_factor_network
from kdlib.scoring.feature_network import FeatureNetwork, check_images, state_sha256
from kdlib.scoring.published_weights import SQUEEZENET, find_weights, sha256_of


class FactorNetworkFeatures(FeatureNetwork):
    """Penultimate features of the network trained on Critters' factors. Meaningful for Critters only.

    ``network`` is what ``kdlib.scoring.factor_network.load_factor_network`` returns (the default); it resizes by itself.
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
    image_size = 227
    feature_scale = 1 / 16

    def __init__(self, weights: str | Path | None = None):
        from torchvision.models import squeezenet1_0

        path = find_weights(SQUEEZENET, weights)
        super().__init__(512, sha256_of(path))
        with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and not used
            network = squeezenet1_0(weights=None)
        try:
            network.load_state_dict(read_torch_file(path))
        except (InputError, RuntimeError, TypeError, AttributeError) as error:  # the latter three: other tensors, or none
            raise InputError(f"{path} does not hold {SQUEEZENET.what}: {error}") from error
        if self.weights_sha256 != SQUEEZENET.sha256:
            self.warnings.append(
                f"{path.name} differs from the SqueezeNet weights behind the reference results (SHA-256 "
                f"{self.weights_sha256[:12]}, expected {SQUEEZENET.sha256[:12]}): do not compare scores with those"
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


def _inception_torchvision(weights: str | Path | None) -> FeatureNetwork:
    from kdlib.scoring.inception import InceptionTorchvision

    return InceptionTorchvision(weights)


def _inception_pytorch_fid(weights: str | Path | None) -> FeatureNetwork:
    from kdlib.scoring.inception import InceptionPytorchFid

    return InceptionPytorchFid(weights)


# Called with ``weights``: a file, a folder or None.
FEATURE_NETWORKS: dict[str, Callable[[str | Path | None], FeatureNetwork]] = {
    FactorNetworkFeatures.name: lambda weights: FactorNetworkFeatures(),
    SqueezeNetFeatures.name: SqueezeNetFeatures,
    "inception_torchvision": _inception_torchvision,
    "inception_pytorch_fid": _inception_pytorch_fid,
}


def load_feature_network(
    name: str, *, weights: str | Path | None = None, device: torch.device | str = "cpu"
) -> FeatureNetwork:
    """A feature network of ``FEATURE_NETWORKS`` by name, frozen, on ``device``.

    ``weights``: the file, or the folder that holds it; see ``published_weights``. The factor network's weights come with
    kdlib. Raises InputError on an unknown name and on missing or wrong weights.
    """
    if name not in FEATURE_NETWORKS:
        raise InputError(f"unknown feature network {name!r}: choose one of {', '.join(FEATURE_NETWORKS)}")
    return FEATURE_NETWORKS[name](weights).to(device)
