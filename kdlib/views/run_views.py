"""What the training, evaluation and comparison notebooks show, made from run folders."""

import dataclasses
from collections import Counter
from typing import Any

import pandas as pd
from IPython.display import HTML, Markdown, display

from kdlib.analysis import claim_tables
from kdlib.analysis.kept_study import load_study, main_scores
from kdlib.analysis.seeds import StudyResults, groups, seeds_text
from kdlib.analysis.study_tables import WIDEST, overview
from kdlib.data import Dataset
from kdlib.errors import InputError
from kdlib.grids import demonstration
from kdlib.headlines import FACTORS, distances, headlines, name_of
from kdlib.paths import shown
from kdlib.results import GUIDES, kept_rows, made, score, table
from kdlib.runs import IMPORTED, STUDENT, Run, find_run
from kdlib.session import check_fits, evaluated_networks, load_teacher, open_data
from kdlib.settings import Preset
from kdlib.views.figures import factor_figure, loss_figure, pair_figure, score_figure, selection_figure, style_figure, tradeoff_figure
from kdlib.views.plotting import image_grid
from kdlib.views.study_figures import ablation_figure, effect_figure


def summary(run: Run) -> str:
    """Markdown: what was trained, on what, for how long."""
    settings, finished = run.settings(), run.json("finished.json")
    what = "Teacher" if settings.role != STUDENT else f"Student, alpha = {settings.alpha}, "
    if run.imported:
        return _rows_of(run, _released(what.removesuffix(", ") + ", released", run.json(IMPORTED)))
    if settings.role == STUDENT:
        what += "distilled from the teacher" if settings.distill else "trained without distillation"
    starts = run.json("environment.json")
    last = starts[-1]
    rows = {
        "what": what,
        "iterations": f"{finished['step']:,} of batch {settings.preset.training.batch_size}",
        "time": f"{finished['seconds'] / 60:.1f} min, {finished['seconds_per_iteration']:.3f} s an iteration",
        "peak memory": f"{finished['peak_memory_bytes'] / 2**30:.2f} GiB",
        "machine": f"{last['processor']}, {last['threads']} threads, {last['device']}, {last.get('precision', settings.preset.training.precision)}",
        "started": f"{len(starts)} time{'s' if len(starts) > 1 else ''}"
        + (f", resumed at {', '.join(str(s['first_step']) for s in starts[1:])}" if len(starts) > 1 else ""),
        "seed": settings.preset.training.seed,
        "commit": f"`{last['commit'][:10]}`" + (" with changes" if last["commit"].endswith("+changes") else ""),
    }
    return _rows_of(run, rows)


def _released(what: str, record: dict[str, Any]) -> dict[str, Any]:
    """Rows about a run whose weights were released by others: nothing is known of their training but the file."""
    found = record["detected"]
    return {
        "what": what,
        "file": f"`{record['file']}`, {record['bytes'] / 2**20:,.0f} MiB, SHA-256 `{record['sha256'][:16]}…`",
        "read off it": f"width cap {found['alpha']}, {found['domains']} domains, {found['image_size']} px, w_hpf {found['w_hpf']:g}",
        "iterations, time, machine, seed": "not in the file",
    }


def _rows_of(run: Run, rows: dict[str, Any]) -> str:
    return "\n".join([f"| run folder | `{shown(run.path)}` |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())])


def losses(run: Run) -> Any:
    """The run's losses over its iterations; a sentence where they are not known."""
    if run.imported:
        return Markdown("Released weights come without a log of their training.")
    return loss_figure(run)


def protocol_summary(name: str, metrics: dict[str, Any]) -> str:
    """Markdown: what was evaluated, by which protocol, and the warnings that came with the result."""
    p = metrics["protocol"]
    networks = [f"{n['name'].replace('_', ' ')} ({n['dimension']} features)" for n in p["feature_networks"]]
    seeds = f"seed {p['seed']}" if p["seeds"] == 1 else f"seeds {p['seed']} to {p['seed'] + p['seeds'] - 1}, of which ± is the deviation"
    text = (
        f"**{name}**: {sum(p['source_counts'].values()):,} sources, {len(p['domains']) * (len(p['domains']) - 1)} ordered pairs of domains, "
        f"{p['outputs_per_source']} outputs a source and guide, {p['outputs']:,} translations in all, {seeds}. "
        f"Feature networks: {', '.join(networks)}{' and LPIPS' if p['lpips'] else ''}. "
        f"Distances are to all {sum(p['train_counts'].values()):,} training pictures, domain by domain."
    )
    return "\n\n".join([text, *(f"> **Caution.** {warning}." for warning in metrics["warnings"])])


def selection_view(metrics: dict[str, Any]) -> None:
    """How the evaluated moment of the run was chosen: every candidate's score, figure and table. Nothing where there was no choice."""
    choice = metrics.get("selection")
    if choice is None:
        return
    name, steps = choice["score"], {c["step"]: c for c in choice["candidates"]}
    best, last = steps[choice["chosen"]], steps[choice["last"]]
    text = (
        f"**Best of {len(steps)}.** All scores on this page are those of iteration {choice['chosen']:,}, chosen among the moving averages "
        f"kept on the way ({choice['rule']}): {best['criterion']:.2f}. The last one, iteration {choice['last']:,}, has "
        f"{last['criterion']:.2f}. A best of {len(steps)}, chosen on the same pictures that it is scored on, is optimistic: part of what "
        "sets it apart is luck. The thesis reports such a best."
    )
    rows = [
        {"iteration": f"{step:,}{' (chosen)' if c is best else ''}", **{guide: c[guide][name] for guide in GUIDES}, "mean": c["criterion"]}
        for step, c in steps.items()
    ]
    display(Markdown(text), selection_figure(choice), _clean(pd.DataFrame(rows)))


def pair_views(metrics: dict[str, Any]) -> None:
    """A figure a feature network: its Frechet distance over the ordered pairs of domains."""
    networks = {network["name"]: network["scores"] for network in metrics["protocol"]["feature_networks"]}
    for headline in distances([{"feature_networks": networks}], "frechet"):
        display(pair_figure(metrics, headline.key, f"{headline.heading} to the target domain (lower is better)"))


def score_table(metrics: dict[str, Any]) -> pd.DataFrame:
    """Every mean score: latent-guided, reference-guided, and what real validation pictures score where that has a meaning."""
    real = metrics["real"]["mean"]
    names = dict.fromkeys(name for guide in GUIDES for name in metrics[guide]["mean"])
    rows = [{"score": name_of(n), **{g: _with_deviation(metrics[g], n) for g in GUIDES}, "real": real.get(n)} for n in names]
    reconstruction = metrics["reconstruction"]["mean"]["reconstruction_l1"]
    rows.append({"score": "reconstruction L1 (own style)", "latent": None, "reference": reconstruction, "real": 0.0})
    return _clean(pd.DataFrame(rows))


def _with_deviation(scores: dict[str, Any], name: str) -> float | str | None:
    value, deviation = scores["mean"].get(name), scores.get("deviation", {}).get("mean", {}).get(name)
    return value if deviation is None else f"{value:.4f} ± {deviation:.4f}"


def _clean(frame: pd.DataFrame) -> Any:
    """Numbers to four digits, nothing where there is none, no index."""
    return frame.style.hide(axis="index").format(lambda v: v if isinstance(v, str) else f"{v:.4f}", na_rep="")


def factor_views(metrics: dict[str, Any]) -> Markdown | None:
    """Figures of content and style scores, where the data have factors."""
    if "content_correlation" not in metrics["latent"]["mean"]:
        return Markdown("These pictures have no known factors, so content, style and leak cannot be scored.")
    display(factor_figure(metrics, "reference"), style_figure(metrics))
    return None


def study_of(preset: Preset, rows: list[dict[str, Any]]) -> StudyResults:
    """The rows in groups of seeds, with the preset's main width where there is a student of it."""
    main = preset.study.main if any(row["alpha"] == preset.study.main for row in rows if row["role"] == STUDENT) else 0
    return StudyResults.of(rows, main, preset.study.variants)


def comparison_summary(preset: Preset, rows: list[dict[str, Any]]) -> str:
    """Markdown: which runs are compared."""
    counts = Counter(made(r) for r in rows)
    text = f"Preset `{preset.name}`: {len(rows)} evaluated runs, {counts['here']} of them made on this machine, {counts['kept in git']} kept in git"
    return text + (f", {counts['released']} released by others." if counts["released"] else ".")


def comparison_table(rows: list[dict[str, Any]]) -> Any:
    """The results table: a column a run, or, of more runs than a page is wide, a line a group of seeds."""
    heads, lines = table(rows) if len(rows) <= WIDEST else overview(groups(rows), headlines(rows))
    return pd.DataFrame(lines, columns=heads).style.hide(axis="index")


def tradeoff_views(results: StudyResults) -> None:
    """Size against quality, a figure a feature network: distances in two networks are two metrics."""
    for headline in distances(_rows(results), "frechet"):
        display(tradeoff_figure(results, headline))


def _rows(results: StudyResults) -> list[dict[str, Any]]:
    return [row for group in results.groups for row in group.rows]


def distillation_table(results: StudyResults) -> Any:
    """Alone → distilled, means over seeds, for every width and guide that has both."""
    shown_scores = headlines(_rows(results))
    columns: dict[str, list[str]] = {"": [f"{h.heading} ({'lower' if h.lower_is_better else 'higher'} is better)" for h in shown_scores]}
    for alpha in results.alphas:
        pair = [results.student(alpha, kind) for kind in (False, True)]
        if None in pair or pair[0]["iterations"] != pair[1]["iterations"]:
            continue
        counted = seeds_text(min(len(group.rows) for group in pair))
        for guide in GUIDES:
            spreads = [[group.score(guide, h.key) for group in pair] for h in shown_scores]
            columns[f"{pair[0].label}, {guide} ({counted})"] = [f"{a.mean:.3f} → {b.mean:.3f}" if a and b else "" for a, b in spreads]
    if len(columns) == 1:
        return Markdown("No width has both kinds of student yet.")
    frame = pd.DataFrame(columns)
    return frame[(frame.iloc[:, 1:] != "").any(axis=1)].style.hide(axis="index")


def effect_view(results: StudyResults) -> Any:
    """Distilled minus alone as a figure; nothing where no width has both kinds of student."""
    if any(results.student(a, True) and results.student(a, False) for a in results.alphas):
        return effect_figure(results, main_scores(results))
    return None


def ablation_views(results: StudyResults) -> None:
    """What the variants change against the full recipe; a sentence where there are none."""
    if results.variants and results.student(results.main, True) is not None:
        display(ablation_figure(results, main_scores(results)))
    else:
        display(Markdown("This preset has no variants, or none that is trained yet."))


def claims_view(preset: Preset, results: StudyResults) -> Any:
    """The study's claims: what the runs shown here say, beside those kept in git of the same preset and of the reference study."""
    reference = load_study()
    kept = study_of(preset, kept_rows(preset.name))
    heads, lines = claim_tables.reproduction_table(results, kept, reference.results, (preset.name, reference.preset.name))
    if not lines:
        return Markdown("No claim can be asked of these runs yet.")
    display(Markdown("\n\n".join(filter(None, [claim_tables.reproduction_sentence(results, kept), claim_tables.YARDSTICK]))))
    wide = [{"selector": f".col{i}", "props": "min-width: 11rem; text-align: left"} for i in (0, 1)]
    return pd.DataFrame(lines, columns=heads).style.hide(axis="index").set_table_styles(wide)


def factor_comparison(results: StudyResults) -> Any:
    """Headline factor scores of teacher and students as bars, where the data have factors."""
    names = {h.key: h.heading for h in FACTORS if any(score(r, "reference", h.key) is not None for r in _rows(results))}
    if not names:
        return Markdown("These pictures have no known factors.")
    return score_figure(results, names)


def teacher_grid(preset: Preset, dataset: Dataset, guide: str) -> HTML | Markdown:
    """The preset's teacher on the pictures that its students are shown on, if there is a teacher."""
    try:
        nets, _ = load_teacher(preset, dataset)
    except InputError as error:
        return Markdown(f"No teacher to compare with: {error}")
    shown_rows = demonstration(nets, dataset)
    columns = getattr(shown_rows, f"{guide}_columns")
    return image_grid(getattr(shown_rows, guide), columns, caption=f"Teacher, {guide}-guided")


def side_by_side(preset: Preset, results: StudyResults) -> HTML:
    """One source of every domain through every model, the first seed of each, in references of every domain."""
    dataset = open_data(preset, progress=False)
    rows, labels = [], []
    for group in results.groups:
        if group["variant"]:
            continue
        check_fits(find_run(group["preset"], group["run"]), dataset)
        nets = evaluated_networks(dataclasses.replace(preset, name=group["preset"]), group["run"])
        references, *pictures = demonstration(nets, dataset, sources=1).reference
        if not rows:
            rows.append(references)
            labels.append("reference")
        rows += pictures
        labels += [group.label] * len(pictures)
    return image_grid(rows, ["source", *[""] * (len(rows[0]) - 1)], labels, width=56)
