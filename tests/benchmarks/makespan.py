"""How much longer a sweep takes than its slots must: sleeping nodes through the real searcher and workers.

The nodes are those of the paper's grid with durations known beforehand; eight slots are logical, since who
sleeps needs no core. Starts a local Ray of its own.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dwp_sweep.bench.frame import Row, Setting
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.harness.dag.ledger import Event, Ledger, Outcome
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from tests.benchmarks.lower_bound import lower_bound
from tests.benchmarks.plain_trials import Span, first_starts, gaps, plain_trials
from tests.benchmarks.sleeping import STAGES, flat, paper_grid, phases, seconds_of

_GOAL, _TRIAL_GOAL = 1.10, 1.2


@dataclass(frozen=True)
class GridScale:
    """How large the bench is: seconds of a unit of work, slots, trials that measure Tune's cost."""

    unit_s: float = 3.0
    n_slots: int = 8
    n_trials: int = 64
    trial_s: float = 0.4
    n_seeds: int = 10
    sizes: tuple[int, ...] = (5, 10, 15, 20)


_QUICK = GridScale(unit_s=0.05, n_slots=2, n_trials=6, trial_s=0.05, n_seeds=2, sizes=(5,))


@dataclass(frozen=True)
class Measured:
    """One run of nodes or trials.

    Attributes:
        seconds: From asking for it until it had ended.
        spans: Of its trials.
        starts_s: When each process began its first trial.
        cpu_s: Processor time of this process, where searcher and Tune's loop run.
    """

    seconds: float
    cpu_s: float
    spans: Sequence[Span]
    starts_s: Sequence[float] = field(default_factory=list)

    @property
    def gap_s(self) -> float:
        """Mean time between a trial and the next one in the same process; nan where none had a next one."""
        found = gaps(self.spans)
        return statistics.fmean(found) if found else float("nan")


def makespan(setting: Setting) -> list[Row]:
    """A sweep of sleeping nodes on 8 slots: time by its lower bound, phase by phase, cost of a trial."""
    from dwp_sweep.harness.cluster.ray_session import ray_session  # imports Ray

    scale = _QUICK if setting.quick else GridScale()
    grid = paper_grid(scale.unit_s, scale.n_seeds, scale.sizes)
    with tempfile.TemporaryDirectory() as folder, ray_session("", scale.n_slots):
        root = Path(folder)
        setting.tell("empty trials of Ray Tune")
        empty = _plain(scale, root / "tune")
        setting.tell("as many sleeping nodes that need nothing")
        own = _nodes([flat(scale.n_trials, scale.trial_s)], root / "flat")
        setting.tell(f"the grid: {len(grid.nodes)} nodes as one sweep")
        ours = _nodes([grid], root / "grid")
        setting.tell("the same nodes phase by phase")
        by_phase = _nodes(phases(grid), root / "phases")
    return [*_trials(empty, own, scale), *_sweeps(grid, scale, ours, by_phase, empty)]


def _trials(empty: Measured, own: Measured, scale: GridScale) -> list[Row]:
    name = "empty Tune trial"
    what = f"{scale.n_trials} trials, from one's end to the next one's begin in the same process"
    rows = [Row(name, what, empty.gap_s, name, 1.0, extra=_starts(empty))]
    ratio = own.gap_s / empty.gap_s
    what = "our node in its place: input, record, checksums and publishing included"
    return [*rows, Row("our trial", what, own.gap_s, name, ratio, _TRIAL_GOAL, _starts(own))]


def _sweeps(grid: Sweep, scale: GridScale, ours: Measured, by_phase: Measured, empty: Measured) -> list[Row]:
    nodes, seconds = list(grid.nodes.values()), seconds_of(grid)
    bare = lower_bound(nodes, seconds, scale.n_slots)
    paid = {key: one + empty.gap_s for key, one in seconds.items()}
    net = lower_bound(nodes, paid, scale.n_slots, empty.starts_s)
    tune, extra = "bound with Tune", "of bare bound"
    return [
        Row("bound", "the longest chain, or the work over all slots", bare, "bound", 1.0),
        Row(tune, "the same with an empty trial's cost and first starts", net, "bound", net / bare),
        Row(
            "one sweep",
            "all nodes through our searcher",
            ours.seconds,
            tune,
            ours.seconds / net,
            _GOAL,
            {extra: ours.seconds / bare, **_starts(ours)},
        ),
        Row(
            "phase by phase",
            "source, then prior, then target, a Tune run each",
            by_phase.seconds,
            tune,
            by_phase.seconds / net,
            extra={extra: by_phase.seconds / bare, **_starts(by_phase)},
        ),
    ]


def _starts(measured: Measured) -> dict[str, float]:
    """First starts, paid once a run, and the processor time of the loop for each trial."""
    return {
        "driver cpu_s": measured.cpu_s / max(len(measured.spans), 1),
        "first start s": min(measured.starts_s, default=0.0),
        "last start s": max(measured.starts_s, default=0.0),
        "processes": float(len(measured.starts_s)),
    }


def _plain(scale: GridScale, folder: Path) -> Measured:
    plain_trials(1, 0.0, folder)  # imports and first files
    since_s = time.time()
    since_cpu_s = time.process_time()
    spans = plain_trials(scale.n_trials, scale.trial_s, folder)
    return Measured(
        time.time() - since_s, time.process_time() - since_cpu_s, spans, first_starts(spans, since_s)
    )


def _nodes(sweeps: Sequence[Sweep], folder: Path) -> Measured:
    from dwp_sweep.harness.run import run_sweep

    store, since_s, since_cpu_s = LocalStore(folder), time.time(), time.process_time()
    for sweep in sweeps:
        outcome = run_sweep(sweep, store, progress=Silent(), stages=STAGES)
        if outcome.exit_code:
            raise RuntimeError(f"sleeping nodes failed: {outcome}")
    seconds, cpu_s = time.time() - since_s, time.process_time() - since_cpu_s
    spans = [_span(store, stage, key) for stage, key in _published(sweeps)]
    return Measured(seconds, cpu_s, spans, first_starts(spans, since_s))


def _published(sweeps: Sequence[Sweep]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((node.stage, key) for sweep in sweeps for key, node in sweep.nodes.items()))


def _span(store: Store, stage: str, key: str) -> Span:
    record = store.record(stage, key)
    if record is None:
        raise RuntimeError(f"{stage} {key} has no record")
    return Span(record.metrics["began_s"], record.metrics["ended_s"], int(record.metrics["pid"]))


class Silent:
    """Shows nothing: printing is not what is measured."""

    def open(self, title: str, ledger: Ledger, where: Mapping[str, str]) -> None:
        """Nothing to show."""

    def event(self, event: Event) -> None:
        """Nothing to show."""

    def slots(self, n_slots: int) -> None:
        """Nothing to show."""

    def close(self, outcome: Outcome | None) -> None:
        """Nothing to show."""
