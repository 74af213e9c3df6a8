"""What the architecture notebook shows: the thesis's tables with match marks, and tables and sentences of counts."""

import math

import pandas as pd
from IPython.display import HTML, display
from pandas.io.formats.style import Styler

from kdlib.analysis import thesis
from kdlib.architecture import Architecture
from kdlib.profiling import KINDS, OPERATIONS_AFFINE_NORM, OPERATIONS_PLAIN_NORM, network_costs, savings, stage_costs
from kdlib.session import domain_names
from kdlib.settings import Preset

YES, NO = "✓", "✗"
MARKS = {True: YES, False: NO, "yes": YES, "no": NO, "rounded twice": f"{YES} twice"}
BLANK = "\N{NO-BREAK SPACE}"  # between a number and its unit


def millions(count: float, digits: int = 2) -> str:
    return f"{count / 1e6:,.{digits}f}{BLANK}M"


def billions(count: float, digits: int = 2) -> str:
    return f"{count / 1e9:,.{digits}f}{BLANK}G"


def times(ratio: float) -> str:
    """A ratio as "21.5×"; "" for 1 and for none."""
    return "" if math.isnan(ratio) or ratio == 1 else f"{ratio:.1f}×"


def _shown(frame: pd.DataFrame, name: str, text: tuple[str, ...] = ()) -> Styler:
    """A table for the page: columns of ``text`` to the left, all others to the right. ``name`` makes its HTML the same every time."""
    sides = {c: [{"selector": "", "props": f"text-align: {'left' if c in text else 'right'}"}] for c in frame.columns}
    nowrap = [{"selector": "td", "props": "white-space: nowrap"}]
    style = frame.style.hide(axis="index").set_uuid(name).set_table_styles(sides).set_table_styles(nowrap, overwrite=False)
    style.cell_ids = False
    return style


def _crosses(text: str) -> str:
    """The thesis's "4 x 4" as "4×4"."""
    return text.replace(" x ", "×")


def _notes(lines: list[tuple[str, str]]) -> HTML:
    """Remarks below a table: (what, remark)."""
    return HTML("<ul>" + "".join(f"<li><strong>{what}</strong>: {remark}</li>" for what, remark in lines) + "</ul>")


# ---- the thesis's tables ----


def layer_view(number: str) -> None:
    """Display one of Tables 4.1 to 4.6: every printed cell with a mark, what our network has where that differs, and remarks."""
    table = thesis.layer_table(number)
    *names, parameters = thesis.printed_tables()[number]["columns"]
    view = pd.DataFrame()
    for name in names:
        view[name] = [_marked(row, name, _crosses(row[name]), _crosses(row[f"built {name}"])) for _, row in table.iterrows()]
    view[f"{parameters}, printed"] = [_marked(row, parameters, f"{row[parameters]:,}") for _, row in table.iterrows()]
    view["counted"] = table["counted"].map("{:,}".format)
    view = view[[name for name in view if (view[name] != "").any()]]  # the style encoder's tables print no norms
    caption = f"Table {number}. {thesis.printed_tables()[number]['title']}."
    display(_shown(view, f"table-{number.replace('.', '-')}", tuple(names)).set_caption(caption))
    remarks = [(f"{_crosses(row[names[0]])} {_crosses(row['output shape'])}".strip(), row["note"]) for _, row in table.iterrows() if row["note"]]
    if remarks:
        display(_notes(remarks))


def _marked(row: pd.Series, column: str, printed: str, built: str = "") -> str:
    """A printed cell with its mark, and, where it is wrong, what should stand there; "" where nothing is printed."""
    if not printed:
        return ""
    wrong = column in row["wrong"]
    return f"{printed}{BLANK}{MARKS[not wrong]}" + (f"{BLANK}{built}" if wrong and built else "")


def layer_summary() -> str:
    """Markdown: how many cells of Tables 4.1 to 4.6 match, and which do not."""
    cells, wrong, places = 0, 0, []
    for number in thesis.LAYER_TABLES:
        table, columns = thesis.layer_table(number), thesis.printed_tables()[number]["columns"]
        cells += int((table[columns] != "").sum().sum())
        found = [f"{column} in row {i}" for i, row in enumerate(table["wrong"], 1) for column in row]
        wrong += len(found)
        places += [f"Table {number} ({', '.join(found)})"] if found else []
    return (
        f"Of the {cells} cells of the six tables, totals included, {cells - wrong} say what the networks have. The other {wrong} are in "
        f"{', '.join(places)}. Each is explained below its table."
    )


def cost_view() -> None:
    """Display Table 5.3 in two halves, sizes and MACs: printed and counted, and remarks."""
    table = thesis.cost_table()
    for what, unit, counted, show in (("size", "M", "parameters", "{:,}".format), ("MACs", "G", "macs_torchprofile", lambda n: billions(n, 3))):
        view = table[["data set", "alpha"]].astype(str)
        view["printed"] = table[f"{what} printed"] + f"{BLANK}{unit}"
        view["counted"] = table[counted].map(show)
        view["match"] = table[f"{what} match"].map(MARKS)
        view["ratio, printed"] = table[f"{what} ratio printed"].map(lambda r: "" if pd.isna(r) else f"{r}×")
        view["ratio, counted"] = table[f"{what} ratio"].map(lambda r: "" if r == 1 else f"{r:.2f}×")
        view[f"match{BLANK}"] = table[f"{what} ratio match"].map(MARKS).fillna("")
        caption = f"Table 5.3, {'sizes' if what == 'size' else what} of E + G + F."
        display(_shown(view, f"table-5-3-{what}", ("data set", "alpha", "match", f"match{BLANK}")).set_caption(caption))
    display(_notes([(f"{row['data set']}, {row['alpha']}", row["note"]) for _, row in table.iterrows() if row["note"]]))


def cost_summary() -> str:
    """Markdown: how many entries of Table 5.3 match, and how."""
    table = thesis.cost_table()
    parts = []
    for what, name in (("size", "Sizes"), ("MACs", "MACs")):
        found = table[f"{what} match"].value_counts()
        text = f"{name}: {found.get('yes', 0)} of {len(table)} entries are our exact counts rounded to hundredths"
        if twice := found.get("rounded twice", 0):
            text += (
                f"; the other {twice} (marked *twice*) are the counts rounded to thousandths, as the author's script prints them, and then "
                f"again, which changes none of the {found['yes']}"
            )
        if other := found.get("no", 0):
            text += f"; {other} differ"
        parts.append(f"{text}.")
    return " ".join([*parts, "The printed ratios are those of the printed numbers, cut down to integers."])


def order_view() -> None:
    """Display the MACs of the thesis's students in both orders of convolution and upsampling, by two conventions."""
    table = thesis.order_table()
    view = table[["data set", "alpha"]].astype(str)
    view["printed"] = table["MACs printed"] + f"{BLANK}G"
    view["convolution first"] = table["before"].map(lambda n: billions(n, 3))
    view["upsampling first"] = table["after"].map(lambda n: billions(n, 3))
    view["ratio"] = table["ratio"].map("{:.2f}".format)
    view["conv. and linear only"] = [f"{billions(a, 3)}{BLANK}→ {billions(b, 3)}" for a, b in zip(table["macs before"], table["macs after"])]
    display(_shown(view, "decoder-order", ("data set",)))


def savings_view(data_set: str = "AFHQ", alpha: int = thesis.STUDENT_ALPHA) -> None:
    """Display how the teacher becomes the student, one change a row."""
    table = savings(thesis.architecture(data_set, "original"), alpha)
    view = table[["step"]].copy()
    for name, show in (("parameters", millions), ("macs_thop", billions)):
        what = "MACs" if name == "macs_thop" else name
        view[what] = table[name].map(show)
        view[f"{what}, factor"] = [""] + [f"{a / b:.2f}×" for a, b in zip(table[name], table[name][1:])]
    display(_shown(view.rename(columns={"step": "change"}), "savings", ("change",)))


def landmark_view() -> None:
    """Display the faces models without → with their landmark network."""
    table = thesis.landmark_table()
    view = table[["alpha"]].astype(str)
    for name, title, heading, show in (("parameters", "size", "parameters", millions), ("macs_thop", "MACs", "MACs", billions)):
        for column, key, text in ((heading, name, show), (f"ratio of {heading}", f"{title} ratio", times)):
            pairs = zip(table[key].map(text), table[f"{key} with landmarks"].map(text))
            view[column] = [f"{without}{BLANK}→ {with_them}" if without else "" for without, with_them in pairs]
    display(_shown(view, "landmarks", ("alpha",)))


# ---- counts of any architecture ----


def convention_view(arch: Architecture) -> None:
    """Display thop's count beside that of convolutions and linear layers, wherever the two differ, and the sums. In millions."""
    table = stage_costs(arch)
    table["stage"] = table["network"] + " " + table["stage"]
    rows = pd.concat([table[table["norm_operations"] > 0], table.sum(numeric_only=True).to_frame().T.assign(stage="G, E and F, all stages")])
    columns = {
        "by thop": rows["macs_thop"],
        "conv. and linear": rows["macs"],
        "difference": rows["macs_thop"] - rows["macs"],
        f"affine norm ×{BLANK}{OPERATIONS_AFFINE_NORM}": OPERATIONS_AFFINE_NORM * rows["affine_norm_elements"],
        f"plain norm ×{BLANK}{OPERATIONS_PLAIN_NORM}": OPERATIONS_PLAIN_NORM * rows["plain_norm_elements"],
    }
    view = rows[["stage"]].copy()
    for heading, counts in columns.items():
        view[heading] = [f"{count / 1e6:,.1f}" if count else "" for count in counts]
    display(_shown(view.reset_index(drop=True), "conventions", ("stage",)).set_caption("Millions of operations."))


def convention_summary(arch: Architecture) -> str:
    """Markdown: thop's count of an architecture, and whether norms explain what it adds to the last operation."""
    total = network_costs(arch).loc["total"]
    difference = int(total["macs_thop"] - total["macs"])
    exact = "to the last operation" if difference == total["norm_operations"] else f"but for {difference - total['norm_operations']:,}"
    return (
        f"Teacher at {arch.image_size} px: {billions(total['macs_thop'], 3)} by thop, {billions(total['macs'], 3)} in convolutions and "
        f"linear layers. The difference of {millions(difference)} ({difference / total['macs']:.2%}) is the norms, {exact}."
    )


def three_counts_view() -> None:
    """Display every MACs entry of Table 5.3 beside three counts of it, those marked that give the printed digits."""
    table = thesis.cost_table()
    view = table[["data set", "alpha"]].astype(str)
    view["printed"] = table["MACs printed"] + f"{BLANK}G"
    for heading, name in (("torchprofile 0.0.2", "macs_torchprofile"), ("thop", "macs_thop"), ("conv. and linear only", "macs")):
        given = [printed == thesis.rounded(count, 10**9) for printed, count in zip(table["MACs printed"], table[name])]
        view[heading] = [f"{billions(count, 3)}{BLANK}{MARKS[same]}" for count, same in zip(table[name], given)]
    display(_shown(view, "three-counts", ("data set", "alpha")))


def torchprofile_summary(arch: Architecture) -> str:
    """Markdown: of what torchprofile's count of an architecture consists."""
    total = network_costs(arch).loc["total"]
    affine, plain, other = (int(total[name]) for name in ("affine_norm_elements", "plain_norm_elements", "other_elements"))
    return (
        f"Teacher at {arch.image_size} px by torchprofile: {billions(total['macs'], 3)} in convolutions and linear layers, "
        f"{millions(affine + plain, 1)} for elements that leave norms, {millions(plain, 1)} for their scaling in AdaIN, {millions(other, 1)} for "
        f"those that leave LeakyReLUs and average pools: {billions(total['macs_torchprofile'], 3)}."
    )


def preset_architectures(preset: Preset) -> dict[str, Architecture]:
    """{"teacher": ..., "student, alpha = 24": ...} of a preset, without its data being drawn or read.

    Raises `InputError` if the number of domains cannot be told because the preset's folder is not there.
    """
    domains = len(domain_names(preset))
    found = {"teacher": preset.architecture(domains, alpha=preset.networks.teacher_alpha, student=False)}
    for alpha in preset.study.alphas:
        found[f"student, alpha = {alpha}"] = preset.architecture(domains, alpha=alpha, student=True)
    return found


def preset_view(architectures: dict[str, Architecture]) -> None:
    """Display every network of a preset, a column a model: parameters, those of the training-only discriminators too, MACs, ratios."""
    view, teacher = pd.DataFrame(), None
    for name, arch in architectures.items():
        each, sums = network_costs(arch, tuple(KINDS))["parameters"], network_costs(arch).loc["total"]
        teacher = sums if teacher is None else teacher
        lines = {network: f"{int(each[network]):,}" for network in ("G", "E", "F")}
        lines |= {"G + E + F": f"{int(sums['parameters']):,}", "smaller": times(teacher["parameters"] / sums["parameters"])}
        lines |= {"D": f"{int(each['D']):,}", "Dˢ": f"{int(each['Ds']):,}"}
        lines |= {"MACs of G + E + F": millions(sums["macs_thop"], 1), "fewer": times(teacher["macs_thop"] / sums["macs_thop"])}
        view[name] = lines
    view.insert(0, "parameters", view.index)
    display(_shown(view.rename(columns={"parameters": ""}), "preset-networks", ("",)))
