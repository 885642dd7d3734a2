"""``dwp-sweep bench``: the bench of the step; where the others are. More of it in tests/benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dwp_sweep.bench import step as step_bench
from dwp_sweep.bench.frame import Row, Setting
from dwp_sweep.cli import main
from dwp_sweep.harness.cost.step_rates import rates_file


@pytest.fixture(autouse=True)
def only_a_toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def step(setting: Setting) -> list[Row]:
        """A toy step that measures nothing."""
        return [Row("fp32", "as it is", 2.0, "fp32", 1.0), Row("other", "not kept", 3.0, "fp32", 1.5)]

    monkeypatch.setattr(step_bench, "step", step)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bench", *arguments])


@pytest.mark.parametrize("names", [(), ("step",)])
def test_the_step_is_shown_and_its_rates_are_kept_for_plans(names: tuple[str, ...]) -> None:
    result = bench("--device", "cpu", "--threads", "1", *names)
    assert result.exit_code == 0 and result.stdout.startswith("step: torch ")
    assert "other 3 1.5 of fp32" in " ".join(result.stdout.split())
    assert f"kept for the estimates of dwp-sweep plan: {rates_file()}" in result.stderr
    assert json.loads(rates_file().read_text()) == {"cpu": {"fp32": 2.0, "threads": 1}}


def test_the_tiny_scale_keeps_nothing() -> None:
    answer = json.loads(bench("--quick", "--json").stdout)
    assert [row["name"] for row in answer["benches"]["step"]] == ["fp32", "other"]
    assert not rates_file().exists()


def test_the_list_says_what_it_measures() -> None:
    assert bench("--list").stdout.split(maxsplit=1) == ["step", "A toy step that measures nothing.\n"]


def test_benches_of_developers_are_refused_with_the_command_that_runs_them() -> None:
    result = bench("step", "makespan", "load")
    assert result.exit_code == 2 and result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if "tests.benchmarks" in line]
    assert [line.rsplit(maxsplit=4)[1:] for line in lines] == [
        ["python", "-m", "tests.benchmarks", name] for name in ("makespan", "load")
    ]
