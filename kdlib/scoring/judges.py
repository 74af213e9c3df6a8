"""The networks that score outputs, loaded once and used together: feature networks, LPIPS, Critters' factor network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from kdlib.errors import InputError
from kdlib.scoring.factor_scores import Factors
from kdlib.scoring.feature_network import FeatureNetwork, state_sha256
from kdlib.scoring.features import FactorNetworkFeatures

if TYPE_CHECKING:
    from kdlib.scoring.lpips_distance import LpipsDistance


@dataclass(frozen=True)
class Judges:
    """What outputs are scored with. ``factor_network``: for Critters only. Raises InputError where two share a name."""

    feature_networks: Sequence[FeatureNetwork]
    factor_network: nn.Module | None = None
    lpips: LpipsDistance | None = None

    def __post_init__(self):
        names = [network.name for network in self.feature_networks]
        if len(set(names)) < len(names) or not names:
            raise InputError(f"feature networks {names}: name at least one, and each once")

    @property
    def modules(self) -> list[nn.Module]:
        return [network for network in (*self.feature_networks, self.factor_network, self.lpips) if network is not None]

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of every network's weights by name: what decides a score besides settings, pictures and outputs."""
        hashes = {network.name: network.weights_sha256 for network in self.feature_networks}
        if self.factor_network is not None:
            hashes["factors"] = state_sha256(self.factor_network)
        if self.lpips is not None:
            record = self.lpips.record()
            hashes |= {"lpips": record["weights_sha256"], "lpips_heads": record["heads_sha256"]}
        return hashes

    def record(self) -> dict[str, Any]:
        """What a result says of them."""
        return {
            "feature_networks": [network.record() for network in self.feature_networks],
            "lpips": None if self.lpips is None else self.lpips.record(),
            "factor_network_sha256": None if self.factor_network is None else state_sha256(self.factor_network),
        }

    @cached_property
    def _also_factors(self) -> str | None:
        """Name of the feature network that is the factor network once more: one pass of a picture serves both."""
        if self.factor_network is None:
            return None
        own = state_sha256(self.factor_network)
        same = [n.name for n in self.feature_networks if isinstance(n, FactorNetworkFeatures) and n.weights_sha256 == own]
        return same[0] if same else None

    def measure(self, pictures: Tensor) -> tuple[dict[str, Tensor], Factors | None]:
        """Features [N D] by network name and, with a factor network, predicted factors of pictures [N 3 H W] in [-1, 1]."""
        prediction = None if self.factor_network is None else self.factor_network(pictures)
        features = {n.name: prediction.features if n.name == self._also_factors else n(pictures) for n in self.feature_networks}
        return features, None if prediction is None else Factors.of(prediction)
