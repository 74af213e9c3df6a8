"""LPIPS over the outputs of one source: how far apart a viewer would find them (thesis section 5.2.2).

Zhang et al. 2018, version 0.1, AlexNet: the package lpips, with torchvision's AlexNet weights as published and the package's
own linear heads, which are bit for bit those of StarGAN-v2's code. The thesis's number is the mean over the 45 pairs of the
ten outputs of a source. It is taken of the generator's floats, neither clamped to [-1, 1] nor rounded to 8 bits.

Differences: the package's forward sends both pictures of a pair through AlexNet, ninety passes for ten pictures; here each
picture goes through once and the pairs are formed from its features, which gives the package's numbers up to rounding.
StarGAN-v2 averages over batches of sources, the last of which may be smaller and then weighs more; here every source counts
alike.
"""

import warnings
from pathlib import Path
from typing import Any

import lpips
import torch
from torch import Tensor, nn

from kdlib.checkpoints import read_torch_file
from kdlib.errors import InputError
from kdlib.scoring.feature_network import check_images
from kdlib.scoring.published_weights import ALEXNET, find_or_fetch, sha256_of

HEADS = Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth"
HEADS_SHA256 = "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"


class LpipsDistance(nn.Module):
    """LPIPS (AlexNet, v0.1), frozen. ``weights``: see `published_weights.find_weights`.

    Raises InputError where AlexNet's weights are missing or other than published, or the package's heads are not v0.1's.
    """

    score = "lpips"
    file = ALEXNET

    def __init__(self, weights: str | Path | None = None):
        super().__init__()
        path = find_or_fetch(self.file, weights)
        if sha256_of(HEADS) != HEADS_SHA256:
            raise InputError(f"the installed package lpips holds other linear heads (weights/v0.1/{HEADS.name}) than lpips 0.1.4")
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package calls torchvision with an argument that has another name now
            self.network = lpips.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
        self._fill(read_torch_file(path))
        self.eval().requires_grad_(False)

    def _fill(self, alexnet: dict[str, Tensor]) -> None:
        """torchvision's convolutions into the package's slices of AlexNet, whose modules bear torchvision's numbers."""
        for part in self.network.net.children():
            part.load_state_dict({name: alexnet[f"features.{name}"] for name in part.state_dict()})
        # The package loads its heads without asking whether every tensor found its place.
        own = self.network.state_dict()
        for name, tensor in read_torch_file(HEADS).items():
            if not torch.equal(own[name], tensor):
                raise InputError(f"the package lpips did not load its linear heads: {name} differs from its file")

    def record(self) -> dict[str, Any]:
        """What a result says of the network."""
        return {
            "name": "AlexNet, v0.1",
            "weights_sha256": self.file.sha256,
            "heads_sha256": HEADS_SHA256,
            "preprocessing": "the generator's floats, neither clamped nor rounded, at the model's size",
            "scores": {"lpips": self.score},
        }

    def pairs(self, images: Tensor) -> Tensor:
        """Distances of all pairs of images [K 3 H W] in [-1, 1], [K (K - 1) / 2]: (0, 1), (0, 2), ..., (1, 2), ..."""
        check_images(images)
        layers = [lpips.normalize_tensor(layer) for layer in self.network.net(self.network.scaling_layer(images))]
        distances = []
        for i in range(len(images) - 1):
            parts = [head((layer[i + 1 :] - layer[i]) ** 2).mean(dim=(1, 2, 3)) for head, layer in zip(self.network.lins, layers, strict=True)]
            distances.append(torch.stack(parts).sum(dim=0))
        return torch.cat(distances)

    def forward(self, outputs: Tensor) -> Tensor:
        """Mean over the pairs of outputs of each source: [S K 3 H W] with K at least 2 -> [S]. One source at a time in memory."""
        return torch.stack([self.pairs(images).mean() for images in outputs]) if len(outputs) else outputs.new_zeros(0)
