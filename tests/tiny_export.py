"""Small networks exported, shared by the tests of deployment."""

import math
from functools import cache

import torch

from kdlib.deploy.export import exportable, to_onnx, trace
from kdlib.networks import Networks, build_networks

ABOUT = {"model": "tiny", "licence": "MIT"}


def tiny_networks(**options) -> Networks:
    """G, E and F with every parameter drawn: at their initial values norms and biases would hide a forgotten term."""
    nets = build_networks(**{"alpha": 8, "domains": 3, "student": True, "image_size": 32, "base_width": 8, "seed": 0, **options}).averaged_copy()
    random = torch.Generator().manual_seed(1)
    for _, network in nets.modules():
        for p in network.parameters():
            fan_in = max(1, p[0].numel()) if p.ndim > 1 else 4
            p.copy_(torch.randn(p.shape, generator=random) / math.sqrt(fan_in))
    return nets


@cache
def tiny(name: str):
    """Network ``name`` of tiny networks: (the module, its ExportedProgram, its architecture). Traced once, and not to be changed."""
    nets = tiny_networks()
    network = exportable(nets)[name]
    return network, trace(name, network, nets.arch), nets.arch


@cache
def tiny_bytes(name: str) -> bytes:
    network, program, arch = tiny(name)
    return to_onnx(name, program, arch, ABOUT).SerializeToString()


def tiny_model(name: str = "generator"):
    """Its ONNX model, a new copy each time."""
    import onnx

    return onnx.ModelProto.FromString(tiny_bytes(name))
