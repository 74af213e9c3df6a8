"""What importing loads: heavy packages only where they are needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kdlib

LIBRARY = Path(kdlib.__file__).parent
ORDER = ("", "scoring", "deploy", "use", "analysis", "views", "book")  # packages of kdlib, "" for its own modules
HEAVY = ("torch", "torchvision", "numpy", "pandas", "scipy", "plotly", "IPython", "lpips")


def loaded(statements: str) -> set[str]:
    """Those of the heavy packages that a fresh process has loaded after these statements."""
    code = f"{statements}\nimport sys\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("statements", ["import kdlib", "from kdlib import InputError", "import kdlib.__main__", "import kdlib.config", "import kdlib.results"])
def test_names_settings_and_tables_load_nothing_heavy(statements):
    assert loaded(statements) == set()


def test_a_notebook_loads_torchvision_only_for_judges_that_need_it():
    found = loaded("from kdlib import grids, session\nfrom kdlib.views import plotting, run_views\nfrom kdlib.config import load_preset\nsession.judges_of(load_preset('quick'))")
    assert "torch" in found and not found & {"torchvision", "lpips"}


def test_names_are_found_on_first_use():
    import kdlib

    assert {"InputError", "build_networks", "load_released", "save_released"} <= set(dir(kdlib))
    assert kdlib.build_networks.__module__ == "kdlib.networks"
    assert all(getattr(kdlib, name).__name__ == name for name in kdlib.__all__) and set(kdlib.__all__) == set(kdlib._MODULES)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        kdlib.nothing


def imported_by(path: Path) -> set[str]:
    """Names of kdlib's modules that a file imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kdlib":
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "kdlib"}
    return found


def packages_of(modules: set[str]) -> set[str]:
    return {part for name in modules for part in name.split(".")[1:2] if part in ORDER}


@pytest.mark.parametrize("package", ("analysis", "views"))
def test_results_are_made_into_tables_figures_and_pages_in_that_order(package):
    later = set(ORDER[ORDER.index(package) + 1 :])
    found = {path.name: packages_of(imported_by(path)) & later for path in sorted((LIBRARY / package).glob("*.py"))}
    assert len(found) > 5 and not {name: packages for name, packages in found.items() if packages}


def test_what_trains_scores_and_translates_knows_nothing_of_tables_figures_and_pages():
    files = [path for package in ("", "scoring", "deploy", "use") for path in sorted((LIBRARY / package).glob("*.py")) if path.name != "__main__.py"]
    found = {path.name: packages_of(imported_by(path)) & {"analysis", "views", "book"} for path in files}
    assert len(found) > 80 and not {name: packages for name, packages in found.items() if packages}


def test_notebooks_do_without_the_book():
    found = {path.name: "book" in packages_of(imported_by(path)) for path in sorted((LIBRARY.parent / "notebooks").glob("*.py"))}
    assert len(found) > 5 and not any(found.values()), found
