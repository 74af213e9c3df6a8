"""Where a generator's time goes by kind of layer, beside its multiply-accumulates: PyTorch eager and ONNX Runtime.

    python benchmarks/layer_profile.py --size 256 --json runs/reference/deployment/MACHINE/layers_256.json
    python benchmarks/layer_profile.py --model mini/teacher --model mini/alpha48-kd

Batch 1. Which networks: as in benchmarks/latency.py, of which this shows the teacher and one student.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from common import options_of, write_result
from latency import SIZES, subject_of_model, subject_of_networks, untrained

from kdlib.deploy.forms import FORMS, in_form
from kdlib.deploy.latency import RUNTIMES, Subject, machine_load
from kdlib.deploy.layer_profile import by_kind, profile_eager, profile_onnxruntime
from kdlib.deploy.runtimes import runtime_versions
from kdlib.devices import prepare
from kdlib.errors import InputError
from kdlib.progress import progress_bar
from kdlib.runs import describe_environment
from kdlib.settings import MachineSettings

MAIN = {64: 48, 256: 128}  # the student that is shown


def profiles(subject: Subject, rounds: int, threads: int) -> list[dict]:
    """The subject's profile in both runtimes: ``model``, ``runtime``, ``seconds``, ``kinds`` and ``kinds_and_sizes`` as rows."""
    inputs = [torch.from_numpy(a) for a in subject.inputs]
    eager = profile_eager(subject.network, inputs, rounds)
    onnx = profile_onnxruntime(subject.files["fp32"], subject.inputs, eager, rounds, threads=threads)
    return [
        {
            "model": subject.name, "runtime": RUNTIMES[runtime], "seconds": float(found["seconds"].sum()), "operations": len(found),
            "kinds": by_kind(found).to_dict("records"), "kinds_and_sizes": by_kind(found, sizes=True).to_dict("records"),
        }
        for runtime, found in (("eager", eager), ("onnxruntime", onnx))
    ]  # fmt: skip


def text(result: dict) -> str:
    """The result as tables."""
    lines = []
    for profile in result["profiles"]:
        lines.append(f"{profile['model']}, {profile['runtime']}: {1e3 * profile['seconds']:.1f} ms, {profile['operations']} operations")
        lines += [
            f"  {r['kind']:<24}{1e3 * r['seconds']:9.2f} ms{100 * r['time_share']:7.1f} % of the time{100 * r['mac_share']:7.1f} % of the MACs"
            for r in profile["kinds"]
        ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of(__doc__, device=False)
    parser.add_argument("--size", type=int, choices=tuple(SIZES), default=64, help="pixels of untrained networks (default: %(default)s)")
    parser.add_argument("--model", action="append", default=[], help="a trained, exported model in their place; may be given several times")
    parser.add_argument("--form", choices=FORMS, default="plain", help="of the generators, see kdlib.deploy.inference_form")
    parser.add_argument("--rounds", type=int, default=15, help="timed passes (default: %(default)s)")
    options = parser.parse_args(arguments)
    device = prepare(MachineSettings(device="cpu", threads=options.threads))
    threads, before = torch.get_num_threads(), machine_load()
    with tempfile.TemporaryDirectory() as folder:
        try:
            if options.model:
                subjects = [subject_of_model(path, options.form)[0] for path in options.model]
            else:
                made = untrained(options.size, [MAIN[options.size]]).items()
                subjects = [subject_of_networks(in_form(name, options.form), nets, Path(folder) / str(i), options.form) for i, (name, nets) in enumerate(made)]
        except InputError as error:
            print(error, file=sys.stderr)
            return 2
        found = [p for subject in progress_bar(subjects, desc="profiling") for p in profiles(subject, options.rounds, threads)]
    environment = describe_environment(device) | {"machine_before": before, "machine_after": machine_load(), "runtimes": runtime_versions()}
    result = {"threads": threads, "rounds": options.rounds, "profiles": found, "environment": environment}
    print(text(result))
    write_result(result, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
