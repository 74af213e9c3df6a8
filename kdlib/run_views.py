"""What the training, evaluation and comparison notebooks show, made from run folders."""

from typing import Any

import pandas as pd
from IPython.display import HTML, Markdown, display

from kdlib.config import Preset
from kdlib.data import Dataset
from kdlib.errors import InputError
from kdlib.figures import factor_figure, score_figure, style_figure
from kdlib.grids import demonstration
from kdlib.paths import shown
from kdlib.plotting import image_grid
from kdlib.results import DISTANCES, GUIDES, HEADLINES, LOWER_IS_BETTER, distillation_pairs, label, rows_of_preset, score, table
from kdlib.runs import STUDENT, Run, find_run
from kdlib.session import check_fits, load_teacher, open_data


def summary(run: Run) -> str:
    """Markdown: what was trained, on what, for how long."""
    settings, finished = run.settings(), run.json("finished.json")
    starts = run.json("environment.json")
    what = "Teacher" if settings.role != STUDENT else f"Student, alpha = {settings.alpha}, "
    if settings.role == STUDENT:
        what += "distilled from the teacher" if settings.distill else "trained without distillation"
    last = starts[-1]
    rows = {
        "what": what,
        "iterations": f"{finished['step']:,} of batch {settings.preset.training.batch_size}",
        "time": f"{finished['seconds'] / 60:.1f} min, {finished['seconds_per_iteration']:.3f} s an iteration",
        "peak memory": f"{finished['peak_memory_bytes'] / 2**30:.2f} GiB",
        "machine": f"{last['processor']}, {last['threads']} threads, {last['device']}",
        "started": f"{len(starts)} time{'s' if len(starts) > 1 else ''}"
        + (f", resumed at {', '.join(str(s['first_step']) for s in starts[1:])}" if len(starts) > 1 else ""),
        "seed": settings.preset.training.seed,
        "commit": f"`{last['commit'][:10]}`" + (" with changes" if last["commit"].endswith("+changes") else ""),
    }
    return "\n".join([f"| run folder | `{shown(run.path)}` |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())])


def protocol_summary(name: str, metrics: dict[str, Any]) -> str:
    """Markdown: what was evaluated, by which protocol, and the warnings that came with the result."""
    p = metrics["protocol"]
    text = (
        f"**{name}**: {sum(p['source_counts'].values()):,} sources, {len(p['domains']) * (len(p['domains']) - 1)} ordered pairs of domains, "
        f"{p['outputs_per_source']} outputs a source and guide, {p['outputs']:,} translations in all, seed {p['seed']}. "
        f"Feature network: {p['feature_network']['name']} ({p['feature_network']['dimension']} features). "
        f"Distances are to all {sum(p['train_counts'].values()):,} training pictures, domain by domain."
    )
    return "\n\n".join([text, *(f"> **Caution.** {warning}." for warning in metrics["warnings"])])


def frechet_key(metrics: dict[str, Any]) -> str:
    """Name of the Frechet distance in these metrics' feature network."""
    return f"frechet_{metrics['protocol']['feature_network']['name']}"


def score_table(metrics: dict[str, Any]) -> pd.DataFrame:
    """Every mean score: latent-guided, reference-guided, and what real validation pictures score where that has a meaning."""
    guided = {guide: metrics[guide]["mean"] for guide in GUIDES}
    real = metrics["real"]["mean"]
    names = list(dict.fromkeys([*guided["latent"], *guided["reference"]]))
    rows = [{"score": n.replace("_", " "), **{g: guided[g].get(n) for g in GUIDES}, "real": real.get(n)} for n in names]
    rows.append({"score": "reconstruction L1 (own style)", "latent": None, "reference": metrics["reconstruction"]["mean"]["reconstruction_l1"], "real": 0.0})
    return _clean(pd.DataFrame(rows))


def _clean(frame: pd.DataFrame) -> Any:
    """Numbers to four digits, nothing where there is none, no index."""
    return frame.style.hide(axis="index").format(lambda v: v if isinstance(v, str) else f"{v:.4f}", na_rep="")


def factor_views(metrics: dict[str, Any]) -> Markdown | None:
    """Figures of content and style scores, where the data have factors."""
    if "content_correlation" not in metrics["latent"]["mean"]:
        return Markdown("These pictures have no known factors, so content, style and leak cannot be scored.")
    display(factor_figure(metrics, "reference"), style_figure(metrics))
    return None


def comparison_summary(preset: Preset, rows: list[dict[str, Any]]) -> str:
    """Markdown: which runs are compared."""
    own = sum(not r["kept_in_git"] for r in rows)
    return f"Preset `{preset.name}`: {len(rows)} evaluated runs, {own} of them made on this machine, {len(rows) - own} kept in git."


def comparison_table(rows: list[dict[str, Any]]) -> Any:
    """The results table."""
    heads, lines = table(rows)
    return pd.DataFrame(lines, columns=heads).style.hide(axis="index")


def distillation_table(rows: list[dict[str, Any]]) -> Any:
    """Alone → distilled, for every width and guide that has both."""
    columns: dict[str, list[str]] = {"": [f"{heading} ({'lower' if name in LOWER_IS_BETTER else 'higher'} is better)" for name, heading in HEADLINES]}
    for alone, distilled in distillation_pairs(rows):
        for guide in GUIDES:
            pairs = [(score(alone, guide, name), score(distilled, guide, name)) for name, _ in HEADLINES]
            columns[f"{label(alone)}, {guide}"] = [f"{a:.3f} → {b:.3f}" if None not in (a, b) else "" for a, b in pairs]
    if len(columns) == 1:
        return Markdown("No width has both kinds of student yet.")
    frame = pd.DataFrame(columns)
    return frame[(frame.iloc[:, 1:] != "").any(axis=1)].style.hide(axis="index")


def factor_comparison(rows: list[dict[str, Any]]) -> Any:
    """Headline factor scores of every run as bars, where the data have factors."""
    names = {k: h for k, h in HEADLINES if k not in DISTANCES and any(score(r, "reference", k) is not None for r in rows)}
    if not names:
        return Markdown("These pictures have no known factors.")
    return score_figure(rows, names)


def teacher_grid(preset: Preset, dataset: Dataset, guide: str) -> HTML | Markdown:
    """The preset's teacher on the pictures that its students are shown on, if there is a teacher."""
    try:
        nets, _ = load_teacher(preset, dataset)
    except InputError as error:
        return Markdown(f"No teacher to compare with: {error}")
    shown_rows = demonstration(nets, dataset)
    columns = getattr(shown_rows, f"{guide}_columns")
    return image_grid(getattr(shown_rows, guide), columns, caption=f"Teacher, {guide}-guided")


def side_by_side(preset: Preset) -> HTML:
    """One source of every domain through every model of the preset, in references of every domain."""
    dataset = open_data(preset, progress=False)
    rows, labels = [], []
    for row in rows_of_preset(preset.name):
        run = find_run(preset.name, row["run"])
        check_fits(run, dataset)
        references, *pictures = demonstration(run.load_networks(), dataset, sources=1).reference
        if not rows:
            rows.append(references)
            labels.append("reference")
        rows += pictures
        labels += [label(row)] * len(pictures)
    return image_grid(rows, ["source", *[""] * (len(rows[0]) - 1)], labels, width=56)
