"""A run in words: what happened, how far it is, how it ended. Nothing here changes the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dwp_sweep.config.node import Node
from dwp_sweep.harness.cost.durations import time_left_s
from dwp_sweep.harness.dag.ledger import Event, Ledger, Outcome
from dwp_sweep.harness.dag.node_state import OPEN
from dwp_sweep.stages.workload import OBJECTIVE_STAGE

_N_SILENT_EPOCHS, _LEAST_SILENCE_S = 5.0, 120.0
"""A node is shown as stalled some time before it is killed."""
SHOWN_METRICS = ("test_dice", "best_val_dice", "val_dice", "best_val_loss", "val_loss", "train_loss")


def event_text(event: Event) -> str:
    """One line that says what happened."""
    title = event.node.title if event.node else ""
    match event.kind:
        case "note" | "trial":
            return event.text
        case "started":
            return f"started  {title}"
        case "reading":
            return f"running  {title}: {event.text}"
        case "epoch":
            return f"running  {title}: epoch {event.epoch}/{event.n_epochs}{metric_text(event.metrics, ', ')}"
        case "done":
            return f"done     {title} in {duration(event.wall_s)}{metric_text(event.metrics, ', ')}"
        case "failed":
            return f"FAILED   {title}: {event.text}"
        case "blocked":
            return f"blocked  {title}: {event.text}"
        case "retry":
            return f"again    {title}: {event.text.splitlines()[0]}"
        case "stalled":
            return f"STALLED  {title}: {event.text}"
        case "pruned":
            return f"pruned   {title}: {event.text}"
        case "stopped":
            return f"stopped  {title} at its checkpoint"
        case "leased_by_other":
            return f"left to  {title}: {event.text}"
        case "published_by_other":
            return f"found    {title}: {event.text}{metric_text(event.metrics, ', ')}"


def metric_text(metrics: Mapping[str, float], before: str = "") -> str:
    """The most important one of a node's metrics; empty where there is none."""
    return next((f"{before}{name} {metrics[name]:.3f}" for name in SHOWN_METRICS if name in metrics), "")


def outcome_text(outcome: Outcome) -> str:
    """How the run ended, in one line."""
    words = {"done": "built", "cached": "cached", "failed": "failed", "blocked": "blocked",
             "pruned": "pruned", "waiting": "left"}  # fmt: skip
    counts = ", ".join(
        f"{outcome.counts[name]} {word}" for name, word in words.items() if outcome.counts.get(name)
    )
    start = {
        0: "all done",
        1: f"ended with failures ({outcome.reason})" if outcome.reason else "ended with failures",
        3: f"stopped by the budget ({outcome.spent}); the same command goes on with a fresh one",
        130: "stopped; the same command goes on from here",
    }
    return (
        f"{start.get(outcome.exit_code, 'ended')} in {duration(outcome.wall_s)}: {counts or 'nothing to do'}"
    )


def summary(ledger: Ledger) -> str:
    """What a run has yet to do, in one line."""
    counts = ledger.board.counts()
    to_build = sum(counts.get(state, 0) for state in OPEN)
    rest = [f"{counts[state]} {state}" for state in ("cached", "failed", "blocked") if counts.get(state)]
    search, n = [], ledger.search.n_to_ask
    if ledger.search.n_studies:
        studies = f"{ledger.search.n_studies} stud{'y' if ledger.search.n_studies == 1 else 'ies'}"
        search = [f"search: {n} configuration{'' if n == 1 else 's'} to try in {studies}"]
    nodes = [f"{to_build} nodes to build"] if to_build or not search else []
    return ", ".join([*search, *nodes, *rest])


def search_lines(ledger: Ledger) -> list[str]:
    """How far a search is: configurations by state, and the best one of each study; else empty."""
    search = ledger.search
    if not search.n_studies:
        return []
    counts = {**search.n_by_state, "to come": search.n_to_ask}
    order = ("complete", "pruned", "failed", "open", "to come")
    parts = [f"{counts[state]} {state}" for state in order if counts.get(state)]
    return [
        f"configurations: {', '.join(parts) or 'none'}",
        *(f"best so far: {line}" for line in search.best),
    ]


def progress_counts(ledger: Ledger) -> tuple[int, int]:
    """Nodes that have ended, cached ones included, and all nodes, targets of a search to come included."""
    counts = ledger.board.counts()
    n_to_come = ledger.search.n_to_ask * ledger.search.n_repeats
    n_all = sum(counts.values()) - counts.get("unneeded", 0) + n_to_come
    return sum(counts.get(state, 0) for state in ("done", "cached", "pruned", "failed", "blocked")), n_all


def run_left_s(ledger: Ledger, n_slots: int) -> float | None:
    """Expected seconds to the end of a run; None before anything is measured.

    What a search has yet to ask for counts as if nothing of it were given up.
    """
    to_start = ledger.board.in_state("ready", "waiting", "leased_by_other", "queued")
    n_unasked = ledger.search.n_to_ask * ledger.search.n_repeats
    nodes = list(ledger.board.nodes.values()) if n_unasked else []
    objective = next((node for node in nodes if node.stage == OBJECTIVE_STAGE), None)
    unasked_s = n_unasked * ledger.durations.seconds(objective) if objective is not None else 0.0
    return time_left_s(to_start, ledger.in_hand.progress(), ledger.durations, n_slots, unasked_s)


def duration(seconds: float) -> str:
    """Seconds for people: ``0.8 s``, ``42 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def silence_text(work: Mapping[str, Any]) -> str:
    """For how long a running node has reported nothing, where that is much longer than usual; else empty.

    Args:
        work: As `InHand.entries` gives it.
    """
    silent_s, epoch_s = work.get("silent_s") or 0.0, work.get("median_s")
    if epoch_s is None or silent_s < max(_N_SILENT_EPOCHS * epoch_s, _LEAST_SILENCE_S):
        return ""
    return f"no sign of life for {duration(silent_s)}, where an epoch takes {duration(epoch_s)}"


def stage_rows(ledger: Ledger) -> list[tuple[str, dict[str, int]]]:
    """Stage -> number of nodes done (cached ones included), running, waiting, failed, blocked."""
    column = {
        "cached": "done", "done": "done", "pruned": "done", "running": "running",
        "leased_by_other": "running", "queued": "waiting", "ready": "waiting", "waiting": "waiting",
        "failed": "failed", "blocked": "blocked",
    }  # fmt: skip
    rows = {stage: dict.fromkeys(column.values(), 0) for stage in ledger.board.stages}
    for key, state in list(ledger.board.states.items()):
        if state in column:
            rows[ledger.board.nodes[key].stage][column[state]] += 1
    return list(rows.items())


def node_lines(nodes: tuple[Node, ...], n_shown: int = 5) -> str:
    """Titles of some nodes, and how many more there are."""
    titles = ", ".join(node.title for node in nodes[:n_shown])
    return titles + (f" and {len(nodes) - n_shown} more" if len(nodes) > n_shown else "")
