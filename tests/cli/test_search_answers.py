"""What the command says of a search: nothing asked for yet, questions that do not go together."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner

from dwp_sweep.cli import main
from dwp_sweep.cli.sweeps import show_run
from dwp_sweep.harness.dag.ledger import Outcome
from dwp_sweep.report.search.report import SearchReport
from dwp_sweep.tracking.read.reader import frame_of_rows
from dwp_sweep.tracking.read.trials import Goal, SearchTrials
from tests.harness.toy_search import search_space, search_sweep


def test_a_search_that_may_not_ask_for_anything_still_ends_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = SearchTrials("toy", (Goal("val_dice", "max"),), "val_dice", (), ("all",), ())
    run: Any = SimpleNamespace(
        sweep=search_sweep(search_space()),
        outcome=Outcome(3, {"waiting": 6}, spent="budget.trials = 0 is spent"),
        tracking=SimpleNamespace(online=True, uri="sqlite:///x.db", experiment_id="1"),
        results=frame_of_rows([]),
        best=None,
        front=None,
        search=SearchReport(empty),
    )
    show_run(cast(Any, run), tmp_path)
    text = capsys.readouterr().out
    assert "0 configurations in 1 study" in text and "dwp-sweep best toy" in text
    assert "of one method and size" not in text


@pytest.mark.parametrize("other", [["--by", "train_size"], ["--metric", "val_iou"]])
def test_a_front_and_one_best_are_different_questions(other: list[str]) -> None:
    result = CliRunner().invoke(main, ["best", "demo", "--pareto", "val_dice,hours", *other])
    assert result.exit_code == 2 and "are different questions" in result.output
