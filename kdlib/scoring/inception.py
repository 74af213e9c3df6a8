"""Inception-v3 twice: the features behind the thesis's FID, and those behind the FID and KID of most papers.

Both are called FID and neither number can stand beside the other: the networks differ in weights and, slightly, in layers,
and the pictures are resized differently. So there are two classes with scores of two names. In both, a picture is first what
the model sees or makes: 8 bits a channel, at the model's size.

- ``InceptionTorchvision``: the thesis's section 5.2 and StarGAN-v2 (Choi et al. 2020). torchvision's ImageNet weights.
- ``InceptionPytorchFid``: Heusel et al. 2017 as ported by the package pytorch-fid (Seitzer 2020). Differs from its command
  line in one thing: there, real pictures are resized to 299 px from their stored size, here from the model's size.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytorch_fid.inception
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import inception_v3
from torchvision.transforms.v2.functional import normalize

from kdlib.checkpoints import read_torch_file
from kdlib.images import square
from kdlib.scoring.feature_network import FeatureNetwork, check_images
from kdlib.scoring.metrics import KernelProtocol
from kdlib.scoring.protocol import to_8_bits
from kdlib.scoring.published_weights import INCEPTION_PYTORCH_FID, INCEPTION_TORCHVISION, find_or_fetch

DIMENSION = 2048  # the last average pooling
SIZE = 299  # pixels


class InceptionTorchvision(FeatureNetwork):
    """torchvision's Inception-v3 trained on ImageNet, its 2048 pooled features [N 2048]; ``fid_torchvision`` is the thesis's FID.

    torchvision's own switch ``transform_input``, which undoes ImageNet's normalisation for weights that came from
    TensorFlow, stays off: StarGAN-v2 runs the layers without it.
    """

    name = "inception_torchvision"
    frechet_score = "fid_torchvision"
    preprocessing = "8 bits at the model's size, resized to 299 px by Pillow (bilinear, antialiased, 8 bits), ImageNet mean and deviation"
    file = INCEPTION_TORCHVISION
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, weights: str | Path | None = None):
        path = find_or_fetch(self.file, weights)
        super().__init__(DIMENSION, self.file.sha256)
        with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and not used
            network = inception_v3(weights=None, transform_input=False, init_weights=False)
        network.load_state_dict(read_torch_file(path))
        network.fc = nn.Identity()
        network.AuxLogits = None
        self.network = network
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        check_images(images)
        pixels = [resized(picture) for picture in to_8_bits(images).cpu()]
        pixels = torch.stack(pixels).to(images.device).float() / 255
        return self.network(normalize(pixels, self.mean, self.deviation))


class InceptionPytorchFid(FeatureNetwork):
    """The package pytorch-fid's Inception, its 2048 pooled features [N 2048], for ``fid_pytorch_fid`` and ``kid_pytorch_fid``.

    The package resizes (bilinear, not antialiased) and normalises. KID is estimated as in Binkowski et al. 2018, from 100
    pairs of subsets of 1,000; sets of more than 5,000 vectors give a fixed random 5,000 of them to draw from.
    """

    name = "inception_pytorch_fid"
    frechet_score = "fid_pytorch_fid"
    kernel_score = "kid_pytorch_fid"
    kernel = KernelProtocol(samples=5000, subsets=100, subset_size=1000)
    preprocessing = "8 bits at the model's size in [0, 1], then pytorch-fid's own: bilinear to 299 px without antialiasing, [-1, 1]"
    file = INCEPTION_PYTORCH_FID

    def __init__(self, weights: str | Path | None = None):
        path = find_or_fetch(self.file, weights)
        super().__init__(DIMENSION, self.file.sha256)
        tensors = read_torch_file(path)
        with torch.random.fork_rng(devices=[]), _instead_of_download(tensors):
            self.network = pytorch_fid.inception.InceptionV3([pytorch_fid.inception.InceptionV3.BLOCK_INDEX_BY_DIM[DIMENSION]])
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        check_images(images)
        return self.network(to_8_bits(images).float() / 255)[0].flatten(1)


def resized(picture: Tensor) -> Tensor:
    """uint8 [3 H W] to uint8 [3 299 299] through Pillow, which rounds to 8 bits on the way; a tensor's resize would not."""
    return square(Image.fromarray(np.ascontiguousarray(picture.permute(1, 2, 0).numpy())), SIZE)


@contextmanager
def _instead_of_download(tensors: dict[str, Tensor]) -> Iterator[None]:
    """Give pytorch-fid these tensors where it would download its own.

    The package can build its network only by fetching the weights itself, into a folder of its own and unpickled without
    a check. Its loader, a name in its module, stands aside for as long as the network is built.
    """
    module = pytorch_fid.inception
    own = module.load_state_dict_from_url
    module.load_state_dict_from_url = lambda *arguments, **options: tensors
    try:
        yield
    finally:
        module.load_state_dict_from_url = own
