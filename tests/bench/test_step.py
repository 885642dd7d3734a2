"""The bench of the step runs, in processes that end, and relates what it should."""

from __future__ import annotations

import pytest

from dwp_sweep.bench.frame import Setting
from dwp_sweep.bench.step import step
from dwp_sweep.bench.step_process import StepProcess, _environment
from dwp_sweep.bench.training_step import StepKind, StepSetting
from dwp_sweep.harness.trial import MALLOC_ENVIRONMENT

TINY = StepSetting((16, 16, 16), (2, 2, 2, 2), "cpu")


@pytest.mark.slow
def test_the_step_bench_relates_ours_to_plain_modules_and_the_prior_to_ours() -> None:
    rows = {row.name: row for row in step(Setting(quick=True))}
    assert {"plain", "monai", "fp32", "bf16", "dwp bf16", "dwp exact fp32"} <= rows.keys()
    assert rows["bf16"].baseline == "plain" and rows["bf16"].goal == 0.5
    assert rows["dwp bf16"].baseline == "bf16" and rows["dwp bf16"].goal == 1.5
    assert all(row.seconds is not None and row.seconds > 0 for row in rows.values())


@pytest.mark.slow
def test_a_process_takes_steps_and_ends_with_its_block() -> None:
    with StepProcess(TINY, {"a": StepKind("random_init")}) as process:
        figures = process.step("a")
    assert figures["seconds"] > 0 and figures["peak_gb"] >= 0
    assert process._process.poll() == 0


@pytest.mark.slow
def test_a_process_that_died_is_told_with_the_step(capfd: pytest.CaptureFixture[str]) -> None:
    kinds = {"a": StepKind("no_such_method")}
    with StepProcess(TINY, kinds) as process, pytest.raises(RuntimeError, match="'a' died"):
        process.step("a")
    assert "no_such_method" in capfd.readouterr().err


def test_a_process_has_the_allocator_settings_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    assert not [name for name in _environment(False) if name.startswith("MALLOC_")]
    assert MALLOC_ENVIRONMENT.items() <= _environment(True).items()
