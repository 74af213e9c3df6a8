"""The thesis's step at the thesis's size: iterations of distillation at 256 px on real pictures, 512-wide teacher, CPU or GPU.

    python benchmarks/full_width_step.py --preset afhq --data my_afhq --batch 2 --json runs/reference/cost/full_width_afhq.json

Shows that the full model runs and learns something finite, how long an iteration takes and how much memory: no study of quality.
Teacher and landmark network are untrained unless given, which changes no time; pictures lie in {train,val}/{domain}/.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from common import options_of, write_result

from kdlib.config import load_preset
from kdlib.data import open_dataset
from kdlib.devices import computed_precision, prepare
from kdlib.errors import InputError
from kdlib.landmark_network import LandmarkNetwork
from kdlib.landmarks import LandmarkMasks
from kdlib.learner import make_learner
from kdlib.memory import peak_memory
from kdlib.networks import build_networks
from kdlib.released import load_landmarks, load_released
from kdlib.runs import describe_environment
from kdlib.trainer import batches_of
from kdlib.training_step import train_iteration


def main() -> int:
    parser = options_of(__doc__, device=False, threads=False)
    parser.add_argument("--preset", choices=("afhq", "celeba_hq"), required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with {train,val}/{domain}/")
    parser.add_argument("--alpha", type=int, default=128, help="width cap of the student (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=2, help="pictures an iteration (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=2, help="the first one warms up (default: %(default)s)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--teacher", type=Path, help="a released checkpoint (default: an untrained teacher)")
    parser.add_argument("--landmarks", type=Path, help="wing.ckpt (default: an untrained landmark network)")
    options = parser.parse_args()
    try:
        result = measure(options)
    except InputError as error:
        print(f"full_width_step: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result, indent=1))
    write_result(result, options.json)
    return 0


def measure(options: argparse.Namespace) -> dict:
    """Everything a reader needs to judge the numbers; losses of the last iteration by name."""
    preset = load_preset(options.preset, data_root=str(options.data), batch_size=options.batch, precision=options.precision)
    device, size, w_hpf = prepare(preset.machine), preset.data.image_size, preset.networks.w_hpf
    dataset = open_dataset(options.data, size, batch_size=options.batch)
    domains, seed = len(dataset.domains), preset.training.seed
    student = build_networks(options.alpha, domains, True, w_hpf, size, seed=seed)
    if options.teacher:
        teacher = load_released(options.teacher, options.landmarks)
    else:
        teacher = build_networks(domains=domains, w_hpf=w_hpf, image_size=size, seed=seed + 1)
    if w_hpf > 0:
        torch.manual_seed(seed + 2)  # of an untrained landmark network
        student.landmarks = load_landmarks(options.landmarks) if options.landmarks else LandmarkMasks(LandmarkNetwork())
    learner = make_learner(student.to(device), preset.training, preset.losses, preset.training.student_iterations, teacher.to(device))
    batches, seconds = batches_of(preset, dataset), []
    for step in range(options.iterations):
        batch = batches.batch(step).to(device)
        start = time.perf_counter()
        losses = train_iteration(learner, batch).read()
        seconds.append(time.perf_counter() - start)
        print(f"iteration {step}: {seconds[-1]:.1f} s", file=sys.stderr)
    return {
        "preset": options.preset,
        "alpha": options.alpha,
        "batch": options.batch,
        "precision": computed_precision(options.precision, device),
        "domains": list(dataset.domains),
        "pictures": {"train": sum(dataset.train.counts), "val": sum(dataset.val.counts)},
        "face_masks": w_hpf > 0,
        "untrained": [name for name, given in (("teacher", options.teacher), ("landmark network", options.landmarks or w_hpf == 0)) if not given],
        "seconds_of_iterations": [round(s, 2) for s in seconds],
        "peak_memory_bytes": peak_memory(),  # of the process, libraries included
        "losses_of_the_last_iteration": losses,
        "environment": describe_environment(device),
    }


if __name__ == "__main__":
    sys.exit(main())
