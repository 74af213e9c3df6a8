"""What the thesis prints about its networks, beside what our networks count: Tables 4.1 to 4.6 and Table 5.3.

``thesis_tables.json`` holds the printed numbers and nothing else; Table 5.3's as text, for the digits printed are part of the
claim. The counts are taken from the networks themselves, each time. Where the two differ the note says why, as far as it is known.
"""

import json
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from kdlib.architecture import TEACHER_ALPHA, Architecture
from kdlib.blocks import AdaINResBlk, ResBlk
from kdlib.errors import InputError
from kdlib.landmark_network import LandmarkNetwork
from kdlib.profiling import landmark_costs, meta_inputs, meta_network, network_costs

TABLES_FILE = Path(__file__).with_name("thesis_tables.json")
LAYER_TABLES = {  # table: network, student. All six are of AFHQ's networks.
    "4.1": ("G", False),
    "4.2": ("G", True),
    "4.3": ("E", False),
    "4.4": ("E", True),
    "4.5": ("F", False),
    "4.6": ("F", True),
}
STUDENT_ALPHA = 128  # of Tables 4.2, 4.4 and 4.6
DATA_SETS = {"AFHQ": {"domains": 3}, "CelebA-HQ": {"domains": 2, "w_hpf": 1.0}}


@cache
def printed_tables() -> dict[str, dict[str, Any]]:
    """The thesis's tables by number, "4.1" to "4.6" and "5.1" to "5.3": title, columns, rows, and total where one is printed."""
    return json.loads(TABLES_FILE.read_text(encoding="utf-8"))


def architecture(data_set: str, alpha: int | str, image_size: int = 256) -> Architecture:
    """The thesis's networks for "AFHQ" or "CelebA-HQ"; ``alpha`` is a student's width cap, or "original". The thesis's are at 256 px."""
    if data_set not in DATA_SETS:
        raise InputError(f"data set {data_set!r}: the thesis has {' and '.join(DATA_SETS)}")
    student = alpha != "original"
    return Architecture(image_size, alpha=alpha if student else TEACHER_ALPHA, student=student, **DATA_SETS[data_set])


# ---- Tables 4.1 to 4.6 ----


def _rows_of(network: str, module: nn.Module) -> list[list[nn.Module]]:
    """The modules behind every printed row; an empty list stands for the input or for a change of shape."""
    if network == "G":
        blocks = [*module.encode, *module.decode]
        return [[], [module.from_rgb], *([b] for b in blocks), [module.to_rgb_norm, module.to_rgb]]
    if network == "E":
        *trunk, activation, convolution, last = module.shared
        return [[], *([layer] for layer in trunk), [activation], [convolution], [last], [], list(module.heads)]
    linear = [layer for layer in (*module.shared, *module.branches[0]) if isinstance(layer, nn.Linear)]
    return [[], *([layer] for layer in linear)]


def _shape(output: Tensor) -> str:
    """[1 C H W] as the thesis writes it, "H x W x C"; [1 S] as "S"."""
    sizes = list(output.shape[1:])
    return " x ".join(str(n) for n in [*sizes[1:], sizes[0]])


def _names(network: str, module: nn.Module, layers: list[nn.Module], row: int) -> tuple[str, str, str]:
    """What the first three columns of a printed row should say of the modules behind it: of G and E layer, resampling and norm."""
    if network == "F":
        shared, branch = list(module.shared), list(module.branches[0])
        if not layers:
            return "Shared", "Latent z", "-"
        place = shared if layers[0] in shared else branch
        after = place[place.index(layers[0]) + 1 :]
        return "Shared" if place is shared else "Unshared", "Linear", type(after[0]).__name__ if after else "-"
    if not layers:
        return "RGB Image" if row == 0 else "ReShape", "-", "-"
    norm = next(("IN" for layer in layers if isinstance(layer, nn.InstanceNorm2d)), "-")
    layer = layers[-1]
    if isinstance(layer, AdaINResBlk):
        return "ResBlk", "Upsample" if layer.upsample else "-", "AdaIN"
    if isinstance(layer, ResBlk):
        return type(layer).__name__, "AvgPool" if layer.downsample else "-", "IN" if isinstance(layer.norm1, nn.InstanceNorm2d) else "-"
    if isinstance(layer, nn.Conv2d):
        return "Conv{} x {}".format(*layer.kernel_size), "-", norm
    return "LReLU" if isinstance(layer, nn.LeakyReLU) else f"Linear x {len(layers)}", "-", norm


def _count_rows(network: str, arch: Architecture) -> list[tuple[tuple[str, str, str], str, int]]:
    """(names, output shape, parameters) of every row of one of Tables 4.1 to 4.6, from the network and a pass through it."""
    module, inputs = meta_network(network, arch), meta_inputs(network, arch)
    outputs: dict[nn.Module, str] = {}
    for layer in module.modules():
        layer.register_forward_hook(lambda layer, given, output: outputs.update({layer: _shape(output)}))
    with torch.no_grad():
        module(*inputs)
    rows, last = [], _shape(inputs[0])
    for row, layers in enumerate(_rows_of(network, module)):
        if len(layers) > 1 and network == "E":
            shape = f"{len(layers)} x {outputs[layers[0]]}"  # all heads
        elif layers:
            shape = outputs[layers[-1]]
        else:
            shape = last.removeprefix("1 x 1 x ")  # the input as it is; before the heads, 1 x 1 x C flattened
        rows.append((_names(network, module, layers, row), shape, sum(p.numel() for layer in layers for p in layer.parameters())))
        last = shape
    return rows


def _note(table: str, row: int, counted: list[int], arch: Architecture) -> str:
    """Why a row of Tables 4.1 to 4.6 does not say what the network has; "" where it does."""
    network, _ = LAYER_TABLES[table]
    width = arch.first_width
    if network != "F" and row == 1:
        return f"A 3×3 convolution: {3 * 9 * width + width:,} weights and biases; a 1×1 would have {3 * width + width}."
    if network == "G" and row == len(counted) - 1:
        return (
            f"An affine instance norm of {2 * width} parameters stands before the 1×1 convolution of {3 * width + 3}; the printed number has both."
        )
    convolution, heads = len(counted) - 4, len(counted) - 1
    if table == "4.4" and row == convolution:
        wide = 16 * TEACHER_ALPHA**2 + TEACHER_ALPHA
        return f"{wide:,} is Table 4.3's value, of {TEACHER_ALPHA} channels. The printed total has {counted[row]:,}."
    if table == "4.4" and row == heads:
        return f"{counted[convolution]:,} belongs to the 4×4 convolution. The printed total has {counted[row]:,}."
    return ""


def layer_table(table: str) -> pd.DataFrame:
    """One of Tables 4.1 to 4.6 as printed, with what our network has.

    Columns: the printed ones; ``built X`` for each of these but the parameters, "" where nothing is printed; ``counted``
    (parameters); ``wrong``, the printed columns that do not say what the network has; ``note``, which explains them. The last row is
    the total, counted over the rows; for the mapping network that is one domain's branch, as printed. Raises `InputError` for any
    other table.
    """
    if table not in LAYER_TABLES:
        raise InputError(f"table {table!r}: the thesis's tables of layers are {', '.join(LAYER_TABLES)}")
    network, student = LAYER_TABLES[table]
    arch = architecture("AFHQ", STUDENT_ALPHA if student else "original")
    printed, found = printed_tables()[table], _count_rows(network, arch)
    columns, counted = printed["columns"], [parameters for _, _, parameters in found]
    rows = []
    for i, (line, (names, shape, parameters)) in enumerate(zip(printed["rows"], found, strict=True)):
        built = [name if text else "" for text, name in zip(line, (*names, shape))]
        wrong = tuple(column for column, text, ours in zip(columns, line, (*built, parameters)) if text != ours)
        rows.append([*line, *built, parameters, wrong, _note(table, i, counted, arch)])
    total, printed_sum = sum(counted), sum(line[-1] for line in printed["rows"])
    note = ""
    if network == "F":
        everything = int(network_costs(arch, ["F"]).loc["F", "parameters"])
        note = f"One domain's branch. With the branches of all {arch.domains} domains, as in Table 5.3: {everything:,}."
    elif printed_sum != printed["total"]:
        note = f"The printed rows sum to {printed_sum:,}."
    wrong = () if total == printed["total"] else (columns[-1],)
    rows.append(["Total", "", "", "", printed["total"], "Total", "", "", "", total, wrong, note])
    return pd.DataFrame(rows, columns=[*columns, *(f"built {name}" for name in columns[:-1]), "counted", "wrong", "note"])


# ---- Table 5.3 ----

HUNDREDTHS, THOUSANDTHS = Decimal("0.01"), Decimal("0.001")


def rounded(value: int, unit: int) -> str:
    """``value`` in ``unit`` to hundredths, halves up."""
    return str((Decimal(value) / unit).quantize(HUNDREDTHS, ROUND_HALF_UP))


def rounded_twice(value: int, unit: int) -> str:
    """``value`` in ``unit`` to thousandths and from there to hundredths, halves up.

    So rounded, the counts give all ten sizes of Table 5.3, two of which (2.71 and 0.89) they do not give when rounded once, and all
    its MACs: the author's published script prints three decimals, of which the table has two. The sum of three rounded networks
    gives 2.71 too, but misses five of the others.
    """
    return str((Decimal(value) / unit).quantize(THOUSANDTHS, ROUND_HALF_UP).quantize(HUNDREDTHS, ROUND_HALF_UP))


def _compare(what: str, printed: str, counted: int, unit: int) -> tuple[str, str]:
    """("yes", "rounded twice" or "no", note) for a printed number."""
    exact = Decimal(counted) / unit
    if printed == rounded(counted, unit):
        return "yes", ""
    if printed == rounded_twice(counted, unit):
        return "rounded twice", f"{what}: {exact:.6f} became {exact.quantize(THOUSANDTHS)}, and that {printed}."
    return "no", f"{what}: printed {printed}, counted {exact.quantize(THOUSANDTHS)}."


def _compare_ratio(what: str, printed: int | None, counted: float) -> tuple[str, str]:
    """("yes" or "no", note) for a printed ratio against the counts' ratio cut down to an integer; ("", "") where none is printed."""
    if printed is None:
        return "", ""
    if printed == int(counted):
        return "yes", ""
    return "no", f"{what} ratio: {printed} is that of the printed numbers, cut down to an integer; the counts' is {counted:.2f}."


def cost_table() -> pd.DataFrame:
    """Table 5.3 with our counts, a row for each data set and alpha ("original" or a student's).

    Of sizes [M] and of MACs [G]: as printed; counted exactly (``parameters``, ``macs_torchprofile``, and by two other conventions
    ``macs_thop`` and ``macs``, see `kdlib.profiling`); ``match``, "yes", "rounded twice" or "no"; ``ratio printed`` and ``ratio``, the
    compression as printed and as counted, and ``ratio match``, "yes", "no" or "" for the teachers. The printed ratios are those of the
    printed numbers, cut down to integers. ``note`` explains what does not match.
    """
    rows, teachers = [], {}
    for data_set, alpha, size, size_ratio, macs, macs_ratio in printed_tables()["5.3"]["rows"]:
        totals = network_costs(architecture(data_set, alpha)).loc["total"]
        counted = {name: int(totals[name]) for name in ("parameters", "macs_torchprofile", "macs_thop", "macs")}
        own = counted["parameters"], counted["macs_torchprofile"]
        ratios = [t / n for t, n in zip(teachers.setdefault(data_set, own), own)]
        size_match, size_note = _compare("Size", size, own[0], 10**6)
        macs_match, macs_note = _compare("MACs", macs, own[1], 10**9)
        size_ratio_match, size_ratio_note = _compare_ratio("Size", size_ratio, ratios[0])
        macs_ratio_match, macs_ratio_note = _compare_ratio("MACs", macs_ratio, ratios[1])
        rows.append({
            "data set": data_set, "alpha": alpha, **counted,
            "size printed": size, "size match": size_match,
            "size ratio printed": size_ratio, "size ratio": ratios[0], "size ratio match": size_ratio_match,
            "MACs printed": macs, "MACs match": macs_match,
            "MACs ratio printed": macs_ratio, "MACs ratio": ratios[1], "MACs ratio match": macs_ratio_match,
            "note": " ".join(filter(None, (size_note, macs_note, size_ratio_note, macs_ratio_note))),
        })  # fmt: skip
    return pd.DataFrame(rows).astype({"size ratio printed": "Int64", "MACs ratio printed": "Int64"})


def landmark_table() -> pd.DataFrame:
    """The faces models without and with their landmark network, which Table 5.3 leaves out and every translation needs.

    A row for each alpha: ``parameters``, ``size ratio``, ``parameters with landmarks``, ``size ratio with landmarks``, and the same of
    ``macs_thop`` ("MACs"). Ratios are the teacher's count over the student's.
    """
    with torch.device("meta"):
        network = LandmarkNetwork()
    landmarks = landmark_costs(network)
    faces = cost_table().query("`data set` == 'CelebA-HQ'")[["alpha", "parameters", "macs_thop"]].reset_index(drop=True)
    table = faces[["alpha"]].copy()
    for name, title, extra in (("parameters", "size", landmarks["parameters"]), ("macs_thop", "MACs", landmarks["macs_thop"])):
        for suffix, counted in (("", faces[name]), (" with landmarks", faces[name] + extra)):
            table[f"{name}{suffix}"] = counted
            table[f"{title} ratio{suffix}"] = counted[0] / counted
    return table


def order_table() -> pd.DataFrame:
    """MACs of every student of Table 5.3 with the decoder's first convolution before and after the upsampling.

    ``MACs printed`` [G]; ``before`` and ``after``, counted as Table 5.3 is; ``macs before`` and ``macs after``, convolutions and linear
    layers only; ``ratio`` of after to before. The thesis does not mention the order; parameters are the same in both.
    """
    rows = []
    for data_set, alpha, _, _, printed, _ in printed_tables()["5.3"]["rows"]:
        if alpha != "original":
            arch = architecture(data_set, alpha)
            before, after = (network_costs(arch, conv_before_upsampling=order).loc["total"] for order in (True, False))
            rows.append({
                "data set": data_set, "alpha": alpha, "MACs printed": printed,
                "before": int(before["macs_torchprofile"]), "after": int(after["macs_torchprofile"]),
                "macs before": int(before["macs"]), "macs after": int(after["macs"]),
                "ratio": after["macs_torchprofile"] / before["macs_torchprofile"],
            })  # fmt: skip
    return pd.DataFrame(rows)
