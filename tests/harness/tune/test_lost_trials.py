"""Why a trial was lost, by Ray's own words and classes; and what Ray does where the memory is short."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dwp_sweep.harness.dag.failures import FailureKind, Place
from dwp_sweep.harness.tune.lost_trials import loss_of, place_of

OUT_OF_MEMORY = "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: ...)"
DIED = "The actor died unexpectedly before finishing this task."


def trial(folder: Path, text: str) -> Any:
    """A trial whose files hold what Tune writes; earlier failures of it stand before the last one."""
    path = folder / "error.txt"
    path.write_text(f"Failure # 1 (occurred at ...)\nan earlier one\nFailure # 2 (occurred at ...)\n{text}\n")
    return SimpleNamespace(error_file=str(path))


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (OUT_OF_MEMORY, "memory", "ran out of memory"),
        (f"{DIED}\nCause: {OUT_OF_MEMORY}", "memory", "ran out of memory"),
        (DIED, "lost", "its worker died"),
        ("The actor is temporarily unavailable: ...", "lost", "cannot be reached"),
        ("Trainable runner reuse requires reset_config()", "lost", "aborted by Tune: Trainable runner"),
    ],
)
def test_rays_words_tell_what_ended_a_trial(tmp_path: Path, text: str, kind: FailureKind, words: str) -> None:
    loss = loss_of(trial(tmp_path, text))
    first, *rest = loss.reason.splitlines()
    assert loss.kind == kind and words in first
    assert text.splitlines()[0] in "\n".join(rest) and "an earlier one" not in loss.reason


def test_a_worker_whose_machine_was_known_to_go_was_preempted(tmp_path: Path) -> None:
    assert loss_of(trial(tmp_path, f"{DIED} The node was preempted.")).kind == "preempted"


def test_a_trial_that_left_no_word_was_lost(tmp_path: Path) -> None:
    loss = loss_of(SimpleNamespace(error_file=None))  # type: ignore[arg-type]
    assert loss.kind == "lost" and "no reason given" in loss.reason


def test_without_an_actor_the_place_is_not_known() -> None:
    assert place_of(None) == Place()


SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from dwp_sweep.config.sections import FailuresConfig, RetriesConfig
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.store.local.store import LocalStore
from tests.harness.test_run import Witness
from tests.harness.toy_stages import STAGES, toy_node, toy_sweep

node, store = toy_node("target", "large", epoch_s=1.0, n_epochs=60), LocalStore(Path(sys.argv[1]))
sweep = replace(toy_sweep(node), failures=FailuresConfig(retries=RetriesConfig(memory=1)))
outcome = run_sweep(sweep, store, progress=Witness(), stages=STAGES)
record = store.record("target", node.key)
host, = outcome.by_host
# A worker that is killed before it has begun has no machine yet.
print(outcome.exit_code, record.failure, dict(host.counts), record.host == host.host)
print(record.error.splitlines()[0])
"""


@pytest.mark.slow
def test_a_worker_that_rays_memory_monitor_kills_ran_out_of_memory(tmp_path: Path) -> None:
    short = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | short
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    first, message = done.stdout.strip().splitlines()[-2:]
    assert first == "1 memory {'memory': 2} True"
    assert "the machine ran out of memory" in message
