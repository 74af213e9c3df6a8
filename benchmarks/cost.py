"""What an iteration of distillation costs against batch, width, picture size and number of domains; what the thesis's runs would take.

    python benchmarks/cost.py --json runs/reference/cost/cost.json

Seconds and peak memory are measured, each setting in a process of its own (`kdlib.step_cost`), at the settings of preset afhq with
the widths below. Operations are counted on a real iteration. The hours that the thesis's runs would take on GPUs are estimates:
operations counted, divided by a peak from the maker's data sheet and by a guess at the share of it that is reached.
"""

import subprocess
import sys
from collections.abc import Sequence

import torch
from common import options_of, write_result
from training_step import CASES
from training_step import plain as plain_step

from kdlib.config import load_preset
from kdlib.devices import prepare
from kdlib.dry_run import parameters
from kdlib.profiling import network_costs
from kdlib.progress import progress_bar
from kdlib.runs import STUDENT, TEACHER, RunSettings, describe_environment, run_name
from kdlib.settings import Preset
from kdlib.step_cost import DoesNotFit, count_flops, iteration_flops, measure

TEACHER_ALPHA, ALPHA, BASE_WIDTH = 192, 48, 24  # at every size: the thesis's first width, 2**14 / size, explodes at small ones
# What varies, and at what the others stand; a batch for small pictures, one for large.
SWEEPS = {
    "batch": {"image_size": 64, "batch": (1, 2, 4, 8, 16)},
    "alpha": {"image_size": 64, "batch": 8, "alpha": (24, 48, 96)},
    "image_size": {"image_size": (32, 64, 128, 256), "batch": 2},
    "domains": {"image_size": 64, "batch": 8, "domains": (2, 3, 5, 10, 20)},
}
DOMAINS = SWEEPS["domains"]["domains"]
NETWORKS = ("G", "E", "F", "D", "Ds")

# Peaks in TFLOP/s without sparsity, from NVIDIA's data sheets; of the RTX 3090 from the GA102 white paper. float32 is that of the
# ordinary units, tf32 and bfloat16 those of the tensor cores, with float32 accumulation. None: not in the hardware or, as TF32 on the
# RTX 3090, no faster there than float32.
GPUS = {
    "Tesla P100 (PCIe)": {"float32": 9.3, "tf32": None, "bfloat16": None},
    "Tesla V100 (SXM2)": {"float32": 15.7, "tf32": None, "bfloat16": None},
    "T4": {"float32": 8.1, "tf32": None, "bfloat16": None},
    "GeForce RTX 3090": {"float32": 35.6, "tf32": None, "bfloat16": 71.0},
    "A100 (SXM4)": {"float32": 19.5, "tf32": 156.0, "bfloat16": 312.0},
    "H100 (SXM5)": {"float32": 67.0, "tf32": 494.7, "bfloat16": 989.4},
}
# Shares of the peak, low and high: guesses. Tensor cores are harder to keep busy with convolutions of 64 to 512 channels at batch 8,
# and norms and activations, which no operation here counts, do not get faster with them.
UTILISATION = {"float32": (0.2, 0.4), "tf32": (0.1, 0.3), "bfloat16": (0.1, 0.3)}
AUTHOR = {"gpu": "Tesla V100 (SXM2)", "days": 3.0}  # the note in the thesis's published code: a V100 of 32 GB, three days a run


def run_settings(preset: Preset, alpha: int, domains: int, distill: bool = True, role: str = STUDENT) -> RunSettings:
    return RunSettings(preset, role, alpha, distill, tuple(map(str, range(domains))), "")


def sweep_points(sweep: str) -> list[dict[str, int]]:
    """The settings of a sweep, one a point."""
    given = {"alpha": ALPHA, "domains": 3, **SWEEPS[sweep]}
    return [{**given, sweep: value} for value in given[sweep]]


def measure_point(point: dict[str, int], steps: int, machine: dict) -> dict:
    """The point with ``seconds``, ``bytes`` (None where it does not fit) and ``flops`` of one iteration."""
    small = {"teacher_alpha": TEACHER_ALPHA, "base_width": BASE_WIDTH}
    preset = load_preset("afhq", image_size=point["image_size"], **small, **machine)
    settings = run_settings(preset, point["alpha"], point["domains"])
    try:
        cost = measure(settings, point["batch"], steps)
        found = {"seconds": round(cost.seconds, 4), "bytes": cost.bytes}
    except DoesNotFit:
        found = {"seconds": None, "bytes": None}
    return {**point, **found, "flops": iteration_flops(settings) * point["batch"]}


def heads(image_size: int, alpha: int, teacher_alpha: int, base_width: int) -> list[dict]:
    """Weights and multiply-accumulates of every network by number of domains, student's and teacher's."""
    preset, rows = load_preset("afhq", image_size=image_size, teacher_alpha=teacher_alpha, base_width=base_width), []
    for domains in DOMAINS:
        row = {"domains": domains, "image_size": image_size}
        for name, width, student in (("teacher", teacher_alpha, False), ("student", alpha, True)):
            arch = preset.architecture(domains, alpha=width, student=student)
            macs = network_costs(arch, NETWORKS)["macs"]
            row[name] = {"alpha": width, "parameters": parameters(arch), "macs": {n: int(macs[n]) for n in NETWORKS}}
        rows.append(row)
    return rows


def thesis_runs() -> dict[str, RunSettings]:
    """The trainings that are estimated: the teacher, students with and without distillation."""
    found = {}
    for data_set, domains in (("afhq", 3), ("celeba_hq", 2)):
        preset = load_preset(data_set)
        found[f"{data_set} {TEACHER}"] = run_settings(preset, preset.networks.teacher_alpha, domains, False, TEACHER)
        for alpha, distill in ((64, True), (128, True), (128, False)):
            found[f"{data_set} {run_name(STUDENT, alpha, distill)}"] = run_settings(preset, alpha, domains, distill)
    return found


def hours(flops: float, peak_tflops: float, utilisation: float) -> float:
    """Hours that so many operations take at a share of a peak."""
    return flops / (peak_tflops * 1e12 * utilisation) / 3600


def estimates(flops: float) -> dict[str, dict]:
    """{GPU: {precision: [hours at the high share of the peak, hours at the low one]}} of a run of ``flops``."""
    found = {}
    for gpu, peaks in GPUS.items():
        shares = {precision: sorted(UTILISATION[precision], reverse=True) for precision, peak in peaks.items() if peak}
        found[gpu] = {precision: [round(hours(flops, peaks[precision], share), 1) for share in pair] for precision, pair in shares.items()}
    return found


def estimate_runs() -> dict:
    """Operations and hours of the thesis's runs, and the share of the peak that its author's three days would be."""
    runs = {}
    for name, settings in progress_bar(thesis_runs().items(), desc="counting operations at 256 px"):
        picture, batch = iteration_flops(settings), settings.preset.training.batch_size
        whole = picture * batch * settings.iterations
        runs[name] = {
            "flops_a_picture": picture, "batch": batch, "iterations": settings.iterations, "flops": whole, "hours": estimates(whole)
        }  # fmt: skip
    reference = runs[f"afhq {run_name(STUDENT, 128, True)}"]
    plain = count_flops(lambda: plain_step(CASES[256], torch.device("cpu"))(0))
    per_second = plain * reference["batch"] * reference["iterations"] / (AUTHOR["days"] * 86400)
    author = {
        **AUTHOR, "plain_flops_a_picture": plain,
        "share_of_float32_peak": round(per_second / (GPUS[AUTHOR["gpu"]]["float32"] * 1e12), 4),
    }  # fmt: skip
    return {"peaks_tflops": GPUS, "utilisation": UTILISATION, "runs": runs, "author": author}


def libraries_bytes() -> int:
    """Peak memory of a process that imports what an iteration needs, and does nothing."""
    code = "from kdlib.step_cost import peak_memory; print(peak_memory())"
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of(__doc__)
    parser.add_argument("--sweeps", nargs="*", choices=tuple(SWEEPS), default=list(SWEEPS), help="(default: all)")
    parser.add_argument("--steps", type=int, default=3, help="timed iterations of each setting (default: %(default)s)")
    parser.add_argument("--no-estimates", action="store_true", help="leave out the runs at 256 px, whose counting takes minutes")
    options = parser.parse_args(arguments)
    machine = {"device": options.device, "threads": options.threads or None}
    device = prepare(load_preset("afhq", **machine).machine)
    points = [(sweep, point) for sweep in options.sweeps for point in sweep_points(sweep)]
    sweeps: dict[str, list[dict]] = {sweep: [] for sweep in options.sweeps}
    for sweep, point in progress_bar(points, desc="measuring"):
        sweeps[sweep].append(measure_point(point, options.steps, machine))
    result = {
        "widths": {"teacher_alpha": TEACHER_ALPHA, "alpha": ALPHA, "base_width": BASE_WIDTH},
        "libraries_bytes": libraries_bytes(),
        "sweeps": sweeps,
        "heads": [*heads(64, ALPHA, TEACHER_ALPHA, BASE_WIDTH), *heads(256, 128, 512, 0)],
        "environment": describe_environment(device),
    }
    if not options.no_estimates:
        result["estimates"] = estimate_runs()
    print(text(result))
    write_result(result, options.json)
    return 0


def text(result: dict) -> str:
    """The result as tables."""
    lines = [f"libraries alone: {result['libraries_bytes'] / 2**30:.2f} GiB"]
    for sweep, rows in result["sweeps"].items():
        lines.append(f"by {sweep}")
        for row in rows:
            cost = "does not fit" if row["seconds"] is None else f"{row['seconds']:8.3f} s {row['bytes'] / 2**30:7.2f} GiB"
            lines.append(f"  {row[sweep]:>5} {cost} {row['flops'] / 1e9:9.1f} GFLOP")
    for row in result["heads"]:
        counts = ", ".join(f"{name} {sum(row[name]['parameters'][n] for n in ('G', 'E', 'F')) / 1e6:.2f} M" for name in ("teacher", "student"))
        lines.append(f"{row['image_size']} px, {row['domains']} domains: {counts}")
    for name, run in result.get("estimates", {}).get("runs", {}).items():
        lines.append(f"{name}: {run['flops_a_picture'] / 1e12:.2f} TFLOP a picture, {run['flops'] / 1e18:.2f} EFLOP (estimates follow)")
        for gpu, found in run["hours"].items():
            spans = ", ".join(f"{precision} {low:.0f} to {high:.0f} h" for precision, (low, high) in found.items())
            lines.append(f"  {gpu}: {spans}")
    if "estimates" in result:
        lines.append(f"the author's three days: {100 * result['estimates']['author']['share_of_float32_peak']:.0f} % of the float32 peak")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
