"""Random weights for the two Inceptions, in files like the published ones, for tests of everything but the weights.

Freshly drawn weights would let the signal die out within 48 layers: every picture would get the same features. So the batch
normalisations take their statistics from one batch of pictures, which keeps every layer's output at order 1.
"""

import functools

import pytest
import pytorch_fid.inception
import torch
import torchvision
from torch import nn


def pictures(count, size, seed=0):
    """Smooth random pictures, uint8 [N 3 size size]."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return (nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1) * 255).round().to(torch.uint8)


def lively(network):
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(pictures(4, 299) / 127.5 - 1)
    return network.eval()


@functools.cache
def torchvision_inception():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return lively(torchvision.models.inception_v3(weights=None, transform_input=False, init_weights=False))


@functools.cache
def pytorch_fid_inception():
    """The package's whole network, which it never makes without downloading its weights."""
    with torch.random.fork_rng(devices=[]), pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytorch_fid.inception, "load_state_dict_from_url", lambda *arguments, **options: None)
        patch.setattr(torchvision.models.Inception3, "load_state_dict", lambda network, tensors: None)
        torch.manual_seed(0)
        return lively(pytorch_fid.inception.fid_inception_v3())
