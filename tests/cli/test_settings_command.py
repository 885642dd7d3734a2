"""``dwp-sweep settings`` as a user types it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from dwp_sweep.cli import main


def settings(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["settings", *arguments])


def test_a_key_is_explained_with_range_default_and_how_to_set_it() -> None:
    text = settings("target.lr").stdout
    for part in ("Initial learning rate", "number, above 0", "0.001", "--set target.lr=VALUE"):
        assert part in text


def test_another_word_is_answered_with_a_remark() -> None:
    done = settings("learning_rate")
    assert "is called lr here" in done.stderr and "source, prior, target" in done.stdout


def test_programs_get_json_and_editors_a_schema() -> None:
    assert json.loads(settings("loss", "--json").stdout)[0]["key"] == "loss.dice_weight"
    assert "fixed" in json.loads(settings("--schema").stdout)["properties"]
    assert "| lr |" in settings("lr", "--markdown").stdout.replace("**", "")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("tagret",), "did you mean 'target'?"),
        (("--schema", "--json"), "are different forms"),
        (("--schema", "target"), "leave target out"),
    ],
)
def test_wrong_requests_are_refused(arguments: tuple[str, ...], problem: str) -> None:
    done = settings(*arguments)
    assert done.exit_code == 2 and problem in done.stderr
