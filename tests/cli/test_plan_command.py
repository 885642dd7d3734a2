"""``plan`` on small written data: the list of nodes, JSON, and the way of the README's 'Your own data'."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from dwp_sweep.cli import main
from dwp_sweep.data.config import PhantomConfig
from dwp_sweep.data.phantom.dataset import write_phantom
from tests.cli.command import ROOT

N_SUBJECTS = 6
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("own")
    for kind in ("source", "target"):
        write_phantom(PhantomConfig(kind=kind, n_subjects=N_SUBJECTS, shape=(16, 16, 16)), folder / kind)  # type: ignore[arg-type]
    return {kind: folder / kind for kind in ("source", "target")}


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example with the changes that the README names, and no others."""
    values: dict[str, Any] = yaml.safe_load((ROOT / "search_spaces" / "hippocampus.yaml").read_text())
    for name, task in values["data"].items():
        task["layout"] = "msd"
        del task["subjects"]
        task["labels"] = [1]
        task["preprocess"] = {**task["preprocess"], "shape": [16, 16, 16]}
        task["n_val"] = 1
        if name == "target":
            task["n_test"] = 2
    values["grid"]["train_size"] = [2, 3]
    path = tmp_path_factory.mktemp("spaces") / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def plan(mine: Path, scans: dict[str, Path], tmp_path: Path, *options: str) -> Result:
    roots = [word for kind, root in scans.items() for word in ("--set", f"data.{kind}.root={root}")]
    return CliRunner().invoke(
        main, ["plan", str(mine), *roots, "--storage", str(tmp_path / "runs"), *options]
    )


def test_a_copied_space_is_a_sweep_of_its_own_name(
    mine: Path, scans: dict[str, Path], tmp_path: Path
) -> None:
    done = plan(mine, scans, tmp_path)
    assert done.exit_code == 0, done.output
    assert "sweep mine: " in done.stdout
    assert "(6 subjects)" in done.stderr  # plain lines where that is no terminal


def test_the_readme_takes_two_commands_for_own_data() -> None:
    own = README[README.index("## Your own data") : README.index("## Searches")]
    commands = re.findall(r"^dwp-sweep (\w+)", own, re.MULTILINE)
    assert commands[:2] == ["init", "run"]


@pytest.mark.parametrize("name", ["demo", "hippocampus"])
def test_the_name_of_a_sweep_is_that_of_its_file(name: str) -> None:
    from dwp_sweep.config.space import load_space

    assert load_space(ROOT / "search_spaces" / f"{name}.yaml", smoke=True).name == f"{name}-smoke"
    values = yaml.safe_load((ROOT / "search_spaces" / f"{name}.yaml").read_text())
    assert "name" not in values


def test_nodes_are_listed_by_stage_with_key_state_and_title(
    mine: Path, scans: dict[str, Path], tmp_path: Path
) -> None:
    short = plan(mine, scans, tmp_path)
    listed = plan(mine, scans, tmp_path, "--nodes")
    answer = json.loads(plan(mine, scans, tmp_path, "--json").stdout)
    assert answer["sweep"] == "mine"
    lines = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    wanted = [[node["key"][:8], node["state"], node["title"]] for node in answer["nodes"]]
    assert [line for line in lines if line in wanted] == wanted
    assert not any(key in short.stdout for key, _, _ in wanted)
    assert [node["stage"] for node in answer["nodes"]] == ["source"] * 3 + ["harvest"] + ["prior"] * 7 + [
        "target"
    ] * 24
    assert {node["state"] for node in answer["nodes"] if node["stage"] == "source"} == {"ready"}
    assert wanted[-1][2].startswith("target deep_weight_prior m=3")
