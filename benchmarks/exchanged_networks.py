"""Which of a student's networks the gap is due to: scores with its teacher's generator, or its teacher's codes, in place of its own.

    python benchmarks/exchanged_networks.py --json runs/reference/beyond/exchanged.json

A translation takes a generator and a style code: F's, latent-guided, or E's, reference-guided. The teacher's and the student's codes
have the same length, and a distilled student is taught with its teacher's codes, so each generator can be given the other's. Four
pairs are scored by the protocol of the student's preset, and so is what each keeps of every single factor, where these are known.
Besides, the codes themselves are compared: the share of the teacher's variance within a domain that the student's codes have, and the
share of it that their differences from the teacher's make; and the pictures that both generators draw with the teacher's codes, on
training and on validation pictures: a student that had learned its examples by heart would be nearer to its teacher on the former.
"""

import argparse
import dataclasses
import re
import sys
from collections.abc import Sequence
from typing import Any

import torch
from common import options_of, preset_of, report, with_outputs
from torch import Tensor

from kdlib import session
from kdlib.data import Split
from kdlib.deploy.parity import headline_scores
from kdlib.devices import prepare
from kdlib.errors import InputError
from kdlib.images import to_float
from kdlib.networks import Networks
from kdlib.progress import progress_bar
from kdlib.results import GUIDES
from kdlib.runs import describe_environment
from kdlib.settings import MachineSettings
from kdlib.use.models import Model, common_domains, load_model

LATENTS = 2000  # of each domain
DRAWN = 50  # sources of each domain, for each other one


def measure(teacher: Model, student: Model, outputs: int) -> dict[str, Any]:
    """Scores by generator and codes, each "teacher" or "student"."""
    preset = with_outputs(preset_of(student), outputs)
    common_domains([teacher, student])
    if teacher.nets.arch.style_dim != student.nets.arch.style_dim:
        raise InputError(f"{teacher.name} and {student.name}: codes of {teacher.nets.arch.style_dim} and {student.nets.arch.style_dim} numbers")
    dataset, judges = session.open_data(preset), session.judges_of(preset)
    models, rows = {"teacher": teacher, "student": student}, []
    for drawn, coded in progress_bar([(g, c) for g in models for c in models], desc="pairs"):
        own = models[drawn].nets
        codes = {name: getattr(models[coded].nets, name) for name in ("mapping_network", "style_encoder")}
        result = session.score(preset, dataclasses.replace(own, **codes), dataset, judges, progress=False)
        rows.append({"generator": drawn, "codes": coded, "scores": headline_scores(result), "parts": parts(result)})
    about = {
        "teacher": teacher.name,
        "student": student.name,
        "outputs_per_source": outputs,
        "codes": compared_codes(teacher.nets, student.nets, dataset.val),
        "pictures": {split.name: compared_pictures(teacher.nets, student.nets, split) for split in (dataset.train, dataset.val)},
    }
    return {**about, "rows": rows, "environment": describe_environment(torch.device("cpu"))}


def parts(result: dict[str, Any]) -> dict[str, dict[str, float]]:
    """By guide what is behind an evaluation's headlines: the means' share of each Frechet distance, and every single factor's correlation."""
    wanted = re.compile(r"frechet_\w+_shift|(content|style)_correlation_\w+")
    return {guide: {name: value for name, value in result[guide]["mean"].items() if wanted.fullmatch(name)} for guide in GUIDES}


def compared_codes(teacher: Networks, student: Networks, pictures: Split) -> dict[str, dict[str, float]]:
    """By guide: variance of the student's codes and of their differences from the teacher's, in shares of the variance of the teacher's.

    Of ``LATENTS`` latents a domain, or of the validation pictures; variances within domains, summed over them and the code's numbers.
    """
    found = {guide: [] for guide in GUIDES}
    z = torch.randn(LATENTS, teacher.arch.latent_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for k in range(len(pictures.domains)):
            x = to_float(pictures.images(k)[:])
            for guide, network, given in (("latent", "mapping_network", z), ("reference", "style_encoder", x)):
                y = torch.full((len(given),), k)
                mine, its = (getattr(nets, network)(given, y) for nets in (student, teacher))
                found[guide].append([mine.var(0).sum(), (mine - its).square().sum(1).mean(), its.var(0).sum()])
    sums = {guide: torch.tensor(parts).double().sum(0) for guide, parts in found.items()}
    return {guide: {"variance": float(own / whole), "unexplained": float(rest / whole)} for guide, (own, rest, whole) in sums.items()}


def compared_pictures(teacher: Networks, student: Networks, pictures: Split) -> dict[str, float]:
    """By guide: the mean absolute difference of the generators' pictures with the teacher's codes, in levels of 0..255.

    Sources, and references of the reference-guided, are the first ``DRAWN`` pictures of each domain; a source goes to each other domain.
    """
    differences: dict[str, list[Tensor]] = {guide: [] for guide in GUIDES}
    draw = torch.Generator().manual_seed(0)
    first = [to_float(pictures.images(k)[:DRAWN]) for k in range(len(pictures.domains))]
    with torch.no_grad():
        for target, references in enumerate(first):
            for source in (x for k, x in enumerate(first) if k != target):
                y = torch.full((len(source),), target)
                z = torch.randn(len(source), teacher.arch.latent_dim, generator=draw)
                chosen = references[torch.randint(len(references), (len(source),), generator=draw)]
                for guide, s in zip(GUIDES, (teacher.mapping_network(z, y), teacher.style_encoder(chosen, y)), strict=True):
                    mine, its = (nets.generator(source, s) for nets in (student, teacher))
                    differences[guide].append((mine - its).abs().mean())
    return {guide: 127.5 * float(torch.stack(found).mean()) for guide, found in differences.items()}  # from -1..1


def text(result: dict[str, Any]) -> str:
    """The result as a table."""
    lines = [f"{result['student']} and {result['teacher']}, latent- / reference-guided"]
    variance, unexplained = (" / ".join(f"{result['codes'][guide][key]:.2f}" for guide in GUIDES) for key in ("variance", "unexplained"))
    lines.append(f"  codes: variance {variance} of the teacher's, differences from them {unexplained}")
    drawn = (f"{name} {' / '.join(f'{found[guide]:.2f}' for guide in GUIDES)}" for name, found in result["pictures"].items())
    lines.append(f"  pictures with the teacher's codes differ by so many of 255 levels: {', '.join(drawn)}")
    for row in result["rows"]:
        first, second = (row["scores"][guide] for guide in GUIDES)
        told = [f"{name} {first[name]:.3g} / {second[name]:.3g}" if name in first else f"{name} {second[name]:.3g}" for name in second]
        lines.append(f"  generator of the {row['generator']}, codes of the {row['codes']}: {', '.join(told)}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of(__doc__, device=False)
    parser.add_argument("--teacher", default="mini/teacher", help="a run folder or a run's name (default: %(default)s)")
    parser.add_argument("--student", default="mini/alpha48-kd", help="likewise (default: %(default)s)")
    parser.add_argument("--outputs", type=int, default=10, help="of each source, for each other domain (default: %(default)s)")
    options = parser.parse_args(arguments)
    return report(lambda: measured(options), text, options.json)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line asks for. Raises `InputError` for models that are not there or do not fit each other."""
    prepare(MachineSettings(device="cpu", threads=options.threads))
    if options.outputs < 2:
        raise InputError(f"--outputs {options.outputs}: diversity needs at least 2 outputs a source")
    return measure(load_model(options.teacher), load_model(options.student), options.outputs)


if __name__ == "__main__":
    sys.exit(main())
