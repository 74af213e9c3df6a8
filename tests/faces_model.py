"""A small untrained model with face masks, released as CelebA-HQ's are."""

from pathlib import Path

import torch

from kdlib.landmark_network import LandmarkNetwork
from kdlib.landmarks import LandmarkMasks
from kdlib.networks import Networks, build_networks
from kdlib.released import save_released


def release_faces(path: Path) -> Networks:
    """Write the model, two domains and 256 px, to ``path``; its networks, the same at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LandmarkNetwork()
    nets = build_networks(8, 2, True, 1, 256, base_width=8, seed=0)
    nets.landmarks = LandmarkMasks(network)
    save_released(path, nets)
    return nets
