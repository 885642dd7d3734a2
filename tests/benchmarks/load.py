"""What thousands of short nodes do to MLflow and to the driver: metrics lost, memory, cost of tracking.

The nodes tell 200 values each in two batches and end at once, so that all there is to do is bookkeeping. An
MLflow server is started for it, on a PostgreSQL of its own where there is one, else on SQLite, which the
rows say. ``DWP_SWEEP_BENCH_NODES`` sets another number of nodes. Starts a local Ray of its own.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dwp_sweep.bench.frame import Row, Setting
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from tests.benchmarks.chatty import STAGES, ChattyConfig, chatty_sweep, metric_name, value
from tests.benchmarks.makespan import Silent
from tests.benchmarks.postgres import started_postgres, why_no_postgres
from tests.benchmarks.servers import free_port, running

_NODE_S = 60.0
_GOAL_SHARE, _GOAL_GROWTH = 0.01, 1.1
_SAMPLE_S = 1.0


@dataclass(frozen=True)
class LoadScale:
    """How large the bench is: nodes with and without tracking, what each tells, slots."""

    n_nodes: int = 2_000
    n_untracked: int = 300
    n_epochs: int = 50
    n_metrics: int = 4
    n_slots: int = 2


_QUICK = LoadScale(n_nodes=6, n_untracked=4, n_epochs=3, n_metrics=2)


@dataclass
class Memory:
    """Resident memory of this process, sampled while the context lasts.

    Attributes:
        samples: (seconds since the start, MB).
    """

    samples: list[tuple[float, float]] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Memory:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        import psutil  # type: ignore[import-untyped]

        process, began_s = psutil.Process(), time.monotonic()
        while True:
            self.samples.append((time.monotonic() - began_s, process.memory_info().rss / 2**20))
            if self._end.wait(_SAMPLE_S):
                return


def load(setting: Setting) -> list[Row]:
    """Thousands of short nodes with 200 metrics each: what is lost, the driver's memory, the cost."""
    from dwp_sweep.harness.cluster.ray_session import ray_session  # imports Ray
    from dwp_sweep.tracking.write.parent import open_tracking  # imports MLflow

    scale = (
        _QUICK if setting.quick else LoadScale(n_nodes=int(os.environ.get("DWP_SWEEP_BENCH_NODES", "2000")))
    )
    with tempfile.TemporaryDirectory() as folder, ray_session("", scale.n_slots):
        root = Path(folder)
        setting.tell(f"{scale.n_untracked} nodes without MLflow")
        plain = chatty_sweep("untracked", scale.n_untracked, scale.n_epochs, scale.n_metrics)
        plain_s = _seconds(plain, LocalStore(root / "plain"), None) * scale.n_slots
        with _mlflow(root, setting.quick) as (uri, backend):
            setting.tell(f"{scale.n_nodes} nodes with MLflow on {backend}")
            sweep = chatty_sweep("load", scale.n_nodes, scale.n_epochs, scale.n_metrics)
            store = LocalStore(root / "tracked")
            tracking = open_tracking(uri, store.root, sweep.name, {})
            if not tracking.online:
                raise RuntimeError(tracking.problem)
            with Memory() as memory:
                tracked_s = _seconds(sweep, store, tracking) * scale.n_slots
            setting.tell("counting what arrived")
            arrived = count(uri, sweep)
    return _rows(backend, plain_s, tracked_s, memory.samples, arrived)


@dataclass(frozen=True)
class Arrived:
    """What MLflow holds of a sweep of chatty nodes.

    Attributes:
        n_told: Values that the nodes told.
        n_lost: Of them not in MLflow, or with another value.
        n_doubled: In MLflow more than once.
        n_runs: Runs that ended well.
    """

    n_told: int
    n_lost: int
    n_doubled: int
    n_runs: int


def count(uri: str, sweep: Sweep) -> Arrived:
    """Look for every value of every node.

    Args:
        uri: Of MLflow.
        sweep: From `chatty_sweep`.
    """
    told = lost = doubled = n_runs = 0
    names = [metric_name(metric) for metric in range(_config(sweep, next(iter(sweep.nodes))).n_metrics)]
    for key, status, points in logged_points(uri, sweep.name, names):
        config = _config(sweep, key)
        n_runs += status == "FINISHED"
        for metric, name in enumerate(names):
            for epoch in range(1, config.n_epochs + 1):
                found = [one for step, one in points[name] if step == epoch]
                told += 1
                lost += value(config.number, epoch, metric) not in found
                doubled += max(0, len(found) - 1)
    n_all = sum(config.n_epochs * config.n_metrics for config in (_config(sweep, key) for key in sweep.nodes))
    return Arrived(n_all, lost + n_all - told, doubled, n_runs)


def logged_points(
    uri: str, sweep: str, names: Sequence[str]
) -> Iterator[tuple[str, str, dict[str, list[tuple[int, float]]]]]:
    """Every point that MLflow holds of some metrics, doubles included, run by run.

    Yields:
        (key of the node, status of its run, metric -> (step, value) in no order).
    """
    from dwp_sweep.tracking.mlflow_format import KEY_TAG
    from dwp_sweep.tracking.read.runs import open_reader, sweep_runs

    client, uri = open_reader(uri)
    for run in sweep_runs(client, uri, sweep):
        points = {
            name: [
                (int(point.step), float(point.value))
                for point in client.get_metric_history(run.info.run_id, name)
            ]
            for name in names
        }
        yield run.data.tags.get(KEY_TAG, ""), str(run.info.status), points


def growth(samples: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """MB in the second and in the last quarter of the time: the first one still loads what is needed."""
    quarter = max(1, len(samples) // 4)
    second = [mb for _, mb in samples[quarter : 2 * quarter]] or [samples[-1][1]]
    last = [mb for _, mb in samples[-quarter:]]
    return statistics.median(second), statistics.median(last)


def _config(sweep: Sweep, key: str) -> ChattyConfig:
    return ChattyConfig(**sweep.nodes[key].config)


def _seconds(sweep: Sweep, store: Store, tracking: object) -> float:
    from dwp_sweep.harness.run import run_sweep

    outcome = run_sweep(sweep, store, tracking, progress=Silent(), stages=STAGES)  # type: ignore[arg-type]
    if outcome.exit_code:
        raise RuntimeError(f"chatty nodes failed: {outcome}")
    records = [store.record("target", key) for key in sweep.nodes]
    return between_starts([record.started_ms / 1000 for record in records if record is not None])


def between_starts(starts_s: Sequence[float]) -> float:
    """Mean seconds between the starts of nodes, without the first tenth: workers load what they need."""
    late = sorted(starts_s)[len(starts_s) // 10 :]
    return (late[-1] - late[0]) / (len(late) - 1)


@contextmanager
def _mlflow(root: Path, quick: bool) -> Iterator[tuple[str, str]]:
    """URI of a server of its own, and what it stands on; at the tiny scale no database server is started."""
    if reason := "the tiny scale" if quick else why_no_postgres():
        with _server(root, f"sqlite:///{root / 'mlflow.db'}") as uri:
            yield uri, f"SQLite: {reason}"
        return
    with started_postgres("127.0.0.1", free_port()) as database, _server(root, database) as uri:
        yield uri, "PostgreSQL"


@contextmanager
def _server(root: Path, database: str) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    stores = ["--backend-store-uri", database, "--artifacts-destination", str(root / "artifacts")]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    uri = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=5):
                return True
        except OSError:
            return False

    with running([*command, "--workers", "1", *stores], environment, root / "mlflow.log", is_ready):
        yield uri


def _rows(
    backend: str,
    plain_s: float,
    tracked_s: float,
    samples: Sequence[tuple[float, float]],
    arrived: Arrived,
) -> list[Row]:
    cost_s = max(0.0, tracked_s - plain_s)
    before, after = growth(samples)
    lost = {
        "told": float(arrived.n_told),
        "lost": float(arrived.n_lost),
        "doubled": float(arrived.n_doubled),
        "finished runs": float(arrived.n_runs),
    }
    memory, grown = {"MB before": before, "MB after": after}, after / before
    share, on = cost_s / _NODE_S, f"the same with MLflow on {backend}"
    return [
        Row("untracked", "a short node without MLflow, in a slot", plain_s, "untracked", 1.0),
        Row("tracked", on, tracked_s, "untracked", tracked_s / plain_s, None, lost),
        Row("cost", f"of tracking, by a node of {_NODE_S:g} s", cost_s, "node", share, _GOAL_SHARE),
        Row("memory", "of the driver: last by second quarter", None, "quarter", grown, _GOAL_GROWTH, memory),
    ]
