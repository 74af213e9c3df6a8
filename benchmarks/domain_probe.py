"""Whether translations are taken for their target domain, by a linear probe on real pictures' features, and how far they are from their sources.

    python benchmarks/domain_probe.py --model faces/teacher --model faces/alpha48-kd --json runs/reference/faces/domains.json

A set distance can be small because hardly anything is changed. Where nothing is known of pictures but their domain, this much can be
asked: Fisher's linear discriminant (least squares on one-hot labels) is fitted to a feature network's features of the training
pictures, and then told real validation pictures, which it may get wrong, too, and translations of them. The probe takes part in no training.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from common import options_of, preset_of, report
from torch import Tensor

from kdlib import session
from kdlib.data import Split
from kdlib.devices import prepare
from kdlib.errors import InputError
from kdlib.images import to_float
from kdlib.progress import progress_bar
from kdlib.results import GUIDES
from kdlib.runs import describe_environment
from kdlib.scoring.feature_network import FeatureNetwork
from kdlib.scoring.features import load_feature_network
from kdlib.scoring.protocol import Draws, Translations, eval_mode, to_8_bits
from kdlib.settings import MachineSettings
from kdlib.use.models import Model, common_domains, load_model


class Probe:
    """Fisher's linear discriminant between domains, of features [N D] and their domains [N]."""

    def __init__(self, features: np.ndarray, domains: np.ndarray):
        self.weights, *_ = np.linalg.lstsq(_with_one(features), np.eye(domains.max() + 1)[domains], rcond=None)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """The domain [N] that each is taken for."""
        return (_with_one(features) @ self.weights).argmax(1)


def _with_one(features: np.ndarray) -> np.ndarray:
    return np.concatenate([features.astype(np.float64), np.ones((len(features), 1))], axis=1)


def _features(network: FeatureNetwork, pictures: Tensor, batch: int) -> np.ndarray:
    """Features [N D] of pictures [N 3 H W] in [-1, 1]."""
    with torch.no_grad():
        return np.concatenate([network(part).numpy() for part in pictures.split(batch)])


def _of_split(network: FeatureNetwork, split: Split, most: int, batch: int) -> list[np.ndarray]:
    """Features of every domain's pictures, of the first ``most`` of them where that is above 0."""
    chosen = [to_float(split.images(k)[: most or None]) for k in range(len(split.domains))]
    return [_features(network, pictures, batch) for pictures in progress_bar(chosen, desc="real pictures")]


def translated(model: Model, split: Split, probe: Probe, network: FeatureNetwork, draws: Draws, batch: int) -> dict[str, dict[str, float]]:
    """By guide: the share of translations taken for their target domain, and the mean change of a pixel (on a scale from -1 to 1)."""
    made, scores = Translations(model.nets, split, draws, batch, "cpu"), {}
    pairs = [(a, b) for a in range(len(split.domains)) for b in range(len(split.domains)) if a != b]
    with eval_mode([getattr(model.nets, name) for name in model.nets.TRANSLATING]):
        for guide in GUIDES:
            taken, changed = [], []
            for source, target in pairs:
                styles, _ = made.guide(guide, source, target)
                outputs = torch.cat([to_float(to_8_bits(part)) for part in made.outputs(source, styles)])
                of = torch.from_numpy(np.repeat(made.sources[source], draws.outputs_per_source))
                changed.append(float((outputs - made.images(source, of)).abs().mean()))
                taken.append(float((probe(_features(network, outputs, batch)) == target).mean()))
            scores[guide] = {"taken_for_target": float(np.mean(taken)), "mean_change": float(np.mean(changed))}
    return scores


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line asks for. Raises `InputError` for models that are not there or do not share their domains."""
    prepare(MachineSettings(device="cpu", threads=options.threads))
    models = [load_model(name) for name in options.model]
    common_domains(models)
    preset = preset_of(models[0])
    others = [model.name for model in models if preset_of(model).data != preset.data]
    if others:
        raise InputError(f"{', '.join(others)}: judged on other pictures than {models[0].name}")
    dataset = session.open_data(preset)
    network, batch = load_feature_network(options.network), preset.evaluation.evaluation_batch_size
    train, val = (_of_split(network, split, most, batch) for split, most in ((dataset.train, options.train), (dataset.val, 0)))
    probe = Probe(np.concatenate(train), np.repeat(np.arange(len(train)), [len(part) for part in train]))
    real = float(np.mean([(probe(part) == k).mean() for k, part in enumerate(val)]))
    draws = Draws(preset.evaluation.evaluation_seed, options.outputs, 0, preset.networks.latent_dim)
    rows = [{"model": m.name, "scores": translated(m, dataset.val, probe, network, draws, batch)} for m in progress_bar(models, desc="models")]
    about = {"network": options.network, "train_per_domain": min(map(len, train)), "outputs_per_source": options.outputs, "real_taken_for_own": real}
    return {**about, "rows": rows, "environment": describe_environment(torch.device("cpu"))}


def text(result: dict[str, Any]) -> str:
    """The result as a table."""
    lines = [f"taken for the target domain (real pictures for their own: {result['real_taken_for_own']:.1%}), change of a pixel; latent / reference"]
    for row in result["rows"]:
        parts = [f"{row['scores'][guide]['taken_for_target']:.1%}, {row['scores'][guide]['mean_change']:.3f}" for guide in GUIDES]
        lines.append(f"  {row['model']}: {' / '.join(parts)}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of(__doc__, device=False)
    parser.add_argument("--model", action="append", required=True, help="a run folder or a run's name; may be given several times")
    parser.add_argument("--network", default="squeezenet", help="whose features are probed (default: %(default)s)")
    parser.add_argument("--train", type=int, default=2000, help="pictures of each domain that the probe learns from; 0: all (default: %(default)s)")
    parser.add_argument("--outputs", type=int, default=2, help="of each source, for each other domain (default: %(default)s)")
    options = parser.parse_args(arguments)
    return report(lambda: measured(options), text, options.json)


if __name__ == "__main__":
    sys.exit(main())
