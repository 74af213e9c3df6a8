"""pyproject.toml, requirements.lock and environment.yml name one environment, and kdlib imports nothing outside it."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCK_LINES = [line for line in (REPOSITORY / "requirements.lock").read_text().splitlines() if re.match(r"[A-Za-z0-9]", line)]


def pins() -> dict[str, Version]:
    """Pinned versions that apply on this machine."""
    found = {}
    for line in LOCK_LINES:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate():
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", line
            name = canonicalize_name(requirement.name)
            assert name not in found, f"{name} is pinned twice"
            found[name] = Version(specifier.version)
    return found


def declared(*extras: str) -> list[Requirement]:
    return [Requirement(r) for r in [*PROJECT["dependencies"], *(r for extra in extras for r in EXTRAS[extra])]]


def test_every_requirement_is_locked_and_satisfied():
    locked = pins()
    for requirement in declared(*EXTRAS):
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not in requirements.lock: run make lock"
        assert version in requirement.specifier, f"{requirement} but requirements.lock has {version}: run make lock"


def test_lock_is_for_this_python_only():
    markers = " ".join(line.partition(";")[2] for line in LOCK_LINES)
    assert "3.12" not in markers
    assert "://" not in (REPOSITORY / "requirements.lock").read_text()


def test_installed_packages_are_the_locked_ones():
    for name, version in pins().items():
        assert Version(importlib.metadata.version(name)) == version, f"{name}: run make environment"


def test_environment_yml_holds_python_pip_and_the_lock():
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert pip == "pip"
    assert packages == {"pip": ["-r requirements.lock", "-e ."]}
    name, _, version = python.partition("=")
    assert name == "python"
    assert Version(f"{version}.0") in SpecifierSet(PROJECT["requires-python"])


def test_python_version_is_the_same_everywhere():
    assert PROJECT["requires-python"] == ">=3.11,<3.12"
    assert re.search(r"^PYTHON \?= python3\.11$", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/study.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    versions = [step["with"]["python-version"] for step in steps if "setup-python" in step.get("uses", "")]
    assert versions
    assert set(versions) == {"3.11"}


def test_uv_that_the_makefile_installs_is_locked():
    # The Makefile takes the version by grep, so the line must be bare.
    assert len([line for line in LOCK_LINES if re.fullmatch(r"uv==[\d.]+", line)]) == 1


def imported_modules(folder: str) -> dict[str, set[str]]:
    """Top-level module -> files of ``folder`` that import it, local modules and the standard library left out."""
    modules: dict[str, set[str]] = {}
    for file in sorted((REPOSITORY / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for name in names:
                top = name.partition(".")[0]
                # Tests also import from benchmarks/, see pythonpath in pyproject.toml.
                local = any((REPOSITORY / home / f"{top}.py").is_file() for home in (folder, "benchmarks"))
                if top not in sys.stdlib_module_names and top != "kdlib" and not local:
                    modules.setdefault(top, set()).add(str(file.relative_to(REPOSITORY)))
    return modules


@pytest.mark.parametrize(
    ("folder", "extras"), [("kdlib", ("book", "deploy", "tensorboard")), ("notebooks", ()), ("tests", ("book", "deploy", "test", "tensorboard")), ("benchmarks", ("test",))]
)
def test_imports_are_declared(folder, extras):
    allowed = {canonicalize_name(requirement.name) for requirement in declared(*extras)}
    distributions = importlib.metadata.packages_distributions()
    for module, files in imported_modules(folder).items():
        owners = {canonicalize_name(name) for name in distributions.get(module, ())}
        assert owners & allowed, f"{module}, imported by {', '.join(sorted(files))}, is no dependency in pyproject.toml"


def test_papermill_entry_points_are_installed():
    wanted = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["entry-points"]["papermill.io"]
    found = {point.name: point.value for point in importlib.metadata.entry_points(group="papermill.io")}
    assert wanted.items() <= found.items(), "run make environment"


def test_jupyterlab_setting_is_installed_and_names_the_right_viewer():
    import json

    relative = "etc/jupyter/labconfig/default_setting_overrides.json"
    shipped = json.loads((REPOSITORY / "jupyter-config/default_setting_overrides.json").read_text())
    assert json.loads((Path(sys.prefix) / relative).read_text()) == shipped
    assert shipped["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"]["python"] == "Jupytext Notebook"


def test_citation_names_the_version_and_the_licence():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"] == "MIT"
    assert {reference["type"] for reference in citation["references"]} == {"thesis", "conference-paper"}
