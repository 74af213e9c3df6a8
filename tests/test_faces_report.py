"""The fragments on real faces, from made-up runs and from none."""

import json

from made_up_study import made_frechet, plain, write_run

from kdlib.analysis.kept_study import load_study
from kdlib.book import faces_report
from kdlib.config import load_preset
from kdlib.runs import TEACHER

PRESET = load_preset(faces_report.PRESET)
MAIN = PRESET.study.main


def write_faces(repository, alpha, distilled=False, variant="", role="student"):
    """A made-up run with scores that pictures without known factors have."""
    run = write_run(repository, faces_report.PRESET, alpha, distilled, variant=variant, role=role, pictures=False)
    metrics = json.loads((run / "metrics.json").read_text().replace("factor_network", "squeezenet"))
    known = ("frechet_squeezenet", "kernel_squeezenet", "diversity_squeezenet", "spectral_distance", "fine_detail")
    for part in (metrics["latent"], metrics["reference"], metrics["real"]):
        part["mean"] = {name: value for name, value in part["mean"].items() if name in known}
    (run / "metrics.json").write_text(json.dumps(metrics))


def test_no_runs_say_so(repository):
    found = faces_report.fragments(load_study(faces_report.PRESET), load_study())
    assert "`python -m kdlib study --preset faces` makes them" in found["quality"] and found["methods"] == found["agreement"] == ""
    assert "*Not run yet:* `teacher`" in found["setup"]


def test_claims_are_asked_of_both_studies_and_only_those_that_faces_can_answer(repository):
    write_faces(repository, PRESET.networks.teacher_alpha, role=TEACHER)
    for alpha in PRESET.study.alphas:
        for distilled in (False, True):
            write_faces(repository, alpha, distilled)
    found = {name: plain(text) for name, text in faces_report.fragments(load_study(faces_report.PRESET), load_study()).items()}
    assert "kernel distance (squeezenet), low is good:" in found["quality"]
    assert "Fréchet distance (squeezenet), low is good" in found["quality"] and "factor network" not in found["quality"]
    lines = [line for line in found["agreement"].splitlines() if line.startswith("| Distillation lowers the latent-guided")]
    assert len(lines) == 1 and "| holds | holds in 1 seed; latent: 76.0 → 56.0 (−20.0) |" in lines[0]
    assert "power spectra" in found["agreement"] and "content kept" not in found["agreement"]
    assert found["methods"] == "" and "*Not run yet:* `alpha48-kd-teacher_critic`." in found["setup"]
    shares = {"teacher": 0.4, "alpha24": 0.9, "alpha24-kd": 0.6, "alpha48": 0.5, "alpha48-kd": 0.3}
    scores = {name: dict.fromkeys(("latent", "reference"), {"taken_for_target": share, "mean_change": 0.25}) for name, share in shares.items()}
    rows = [{"model": f"faces/{name}", "scores": of} for name, of in scores.items()]
    result = {"real_taken_for_own": 0.8, "outputs_per_source": 2, "train_per_domain": 2000, "rows": rows}
    (repository / "domains.json").write_text(json.dumps(result))
    said = plain(faces_report.fragments(load_study(faces_report.PRESET), load_study(), repository)["domains"])
    assert "| real pictures of the source domain | 20% | – |" in said and "| `alpha24` | 90% / 90% | 0.25 / 0.25 |" in said
    means = {(a, d): sum(made_frechet(a, d, 777, g) for g in ("latent", "reference")) / 2 for a in PRESET.study.alphas for d in (False, True)}
    assert f"smallest for `alpha48-kd`, {means[48, True]:.1f}; the probe takes 30% of its translations for the target domain" in said
    assert f"It takes most of `alpha24`'s, 90%, at a distance of {means[24, False]:.1f}" in said
    write_faces(repository, MAIN, True, "teacher_critic")
    table = plain(faces_report.fragments(load_study(faces_report.PRESET), load_study())["methods"])
    assert "| Fréchet distance (squeezenet), latent | 56.00 | 59.00 |" in table and "domain accuracy" not in table
