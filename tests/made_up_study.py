"""A made-up study: run folders as `kdlib keep` leaves them, with scores from a formula, for tests of tables, figures and pages.

Scores are those of `made_score`, so that a test can compute what a table must say.
"""

import json
import random
from pathlib import Path

import numpy as np
from PIL import Image

from kdlib.config import load_preset
from kdlib.runs import STUDENT, TEACHER, RunSettings, run_name

DOMAINS = ("cat", "dog", "fox")
GUIDES = ("latent", "reference")
STEP = 2000
EXTRA = {"without_image_adversarial": 21.0, "without_source": 0.4}  # added to the Frechet distance of these variants


def plain(text: str) -> str:
    """Text of a page, to be compared with what one types."""
    return text.replace("\N{NO-BREAK SPACE}", " ")


def tables_of(text: str) -> list[dict[str, dict[str, str]]]:
    """Each Markdown table of a page: cells by the first one of their line, then by the column's head."""
    parts = ([line for line in part.splitlines() if line.startswith("|")] for part in plain(text).split("\n\n"))
    cells = ([[cell.strip() for cell in line.strip("|").split("|")] for line in part] for part in parts if part)
    return [{row[0]: dict(zip(heads, row, strict=True)) for row in rows} for heads, _, *rows in cells]


def made_frechet(alpha: int, distilled: bool, seed: int, guide: str, variant: str = "") -> float:
    """Falls with the width, is 20 lower with distillation, 2 higher reference-guided, and scatters by 1 from seed to seed."""
    return 100 - 0.5 * alpha - 20 * distilled + 2 * (guide == "reference") + (seed - 777) + EXTRA.get(variant, 3.0 if variant else 0.0)


def made_scores(alpha: int, distilled: bool, seed: int, guide: str, variant: str = "") -> dict[str, float]:
    frechet = made_frechet(alpha, distilled, seed, guide, variant)
    good = 1 - frechet / 120
    scores = {
        "frechet_factor_network": frechet, "kernel_factor_network": frechet / 5, "diversity_factor_network": 3 + 4 * good,
        "domain_accuracy": 0.85 + 0.2 * min(good, 0.7), "content_correlation": good, "detail_correlation": 0.6 * good, "style_diversity": 0.3 + good / 4,
        "spectral_distance": 6 - 4 * good, "fine_detail": 4 * good - 5,
    }  # fmt: skip
    return scores | ({"style_correlation": 0.9 * good, "leak_correlation": 0.04} if guide == "reference" else {})


def write_run(
    folder: Path, preset: str, alpha: int, distilled: bool = False, seed: int = 777, variant: str = "", role: str = STUDENT,
    pictures: bool = True,
) -> Path:  # fmt: skip
    """One kept run under ``folder``/<preset>; returns its path."""
    own = load_preset(preset, variant=variant or None, seed=seed)
    settings = RunSettings(own, role, alpha, distilled, DOMAINS, "pictures", "t" if distilled else "")
    base = load_preset(preset).training.seed
    path = folder / preset / run_name(role, alpha, distilled, variant, None if seed == base or role == TEACHER else seed)
    path.mkdir(parents=True)
    seconds = 2.0 if distilled else 1.0
    environment = {"commit": "0123456789abcdef", "processor": "Abacus 2000", "device": "cpu", "threads": 2, "first_step": 0}
    means = {guide: {"mean": made_scores(alpha, distilled, seed, guide, variant)} for guide in GUIDES}
    if role == TEACHER:
        means = {guide: {"mean": made_scores(140, True, seed, guide)} for guide in GUIDES}
    real = {f"{name}_factor_network": value for name, value in (("frechet", 16.3), ("kernel", -0.45), ("diversity", 15.9))}
    real |= {"domain_accuracy": 1.0, "style_diversity": 0.885, "spectral_distance": 0.6}
    kinds = {kind: f"{kind}_factor_network" for kind in ("frechet", "kernel", "diversity")}
    metrics = {
        "cost": {"parameters": 1000 * alpha**2 // 10, "macs": 10**6 * alpha}, **means, "real": {"mean": real},
        "protocol": {
            "feature_networks": [{"name": "factor_network", "scores": kinds}],
            "seed": 777, "seeds": 1, "outputs_per_source": 10, "source_counts": dict.fromkeys(DOMAINS, 50),
        },
        "reconstruction": {"mean": {"reconstruction_l1": 0.1}}, "warnings": [],
    }  # fmt: skip
    files = {
        "settings.json": settings.as_dict(), "environment.json": [environment], "metrics.json": metrics,
        "finished.json": {"step": STEP, "seconds": STEP * seconds, "seconds_per_iteration": seconds, "peak_memory_bytes": 2**30},
    }  # fmt: skip
    for name, content in files.items():
        (path / name).write_text(json.dumps(content))
    if role == TEACHER:
        moments = [{"step": step, **{guide: made_scores(140, True, step, guide) for guide in GUIDES}} for step in (STEP // 2, STEP)]
        (path / "course.json").write_text(json.dumps({"protocol": metrics["protocol"], "moments": moments}))
    (path / "log.jsonl").write_text("".join(json.dumps(_logged(step, distilled, seed)) + "\n" for step in range(20, STEP + 1, 20)))
    if pictures:
        _write_samples(path, alpha + 3 * distilled, settings.preset.data.image_size)
    return path


def write_study(folder: Path, preset: str = "mini", **keywords) -> None:
    """Teacher, every width alone and distilled, the main width with every seed and in every variant."""
    study = load_preset(preset).study
    write_run(folder, preset, load_preset(preset).networks.teacher_alpha, role=TEACHER, **keywords)
    for alpha in study.alphas:
        for distilled in (False, True):
            for seed in study.seeds if alpha == study.main else study.seeds[:1]:
                write_run(folder, preset, alpha, distilled, seed, **keywords)
    for variant in study.variants:
        write_run(folder, preset, study.main, True, variant=variant, **keywords)


def _logged(step: int, distilled: bool, seed: int) -> dict[str, float]:
    noise = random.Random(f"{step} {seed} {distilled}")
    names = [f"G/{guide}/{term}" for guide in GUIDES for term in ("adv", "sty", "ds", "cyc")]
    return {"step": step, **{name: (2 - distilled) * 100 / (100 + step) + 0.05 * noise.random() for name in names}}


def _write_samples(path: Path, shade: int, size: int) -> None:
    """Grids as training writes them; the cell in line i and column j is of the colour (shade, 30 i, 30 j)."""
    (path / "samples").mkdir()
    cell = max(size, 64)
    for guide in GUIDES:
        lines, columns = 2 * len(DOMAINS) + (guide == "reference"), 2 * len(DOMAINS) + 1
        canvas = np.full(((cell + 2) * lines - 2, (cell + 2) * columns - 2, 3), 255, np.uint8)
        for i in range(lines):
            for j in range(columns):
                canvas[i * (cell + 2) :, j * (cell + 2) :][:cell, :cell] = (shade, 30 * i, 30 * j)
        Image.fromarray(canvas).save(path / "samples" / f"{guide}_{STEP:07d}.png")
