"""Set-up is repeatable: exact pins of everything, no registry named, no path of one machine."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from importlib.metadata import distributions, requires
from pathlib import Path

import pytest

from tests.cli.command import ROOT

PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and line[0] != "#"
)
PROJECT_FILES = [
    ROOT / name
    for name in (
        "pyproject.toml",
        "constraints.txt",
        "Makefile",
        "README.md",
        "CONTRIBUTING.md",
        ".ci/run",
        ".pre-commit-config.yaml",
        ".dockerignore",
    )
] + sorted((ROOT / "docs").glob("*.md"))
PROJECT_FILES += sorted(
    path for path in (ROOT / "deploy").rglob("*") if path.is_file() and "secrets" not in path.parts
)
SERVICES = {"mlflow", "s3", "ray-head", "HOST", "MLFLOW_HOST"}  # of the deployments, and what stands for one


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_has_an_exact_pin_without_a_local_suffix() -> None:
    needed = {plain(re.split(r"[^A-Za-z0-9._-]", line)[0]) for line in requires("dwp-sweep") or []}
    assert {"torch", "ray", "mlflow", "pytest", "mypy"} <= needed
    pinned = {plain(name) for name in PINS}
    assert needed - pinned == set()
    assert [name for name, version in PINS.items() if not re.fullmatch(r"[0-9][0-9a-z.]*", version)] == []


def test_this_environment_has_the_pinned_versions() -> None:
    installed = {plain(one.metadata["Name"]): one.version.partition("+")[0] for one in distributions()}
    differing = {
        name: (version, installed[plain(name)])
        for name, version in PINS.items()
        if plain(name) in installed and installed[plain(name)] != version
    }
    assert differing == {}


@pytest.mark.parametrize("path", PROJECT_FILES, ids=lambda path: path.name)
def test_no_project_file_names_a_registry_or_a_path_of_one_machine(path: Path) -> None:
    text = path.read_text()
    hosts = set(re.findall(r"https?://([^/\s:\"')]+)", text))
    assert hosts <= {"127.0.0.1", "docs.ray.io", "mlflow.org", "optuna.org", "doi.org"} | SERVICES
    assert re.findall(r"(?:index-url|find-links|/home/|/root/|/work/|/opt/)\S*", text) == []


def test_scripts_can_be_run() -> None:
    scripts = [ROOT / ".ci" / "run", *(ROOT / "deploy").glob("*.sh")]
    assert [path for path in scripts if not os.access(path, os.X_OK)] == []


def test_make_and_package_agree_on_the_oldest_python_of_the_pins() -> None:
    pinned = {plain(name) for name in PINS}
    about = [one.metadata for one in distributions() if plain(one.name) in pinned]
    asked = [one["Requires-Python"] for one in about if "Requires-Python" in one]
    oldest = max(tuple(map(int, pair)) for text in asked for pair in re.findall(r">= ?(\d+)\.(\d+)", text))
    major, minor = oldest
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert sys.version_info >= oldest
    assert f"sys.version_info < ({major}, {minor})" in (ROOT / "Makefile").read_text()
    assert project["project"]["requires-python"] == f">={major}.{minor}"
    assert project["tool"]["ruff"]["target-version"] == f"py{major}{minor}"
    assert project["tool"]["mypy"]["python_version"] == f"{major}.{minor}"
