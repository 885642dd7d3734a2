"""status, cancel, explain and gc as commands: what they print, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dwp_sweep.cli import main
from dwp_sweep.config.node import entries_of
from dwp_sweep.harness.attempt import run_node
from dwp_sweep.store.heartbeat import Heartbeat
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.sweep_record import record_nodes
from tests.harness.toy_stages import STAGES, toy_node, toy_sweep

SOURCE = toy_node("source", "source")
BAD = toy_node("target", "bad", [SOURCE], behaviour="diverges")
FREE = toy_node("target", "free", n_epochs=3)
OTHER = toy_node("target", "free", n_epochs=4)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = LocalStore(tmp_path)
    sweep = toy_sweep(SOURCE, BAD, FREE, OTHER)
    record_nodes(store, "toy", entries_of(sweep.nodes.values(), sweep.targets))
    for node in (SOURCE, BAD, FREE):
        run_node(node, STAGES[node.stage], store)
    return store


def ask(store: Store, *words: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, [*words, "--storage", str(store.root)], input=text)


def test_status_prints_stages_failures_and_hours(store: Store) -> None:
    done = ask(store, "status", "toy")
    assert done.exit_code == 0, done.output
    assert "sweep toy: no run is working on it" in done.stdout
    assert f"FAILED   {BAD.key[:8]}  {BAD.title}" in done.stdout and "last finite step was 6" in done.stdout
    assert "hours used: 0.00 CPU, 0.00 GPU" in done.stdout
    values = json.loads(ask(store, "status", "toy", "--json").stdout)
    assert values["counts"] == {"done": 2, "failed": 1, "waiting": 1}
    assert {node["key"] for node in values["nodes"]} == {n.key for n in (SOURCE, BAD, FREE, OTHER)}


def test_status_says_what_mlflow_lacks(store: Store) -> None:
    text = "MLflow lacks the ends of 2 nodes"
    with Heartbeat(store, "toy", "run1", lambda: {"mlflow": text}):
        assert f"\n{text}\n" in ask(store, "status", "toy").stdout
        assert json.loads(ask(store, "status", "toy", "--json").stdout)["runs"][0]["mlflow"] == text


@pytest.mark.parametrize("command", ["status", "cancel"])
def test_an_unknown_sweep_is_bad_input_with_the_nearest_name(store: Store, command: str) -> None:
    done = ask(store, command, "tyo")
    assert done.exit_code == 2 and "did you mean 'toy'?" in done.stderr


def test_cancel_says_who_was_asked_and_1_if_it_has_not_ended(store: Store) -> None:
    with Heartbeat(store, "toy", "now"):
        done = ask(store, "cancel", "toy", "--wait", "0.1")
    assert done.exit_code == 1 and "asked to stop: toy, process" in done.stdout
    assert ask(store, "cancel", "toy").exit_code == 2


def test_explain_prints_the_fields_that_differ(store: Store) -> None:
    done = ask(store, "explain", FREE.key[:10], OTHER.key[:10])
    assert done.exit_code == 0 and "  n_epochs: 3 -> 4\n" in done.stdout
    values = json.loads(ask(store, "explain", FREE.key, OTHER.key, "--json").stdout)
    assert [one["field"] for one in values["differences"]] == ["n_epochs"]
    why = ask(store, "explain", OTHER.key[:10]).stdout
    assert "never built: no run has built it" in why and "n_epochs: 3 -> 4" in why


@pytest.mark.parametrize("words", [("explain", "xyz"), ("explain", "0123456789")])
def test_a_prefix_that_means_no_node_is_bad_input(store: Store, words: tuple[str, str]) -> None:
    assert ask(store, *words).exit_code == 2


def test_gc_asks_before_it_removes_and_takes_no_for_an_answer(store: Store) -> None:
    aside = store.set_aside("target", FREE.key)
    assert ask(store, "gc", "--dry-run").exit_code == 0 and aside.exists()
    assert ask(store, "gc", text="n\n").exit_code == 1 and aside.exists()
    with Heartbeat(store, "toy", "now"):
        busy = ask(store, "gc", "--yes")
    assert busy.exit_code == 2 and "a run is working on it" in busy.stderr and aside.exists()
    done = ask(store, "gc", "--yes")
    assert done.exit_code == 0 and "freed" in done.stdout and not aside.exists()
    assert "nothing to remove" in ask(store, "gc").stdout
