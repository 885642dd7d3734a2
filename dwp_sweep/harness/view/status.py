"""How a sweep stands, from its storage alone: done, running, waiting, failed, hours used, time left.

Any terminal on a machine that sees the storage may ask, while the sweep runs or later. This needs neither Ray
nor MLflow.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dwp_sweep.config.node import Node, nodes_of, pipeline_order
from dwp_sweep.config.sections import HOUR_S
from dwp_sweep.harness.cost.durations import Durations, PastRuns, RunningNode, time_left_s
from dwp_sweep.harness.dag.failures import FailureKind, HostFailures, host_rows, kind_of
from dwp_sweep.harness.dag.in_hand import reading_text
from dwp_sweep.harness.dag.node_state import NodeState, StoredNode, node_states
from dwp_sweep.harness.view.search_status import SearchStatus, search_status
from dwp_sweep.harness.view.text import silence_text
from dwp_sweep.stages.workload import OBJECTIVE_STAGE
from dwp_sweep.store.heartbeat import LiveRun, live_runs
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.sweep_record import NodeEntry, recorded_nodes, recorded_resources, require_sweep

_N_LOG_LINES = 3


@dataclass(frozen=True)
class NodeStatus:
    """How one node stands.

    Attributes:
        key: Its key.
        stage: Its stage.
        title: Its readable name.
        state: ``done``, ``running``, ``waiting``, ``stopped``, ``pruned``, ``failed``, ``blocked`` or
            ``unneeded``; see `NodeState`.
        epoch: Epochs done; 0 where there are none.
        n_epochs: Largest number of epochs; 0 where unknown.
        metrics: Of the last epoch, or of the finished node.
        wall_s: Seconds of work up to now.
        log: Last lines of a failure, the message first.
        reading: What a running node does before its first epoch, in words; empty otherwise.
        by: Who builds it, in words, where that is a run of another sweep.
        silence: For how long a running node has reported nothing, in words; empty where that is usual.
        device: What it computed on, ``cpu`` or the name of the GPU; empty: not known.
        host: Where it failed; empty: it did not, or that is not known.
        failure: Of what kind it was, where it failed.
    """

    key: str
    stage: str
    title: str
    state: NodeState
    epoch: int = 0
    n_epochs: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    wall_s: float = 0.0
    log: tuple[str, ...] = ()
    reading: str = ""
    by: str = ""
    silence: str = ""
    device: str = ""
    host: str = ""
    failure: FailureKind | None = None


@dataclass(frozen=True)
class SweepStatus:
    """How a sweep stands.

    Attributes:
        sweep: Its name.
        nodes: By stage, in the order of the pipeline.
        runs: Drivers that work on it now.
        cpu_hours: Of all its nodes, whichever sweep built them; running ones up to now.
        gpu_hours: The same for GPUs, of nodes that computed on one.
        left_s: Expected seconds to the end of what is open; None before anything is measured.
        n_slots: Nodes at once that ``left_s`` counts on.
        search: How its search stands; None where it searches for nothing.
        failures: Where attempts failed: those of the runs that work on it now, else those on record.
    """

    sweep: str
    nodes: tuple[NodeStatus, ...]
    runs: tuple[LiveRun, ...]
    cpu_hours: float
    gpu_hours: float
    left_s: float | None
    n_slots: int
    search: SearchStatus | None = None
    failures: tuple[HostFailures, ...] = ()

    @property
    def devices(self) -> dict[str, int]:
        """Device -> number of finished nodes that were computed on it, as far as it is known."""
        known = Counter(node.device for node in self.nodes if node.device and node.state == "done")
        return dict(known.most_common())

    @property
    def counts(self) -> dict[str, int]:
        """Number of nodes by state."""
        return dict(Counter(node.state for node in self.nodes))

    def in_state(self, state: NodeState) -> list[NodeStatus]:
        """Nodes in a state."""
        return [node for node in self.nodes if node.state == state]


def sweep_status(sweep: str, store: Store) -> SweepStatus:
    """How a sweep stands now.

    Args:
        sweep: Its name.
        store: The storage that it runs on.

    Raises:
        InputError: No such sweep on this storage; names the nearest.
    """
    require_sweep(sweep, store)
    entries, all_runs = recorded_nodes(store, sweep), live_runs(store)
    runs = tuple(run for run in all_runs if run.sweep == sweep)
    in_hand = _in_hand(sweep, all_runs)
    with store.snapshot((entry.stage, entry.key) for entry in entries):
        statuses = _statuses(entries, in_hand, store)
    resources = recorded_resources(store, sweep)
    hours = [(*resources.get(node.stage, (1.0, 0.0)), node) for node in statuses.values()]
    cpu_hours = sum(cpu * node.wall_s for cpu, _, node in hours) / HOUR_S
    gpu_hours = sum(gpu * node.wall_s for _, gpu, node in hours if node.device != "cpu") / HOUR_S
    n_slots = max(sum(run.n_slots for run in runs), 1)
    nodes = nodes_of(entries)
    search = search_status(sweep, store)
    n_unasked = search.n_to_come * search.n_repeats if search is not None else 0
    left_s = _left_s(nodes, statuses, in_hand, store, n_slots, n_unasked)
    stages = pipeline_order(nodes)
    by_stage = tuple(sorted(statuses.values(), key=lambda status: stages.index(status.stage)))
    failures = _failures(runs, statuses.values())
    return SweepStatus(sweep, by_stage, runs, cpu_hours, gpu_hours, left_s, n_slots, search, failures)


def _failures(runs: Sequence[LiveRun], nodes: Iterable[NodeStatus]) -> tuple[HostFailures, ...]:
    """Failures by host, the host with the most first."""
    if failed := [entry for run in runs for entry in run.failures]:
        return tuple(
            HostFailures(str(entry["host"]), entry["counts"], bool(entry["is_avoided"])) for entry in failed
        )
    hosts: dict[str, Counter[FailureKind]] = {}
    for node in nodes:
        if node.failure is not None:
            hosts.setdefault(node.host, Counter())[node.failure] += 1
    return tuple(host_rows(hosts))


def _in_hand(sweep: str, runs: Sequence[LiveRun]) -> dict[str, Mapping[str, Any]]:
    """What runs build now, by key; a run of another sweep may build nodes of this one."""
    return {
        str(work["key"]): {
            **work,
            "by": "" if run.sweep == sweep else f"built by another run on {run.host} (sweep {run.sweep})",
        }
        for run in sorted(runs, key=lambda run: run.sweep == sweep)
        for work in run.in_hand
    }


def _statuses(
    entries: Sequence[NodeEntry], in_hand: Mapping[str, Mapping[str, Any]], store: Store
) -> dict[str, NodeStatus]:
    own = {entry.key: _own_status(entry, in_hand.get(entry.key), store) for entry in entries}

    def own_state(entry: NodeEntry, is_needed: bool) -> NodeState | None:
        state = own[entry.key].state
        return None if state == "waiting" else state

    states = node_states(entries, [entry.key for entry in entries if entry.is_target], own_state)
    return {
        key: replace(status, state="waiting" if states[key] == "ready" else states[key])
        for key, status in own.items()
    }


def _own_status(entry: NodeEntry, work: Mapping[str, Any] | None, store: Store) -> NodeStatus:
    """The status of a node as far as it does not depend on other nodes."""
    waiting, stored = NodeStatus(entry.key, entry.stage, entry.title, "waiting"), StoredNode(entry, store)
    record = stored.record if work is None or stored.is_published else None
    if record is not None:
        lines = [line for line in (record.error or "").splitlines() if line.strip()]
        log = tuple(dict.fromkeys([*lines[:1], *lines[-_N_LOG_LINES:]])) if stored.has_failed else ()
        epoch = record.history[-1].step if record.history else 0
        return replace(
            waiting,
            state=record.status,
            epoch=epoch,
            metrics=record.metrics,
            wall_s=record.wall_s,
            log=log,
            device=record.device,
            host=record.host,
            failure=kind_of(record.failure) if record.status == "failed" else None,
        )
    history = stored.history
    epoch, metrics = (history[-1].step, history[-1].metrics) if history else (0, {})
    if work is not None:
        reading = reading_text(*work["reading"]) if work.get("reading") else ""
        wall_s = max(time.time() - work["started_ms"] / 1000, 0.0)
        return replace(waiting, state="running", epoch=max(epoch, work["epoch"]), n_epochs=work["n_epochs"],
                       metrics=metrics, wall_s=wall_s, reading=reading, by=work["by"],
                       silence=silence_text(work))  # fmt: skip
    if not history:
        return waiting
    wall_s = (history[-1].time_ms - history[0].time_ms) / 1000
    return replace(waiting, state="stopped", epoch=epoch, metrics=metrics, wall_s=wall_s)


def _left_s(
    nodes: Sequence[Node],
    statuses: Mapping[str, NodeStatus],
    in_hand: Mapping[str, Mapping[str, Any]],
    store: Store,
    n_slots: int,
    n_unasked: int,
) -> float | None:
    """Expected seconds to the end; ``n_unasked`` targets of a search are not known yet."""
    to_start = [node for node in nodes if statuses[node.key].state in ("waiting", "stopped")]
    running = [node for node in nodes if statuses[node.key].state == "running"]
    if not to_start and not running and not n_unasked:
        return 0.0
    objective = next((node for node in nodes if node.stage == OBJECTIVE_STAGE), None)
    if n_unasked and objective is None:
        return None
    unasked = [objective] if objective is not None and n_unasked else []
    past = PastRuns.from_store(store, sorted({node.stage for node in [*to_start, *running, *unasked]}))
    durations = Durations([past.of])
    for node in nodes:
        if statuses[node.key].state == "done":
            durations.observe(node, statuses[node.key].wall_s)
    progress = [_progress(node, statuses[node.key], in_hand[node.key]) for node in running]
    unasked_s = n_unasked * durations.seconds(objective) if objective is not None else 0.0
    return time_left_s(to_start, progress, durations, n_slots, unasked_s)


def _progress(node: Node, status: NodeStatus, work: Mapping[str, Any]) -> RunningNode:
    if not status.epoch or not status.n_epochs:
        return RunningNode(node, status.wall_s)
    # Runs of earlier versions do not say how long an epoch takes.
    epoch_s = work["epoch_s"] if "epoch_s" in work else status.wall_s / status.epoch
    return RunningNode(node, status.wall_s, status.n_epochs - status.epoch, epoch_s)
