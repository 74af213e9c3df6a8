"""The grid of papermill runs that makes a study: teacher if missing, every alpha with and without distillation, evaluations,
comparison, grids of translations.

Every job is one executed notebook in a run folder. Jobs run side by side where the machine has the cores, each in a process of
its own with its share of threads. A job is skipped when its notebook was made by the same notebook source, library source,
parameters and preset, after the same inputs; what a re-run notebook finds finished (a training, an evaluation) it does not redo.
"""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from kdlib.config import load_preset
from kdlib.errors import InputError
from kdlib.files import write_text
from kdlib.overrides import check_taken, given_to
from kdlib.paths import REPOSITORY, from_repository, reference_folder, runs_folder, shown
from kdlib.progress import progress_bar
from kdlib.runs import STUDENT, TEACHER, Run, differing_settings, find_run, finished_runs, named_run, run_folders, run_name
from kdlib.settings import Preset

LEDGER = "study.json"  # fingerprints of the jobs done, in the preset's folder
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Job:
    """One notebook to execute. ``run`` names the folder under runs/<preset>; ``needs`` names jobs that come first."""

    name: str
    notebook: str
    run: str
    parameters: dict[str, Any]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Student:
    """One student of a study's grid; ``seed`` None: the preset's."""

    alpha: int
    distill: bool
    variant: str = ""
    seed: int | None = None

    @property
    def name(self) -> str:
        return run_name(STUDENT, self.alpha, self.distill, self.variant, self.seed)

    @property
    def parameters(self) -> dict[str, Any]:
        """What the training notebook is given."""
        given = {"alpha": self.alpha, "distill": self.distill}
        if self.variant:
            given["variant"] = self.variant
        if self.seed is not None:
            given |= {"seed": self.seed, "run": self.name}
        return given


@dataclass
class _Running:
    process: subprocess.Popen
    job: Job
    log: Path
    started: float = field(default_factory=time.perf_counter)


def study_jobs(preset: Preset, preset_argument: str, overrides: dict[str, Any] | None = None) -> list[Job]:
    """The jobs of a study in an order that respects their needs; each is given those ``overrides`` that its notebook takes."""
    jobs = _jobs(preset, {"preset": preset_argument})
    if not overrides:
        return jobs
    return [dataclasses.replace(job, parameters={**given_to(job.notebook, overrides), **job.parameters}) for job in jobs]


def students(preset: Preset) -> list[Student]:
    """The students of a study, in the order in which they are worth having: a study that is stopped has done the first ones.

    The main width with every seed, other widths, then the main width in every variant; variants alone where the preset says so.
    """
    study = preset.study
    seeds = [None if seed == preset.training.seed else seed for seed in study.seeds] or [None]
    varied = [Student(study.main, True, variant, seed) for seed in seeds[: study.seeds_of_variants] for variant in study.variants]
    if study.variants_only:
        return varied
    main = [Student(study.main, distill, seed=seed) for seed in seeds for distill in (True, False)]
    others = [
        Student(alpha, distill, seed=seed)
        for seed in seeds[: study.seeds_of_others] for alpha in study.alphas if alpha != study.main for distill in (True, False)
    ]  # fmt: skip
    return [*main, *others, *varied]


def _jobs(preset: Preset, given: dict[str, Any]) -> list[Job]:
    jobs = [Job("data", "01_data", "data", given), Job("architecture", "02_architecture", "architecture", given)]
    grid = students(preset)
    jobs.append(Job("teacher", "03_teacher", TEACHER, given, ("data",)))
    jobs += [Job(s.name, "04_student", s.name, {**given, **s.parameters}, ("teacher", *_begun(preset, s))) for s in grid]
    evaluated = [(_teacher_name(preset), TEACHER), *((student.name, student.name) for student in grid)]
    for name, needed in evaluated:
        if name:
            jobs.append(Job(f"{name} evaluation", "05_evaluation", name, {**given, "run": name}, (needed,)))
    evaluations = {j.run: j.name for j in jobs if j.notebook == "05_evaluation"}
    jobs.append(Job("comparison", "06_comparison", "comparison", given, tuple(evaluations.values())))
    main = grid[0].name if preset.study.variants_only else run_name(STUDENT, preset.study.main, True)
    shown_models = {"teacher": preset.machine.teacher or f"{preset.name}/{TEACHER}", "student": f"{preset.name}/{main}"}
    needs = tuple(evaluations[name] for name in (_teacher_name(preset), main) if name in evaluations)  # others are evaluated elsewhere
    jobs.append(Job("grids", "grids", "grids", {**given, **shown_models}, needs))
    return jobs


def _begun(preset: Preset, student: Student) -> list[str]:
    """The student of the grid that another one begins as, if any."""
    variant = preset.study.variants.get(student.variant, {}).get("start_variant", "")
    return [dataclasses.replace(student, variant=variant).name] if variant else []


def _teacher_name(preset: Preset) -> str:
    """Name of the preset's run that its students learn from; empty if they learn from a run folder that lies elsewhere."""
    given = preset.machine.teacher
    if not given or not (named_run(given) or from_repository(given).is_dir()):  # a released checkpoint becomes the run `teacher`
        return TEACHER
    folder = run_folders(given)[0].resolve()
    return folder.name if folder.parent == (runs_folder() / preset.name).resolve() else ""


def run_study(
    preset_argument: str, lanes: int = 0, progress: bool = True, overrides: dict[str, Any] | None = None
) -> int:
    """Run the study of a preset; returns the number of notebooks that failed. These are named with their logs on stderr.

    ``lanes``: notebooks at a time; 0 takes one a core up to four, or one where there is a GPU. ``overrides``: settings by name,
    for every notebook that takes them (`kdlib.overrides`).
    """
    overrides = overrides or {}
    if lanes < 0:
        raise InputError(f"lanes = {lanes}: must be 0 (chosen for this machine) or more")
    check_taken(overrides)
    preset = load_preset(preset_argument, **overrides)
    if preset_argument.endswith(".toml") and Path(preset_argument).is_file():
        preset_argument = shown(Path(preset_argument).resolve())  # as the notebooks, which run in the repository, find it
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    lanes = lanes or (1 if torch.cuda.is_available() else min(4, cores))
    folder = runs_folder() / preset.name
    ledger = _read_ledger(folder / LEDGER)
    jobs = study_jobs(preset, preset_argument, overrides)
    prints = _fingerprints(jobs, preset)
    done = _done(jobs, preset, ledger, prints)
    waiting = [j for j in jobs if j.name not in done]
    failed: dict[str, Path] = {}
    blocked: list[str] = []
    running: list[_Running] = []
    environment = _environment(max(1, cores // lanes))
    shown_at = 0.0
    print(f"study {preset.name}: {len(waiting)} of {len(jobs)} notebooks to run, {lanes} at a time", file=sys.stderr)
    bar = progress_bar(total=len(jobs), initial=len(done), desc=f"study {preset.name}", unit="notebook", disable=not progress)
    try:
        while waiting or running:
            for job in [j for j in waiting if done.issuperset(j.needs)][: lanes - len(running)]:
                waiting.remove(job)
                if ledger.pop(job.name, None):  # its notebook is about to be replaced, perhaps by one that fails
                    _write_ledger(folder, ledger)
                running.append(_start(job, folder, environment))
            time.sleep(POLL_SECONDS)
            for item in [r for r in running if r.process.poll() is not None]:
                running.remove(item)
                seconds = time.perf_counter() - item.started
                if item.process.returncode == 0:
                    item.log.unlink(missing_ok=True)
                    done.add(item.job.name)
                    ledger[item.job.name] = prints[item.job.name]
                    _write_ledger(folder, ledger)
                    bar.write(f"  {item.job.name}: {seconds:.0f} s", file=sys.stderr)
                else:
                    failed[item.job.name] = item.log
                    bar.write(f"  {item.job.name}: FAILED after {seconds:.0f} s", file=sys.stderr)
                bar.update()
            for job in [j for j in waiting if not {*failed, *blocked}.isdisjoint(j.needs)]:
                waiting.remove(job)
                blocked.append(job.name)
                bar.update()
            if time.perf_counter() - shown_at > (1.0 if sys.stderr.isatty() else 30.0):
                bar.set_postfix_str(_watch(running, folder))
                shown_at = time.perf_counter()
    finally:
        for item in running:  # the reader pressed Ctrl-C: what runs can be resumed by the same command
            item.process.terminate()
        bar.close()
    _report(f"study {preset.name}", failed, blocked)
    return len(failed)


def _report(study: str, failed: dict[str, Path], blocked: list[str]) -> None:
    """Name on stderr what failed, with the end of its log, and what was not run because of it."""
    for name, log in failed.items():
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-12:]) if log.is_file() else ""
        print(f"\n{study}: {name} failed; its log is {shown(log)}:\n{tail}", file=sys.stderr)
    if blocked:
        print(f"\n{study}: not run, for want of what failed: {', '.join(blocked)}", file=sys.stderr)


def _start(job: Job, folder: Path, environment: dict[str, str]) -> _Running:
    output = folder / job.run / f"{job.notebook}.ipynb"
    output.parent.mkdir(parents=True, exist_ok=True)
    log = output.with_suffix(".log")
    # The relative path: papermill writes it into the notebook, which may be passed on.
    command = [sys.executable, "-m", "papermill", f"notebooks/{job.notebook}.py", shown(output), "--no-progress-bar", "--log-level", "WARNING"]
    for name, value in job.parameters.items():
        command += ["-p", name, str(value)]
    with open(log, "w", encoding="utf-8") as stream:
        return _Running(subprocess.Popen(command, cwd=REPOSITORY, stdout=stream, stderr=stream, env=environment), job, log)


def _environment(threads: int) -> dict[str, str]:
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return {**os.environ, **limits}


def _watch(running: list[_Running], folder: Path) -> str:
    """What runs now: name, and for a training how far it is."""
    notes = []
    for item in running:
        try:
            at = json.loads((folder / item.job.run / "progress.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            notes.append(item.job.name)
        else:
            left = tqdm.format_interval(at["seconds_left"])
            losses = [f"{k} {v:.2f}" for k, v in at["losses"].items() if k in ("G/latent/adv", "G/latent/cyc")]
            notes.append(f"{item.job.name} {at['step']}/{at['total']} {at['iterations_per_second']:.1f} it/s {left} left {' '.join(losses)}")
    return " | ".join(notes)


def _read_ledger(path: Path) -> dict[str, str]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _write_ledger(folder: Path, ledger: dict[str, str]) -> None:
    write_text(folder / LEDGER, json.dumps(ledger, indent=1) + "\n")


def _fingerprints(jobs: list[Job], preset: Preset) -> dict[str, str]:
    """What decides a job's notebook: its source, the library's, its parameters, its preset, and its inputs' fingerprints."""
    library = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*")):
        if path.suffix in (".py", ".safetensors", ".json"):
            library.update(path.read_bytes())
    values = preset.as_dict()
    places = {name: values["machine"][name] for name in ("teacher", "landmarks")}  # the rest of a machine changes no result
    settings = json.dumps([{k: v for k, v in values.items() if k not in ("machine", "study", "description")}, places])
    prints: dict[str, str] = {}
    for job in jobs:
        inputs = [library.hexdigest(), settings, json.dumps(job.parameters), *(prints[n] for n in job.needs)]
        if variant := job.parameters.get("variant"):
            inputs.append(json.dumps(preset.study.variants[variant]))
        if job.notebook == "01_data" and preset.data.source == "folder":
            root = from_repository(preset.data.data_root)
            inputs += sorted(f"{p.relative_to(root)} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in root.rglob("*") if p.is_file())
        if job.notebook == "03_teacher":
            inputs.append(_given_teacher(preset))
        if job.notebook == "06_comparison":  # it asks the runs kept in git the same claims
            inputs += [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(reference_folder().glob("*/*/metrics.json"))]
        source = (REPOSITORY / "notebooks" / f"{job.notebook}.py").read_bytes()
        prints[job.name] = hashlib.sha256(source + "\n".join(inputs).encode()).hexdigest()
    return prints


def _done(jobs: list[Job], preset: Preset, ledger: dict[str, str], prints: dict[str, str]) -> set[str]:
    """Jobs whose notebook is there and up to date, as are those of all that they need."""
    shipped = _shipped_teacher(preset)
    done: set[str] = set()
    for job in jobs:
        made = (runs_folder() / preset.name / job.run / f"{job.notebook}.ipynb").is_file() and ledger.get(job.name) == prints[job.name]
        # A shipped teacher comes with its executed notebooks.
        came = shipped is not None and job.run == TEACHER and (shipped.path / f"{job.notebook}.ipynb").is_file()
        if came or (made and done.issuperset(job.needs)):
            done.add(job.name)
    return done


def _given_teacher(preset: Preset) -> str:
    """What tells the weights of a teacher that the study does not train from others'; empty where it trains its own."""
    named = preset.machine.teacher
    if run := next(iter(finished_runs(named)), None) if named else _shipped_teacher(preset):
        return run.weights_hash()
    if named and (file := from_repository(named)).is_file():  # released weights
        return f"{file.stat().st_size} {file.stat().st_mtime_ns}"
    return ""


def _shipped_teacher(preset: Preset) -> Run | None:
    """The teacher, if it is one kept in git: that which the preset names, or its own where the reader has trained none."""
    if preset.machine.teacher:
        named = next(iter(finished_runs(preset.machine.teacher)), None)
        return named if named and reference_folder().resolve() in named.path.resolve().parents else None
    run = Run(reference_folder() / preset.name / TEACHER)
    if not run.weights.is_file() or find_run(preset.name, TEACHER).path != run.path:
        return None
    asked = dataclasses.replace(run.settings(), preset=preset, alpha=preset.networks.teacher_alpha)
    return None if differing_settings(run, asked) else run
