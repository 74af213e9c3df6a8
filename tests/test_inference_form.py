"""Reordered and joined blocks against the blocks as they are, in double precision, and the closed forms of the joined kernels."""

import pytest
import torch
import torch.nn.functional as F
from test_networks import CLOSE, noise, randomised
from torch import nn

from kdlib.architecture import Architecture, GeneratorDesign
from kdlib.deploy.forms import FORMS
from kdlib.deploy.inference_form import inference_form, pooling_convolution, upsampling_convolution
from kdlib.errors import InputError
from kdlib.networks import Generator

ARCHITECTURES = [
    Architecture(64, 3, 12, False, 0, 5),
    Architecture(64, 3, 12, True, 0, 5),
    Architecture(256, 2, 5, True, 2.0, 2),
    Architecture(64, 3, 12, True, design=GeneratorDesign((6, 9), separable_up=True, separable_bottleneck=True, pixel_shuffle=2)),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("arch", ARCHITECTURES, ids=str)
def test_every_form_is_the_same_function(arch, form):
    net = randomised(Generator(arch))
    made = inference_form(net, form)
    x, s = noise(2, 3, arch.image_size, arch.image_size), noise(2, arch.style_dim, seed=2)
    masks = tuple(noise(2, 1, arch.image_size, arch.image_size, seed=i).sigmoid() for i in (3, 4)) if arch.w_hpf else None
    with torch.no_grad():
        torch.testing.assert_close(made(x, s, masks), net(x, s, masks), **CLOSE)
    assert {n for n, _ in made.named_parameters()} == {n for n, _ in net.named_parameters()}
    assert made.decode[-1] is not net.decode[-1]


def test_upsampling_and_convolution_become_one():
    convolution = nn.Conv2d(3, 5, 3, padding=1).double()
    joined = upsampling_convolution(convolution)
    x = noise(2, 3, 6, 7)
    with torch.no_grad():
        torch.testing.assert_close(joined(x), convolution(F.interpolate(x, scale_factor=2, mode="nearest")), **CLOSE)
    assert joined.weight.shape == (3, 5, 4, 4)
    torch.testing.assert_close(joined.weight.sum(), 4 * convolution.weight.sum())  # a pixel feeds four, each through all nine taps


@pytest.mark.parametrize("groups", [1, 3])
def test_convolution_and_pooling_become_one(groups):
    convolution = nn.Conv2d(3, 6, 3, padding=1, groups=groups).double()
    joined = pooling_convolution(convolution)
    x = noise(2, 3, 6, 8)
    with torch.no_grad():
        torch.testing.assert_close(joined(x), F.avg_pool2d(convolution(x), 2), **CLOSE)
    torch.testing.assert_close(joined.weight.sum(), convolution.weight.sum())  # the mean of four sums over the same weights
    assert joined.weight.shape == (6, 3 // groups, 4, 4) and joined.stride == (2, 2)


def test_a_form_that_there_is_not():
    with pytest.raises(InputError, match="form = 'folded': must be one of plain, reordered, transposed, strided, joined"):
        inference_form(Generator(ARCHITECTURES[0]), "folded")
