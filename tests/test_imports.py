"""What importing loads: heavy packages only where they are needed."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "numpy", "pandas", "scipy", "plotly", "IPython", "lpips")


def loaded(statements: str) -> set[str]:
    """Those of the heavy packages that a fresh process has loaded after these statements."""
    code = f"{statements}\nimport sys\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("statements", ["import kdlib", "from kdlib import InputError", "import kdlib.__main__", "import kdlib.config", "import kdlib.results"])
def test_names_settings_and_tables_load_nothing_heavy(statements):
    assert loaded(statements) == set()


def test_a_notebook_loads_torchvision_only_for_judges_that_need_it():
    found = loaded("from kdlib import session\nfrom kdlib.views import grids, plotting, run_views\nfrom kdlib.config import load_preset\nsession.judges_of(load_preset('quick'))")
    assert "torch" in found and not found & {"torchvision", "lpips"}


def test_names_are_found_on_first_use():
    import kdlib

    assert {"InputError", "build_networks", "load_released", "save_released"} <= set(dir(kdlib))
    assert kdlib.build_networks.__module__ == "kdlib.networks"
    assert all(getattr(kdlib, name).__name__ == name for name in kdlib.__all__) and set(kdlib.__all__) == set(kdlib._MODULES)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        kdlib.nothing
