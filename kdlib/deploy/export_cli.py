"""``python -m kdlib export``: its options, and what it prints."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kdlib.errors import InputError

PRECISIONS, FORMS = ("fp32", "fp16", "int8"), ("plain", "reordered", "transposed", "strided", "joined")


def add_command(commands: Any) -> None:
    """The command among the others of ``python -m kdlib``."""
    export = commands.add_parser("export", help="write a model's networks as ONNX files and ExportedPrograms, compare them with PyTorch's")
    export.add_argument("model", help="a run folder, a run's name such as mini/teacher, or a released *_nets_ema.ckpt")
    export.add_argument("--out", type=Path, help="folder (default: export/ in the reader's own run of that name)")
    export.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="float32 is always made (default: all)")
    export.add_argument("--form", choices=FORMS, default="plain", help="order of the generator's operations: others than plain compute the same in less time")
    export.add_argument("--no-scores", action="store_true", help="leave out the evaluation of each precision, which takes minutes")
    export.add_argument("--preset", help="whose pictures and protocol are used (default: the run's own; a released checkpoint needs one)")
    export.add_argument("--landmarks", help="wing.ckpt, for a model with a high-pass skip that does not come with it")
    export.add_argument("--threads", type=int, default=0, help="of the runtimes (default: their choice)")
    export.add_argument("--json", type=Path, help="write the report there, too")
    help = "a setting of the preset, e.g. sources_per_domain; may be given several times"
    export.add_argument("-p", dest="overrides", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help=help)
    export.set_defaults(body=run)


def run(options: argparse.Namespace) -> int:
    """Export, print a summary; the exit status."""
    from kdlib.config import load_preset
    from kdlib.deploy.deployment import ExportSettings, as_text, export, run_at
    from kdlib.files import write_text
    from kdlib.overrides import parse_overrides

    overrides, preset = parse_overrides(options.overrides), options.preset
    if overrides and preset is None:
        own = run_at(options.model)
        if own is None:
            raise InputError("-p changes a preset's settings: name the preset of this checkpoint, --preset")
        preset = own.settings().preset.name
    given = None if preset is None else load_preset(preset, **overrides)
    settings = ExportSettings(tuple(options.precisions), options.form, not options.no_scores, threads=options.threads)
    report = export(options.model, options.out, settings, given, options.landmarks)
    if options.json:
        write_text(options.json, as_text(report))
    print(summary(report))
    return 0


def summary(report: dict[str, Any]) -> str:
    """A report in lines: files, errors in ONNX Runtime, scores, layers left in float."""
    lines = [f"{report['model']} -> {report['folder']}"]
    for precision in dict.fromkeys(file.split("/")[0] for file in report["bytes"]):
        own = {Path(file).stem: count for file, count in report["bytes"].items() if file.startswith(f"{precision}/")}
        errors = {e["network"]: e for e in report["errors"] if e["precision"] == precision and e["runtime"] == "ONNX Runtime"}
        for name, count in own.items():
            error = f"   error against PyTorch at most {errors[name]['max']:.1e}, mean {errors[name]['mean']:.1e}" if name in errors else ""
            lines.append(f"  {precision:<5} {name:<16} {count / 2**20:8.2f} MiB{error}")
    for name, record in report.get("quantisation", {}).items():
        kept = record["in_float"]
        lines.append(f"  int8  {name:<16} {len(kept)} of {record['layers']} layers in float{': ' + ', '.join(kept) if kept else ''}")
    for name, guides in report.get("scores", {}).get("of", {}).items():
        for guide, scores in guides.items():
            lines.append(f"  {name:<8} {guide:<10}" + "  ".join(f"{key} {value:.3f}" for key, value in scores.items()))
    for name, broken in report.get("scores", {}).get("violations", {}).items():
        if broken:
            lines.append(f"  {name} is beyond the tolerance: {', '.join(broken)}")
    return "\n".join(lines)
