"""Command line: ``python -m kdlib study | train | import-released | results | keep | discriminator | course | grids | translate |
interpolate | align | export``.

Each command's options stand beside its body; those that use a model are in `kdlib.use.translate_cli`, the export's in
`kdlib.deploy.export_cli`. Bodies import what they need when they run, so that the help and a mistyped option do not wait for PyTorch.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from kdlib.deploy import export_cli
from kdlib.errors import InputError
from kdlib.use import translate_cli

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def parser() -> argparse.ArgumentParser:
    """Commands and their options; a command's ``body`` takes the options and returns the exit status."""
    top = argparse.ArgumentParser(prog="python -m kdlib", description="StarGAN-v2 compression by knowledge distillation: the study.")
    commands = top.add_subparsers(dest="command", required=True)
    own = (_add_study, _add_train, _add_import_released, _add_results, _add_keep, _add_discriminator, _add_course, _add_grids)
    for add in (*own, translate_cli.add_commands, export_cli.add_command):
        add(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    options = parser().parse_args(arguments)
    try:
        return options.body(options)
    except InputError as error:
        print(f"kdlib {options.command}: {error}", file=sys.stderr)
        return 2
    except (FloatingPointError, OSError) as error:  # a training that came apart; a full disk
        print(f"kdlib {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        goes_on = "; the same command goes on from the last checkpoints" if options.command in ("study", "train") else ""
        print(f"\nkdlib {options.command}: interrupted{goes_on}", file=sys.stderr)
        return 130


def _add_overrides(command: argparse.ArgumentParser, help: str) -> None:
    command.add_argument("-p", dest="overrides", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help=help)


def _add_study(commands: Commands) -> None:
    study = commands.add_parser("study", help="run a preset's grid of notebooks")
    study.add_argument("--preset", default="quick", help="a shipped preset or a .toml file (default: %(default)s)")
    study.add_argument("--lanes", type=int, default=0, help="notebooks at a time (default: one a core up to four; one with a GPU)")
    _add_overrides(study, "a setting of the notebooks that take it, as papermill has it; may be given several times")
    study.add_argument("--dry-run", action="store_true", help="write nothing: settings, check of the data, sizes of the networks, memory, hours")
    study.add_argument("--steps", type=int, default=1, help="dry run: iterations to time at each batch size (default: %(default)s)")
    study.add_argument("--batch", type=int, nargs="+", help="dry run: batch sizes to measure (default: the preset's on a GPU or if quick; else 1, 2)")
    study.set_defaults(body=_study)


def _study(options: argparse.Namespace) -> int:
    from kdlib.overrides import parse_overrides

    overrides = parse_overrides(options.overrides)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the processes under way are ended too
    if options.dry_run:
        from kdlib.dry_run import dry_run

        dry_run(options.preset, overrides, options.steps, options.batch)
        return 0
    from kdlib.study import run_study

    return 1 if run_study(options.preset, options.lanes, overrides=overrides) else 0


def _add_train(commands: Commands) -> None:
    train = commands.add_parser("train", help="train one network without a notebook, on several GPUs or CPUs under torchrun")
    train.add_argument("--preset", default="quick", help="a shipped preset or a .toml file (default: %(default)s)")
    train.add_argument("--alpha", type=int, help="width cap of a student (default: the preset's teacher is trained)")
    train.add_argument("--distill", action="store_true", help="the student learns from the teacher, too")
    # Not --run: torchrun reads what follows it too, and takes that for one of its own.
    train.add_argument("--name", help="of the run's folder (default: teacher, alpha24, alpha24-kd and the like)")
    _add_overrides(train, "a setting, e.g. seed; may be given several times")
    train.set_defaults(body=_train)


def _train(options: argparse.Namespace) -> int:
    from kdlib import session
    from kdlib.config import load_preset
    from kdlib.overrides import parse_overrides
    from kdlib.parallel import joined
    from kdlib.paths import shown

    if options.distill and options.alpha is None:
        raise InputError("--distill: it is a student that is distilled; give its width, e.g. --alpha 128")
    preset = load_preset(options.preset, **parse_overrides(options.overrides))
    with joined(preset.machine.device) as workers:
        if options.alpha is None:
            run = session.train_teacher(preset, options.name, progress=workers.first)
        else:
            run = session.train_student(preset, options.alpha, options.distill, options.name, progress=workers.first)
        if workers.first:
            print(shown(run.path))
    return 0


def _add_import_released(commands: Commands) -> None:
    released = commands.add_parser("import-released", help="make a finished run of a released *_nets_ema.ckpt, teacher or student")
    released.add_argument("file", type=Path, help="of StarGAN-v2 or of the thesis's author")
    released.add_argument("--preset", required=True, help="the preset whose run it becomes, e.g. afhq")
    released.add_argument("--name", help="of the run (default: teacher, or alpha128-kd-released and the like)")
    released.add_argument("--landmarks", type=Path, help="wing.ckpt, for a model with a high-pass skip whose file does not hold it")
    _add_overrides(released, "a setting, e.g. data_root")
    released.set_defaults(body=_import_released)


def _import_released(options: argparse.Namespace) -> int:
    from kdlib.config import load_preset
    from kdlib.overrides import parse_overrides
    from kdlib.paths import from_here, shown
    from kdlib.session import import_released

    overrides = parse_overrides(options.overrides)
    if options.landmarks:
        overrides["landmarks"] = str(from_here(options.landmarks).resolve())
    run = import_released(load_preset(options.preset, **overrides), from_here(options.file), options.name)
    print(shown(run.path))
    return 0


def _add_results(commands: Commands) -> None:
    results = commands.add_parser("results", help="print the table of all finished runs")
    results.add_argument("--json", action="store_true", help="as JSON rows, every score included")
    results.add_argument("--preset", help="this preset's runs only")
    results.add_argument("--readme", action="store_true", help="write the table of the runs kept in git into README.md")
    results.set_defaults(body=_results)


def _results(options: argparse.Namespace) -> int:
    from kdlib import results

    rows = [r for r in results.result_rows() if options.preset in (None, r["preset"])]
    if options.readme:
        from kdlib.book.readme import write_readme_table

        print(write_readme_table())
    else:
        print(results.as_json(rows) if options.json else results.as_text(rows))
    return 0


def _add_keep(commands: Commands) -> None:
    keep = commands.add_parser("keep", help="copy a finished run's results to runs/reference, the runs that are kept in git")
    keep.add_argument("run", type=Path, help="a run folder, e.g. runs/mini/teacher")
    keep.add_argument("--weights", action="store_true", help="its weights and executed notebooks too, for others to start from")
    keep.set_defaults(body=_keep)


def _keep(options: argparse.Namespace) -> int:
    from kdlib.reference import keep

    print(keep(options.run, options.weights))
    return 0


def _add_discriminator(commands: Commands) -> None:
    discriminator = commands.add_parser(
        "discriminator", help="write a finished teacher's discriminator, for students that learn from it, out of its last checkpoint"
    )
    discriminator.add_argument("run", type=Path, help="a teacher's run folder whose training kept none, e.g. runs/mini/teacher")
    discriminator.set_defaults(body=_discriminator)


def _discriminator(options: argparse.Namespace) -> int:
    from kdlib.paths import shown
    from kdlib.teacher_discriminator import discriminator_from_checkpoint

    print(shown(discriminator_from_checkpoint(options.run)))
    return 0


def _add_course(commands: Commands) -> None:
    course = commands.add_parser("course", help="score the weights that a finished run kept on its way: has it stopped improving?")
    course.add_argument("--preset", default="mini", help="the run's, a shipped preset or a .toml file (default: %(default)s)")
    course.add_argument("--run", default="teacher", help="its name (default: %(default)s)")
    course.add_argument("--outputs", type=int, default=3, help="outputs a source, fewer than an evaluation's to save time (default: %(default)s)")
    course.set_defaults(body=_course)


def _course(options: argparse.Namespace) -> int:
    from kdlib.config import load_preset
    from kdlib.session import score_course

    if options.outputs < 2:
        raise InputError(f"--outputs {options.outputs}: diversity is a distance between two outputs of a source; give 2 or more")
    score_course(load_preset(options.preset), options.run, options.outputs)
    return 0


def _add_grids(commands: Commands) -> None:
    grids = commands.add_parser("grids", help="write reference- and latent-guided grids of models side by side, as in the thesis's Figs 5.3 to 5.10")
    grids.add_argument("--teacher", default="mini/teacher", help="a run folder, a run's name or a released *_nets_ema.ckpt (default: %(default)s)")
    grids.add_argument("--student", action="append", default=[], help="another model beside it, named likewise; may be given several times")
    grids.add_argument("--sources", help="folder of pictures, or of a folder a domain (default: val pictures of the teacher's preset)")
    grids.add_argument("--references", help="folder of a folder of pictures a domain (default: the pictures that follow the sources)")
    grids.add_argument("--out", type=Path, required=True, help="folder for reference_guided.png and latent_guided.png")
    grids.add_argument("--latents", type=int, default=3, help="latents a domain (default: %(default)s)")
    grids.add_argument("--seed", type=int, default=777, help="of the latents (default: %(default)s)")
    grids.add_argument("--limit", type=int, default=4, help="sources, and references, a domain (default: %(default)s)")
    grids.add_argument("--batch-size", type=int, default=32, help="translations at a time (default: %(default)s)")
    grids.add_argument("--landmarks", help="wing.ckpt, for a model with a high-pass skip that does not come with it")
    grids.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: %(default)s)")
    grids.set_defaults(body=_grids)


def _grids(options: argparse.Namespace) -> int:
    from kdlib.views.comparison_grids import compare, load_models, save_grids, val_pictures

    models = load_models([options.teacher, *options.student], options.landmarks, options.device)
    sizes = {"latents": options.latents, "seed": options.seed, "limit": options.limit, "batch_size": options.batch_size}
    grids = compare(models, options.sources or val_pictures(models[0]), options.references, **sizes)
    print("\n".join(map(str, save_grids(grids, options.out))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
