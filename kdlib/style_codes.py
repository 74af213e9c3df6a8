"""What a trained style code holds, and what the generator takes from it rather than from its source.

The code is meant for style. But the cycle loss (thesis Eq. 10) asks that a picture can be rebuilt from a translation of it and from
its own code, and a code that holds the whole picture meets that without any help of the translation. Two measurements tell whether a
model goes that way. Neither is in the thesis.

- *held*: how well each factor of a picture can be read off its code. A ridge regression a domain, fitted on the training pictures'
  codes; the correlation of what it reads with the factor, on validation pictures. It is linear, so what it cannot read may still
  be there.
- *from the code*, *from the source*: the code of one picture, and *another* picture of the same domain as the source, as the cycle
  loss has it but for the source. The correlation of each of the output's factors with that of the picture whose code it was given, and
  with that of its source.

Factors are those that the factor network reads off the pictures, as in all factor scores. Correlations are means over domains.
"""

import numpy as np
import torch
from torch import Tensor, nn

from kdlib.critters import CONTENT_FACTORS, STYLE_FACTORS
from kdlib.data import Dataset, Split
from kdlib.images import to_float
from kdlib.networks import Networks
from kdlib.scoring.factor_scores import Factors
from kdlib.scoring.metrics import correlation, to_float64
from kdlib.scoring.protocol import eval_mode, to_8_bits

RIDGE = 1.0  # penalty on the weights of standardised codes, whose squared error is summed over pictures
OTHERS = 10  # sources that every validation picture's code is given to
BATCH = 50
HELD, FROM_CODE, FROM_SOURCE = "held", "from_code", "from_source"


def code_scores(nets: Networks, dataset: Dataset, factor_network: nn.Module) -> dict[str, dict[str, float]]:
    """{"held" | "from_code" | "from_source": {factor: correlation}} of networks on the CPU; see above."""
    found: dict[str, list[list[float]]] = {HELD: [], FROM_CODE: [], FROM_SOURCE: []}
    with eval_mode([nets.generator, nets.style_encoder, factor_network]):
        for domain in range(len(dataset.domains)):
            train_codes, train_factors = _codes_and_factors(nets, dataset.train, domain, factor_network)
            codes, factors = _codes_and_factors(nets, dataset.val, domain, factor_network)
            found[HELD].append(readout(*map(to_float64, (train_codes, train_factors, codes, factors))))
            outputs, of_code, of_source = _exchanged(nets, dataset.val, domain, factor_network, codes, factors)
            found[FROM_CODE].append(_correlations(outputs, of_code))
            found[FROM_SOURCE].append(_correlations(outputs, of_source))
    names = (*CONTENT_FACTORS, *STYLE_FACTORS)
    return {kind: {name: float(np.mean([one[i] for one in domains])) for i, name in enumerate(names)} for kind, domains in found.items()}


def readout(train_codes: np.ndarray, train_factors: np.ndarray, codes: np.ndarray, factors: np.ndarray) -> list[float]:
    """Correlation of every factor [N F] with what a ridge regression from codes [N S] reads, fitted on others of both."""
    mean, scale = train_codes.mean(axis=0), train_codes.std(axis=0)
    scale[scale == 0] = 1
    x, wanted = (train_codes - mean) / scale, train_factors - train_factors.mean(axis=0)
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ wanted)
    return _correlations((codes - mean) / scale @ weights, factors)


def _correlations(a: np.ndarray, b: np.ndarray) -> list[float]:
    return [correlation(a[:, i], b[:, i]) for i in range(a.shape[1])]


def _codes_and_factors(nets: Networks, split: Split, domain: int, factor_network: nn.Module) -> tuple[Tensor, np.ndarray]:
    """Codes [N S] and factors [N F] of all pictures of a domain."""
    codes, factors = [], []
    for start in range(0, split.counts[domain], BATCH):
        x = to_float(split.images(domain)[start : start + BATCH])
        codes.append(nets.style_encoder(x, torch.full((len(x),), domain)))
        factors.append(Factors.of(factor_network(x)).factors)
    return torch.cat(codes), np.concatenate(factors)


def _exchanged(
    nets: Networks, split: Split, domain: int, factor_network: nn.Module, codes: Tensor, factors: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every picture's code with each of the ``OTHERS`` pictures after it as the source: factors [M F] of the outputs, of the pictures
    that the codes are of, and of the sources."""
    count = split.counts[domain]
    of_code = np.repeat(np.arange(count), min(OTHERS, count - 1))
    of_source = (of_code + 1 + np.tile(np.arange(min(OTHERS, count - 1)), count)) % count
    outputs = []
    for start in range(0, len(of_code), BATCH):
        part = slice(start, start + BATCH)
        x = to_float(split.images(domain)[of_source[part]])
        pictures = nets.generator.render(nets.generator.content(x, nets.masks(x)), codes[torch.from_numpy(of_code[part])])
        outputs.append(Factors.of(factor_network(to_float(to_8_bits(pictures)))).factors)
    return np.concatenate(outputs), factors[of_code], factors[of_source]
