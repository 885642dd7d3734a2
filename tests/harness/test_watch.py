"""When waiting for a cluster to grow has been long enough."""

from __future__ import annotations

from dwp_sweep.config.node import Node
from dwp_sweep.config.sections import ResourcesConfig
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.harness.cost.durations import Durations
from dwp_sweep.harness.dag.ledger import Ledger
from dwp_sweep.harness.dag.plan import Plan
from dwp_sweep.harness.dag.slots import Resources
from dwp_sweep.harness.watch import Patience


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def board_with(*stages: str) -> Ledger:
    """A ledger whose nodes, one a stage, are all in the hands of trials that have not started."""
    nodes = {stage: Node(stage, stage, {}) for stage in stages}
    sweep = Sweep("growth", nodes, tuple(nodes), {stage: ResourcesConfig() for stage in stages})
    ledger = Ledger(Plan(sweep, dict.fromkeys(nodes, "ready")), Durations(), lambda event: None)
    for stage, node in nodes.items():
        ledger.hand_out(node, f"trial of {stage}")
    return ledger


SMALL, LARGE = Resources(1, 0), Resources(1, 1)


def test_patience_ends_after_the_limit_and_says_what_was_asked_and_what_there_is() -> None:
    clock, ledger = Clock(), board_with("target")
    patience = Patience({"target": LARGE}, lambda: [Resources(8, 0)], limit_s=60.0, now=clock)
    assert patience.over(ledger) == []
    clock.now_s = 59.0
    assert patience.over(ledger) == []
    clock.now_s = 60.0
    (problem,) = patience.over(ledger)
    assert problem.where == "resources.target"
    assert "asks for 1 CPUs and 1 GPUs; the largest machine has 8 and 0" in problem.what
    assert "none came within 60 s" in problem.what


def test_as_long_as_another_node_runs_or_may_start_nothing_is_lost_by_waiting() -> None:
    clock, ledger = Clock(), board_with("prior", "target")
    patience = Patience({"prior": SMALL, "target": LARGE}, lambda: [Resources(8, 0)], limit_s=60.0, now=clock)
    for _ in range(5):
        clock.now_s += 100.0
        assert patience.over(ledger) == []
    ledger.started("trial of prior")
    clock.now_s += 100.0
    assert patience.over(ledger) == []
    ledger.done(ledger.board.nodes["prior"], 1.0, {})
    assert patience.over(ledger) == []  # the clock starts only now
    clock.now_s += 60.0
    assert [problem.where for problem in patience.over(ledger)] == ["resources.target"]


def test_a_machine_that_comes_in_time_begins_the_wait_anew_when_it_goes() -> None:
    clock, ledger, machines = Clock(), board_with("target"), [Resources(8, 0)]
    patience = Patience({"target": LARGE}, lambda: machines, limit_s=60.0, now=clock)
    patience.over(ledger)
    clock.now_s = 50.0
    machines.append(Resources(8, 1))
    assert patience.over(ledger) == []
    machines.pop()
    clock.now_s = 70.0
    assert patience.over(ledger) == []
    clock.now_s = 131.0
    assert patience.over(ledger) != []
