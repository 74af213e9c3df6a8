"""Made-up pictures, networks that do known things to them, and judges of them, shared by the tests of the evaluation.

Pictures carry their 16 factors as the first 16 numbers of the red channel and their species in the green one, so that a
factor network, a style encoder and generators can be written down in a few lines and are exact.
"""

import hashlib
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import nn

from kdlib.critters import SPECIES
from kdlib.scoring.evaluation import evaluate
from kdlib.scoring.feature_network import FeatureNetwork
from kdlib.scoring.judges import Judges
from kdlib.scoring.protocol import to_8_bits

TRAIN, VAL = 24, 12
CONTENT, STYLE, ONE_HOT = slice(0, 6), slice(6, 16), slice(16, 19)


def picture(code):
    """[N 19] factors and species -> images [N 3 8 8]."""
    images = torch.zeros(len(code), 3, 64)
    images[:, 0, :16] = code[:, :16]
    images[:, 1, :3] = code[:, ONE_HOT]
    return images.view(-1, 3, 8, 8)


def code_of(images):
    flat = images.flatten(2)
    return torch.cat([flat[:, 0, :16], flat[:, 1, :3]], dim=1)


class FakeFactorNetwork(nn.Module):
    def forward(self, images):
        code = code_of(images)
        return SimpleNamespace(features=code[:, :8], species_logits=code[:, ONE_HOT], factors=code[:, :16])


class FakeFeatures(FeatureNetwork):
    """A fixed random projection; counts the images it is shown."""

    preprocessing = "none"

    def __init__(self, weights_sha256="0", name="fake", seed=0):
        super().__init__(5, weights_sha256)
        self.seen, self.name = 0, name
        self.register_buffer("projection", torch.randn(192, 5, generator=torch.Generator().manual_seed(seed)) / 8)

    def forward(self, images):
        self.seen += len(images)
        return images[:, :, :8, :8].flatten(1) @ self.projection


class StyleEncoder(nn.Module):
    """The factors of a picture, and the asked domain."""

    def forward(self, x, y):
        s = torch.zeros(len(x), 64)
        s[:, :16] = code_of(x)[:, :16]
        s[:, ONE_HOT] = nn.functional.one_hot(y, 3).float() * 2 - 1
        return s


class MappingNetwork(nn.Module):
    def forward(self, z, y):
        s = torch.zeros(len(z), 64)
        s[:, :16] = torch.tanh(z)
        s[:, ONE_HOT] = nn.functional.one_hot(y, 3).float() * 2 - 1
        return s


class Content(NamedTuple):
    """Nothing is encoded: the pictures themselves."""

    x: torch.Tensor
    masks: tuple[torch.Tensor, torch.Tensor] | None

    def of(self, where):
        return Content(self.x[where], self.masks and tuple(m[where] for m in self.masks))


class Generator(nn.Module):
    """``keep``: which of the 19 numbers come from the source; the others come from the style."""

    def __init__(self, keep):
        super().__init__()
        self.keep, self.calls, self.images = keep, 0, 0

    def content(self, x, masks=None):
        return Content(x, masks)

    def render(self, content, s):
        return self(content.x, s, content.masks)

    def forward(self, x, s, masks=None):
        assert not self.training and not torch.is_grad_enabled()
        self.calls, self.images = self.calls + 1, self.images + len(x)
        code = s[:, :19].clone()
        code[:, self.keep] = code_of(x)[:, self.keep]
        return picture(code)


def networks(keep):
    return SimpleNamespace(
        generator=Generator(keep), style_encoder=StyleEncoder(), mapping_network=MappingNetwork(), masks=lambda x: None
    )


COPY_SOURCE, COPY_STYLE, TRANSLATE = slice(0, 19), slice(0, 0), CONTENT


def split(count, seed, domains=SPECIES, image_size=8):
    generator = torch.Generator().manual_seed(seed)
    images = []
    for domain in range(len(domains)):
        code = torch.rand(count, 19, generator=generator) * 2 - 1
        code[:, ONE_HOT] = nn.functional.one_hot(torch.tensor(domain), 3).float() * 2 - 1
        images.append(to_8_bits(picture(code).repeat(1, 1, image_size // 8, image_size // 8)))
    digest = hashlib.sha256(b"".join(i.numpy().tobytes() for i in images)).hexdigest()
    return SimpleNamespace(
        domains=domains, image_size=image_size, counts=(count,) * len(domains), images=images.__getitem__, content_hash=digest
    )


def data(train_seed=1, domains=SPECIES, image_size=8):
    train, val = split(TRAIN, train_seed, domains, image_size), split(VAL, 2, domains, image_size)
    return SimpleNamespace(domains=domains, image_size=image_size, train=train, val=val)


def run(nets, dataset=None, *feature_networks, factor_network=FakeFactorNetwork(), lpips=None, **options):
    """`evaluate` with the made-up judges."""
    judges = Judges(feature_networks or (FakeFeatures(),), factor_network, lpips)
    return evaluate(nets, dataset or data(), judges, **{"progress": False, **options})
