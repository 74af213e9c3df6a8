"""Inputs that a trained model's networks see in use, drawn from training pictures: to measure ranges, and to compare exports on.

Translations as in training and evaluation: a source of any domain; a style of any domain, half of them of latents, half of reference
pictures. Everything is a function of the pictures, the networks and the seed.
"""

import dataclasses
import hashlib

import numpy as np
import torch

from kdlib.data import Dataset, Split, step_rng
from kdlib.deploy.export import MASKS, input_names
from kdlib.deploy.parity import Inputs
from kdlib.errors import InputError
from kdlib.images import to_float
from kdlib.networks import Networks

BATCH = 8


def draw_inputs(nets: Networks, split: Split, count: int, seed: int, purpose: str = "calibration") -> dict[str, Inputs]:
    """Inputs of the generator, the style encoder and the mapping network, ``count`` [N ...] of each, in their order, by network.

    ``nets`` are on the CPU, in eval mode. Draws for another ``purpose`` are independent of these.
    """
    if count < 2:
        raise InputError(f"{count} inputs: draw at least 2, one for each kind of style")
    draw = step_rng(seed, 0, purpose)
    counts = np.array(split.counts)
    sources, y = draw.integers(len(counts), size=(2, count))
    x = _pictures(split, sources, draw.integers(counts[sources]))
    references = _pictures(split, y, draw.integers(counts[y]))
    z = draw.standard_normal((count, nets.arch.latent_dim), dtype=np.float32)
    inputs = {"style_encoder": (references.numpy(), y), "mapping_network": (z, y)}
    found = {"x": x.numpy(), "s": styles(nets, inputs)}
    if nets.arch.w_hpf > 0:
        parts = [nets.masks(part) for part in x.split(BATCH)]
        found |= {name: torch.cat([part[i] for part in parts]).numpy() for i, name in enumerate(MASKS)}
    return inputs | {"generator": tuple(found[name] for name in input_names("generator", nets.arch))}


@torch.no_grad()
def styles(nets: Networks, inputs: dict[str, Inputs]) -> np.ndarray:
    """Styles [N 64] of inputs as ``draw_inputs`` gives them: of latents and of references in turns."""
    (references, y), (z, _) = ([torch.from_numpy(a) for a in inputs[name]] for name in ("style_encoder", "mapping_network"))
    found = nets.mapping_network(z, y)
    found[1::2] = torch.cat([nets.style_encoder(*part) for part in zip(references.split(BATCH), y.split(BATCH))])[1::2]
    return found.numpy()


@torch.no_grad()
def translations(nets: Networks, inputs: dict[str, Inputs]) -> np.ndarray:
    """What networks make of inputs as ``draw_inputs`` gives them, from latents and references to pictures [N 3 H W]."""
    x, _, *masks = (torch.from_numpy(a) for a in inputs["generator"])
    parts = zip(x.split(BATCH), torch.from_numpy(styles(nets, inputs)).split(BATCH), *(m.split(BATCH) for m in masks))
    return torch.cat([nets.generator(x, s, tuple(own) or None) for x, s, *own in parts]).numpy()


def _pictures(split: Split, domains: np.ndarray, indices: np.ndarray) -> torch.Tensor:
    return to_float(torch.stack([split.images(int(d))[int(i)] for d, i in zip(domains, indices)]))


def choosing_set(dataset: Dataset, pictures: int, seed: int) -> Dataset:
    """The data set with ``pictures`` a domain of its training part in the place of the validation part.

    What is chosen on these (which layers to quantise) can then be judged on validation pictures that had no say in it.
    """
    train = dataset.train
    draw = step_rng(seed, 0, "choosing set")
    chosen = [np.sort(draw.choice(count, min(pictures, count), replace=False)) for count in train.counts]
    digest = hashlib.sha256(f"{train.content_hash} {[c.tolist() for c in chosen]}".encode()).hexdigest()
    files = tuple(tuple(train.files(d)[i] for i in c) for d, c in enumerate(chosen))
    images = tuple(train.images(d)[c] for d, c in enumerate(chosen))
    return dataclasses.replace(dataset, val=Split("val", train.domains, train.image_size, digest, files, images))
