"""A small book with one of everything, made in a temporary folder: the real settings and static files, made-up pages and runs."""

import shutil
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from kdlib.views import plotting

REPOSITORY = Path(__file__).resolve().parents[1]

TOC = """\
format: jb-book
root: book/intro
parts:
  - caption: The study
    chapters:
      - file: book/method
  - caption: The notebooks, as run here
    chapters:
      - file: runs/quick/teacher/03_teacher
      - file: runs/quick/alpha24/04_student
        title: "Student, alpha = 24"
      - file: runs/quick/alpha24-kd/04_student
        title: "Student, alpha = 24, distilled"
"""

INTRO = """\
# What this book is

A teacher network and its smaller student {cite}`choi2020starganv2,hinton2015distilling`. The method stands in
{doc}`/book/method`, the teacher in {ref}`teacher`, and its objective is {eq}`adversarial`.

```{tip}
Every number comes from a run folder. See the [front page of the list](method.md#a-list).
```

| alpha | parameters | MACs | reference Frechet distance, factor network | latent Frechet distance, factor network |
|---:|---:|---:|---:|---:|
| 24 | 0.04 M | 3.1 M | 12.31 | 10.20 |
| 48 | 0.13 M | 9.8 M | 9.87 | 8.55 |

```bash
$ make book
```
"""

METHOD = """\
# The method

The adversarial objective of student and teacher, with $\\alpha$ the cap on every width:

```{math}
:label: adversarial
\\mathcal{L}_{adv} = \\mathbb{E}_{x, z}\\left[\\log D_S\\big(G_T(x, F_T(z))\\big)\\right]
  + \\mathbb{E}_{x, z}\\left[\\log\\big(1 - D_S(G_S(x, F_T(z)))\\big)\\right]
  + \\lambda_{cyc} \\lVert x - G_S(G_S(x, s), E_T(x)) \\rVert_1
```

\\begin{align}
\\mathcal{L}^1_{G_S, D} &= \\mathbb{E}_{x, z}\\left[\\log D_S\\big(G_T(x, F_T(z))\\big)\\right]
  + \\mathbb{E}_{x, z}\\left[\\log\\big(1 - D_S(G_S(x, s))\\big)\\right] \\tag{31} \\\\
\\mathcal{L}^2_{G_S, D} &= 0 \\tag{32}
\\end{align}

## A list

1. `kdlib.losses.student_adversarial_objective_of_the_image_discriminator_with_a_long_name`
2. **Bold** and *italic*

```{note}
A note with code: `alpha`.
```

```{bibliography}
```
"""


def executed_notebook(title: str, label: str = "") -> nbformat.NotebookNode:
    """A notebook as papermill leaves it: text, a stored figure, a grid of pictures, a table, printed lines, a progress bar."""
    plotting.setup()
    steps = np.arange(0, 400, 10)
    curves = go.Figure()
    for i, name in enumerate(("distilled", "not distilled")):
        loss = np.exp(-steps / (150 + 60 * i)) + 0.02 * np.cos(steps)
        curves.add_scatter(x=steps, y=loss, name=name, line_dash=plotting.DASHES[i])
    curves.update_layout(title="Style reconstruction", xaxis_title="iteration", yaxis_title="L1")
    heat = go.Figure(go.Heatmap(z=np.outer(np.linspace(0, 1, 6), np.linspace(0, 1, 16)), colorscale=plotting.SEQUENTIAL))
    heat.update_layout(title="Factors")
    across = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (32, 1))
    pictures = [[np.dstack([np.roll(across, 4 * r), across.T, np.full_like(across, 28 * c)]) for c in range(9)] for r in range(3)]
    grid = plotting.image_grid(pictures, [f"style {c}" for c in range(9)], ["cat", "dog", "fox"], caption="Translations")
    table = pd.DataFrame({"alpha": [24, 48], "parameters": [41_000, 130_000], "species right": [0.98, 1.0]})
    shown = [("show(curves)", plotting.figure_html(curves)), ("show(heat)", plotting.figure_html(heat)),
             ("grid", grid.data), ("table", table.to_html())]  # fmt: skip
    cells = [
        new_markdown_cell(f"({label})=\n# {title}" if label else f"# {title}"),
        new_code_cell("alpha = 24  # width cap", metadata={"tags": ["parameters"]}, execution_count=1),
        new_code_cell(
            "train()",
            execution_count=2,
            outputs=[
                new_output("stream", name="stdout", text="400 iterations in 61 s\n"),
                new_output("stream", name="stderr", text="100%|progress bar, not for the book\n"),
            ],
        ),
    ]
    for count, (source, value) in enumerate(shown, start=3):
        output = new_output("execute_result", {"text/html": value, "text/plain": "..."}, execution_count=count)
        cells.append(new_code_cell(source, execution_count=count, outputs=[output]))
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    notebook = new_notebook(cells=cells, metadata={**kernel, "language_info": {"name": "python"}})
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell{number}"  # random otherwise
    return notebook


def write_sample(root: Path, preset: str = "quick", alphas: tuple[int, ...] = (24,)) -> Path:
    """Sources of the sample book in ``root``; the teacher lies under runs/reference, as a shipped one does."""
    (root / "book").mkdir(parents=True)
    shutil.copy(REPOSITORY / "_config.yml", root)
    shutil.copy(REPOSITORY / "book" / "references.bib", root / "book")
    shutil.copytree(REPOSITORY / "book" / "_static", root / "book" / "_static")
    (root / "_toc.yml").write_text(TOC)
    (root / "book" / "intro.md").write_text(INTRO)
    (root / "book" / "method.md").write_text(METHOD)
    write_notebook(root / f"runs/reference/{preset}/teacher/03_teacher.ipynb", executed_notebook("Teacher", "teacher"))
    for alpha in alphas:
        for kind in ("", "-kd"):
            write_notebook(root / f"runs/{preset}/alpha{alpha}{kind}/04_student.ipynb", executed_notebook(f"Student {alpha}{kind}"))
    return root


def write_notebook(path: Path, notebook: nbformat.NotebookNode) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)
