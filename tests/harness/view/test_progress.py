from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from dwp_sweep.harness.cost.durations import Durations
from dwp_sweep.harness.dag.ledger import Event, Ledger, Outcome
from dwp_sweep.harness.dag.plan import make_plan
from dwp_sweep.harness.view.live import LiveDisplay
from dwp_sweep.harness.view.progress import LineProgress, Progress, default_progress
from dwp_sweep.harness.view.text import duration, stage_rows
from dwp_sweep.store.local.store import LocalStore
from tests.harness.toy_stages import demo_sweep, toy_node, toy_sweep

WHERE = {"MLflow": "sqlite:///runs/mlflow.db", "storage": "/data/runs"}


@pytest.fixture
def screen() -> io.StringIO:
    return io.StringIO()


def a_run(progress: Progress, tmp_path: Path) -> tuple[Ledger, Outcome]:
    """Two nodes done, one failed with two descendants, one running."""
    bad = toy_node("source", "bad")
    child = toy_node("prior", "child", [bad])
    grandchild = toy_node("target", "grandchild", [child])
    sweep = toy_sweep(*demo_sweep(n_targets=4).nodes.values(), bad, child, grandchild)
    ledger = Ledger(make_plan(sweep, LocalStore(tmp_path)), Durations(), progress.event)
    progress.open("demo", ledger, WHERE)
    progress.slots(2)
    sources = [node for node in sweep.nodes.values() if node.stage == "source"][:2]
    for node in sources:
        ledger.hand_out(node, node.key)
        ledger.started(node.key)
    ledger.published(sources[0], 4.0, {"best_val_dice": 0.5})
    ledger.published(sources[1], 6.0, {"best_val_dice": 0.6})
    ledger.failed(bad, "the loss became nan in step 7")
    harvest = ledger.board.ready()[0]
    ledger.hand_out(harvest, "harvest trial")
    ledger.started("harvest trial")
    ledger.progressed("harvest trial", 3, 8, {"val_loss": 0.25})
    return ledger, Outcome(1, {"done": 2, "failed": 1, "blocked": 2}, wall_s=75.0)


def test_a_log_gets_one_line_per_event_with_the_state_of_the_run(screen: io.StringIO, tmp_path: Path) -> None:
    progress = LineProgress(Console(file=screen))
    _, outcome = a_run(progress, tmp_path)
    progress.close(outcome)
    lines = [line.split(" s  ", 1)[1] for line in screen.getvalue().splitlines()]
    assert lines == [
        "demo: 17 nodes to build",
        "MLflow: sqlite:///runs/mlflow.db",
        "storage: /data/runs",
        "started  source source0",
        "started  source source1",
        "done     source source0 in 4.0 s, best_val_dice 0.500 [1/17, about 11 s left]",
        "done     source source1 in 6.0 s, best_val_dice 0.600 [2/17, about 12 s left]",
        "FAILED   source bad: the loss became nan in step 7 [5/17, about 7.8 s left]",
        "blocked  prior child: needs source bad",
        "blocked  target grandchild: needs prior child",
        "started  harvest harvest",
        "ended with failures in 1 min 15 s: 2 built, 1 failed, 2 blocked",
    ]


def test_epochs_of_a_log_come_now_and_then(
    screen: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = LineProgress(Console(file=screen))
    ledger, _ = a_run(progress, tmp_path)
    monkeypatch.setattr("dwp_sweep.harness.view.progress.EPOCH_LINE_EVERY_S", 0.0)
    ledger.progressed("harvest trial", 4, 8, {"val_loss": 0.2})
    assert screen.getvalue().rstrip().endswith("running  harvest harvest: epoch 4/8, val_loss 0.200")


def test_a_terminal_shows_stages_running_nodes_and_where_to_look(screen: io.StringIO, tmp_path: Path) -> None:
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    display = LiveDisplay(console)
    a_run(display, tmp_path)
    display.close(None)  # else printing draws the live display once more
    with console.capture() as capture:
        console.print(display.render())
    text = capture.get()
    rows = {line.split()[0]: line.split()[1:6] for line in text.splitlines() if line.strip()}
    assert rows["stage"] == ["done", "running", "waiting", "failed", "blocked"]
    assert rows["source"] == ["2", "·", "·", "1", "·"]
    assert rows["harvest"][:3] == ["harvest", "epoch", "3/8"], "the running node's own line comes last"
    assert rows["target"] == ["·", "·", "4", "·", "1"]
    for expected in ("demo", "5/17 nodes", "left", "val_loss 0.250", "sqlite:///runs/mlflow.db", "Ctrl-C"):
        assert expected in text


def test_a_terminal_names_the_run_that_builds_a_node_elsewhere(screen: io.StringIO, tmp_path: Path) -> None:
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    display, node = LiveDisplay(console), toy_node("target", "shared")
    ledger = Ledger(make_plan(toy_sweep(node), LocalStore(tmp_path)), Durations(), display.event)
    display.follow("demo", ledger, WHERE)
    ledger.left_to(node, "another run on host7 (sweep toy)")
    with console.capture() as capture:
        console.print(display.render())
    assert "target shared: built by another run on host7 (sweep toy)" in capture.get()
    assert "starting" not in capture.get() and stage_rows(ledger)[0][1]["running"] == 1
    ledger.published(node, 1.0, {}, by_other=True)
    with console.capture() as capture:
        console.print(display.render())
    assert "host7" not in capture.get() and "1/1 nodes" in capture.get()


def test_failures_stay_on_the_terminal_and_the_last_state_too(screen: io.StringIO, tmp_path: Path) -> None:
    display = LiveDisplay(Console(file=screen, force_terminal=True, width=100, color_system=None))
    _, outcome = a_run(display, tmp_path)
    display.close(outcome)
    text = screen.getvalue()
    assert "FAILED   source bad: the loss became nan in step 7" in text
    assert "ended with failures in 1 min 15 s: 2 built, 1 failed, 2 blocked" in text


def test_the_display_fits_where_it_is_shown() -> None:
    assert isinstance(default_progress(Console(file=io.StringIO(), force_terminal=True)), LiveDisplay)
    assert isinstance(default_progress(Console(file=io.StringIO())), LineProgress)


def test_queued_nodes_count_as_waiting_and_cached_ones_as_done(tmp_path: Path) -> None:
    node = toy_node("target", "one")
    ledger = Ledger(make_plan(toy_sweep(node), LocalStore(tmp_path)), Durations(), lambda event: None)
    ledger.hand_out(node, "trial")
    assert stage_rows(ledger)[0][1]["waiting"] == 1
    ledger.board.states[node.key] = "cached"
    assert stage_rows(ledger)[0][1]["done"] == 1


def test_a_note_is_a_line_of_its_own(screen: io.StringIO) -> None:
    LineProgress(Console(file=screen)).event(Event("note", text="a damaged node [prior] was set aside"))
    assert "a damaged node [prior] was set aside" in screen.getvalue()


def test_a_node_that_reads_its_scans_says_how_far_it_is_until_its_first_epoch(
    screen: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dwp_sweep.harness.view.progress.EPOCH_LINE_EVERY_S", 0.0)
    progress, display = LineProgress(Console(file=screen)), LiveDisplay(Console(file=io.StringIO()))
    node = toy_node("target", "one")
    ledger = Ledger(make_plan(toy_sweep(node), LocalStore(tmp_path)), Durations(), progress.event)
    display.follow("demo", ledger, WHERE)
    ledger.hand_out(node, "trial")
    ledger.started("trial")
    ledger.reads("trial", 31, 275)
    ledger.reads("a trial that has ended", 1, 2)
    console = Console(file=io.StringIO(), record=True, width=100)
    console.print(display.render())

    assert "reading scans 31/275" in console.export_text()
    assert ledger.in_hand.entries()[0]["reading"] == (31, 275, "reading")
    assert screen.getvalue().rstrip().endswith("running  target one: reading scans 31/275")
    ledger.progressed("trial", 1, 8, {})
    console.print(display.render())
    assert "reading" not in console.export_text() and ledger.in_hand.entries()[0]["reading"] is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.97, "10 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
