"""The factor network: reads species and factors off a picture of a Critter. Scorer, and feature network of the embedded Frechet
distance.

A small convolutional network trained on pictures whose factors are known because they were drawn from them. It judges
pictures painted by generators too, so it is trained on blurred and noisy ones besides. Nothing of the kind is in the
thesis, whose data have no known factors; FID's Inception network and LPIPS's AlexNet need a download.

    python -m kdlib.scoring.factor_network --steps 4000 --pictures 8000 --seed 1 --out kdlib/scoring/weights

trains it and writes weights and an accuracy report; the shipped ones were made by this command.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlib.checkpoints import load_weights, save_weights
from kdlib.critters import CONTENT_FACTORS, SPECIES, STYLE_FACTORS, critter_at, render
from kdlib.errors import InputError
from kdlib.files import write_text
from kdlib.images import to_float
from kdlib.paths import shown
from kdlib.progress import progress_bar

FACTORS = CONTENT_FACTORS + STYLE_FACTORS
INPUT_SIZE = 64
FEATURES = 64
FOLDER = Path(__file__).parent / "weights"
WEIGHTS, REPORT = FOLDER / "factor_network.safetensors", FOLDER / "factor_network.json"
TRAINING_SIZES = (32, 64)  # pixels the pictures are drawn at, in equal parts
TRAINING_SEED, HELD_OUT_SEED = 1000, 2000  # of the Critters; studies draw theirs from other seeds


class FactorPrediction(NamedTuple):
    """features [N 64], species_logits [N 3] in the order of SPECIES, factors [N 16] in that of FACTORS, natural units."""

    features: Tensor
    species_logits: Tensor
    factors: Tensor


class FactorNetwork(nn.Module):
    """Pictures [N 3 H W] in [-1, 1], square, of 32 px or more -> `FactorPrediction`.

    Four strided convolutions with batch norm, a linear layer to the features (no activation, so that their distribution
    is not cut off at zero), then linear heads on their leaky rectification.
    """

    def __init__(self, widths: Sequence[int] = (24, 40, 64, 96)):
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in zip((3, *widths), widths):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.1)]
        self.trunk = nn.Sequential(*layers)
        self.features = nn.Linear(widths[-1] * (INPUT_SIZE // 2 ** len(widths)) ** 2, FEATURES)
        self.species = nn.Linear(FEATURES, len(SPECIES))
        self.factors = nn.Linear(FEATURES, len(FACTORS))
        self.register_buffer("mean", torch.zeros(len(FACTORS)))  # of the factors in training, which heads predict standardised
        self.register_buffer("scale", torch.ones(len(FACTORS)))

    def forward(self, images: Tensor) -> FactorPrediction:
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3] or images.shape[2] < 32:
            raise InputError(f"pictures of shape {list(images.shape)}: the factor network takes square [N 3 H H] of 32 px or more")
        if images.shape[2] != INPUT_SIZE:
            images = F.interpolate(images, size=INPUT_SIZE, mode="bilinear", antialias=True)
        features = self.features(self.trunk(images).flatten(1))
        active = F.leaky_relu(features, 0.1)
        return FactorPrediction(features, self.species(active), self.factors(active) * self.scale + self.mean)


def load_factor_network(device: torch.device | str = "cpu", weights: Path = WEIGHTS) -> FactorNetwork:
    """The shipped network, frozen, in eval mode. Raises `InputError` if the file is missing or of another network."""
    network = FactorNetwork()
    load_weights(weights, {"factor_network": network})
    return network.eval().requires_grad_(False).to(device)


def draw(count: int, seed: int, image_size: int, split: str = "train") -> tuple[Tensor, Tensor, Tensor]:
    """Critters of every species in turn: pictures uint8 [N 3 H W], species [N], factors [N 16]."""
    pictures, species, factors = [], [], []
    for i in range(count):
        kind = i % len(SPECIES)
        critter = critter_at(SPECIES[kind], i // len(SPECIES), split=split, seed=seed)
        values = critter.factors()
        pictures.append(np.asarray(render(critter, image_size)))
        species.append(kind)
        factors.append([values[name] for name in FACTORS])
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(species), torch.tensor(factors, dtype=torch.float32)


def disturb(images: Tensor, random: torch.Generator) -> Tensor:
    """Blur and noise of random strength, which leave every factor as it is: what a generator's pictures may suffer from."""
    from torchvision.transforms.v2.functional import gaussian_blur

    if torch.rand((), generator=random) < 0.4:
        images = gaussian_blur(images, [5, 5], [0.3 + 1.2 * torch.rand((), generator=random).item()])
    if torch.rand((), generator=random) < 0.4:
        images = images + 0.12 * torch.rand((), generator=random) * torch.randn(images.shape, generator=random)
    return images.clamp(-1, 1)


def train_factor_network(steps: int, seed: int, pictures: int, batch_size: int = 48) -> FactorNetwork:
    """Train from scratch on ``pictures`` Critters of each of TRAINING_SIZES. Deterministic on one CPU thread."""
    sets = [draw(pictures, TRAINING_SEED + k, size) for k, size in enumerate(TRAINING_SIZES)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FactorNetwork().train()
    every = torch.cat([factors for _, _, factors in sets])
    network.mean.copy_(every.mean(0))
    network.scale.copy_(every.std(0))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    random = torch.Generator().manual_seed(seed)
    bar = progress_bar(range(steps), desc="factor network")
    for step in bar:
        images, species, factors = sets[step % len(sets)]
        chosen = torch.randint(len(images), (batch_size,), generator=random)
        prediction = network(disturb(to_float(images[chosen]), random))
        error = ((prediction.factors - factors[chosen]) / network.scale).square().mean()
        loss = error + 0.3 * F.cross_entropy(prediction.species_logits, species[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}")
    return network.eval().requires_grad_(False)


def accuracy(network: FactorNetwork, image_size: int, pictures: int = 1500, seed: int = HELD_OUT_SEED) -> dict[str, Any]:
    """On pictures of another seed: species accuracy; per factor mean absolute error, correlation, R^2."""
    images, species, factors = draw(pictures, seed, image_size, "val")
    batches = [network(to_float(part)) for part in images.split(250)]
    predicted = torch.cat([b.factors for b in batches]).double().numpy()
    right = torch.cat([b.species_logits for b in batches]).argmax(1).eq(species).double().mean().item()
    scores = {}
    for k, name in enumerate(FACTORS):
        truth, guess = factors[:, k].double().numpy(), predicted[:, k]
        scores[name] = {
            "mean_absolute_error": float(np.abs(guess - truth).mean()),
            "correlation": float(np.corrcoef(guess, truth)[0, 1]),
            "r2": float(1 - ((guess - truth) ** 2).mean() / truth.var()),
        }
    return {"pictures": pictures, "species_accuracy": right, "factors": scores}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m kdlib.scoring.factor_network", description="Train the factor network from scratch.")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pictures", type=int, default=8000, help="training pictures drawn at each size")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and report")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    network = train_factor_network(options.steps, options.seed, options.pictures)
    report = {
        "settings": {"steps": options.steps, "seed": options.seed, "pictures": options.pictures, "sizes": list(TRAINING_SIZES)},
        "seconds": round(time.perf_counter() - start),
        "torch": torch.__version__,
        "parameters": sum(p.numel() for p in network.parameters()),
        "features": FEATURES,
        "held_out_seed": HELD_OUT_SEED,
        "accuracy": {str(size): accuracy(network, size) for size in (32, 64, 128)},
    }
    save_weights(options.out / WEIGHTS.name, {"factor_network": network}, report["settings"])
    write_text(options.out / REPORT.name, json.dumps(report, indent=1) + "\n")
    print(shown(options.out / WEIGHTS.name))


if __name__ == "__main__":
    main()
