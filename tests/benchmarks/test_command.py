"""``python -m tests.benchmarks``: what it lists, runs, prints and refuses."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from dwp_sweep.bench.frame import Row, Setting
from tests.benchmarks.__main__ import main
from tests.benchmarks.registry import BENCHES


def toy(setting: Setting) -> list[Row]:
    """A toy that measures nothing."""
    setting.tell("working")
    return [
        Row("slow", "the old [way]", 2.0, "slow", 1.0),
        Row("fast", "the new way", 0.5, "slow", 0.25, 0.3, {"error": 1e-6}),
        Row("faster", "not there yet", 0.4, "slow", 0.2, 0.1),
        Row("memory", "no time at all", None, extra={"peak_gib": 1.5}),
    ]


@pytest.fixture(autouse=True)
def only_toys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(BENCHES):
        monkeypatch.delitem(BENCHES, name)
    monkeypatch.setitem(BENCHES, "toy", toy)
    monkeypatch.setitem(BENCHES, "other", toy)


def bench(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_table_shows_ratios_goals_and_further_numbers() -> None:
    text = bench("toy")
    assert text.startswith("toy: torch ")
    words = " ".join(text.split())
    assert "fast 0.5 0.25 of slow ≤ 0.3 met 1e-06 the new way" in words
    assert "faster 0.4 0.2 of slow ≤ 0.1 missed not there yet" in words
    assert "slow 2 1 the old [way]" in words and "memory 1.5 no time at all" in words
    assert "other:" not in text


def test_without_a_name_all_run_in_their_order() -> None:
    text = bench()
    assert text.index("toy: torch") < text.index("other: torch")


def test_json_has_every_row_and_the_machine() -> None:
    answer = json.loads(bench("--json", "--quick", "--threads", "1", "--device", "cpu"))
    assert set(answer) == {"machine", "quick", "benches"}
    assert answer["quick"] is True and answer["machine"]["threads"] == 1
    assert list(answer["benches"]) == ["toy", "other"]
    slow, fast, faster, memory = answer["benches"]["toy"]
    assert (slow["met"], fast["met"], faster["met"], memory["seconds"]) == (None, True, False, None)
    assert fast["extra"] == {"error": 1e-6} and fast["baseline"] == "slow"


def test_the_number_of_threads_is_given_back() -> None:
    before = torch.get_num_threads()
    bench("toy", "--threads", str(before + 1))
    assert torch.get_num_threads() == before


def test_the_list_says_what_each_measures_and_runs_none() -> None:
    assert bench("--list").splitlines()[0].split(maxsplit=1) == ["toy", "A toy that measures nothing."]
    assert json.loads(bench("--list", "--json"))["other"] == "A toy that measures nothing."


def test_unknown_names_are_all_refused_with_those_that_exist() -> None:
    result = CliRunner().invoke(main, ["toy", "step2", "fats"])
    assert result.exit_code == 2
    assert "'step2'" in result.stderr and "'fats'" in result.stderr
    assert "choose from: toy, other" in result.stderr and result.stdout == ""


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(main, ["toy", "--device", "cuda"])
    assert result.exit_code == 2 and "finds no GPU" in result.stderr
