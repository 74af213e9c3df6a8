"""Parameters and multiply-accumulates (MACs) of a set of networks, layer by layer (thesis 5.2.3, Table 5.3).

Three counts of MACs stand side by side. All have convolutions and linear layers, without biases; they differ in the rest:

* ``macs``: PyTorch's FlopCounterMode, halved. It watches the tensor operations themselves: convolutions and linear layers only.
* ``macs_thop``: the package thop. Besides, 4 operations for every element that enters an affine norm, 2 for a plain one (inside
  AdaIN). Our AdaIN calls the norm as a function, which thop does not see, so it gets a rule here that counts what thop would
  count for the module.
* ``macs_torchprofile``: what the package torchprofile counted when the thesis was written (0.0.2 of November 2020), which the
  author's published script calls. Besides, 1 operation for every element that a norm, AdaIN's scaling, a LeakyReLU or an average
  pool puts out. All ten MACs of Table 5.3 are this count. Later versions leave plain norms out, so the rule stands here.

Upsampling and sums cost nothing in any of them. Everything runs on PyTorch's meta device: shapes without
numbers, so a 256 px teacher takes no memory. One picture, no masks: the high-pass skip of a face model is left out, as in the
thesis, and so is its landmark network unless it is given.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kdlib.architecture import Architecture
from kdlib.blocks import AdaIN, AdaINResBlk
from kdlib.landmarks import LandmarkMasks
from kdlib.networks import Discriminator, Generator, MappingNetwork, Networks, StyleDiscriminator, StyleEncoder

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # thop asks distutils for PyTorch's version
    import thop

KINDS = {"G": Generator, "E": StyleEncoder, "F": MappingNetwork, "D": Discriminator, "Ds": StyleDiscriminator}
TRANSLATING = ("G", "E", "F")  # what Table 5.3 counts
COUNTS = ["parameters", "macs_thop", "macs", "affine_norm_elements", "plain_norm_elements"]

# thop's operations for an element that enters a norm: 2, doubled where the norm is affine.
OPERATIONS_AFFINE_NORM, OPERATIONS_PLAIN_NORM = 4, 2


@dataclass(frozen=True)
class Stage:
    """A row of the thesis's Tables 4.1 to 4.6: ``layers`` are names of modules in the network, ``part`` its half of it."""

    network: str
    part: str
    name: str
    layers: tuple[str, ...]


def stages(network: str, arch: Architecture) -> list[Stage]:
    """The stages of network "G", "E", "F", "D" or "Ds", in the order a picture or a code passes them."""
    size, found = arch.generator_sizes[0] if network == "G" else arch.image_size, []

    def add(part: str, name: str, *layers: str) -> None:
        found.append(Stage(network, part, name, layers))

    if network == "G":
        depth = arch.generator_down_blocks
        add("encoder half", "from RGB", "from_rgb")
        for i in range(depth):
            add("encoder half", f"down {size >> i}→{size >> (i + 1)}", f"encode.{i}")
        for i in range(2):
            add("encoder half", f"bottleneck {i + 1}", f"encode.{depth + i}")
        for i in range(2):
            add("decoder half", f"bottleneck {i + 3}", f"decode.{i}")
        for i in range(depth):
            small = size >> (depth - i)
            add("decoder half", f"up {small}→{2 * small}", f"decode.{2 + i}")
        add("decoder half", "to RGB", "to_rgb_norm", "to_rgb")
    elif network in ("E", "D"):
        depth = arch.encoder_down_blocks
        add("whole", "from RGB", "shared.0")
        for i in range(depth):
            add("whole", f"down {size >> i}→{size >> (i + 1)}", f"shared.{i + 1}")
        add("whole", "4×4 convolution", f"shared.{depth + 2}")
        add("whole", f"heads × {arch.domains}", "heads")
    else:
        add("whole", "shared layers", "shared")
        add("whole", f"branches × {arch.domains}", "branches")
    return found


def meta_network(network: str, arch: Architecture, conv_before_upsampling: bool | None = None) -> nn.Module:
    """A network without numbers. ``conv_before_upsampling`` overrides the order in the decoder; None: as the architecture has it."""
    with torch.device("meta"):
        module = KINDS[network](arch).eval()
    if conv_before_upsampling is not None:
        for block in module.modules():
            if isinstance(block, AdaINResBlk):
                block.conv_before_upsampling = conv_before_upsampling
    return module


def meta_inputs(network: str, arch: Architecture) -> tuple[Tensor, ...]:
    """Inputs of shape only: one picture or one code, with a style or a domain label."""
    x = torch.empty(1, 3, arch.image_size, arch.image_size, device="meta")
    s, z = (torch.empty(1, n, device="meta") for n in (arch.style_dim, arch.latent_dim))
    y = torch.zeros(1, dtype=torch.long, device="meta")
    return {"G": (x, s), "E": (x, y), "F": (z, y), "D": (x, y), "Ds": (s, y)}[network]


def _count_adain(module: AdaIN, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    style_to_scale_and_shift = module.affine.in_features * module.affine.out_features * len(inputs[1])
    module.total_ops += OPERATIONS_PLAIN_NORM * inputs[0].numel() + style_to_scale_and_shift


def _count_convolution(module: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
    module.total_ops += output.numel() * module.weight[0].numel()


def _own_rules(module: nn.Module) -> dict[type, Callable]:
    """Rules for layers that thop, which goes by the exact type, does not know: AdaIN and kinds of convolution made here."""
    kinds = {type(layer) for layer in module.modules() if isinstance(layer, nn.Conv2d)} - {nn.Conv2d}
    return {AdaIN: _count_adain} | dict.fromkeys(kinds, _count_convolution)


def _is_inside_adain(module: nn.Module, name: str) -> bool:
    return isinstance(module.get_submodule(name.rpartition(".")[0]), AdaIN)


def layer_costs(module: nn.Module, *inputs: Tensor) -> pd.DataFrame:
    """A row for every layer of any module: ``layer``, ``kind``, ``output`` shape without N, and `COUNTS`.

    ``inputs`` hold one example. An AdaIN, linear layer and norm, is one row. A layer used more than once has all its uses counted.
    """
    module, rows = deepcopy(module), {}  # thop leaves buffers behind
    if not any(module.children()):
        module = nn.Sequential(module)  # thop counts what lies inside
    for name, layer in module.named_modules():
        if isinstance(layer, AdaIN) or not (any(layer.children()) or _is_inside_adain(module, name)):
            row = rows[name] = {"layer": name, "kind": type(layer).__name__, "output": ()} | dict.fromkeys(COUNTS, 0)
            row["parameters"] = sum(p.numel() for p in layer.parameters())

            def note(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor, row: dict[str, Any] = row) -> None:
                row["output"] = tuple(output.shape[1:])
                if isinstance(layer, (AdaIN, nn.InstanceNorm2d, nn.BatchNorm2d)):
                    kind = "plain" if isinstance(layer, AdaIN) or not layer.affine else "affine"
                    row[f"{kind}_norm_elements"] += given[0].numel()

            layer.register_forward_hook(note)
    with FlopCounterMode(display=False) as counter:
        thop_counts = thop.profile(module, inputs, custom_ops=_own_rules(module), verbose=False, ret_layer_info=True)[2]
    root = type(module).__name__
    for name, operations in counter.get_flop_counts().items():
        if (layer := name.removeprefix(f"{root}.")) in rows:
            rows[layer]["macs"] = sum(operations.values()) // 2
    for name, operations in _flat(thop_counts).items():
        if name in rows:
            rows[name]["macs_thop"] = int(operations)
    return pd.DataFrame(rows.values(), columns=["layer", "kind", "output", *COUNTS])


def _flat(layers: dict[str, tuple], prefix: str = "") -> dict[str, float]:
    """thop's nested {name: (operations, parameters, layers inside)} -> {full name: operations} of the innermost layers."""
    flat = {}
    for name, (operations, _, inside) in layers.items():
        flat |= _flat(inside, f"{prefix}{name}.") if inside else {f"{prefix}{name}": operations}
    return flat


def stage_costs(
    arch: Architecture, networks: Sequence[str] = TRANSLATING, conv_before_upsampling: bool | None = None
) -> pd.DataFrame:
    """A row for every stage: ``network``, ``part``, ``stage``, `COUNTS`, and ``norm_operations``.

    ``norm_operations``, all of the difference between the two counts of MACs, is computed from the elements that enter norms.
    """
    order = arch.student if conv_before_upsampling is None else conv_before_upsampling
    table = pd.concat([_stage_costs(arch, network, order if network == "G" else None) for network in networks], ignore_index=True)
    table["norm_operations"] = (
        OPERATIONS_AFFINE_NORM * table["affine_norm_elements"] + OPERATIONS_PLAIN_NORM * table["plain_norm_elements"]
    )
    return table


@lru_cache(maxsize=512)  # sweeps and tables ask for the same networks again and again
def _stage_costs(arch: Architecture, network: str, conv_before_upsampling: bool | None) -> pd.DataFrame:
    layers = layer_costs(meta_network(network, arch, conv_before_upsampling), *meta_inputs(network, arch))
    rows = []
    for stage in stages(network, arch):
        mine = layers[[any(name == s or name.startswith(f"{s}.") for s in stage.layers) for name in layers["layer"]]]
        row = {"network": network, "part": stage.part, "stage": stage.name}
        rows.append(row | {name: int(mine[name].sum()) for name in COUNTS})
    return pd.DataFrame(rows)


@lru_cache(maxsize=512)
def _other_elements(arch: Architecture, network: str) -> int:
    """Elements that leave the LeakyReLUs and average pools of a network; the same in either order of the decoder."""
    operations = (torch.ops.aten.leaky_relu, torch.ops.aten.avg_pool2d)
    with FlopCounterMode(display=False, custom_mapping=dict.fromkeys(operations, _elements)) as counter:
        meta_network(network, arch)(*meta_inputs(network, arch))
    counts = counter.get_flop_counts()["Global"]
    return sum(counts.get(operation, 0) for operation in operations)


def _elements(*_: Any, out_shape: tuple[int, ...], **__: Any) -> int:
    return prod(out_shape)


def network_costs(
    arch: Architecture, networks: Sequence[str] = TRANSLATING, conv_before_upsampling: bool | None = None
) -> pd.DataFrame:
    """Counts summed over each network; the index is the network's letter, the last row "total".

    Columns: `COUNTS`, ``norm_operations``, ``other_elements`` (that leave LeakyReLUs and average pools), ``macs_torchprofile``.
    """
    table = stage_costs(arch, networks, conv_before_upsampling)
    sums = table.groupby("network", sort=False)[[*COUNTS, "norm_operations"]].sum()
    sums["other_elements"] = [_other_elements(arch, network) for network in sums.index]
    norms = sums["affine_norm_elements"] + 2 * sums["plain_norm_elements"]  # inside AdaIN: the norm, and the scaling of what it gives
    sums["macs_torchprofile"] = sums["macs"] + norms + sums["other_elements"]
    sums.loc["total"] = sums.sum()
    return sums


def landmark_costs(landmarks: nn.Module) -> dict[str, int]:
    """Parameters and two counts of MACs of a face-landmark network, or of the masks made with it, for one [1 3 256 256]."""
    network = landmarks.network if isinstance(landmarks, LandmarkMasks) else landmarks
    layers = layer_costs(deepcopy(network).to("meta"), torch.empty(1, 3, 256, 256, device="meta"))
    return {name: int(layers[name].sum()) for name in ("parameters", "macs_thop", "macs")}


def cost(nets: Networks) -> dict[str, int]:
    """What a set of networks costs, flat, for a run's metrics: G, E and F, each and together.

    ``macs`` is thop's count, within 0.1 % of Table 5.3's at 256 px; ``macs_conv_linear`` has convolutions and linear layers only. Where the set has a
    landmark network, ``..._with_landmarks`` adds it: a student needs it as much as its teacher does.
    """
    table = network_costs(nets.arch)
    total = table.loc["total"]
    found = {"parameters": int(total["parameters"]), "macs": int(total["macs_thop"]), "macs_conv_linear": int(total["macs"])}
    for network in TRANSLATING:
        found[f"parameters_{network}"] = int(table.loc[network, "parameters"])
        found[f"macs_{network}"] = int(table.loc[network, "macs_thop"])
    if nets.landmarks is not None:
        extra = landmark_costs(nets.landmarks)
        found["parameters_with_landmarks"] = found["parameters"] + extra["parameters"]
        found["macs_with_landmarks"] = found["macs"] + extra["macs_thop"]
    return found


def sweep(arch: Architecture, alphas: Iterable[int], conv_before_upsampling: bool | None = None) -> pd.DataFrame:
    """Students of ``arch`` at every width cap: ``alpha``, ``network`` ("G", "E", "F", "total"), `COUNTS`, ``norm_operations``."""
    tables = []
    for alpha in alphas:
        table = network_costs(replace(arch, alpha=alpha, student=True), conv_before_upsampling=conv_before_upsampling)
        tables.append(table.reset_index().assign(alpha=alpha))
    return pd.concat(tables, ignore_index=True)[["alpha", "network", *COUNTS, "norm_operations"]]


def savings(teacher: Architecture, alpha: int) -> pd.DataFrame:
    """How a teacher becomes a student of cap ``alpha``, one change a row: ``step``, ``parameters``, ``macs_thop``.

    The three changes of the thesis, the second of which it does not mention: separable convolutions in the encoders, first decoder
    convolution before the upsampling, narrower layers.
    """
    wide = replace(teacher, student=True)
    steps = [
        ("teacher", teacher, None),
        ("encoders of separable convolutions", wide, False),
        ("first decoder convolution before the upsampling", wide, True),
        (f"width cap {alpha}", replace(wide, alpha=alpha), True),
    ]
    totals = [network_costs(arch, conv_before_upsampling=order).loc["total"] for _, arch, order in steps]
    rows = [{"step": name, "parameters": int(t["parameters"]), "macs_thop": int(t["macs_thop"])} for (name, _, _), t in zip(steps, totals)]
    return pd.DataFrame(rows)
