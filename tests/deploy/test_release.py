"""What a release is made of: one version, a licence, true metadata, a script that refuses a careless tag."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import yaml

import dwp_sweep
from tests.deploy.documents import DEPLOY, PINS, PROJECT, ROOT

VERSION = PROJECT["version"]


def test_all_files_name_one_version() -> None:
    assert dwp_sweep.__version__ == VERSION
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == VERSION


def test_the_licence_is_apache_2_in_full() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["license"] == "Apache-2.0" and PROJECT["license-files"] == ["LICENSE"]


def test_the_citation_names_the_paper_that_the_readme_links() -> None:
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text())["preferred-citation"]
    assert f"https://doi.org/{paper['doi']}" in (ROOT / "README.md").read_text()
    assert [author["family-names"] for author in paper["authors"]] == ["Kuzina", "Egorov", "Burnaev"]


def test_the_changelog_has_a_section_for_what_is_coming_or_for_this_version() -> None:
    assert re.search(rf"^## \[(Unreleased|{re.escape(VERSION)})\]", (ROOT / "CHANGELOG.md").read_text(), re.M)


def test_every_least_version_is_met_by_its_pin() -> None:
    wanted = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]
    pins = {re.sub(r"[-_.]+", "-", name).lower(): pin for name, pin in PINS.items()}
    for line in wanted:
        name, _, least = re.sub(r"\[.*?\]", "", line).partition(">=")
        pin = pins[re.sub(r"[-_.]+", "-", name).lower()]
        least = least.split(",")[0]
        assert not least or numbers(pin) >= numbers(least), line


def numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with what the script looks at before it builds anything."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(DEPLOY / "release.sh", tmp_path / "deploy")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "CHANGELOG.md").write_text(f"## [{VERSION}]\n")
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "all")):
        git(tmp_path, *words)
    return tmp_path


def git(folder: Path, *words: str) -> None:
    author = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    subprocess.run(["git", *author, *words], cwd=folder, check=True)


def refused(clone: Path, *options: str) -> str:
    command = [clone / "deploy" / "release.sh", *options]
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert not (clone / "dist").exists()
    return done.stderr


def test_a_tree_with_changes_is_not_tagged(clone: Path) -> None:
    (clone / "CHANGELOG.md").write_text("changed")
    assert "working tree has changes" in refused(clone, "--tag")


def test_a_version_without_its_section_in_the_changelog_is_not_tagged(clone: Path) -> None:
    (clone / "CHANGELOG.md").write_text("## [Unreleased]\n")
    git(clone, "commit", "-q", "-a", "-m", "no section")
    assert f"no section [{VERSION}]" in refused(clone, "--tag")


def test_a_version_is_tagged_once(clone: Path) -> None:
    git(clone, "tag", f"v{VERSION}")
    assert f"the tag v{VERSION} exists" in refused(clone, "--tag")


def test_an_unknown_option_is_refused(clone: Path) -> None:
    assert "--tag" in refused(clone, "--publish")
