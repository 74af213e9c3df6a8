"""Lets papermill run the study's notebooks, whose only tracked source is a percent-format ``.py`` file.

Implements papermill's file-handler interface (``read``, ``write``, ``listdir``, ``pretty_path``) and is registered under the
entry-point group ``papermill.io`` in pyproject.toml, so that

    papermill notebooks/04_student.py runs/x/04_student.ipynb -p alpha 48

works from the command line as well as from ``papermill.execute_notebook``. It differs from papermill's own local handler in
three ways: ``.py`` and ``.md`` sources are converted by jupytext, a missing output folder is made, and a notebook is replaced
in one step, so that an interrupted run leaves the previous file or the new one and never half of one.

Papermill imports this module while its own ``papermill.iorw`` is still loading; nothing here may import papermill at the top.
"""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

from kdlib.errors import InputError

TEXT_NOTEBOOKS = (".py", ".md")

# The remark is about the very thing this module adds.
warnings.filterwarnings("ignore", message=r"The specified file \(.*\.(py|md)\) does not end in", category=UserWarning)


class TextNotebookHandler:
    """Reads notebooks from ``.py``/``.md`` text as well as ``.ipynb``; writes ``.ipynb`` in one step."""

    def read(self, path: str) -> str:
        """The file's content; a text notebook comes back as the JSON of an ``.ipynb`` with kernel metadata.

        Raises InputError when the file is missing or is not a notebook.
        """
        file = Path(path)
        if not file.is_file():
            raise InputError(f"no such notebook: {path}; the study's notebooks lie in notebooks/*.py")
        text = file.read_text(encoding="utf-8")
        if file.suffix not in TEXT_NOTEBOOKS:
            return text
        return _text_to_ipynb(text, file)

    def write(self, buf: str, path: str) -> None:
        """Write ``buf`` to ``path`` through a temporary file, making the folder when it is missing."""
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.{os.getpid()}.part")
        try:
            partial.write_text(buf, encoding="utf-8")
            os.replace(partial, file)
        finally:
            partial.unlink(missing_ok=True)

    def listdir(self, path: str) -> list[str]:
        """Paths of the entries of a folder, each starting with ``path``."""
        return [os.path.join(path, name) for name in sorted(os.listdir(path))]

    def pretty_path(self, path: str) -> str:
        """The path as papermill prints it."""
        return path


def _text_to_ipynb(text: str, file: Path) -> str:
    import jupytext
    import nbformat

    if file.suffix == ".py" and not re.search(r"^# %%", text, flags=re.MULTILINE):
        raise InputError(f"{file} has no '# %%' cell marker: it is a module, not a percent-format notebook")
    notebook = jupytext.reads(text, fmt=file.suffix)
    # Papermill needs to know the kernel and the language before it starts one.
    notebook.metadata.setdefault("kernelspec", {"display_name": "Python 3", "language": "python", "name": "python3"})
    notebook.metadata.setdefault("language_info", {"name": "python"})
    return nbformat.writes(notebook)


HANDLER = TextNotebookHandler()
