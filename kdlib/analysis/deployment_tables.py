"""Tables of exports and of their times, in Markdown: what the deployment notebook and the deployment page both show.

Exports are reports of `kdlib.deploy.deployment`, times are results of `kdlib.deploy.latency`.
"""

from pathlib import Path
from typing import Any

from kdlib.analysis.prose import joined, listed
from kdlib.analysis.seeds import BLANK
from kdlib.analysis.speed import milliseconds
from kdlib.deploy.forms import in_form
from kdlib.deploy.latency import RUNTIMES
from kdlib.headlines import Headline, headlines
from kdlib.results import GUIDES, markdown_table

PRECISIONS = {"fp32": "float32", "fp16": "float16 weights", "int8": "8-bit integers", "pt2": "ExportedProgram"}
WANTED = {"8-bit dot products (VNNI)": {"avx_vnni", "avx512_vnni", "amx_int8"}, "bfloat16": {"avx512_bf16", "amx_bf16"}}  # names of Linux's
JUDGED = PRECISIONS | {"int8, OpenVINO": "8-bit integers, OpenVINO", "bf16, OpenVINO": "bfloat16 arithmetic, OpenVINO"}
NETWORKS = {"generator": "$G$", "style_encoder": "$E$", "mapping_network": "$F$"}

Results = dict[str, Any]


def machine(result: Results) -> str:
    """What a result was measured on: processor and what it can, programs, and how busy it was."""
    environment = result["environment"]
    threads = result.get("threads", environment["threads"])
    named = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
    versions = {**environment["packages"], **environment.get("runtimes", {})}
    programs = ", ".join(f"{label} {versions[key]}" for key, label in named.items() if key in versions)
    text = f"{environment['processor']}, {threads} thread{'s' if threads > 1 else ''}; {programs}"
    if told := environment.get("arithmetic"):
        found = {name.lower() for name in told}
        missing = [label for label, names in WANTED.items() if not found & names]
        text += f"; instructions {', '.join(sorted(name for name in told if name.islower()))}{f', without {listed(missing)}' if missing else ''}"
    if before := environment.get("machine_before"):
        busy = max(before["load"], environment["machine_after"]["load"])
        text += f"; load of its {before['cores']} cores at most {busy:.1f}, this measurement included"
    return text


def mebibytes(count: float) -> str:
    """A number of bytes, to two digits of a MiB where there are few."""
    return f"{count / 2**20:.2f} MiB" if count < 9.95 * 2**20 else f"{count / 2**20:,.0f} MiB"


def series_of(result: Results) -> list[tuple[str, str]]:
    """Pairs of runtime and precision that were timed, in the order of runtimes."""
    found = dict.fromkeys((r["runtime"], r["precision"]) for r in result["rows"])
    return sorted(found, key=lambda one: list(RUNTIMES).index(one[0]))


def latency_table(result: Results) -> str:
    """Time of one translation, by model, runtime and precision, and what it was measured on."""
    rows = {(r["model"], r["runtime"], r["precision"]): r for r in result["rows"]}
    models = list(dict.fromkeys(r["model"] for r in result["rows"]))
    heads = [f"a picture: median (p90){', times faster' if len(models) > 1 else ''}", *models]
    table = []
    for runtime, precision in series_of(result):
        of_teacher, cells = rows.get((models[0], runtime, precision)), []
        for model in models:
            row = rows.get((model, runtime, precision))
            if row is None:
                cells.append("–")
                continue
            text = f"{milliseconds(row['median_seconds'])} ({milliseconds(row['p90_seconds'])})".replace(" ms", f"{BLANK}ms")
            cells.append(text + (f", {of_teacher['median_seconds'] / row['median_seconds']:.1f}×" if of_teacher and model != models[0] else ""))
        table.append([f"{RUNTIMES[runtime]}, {precision}", *cells])
    count = len(result["rows"][0]["seconds"])
    about = f"Batch 1, the generator alone, {count} timed calls of each in turns. {machine(result)}."
    return joined(markdown_table(heads, table), about, refused(result))


def refused(result: Results) -> str:
    """What was not measured and why: a reason once, and models only where not all of them were refused."""
    known = dict.fromkeys([*result.get("models", ()), *(row["model"] for row in result["rows"])])  # a notebook's result counts no models
    of: dict[tuple[str, str], list[str]] = {}
    for label, why in result["refused"].items():
        memory, rest = ("peak memory of ", label.removeprefix("memory of ")) if label.startswith("memory of ") else ("", label)
        model = max((m for m in known if rest.startswith(f"{m}, ")), key=len)
        of.setdefault((why, memory + rest.removeprefix(f"{model}, ")), []).append(model)
    reasons: dict[str, list[str]] = {}
    for (why, what), models in of.items():
        reasons.setdefault(why, []).append(what if len(models) == len(known) else f"{what} of {', '.join(models)}")
    return "Not measured here: " + "; ".join(f"{' and '.join(what)} ({why})" for why, what in reasons.items()) + "." if reasons else ""


def name_of(export: Results) -> str:
    """The model of an export, with the order of its operations where that is not the plain one."""
    return in_form(export["model"], export["about"].get("form", "plain"))


def sizes(exports: list[Results]) -> str:
    """Files, in bytes."""
    lines = []
    for export in exports:
        for precision, label in PRECISIONS.items():
            own = {Path(file).stem: count for file, count in export["bytes"].items() if file.startswith(f"{precision}/")}
            if own:
                lines.append([f"{name_of(export)}, {label}", *(mebibytes(own[n]) for n in NETWORKS), mebibytes(sum(own.values()))])
    return markdown_table(["model, format", *NETWORKS.values(), "together"], lines)


def errors(exports: list[Results]) -> str:
    """Largest and mean error of each network's outputs against PyTorch."""
    lines = []
    for export in exports:
        for runtime, precision in dict.fromkeys((e["runtime"], e["precision"]) for e in export["errors"]):
            own = {e["network"]: e for e in export["errors"] if (e["runtime"], e["precision"]) == (runtime, precision)}
            lines.append([f"{name_of(export)}, {runtime}, {precision}", *(f"{_short(own[n]['max'])}{BLANK}({_short(own[n]['mean'])})" for n in NETWORKS)])
    return markdown_table(["largest (mean) absolute error", *NETWORKS.values()], lines)


def _short(error: float) -> str:
    """Two digits, and a power of ten where it is small: 0.25, 8.2e-6."""
    if error >= 0.001 or error == 0:
        return f"{error:.2g}"
    digits, power = f"{error:.1e}".split("e")
    return f"{digits}e−{-int(power)}"  # a hyphen would let the line break there


def scores(exports: list[Results]) -> str:
    """Scores of what was exported, by the protocol that scores PyTorch's networks."""
    scored = [e for e in exports if "scores" in e]
    if not scored:
        return "These exports were not scored."
    parts = []
    for export in scored:
        found = export["scores"]
        networks = {n["name"]: n["scores"] for n in found["protocol"]["feature_networks"]}
        known = {f"{guide}_{key}": value for guide in GUIDES for key, value in next(iter(found["of"].values()))[guide].items()}
        asked = [h for h in headlines([{"feature_networks": networks, **known}]) if any(h.key in s[g] for s in found["of"].values() for g in GUIDES)]
        lines = [[h.heading, *(_both(guides, h) for guides in found["of"].values())] for h in asked]
        lines.append(["PSNR to PyTorch", *(f"{found['psnr'][name]:.1f} dB" if name in found["psnr"] else "–" for name in found["of"])])
        parts.append(markdown_table([f"{name_of(export)}, latent / reference", *(JUDGED.get(name, name) for name in found["of"])], lines))
        broken = [f"{JUDGED[name]} ({', '.join(text)})" for name, text in found["violations"].items() if text]
        kept = f"Beyond the tolerance: {'; '.join(broken)}." if broken else "All are within the tolerance."
        parts.append(f"{found['protocol']['outputs']:,} translations each, run by ONNX Runtime where nothing else is said. {kept}")
    return joined(*parts)


def _both(guides: dict[str, dict[str, float]], headline: Headline) -> str:
    return " / ".join(f"{guides[g][headline.key]:.{headline.digits}f}" if headline.key in guides[g] else "–" for g in GUIDES)


def quantisation(exports: list[Results]) -> str:
    """Which layers stayed in float, and how that was found."""
    parts = []
    for export in exports:
        if "quantisation" not in export:
            continue
        lines = []
        for name, record in export["quantisation"].items():
            tried = "; ".join(f"{c['in_float']} in float: {', '.join(c['violations']) or 'within the tolerance'}" for c in record["candidates"])
            most = ", ".join(f"`{row['layer'].rpartition('/')[0]}` ({row['relative']:.3f})" for row in record["sensitivity"][:4])
            lines.append([NETWORKS[name], f"{len(record['in_float'])} of {record['layers']}", most, tried])
        parts.append(markdown_table([name_of(export), "layers in float", "most sensitive (relative error, alone)", "tried"], lines))
    return joined(*parts) or "None of these exports has 8-bit networks."
