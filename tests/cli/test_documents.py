"""What the documents promise is there: links, commands, options, make targets, Python names."""

from __future__ import annotations

import ast
import re
import shlex

import click
import pytest

from dwp_sweep.cli import main
from tests.cli.command import ROOT

PAGES = sorted((ROOT / "docs").glob("*.md"))
README = (ROOT / "README.md").read_text()
FOR_USERS = "\n".join([README, *(page.read_text() for page in PAGES)])
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", FOR_USERS, flags=re.MULTILINE | re.DOTALL)
SHELL = [
    line.split("#")[0].split(" > ")[0].strip()
    for language, text in BLOCKS
    if language == "sh"
    for line in text.splitlines()
]
COMMANDS = sorted({line[line.index("dwp-sweep ") :] for line in SHELL if "dwp-sweep " in line})


DOCUMENTS = (*(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG")), *PAGES)


def links() -> list[tuple[str, str]]:
    """Page and link of each that stays inside the project."""
    named = {(page, link) for page in DOCUMENTS for link in re.findall(r"\]\(([^)]+)\)", page.read_text())}
    return sorted((str(page.relative_to(ROOT)), link) for page, link in named if "://" not in link)


@pytest.mark.parametrize(("page", "link"), links())
def test_a_link_of_a_document_leads_somewhere(page: str, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page
    assert target.exists()
    if anchor:
        titles = re.findall(r"^#+ (.+)$", target.read_text(), flags=re.MULTILINE)
        assert anchor in {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_make_targets_that_contributors_read_of_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {"test", "lint", "fast", "chaos", "bench"} <= set(re.findall(r"`make ([a-z]+)", text)) <= targets


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    command: click.Command = main
    while isinstance(command, click.Group):
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_documents_has_these_options(line: str) -> None:
    command, words = command_of(shlex.split(line)[1:])
    context = command.make_context("dwp-sweep", words)
    spaces = [word for word in words if word.startswith("search_spaces/") and "mine" not in word]
    assert all((ROOT / space).is_file() for space in spaces)
    context.close()


def test_the_readme_is_short_and_links_every_page() -> None:
    assert len(README.splitlines()) <= 200
    assert [page.name for page in PAGES if f"](docs/{page.name})" not in README] == []


def test_the_documents_show_every_command() -> None:
    shown = {line.split()[1] for line in COMMANDS}
    assert shown | {"demo"} == set(main.commands)


def test_the_cluster_lines_wait_for_the_head_before_they_submit() -> None:
    head, wait, submit = (
        next(n for n, line in enumerate(SHELL) if line.startswith(start))
        for start in ("deploy/single_head.sh", "until curl", "dwp-sweep submit")
    )
    assert head < wait < submit


def test_make_targets_of_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"`make ([a-z]+)", FOR_USERS)) | {
        line.split()[1] for line in SHELL if line.startswith("make ")
    }
    assert {"demo", "test"} <= named <= targets


def test_python_names_of_the_documents_are_public() -> None:
    import dwp_sweep

    code = "\n".join(text for language, text in BLOCKS if language == "python")
    names = {
        item.attr
        for item in ast.walk(ast.parse(code))
        if isinstance(item, ast.Attribute)
        and isinstance(item.value, ast.Name)
        and item.value.id == "dwp_sweep"
    }
    assert {"best_config", "load_model"} <= names <= set(dwp_sweep.__all__)


def test_the_documents_name_every_method_and_layout() -> None:
    from dwp_sweep.data.layouts import LISTERS
    from dwp_sweep.methods import METHODS

    assert [name for name in (*METHODS, *LISTERS) if f"`{name}`" not in FOR_USERS] == []
