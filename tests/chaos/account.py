"""All that a sweep leaves behind, without times, places and run ids: equal for runs that did the same.

And what must hold of the log of any run, however it was broken.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dwp_sweep.config.sweep import Sweep
from dwp_sweep.store.lease import holder_of
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import RECORD
from dwp_sweep.store.record import MANIFEST, read_record
from dwp_sweep.tracking.client import mlflow_client
from dwp_sweep.tracking.mlflow_format import KEY_TAG, PARENT_TAG
from dwp_sweep.tracking.read.reader import results, results_of_store
from tests.chaos.stages import chaos_sweep, read_log

_TIMES = ("wall_s", "started", "run_id", "artifacts")
_MTIME_NS = 20_000_000
"""Times of files are those of the last tick."""


@dataclass(frozen=True)
class Account:
    """What a sweep left.

    Attributes:
        table: One row a node, from the store.
        answers: The same from MLflow.
        manifests: Key -> checksums of the files that the stage wrote.
        records: Key -> how it ended, settings, metrics, every epoch.
        runs: Key -> status, settings, every value of every metric, files.
        parents: Status of each parent run.
    """

    table: list[dict[str, Any]]
    answers: list[dict[str, Any]]
    manifests: dict[str, Any]
    records: dict[str, Any]
    runs: dict[str, Any]
    parents: list[str]


def account_of(root: Path, uri: str | None = None, sweep: Sweep | None = None) -> Account:
    """Read everything of a finished sweep; its nodes must be sound and have one run each."""
    sweep, store = sweep or chaos_sweep(), LocalStore(root)
    uri = uri or f"sqlite:///{root}/mlflow.db"
    for node in sweep.nodes.values():
        store.verify(node.stage, node.key)
        assert holder_of(store, node.stage, node.key) is None, f"{node.title} is leased still"
    parts = {
        "table": _rows(results_of_store(sweep.nodes.values(), store)),
        "answers": _rows(results(sweep.name, uri)),
        "manifests": {key: _manifest(store.node_dir(node.stage, key)) for key, node in sweep.nodes.items()},
        "records": {key: _record(store.node_dir(node.stage, key)) for key, node in sweep.nodes.items()},
        **_mlflow(uri, sweep),
    }
    return Account(**json.loads(json.dumps(parts).replace(str(root), "STORAGE")))


def _rows(table: Any) -> list[dict[str, Any]]:
    plain = table.drop(columns=[name for name in _TIMES if name in table.columns])
    rows = json.loads(plain.sort_values("key").to_json(orient="records"))
    return [dict(sorted(row.items())) for row in rows]


def _manifest(folder: Path) -> Any:
    files = json.loads((folder / MANIFEST).read_text())["files"]
    return {name: entry for name, entry in files.items() if name != RECORD}


def _record(folder: Path) -> Any:
    record = read_record(folder / RECORD)
    metrics = {name: value for name, value in record.metrics.items() if name != "wall_s"}
    epochs = [(point.step, point.metrics) for point in record.history]
    return record.status, record.config, record.inputs, record.labels, metrics, epochs, record.error


def _mlflow(uri: str, sweep: Sweep) -> dict[str, Any]:
    client = mlflow_client(uri)
    experiment = client.get_experiment_by_name(sweep.name)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=1_000)
    counts = Counter(run.data.tags.get(KEY_TAG, "the sweep") for run in found)
    assert set(counts.values()) == {1}, f"some node has several runs: {counts}"
    nodes = [run for run in found if KEY_TAG in run.data.tags]
    parents = [run for run in found if run.data.tags.get(PARENT_TAG) == "true"]
    assert len(parents) + len(nodes) == len(found)
    parent = parents[0].info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in nodes} == {parent}
    return {
        "runs": {run.data.tags[KEY_TAG]: _run(client, run) for run in nodes},
        "parents": [run.info.status for run in parents],
    }


def _run(client: Any, run: Any) -> Any:
    values: dict[str, Any] = {
        name: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))
        for name in run.data.metrics
    }
    values["wall_s"] = "some"  # an attempt that failed has one, too
    files = sorted(item.path for item in client.list_artifacts(run.info.run_id))
    n_models = len(run.inputs.model_inputs)
    return run.info.status, run.data.params, values, files, n_models


def check_log(log: Path, root: Path, rebuilt: frozenset[str] = frozenset()) -> None:
    """No epoch was begun again whose checkpoint was kept, no node begun again that was published.

    Args:
        log: Of the stages, over all runs.
        root: The storage.
        rebuilt: Names of nodes that were damaged on purpose.
    """
    kept: defaultdict[str, int] = defaultdict(int)
    lines = read_log(log)
    for line in lines:
        if line.what == "begin" and line.name not in rebuilt:
            assert line.epoch > kept[line.name], f"{line.name} repeated epoch {line.epoch}"
        if line.what == "kept":
            kept[line.name] = max(kept[line.name], line.epoch)
    store = LocalStore(root)
    for node in chaos_sweep().nodes.values():
        name = str(node.config["name"])
        published_ns = (store.node_dir(node.stage, node.key) / MANIFEST).stat().st_mtime_ns
        last_ns = max(line.time_ns for line in lines if line.name == name and line.what == "start")
        assert last_ns < published_ns + _MTIME_NS, f"{name} was begun again after it was published"
        assert kept[name] == node.config["n_epochs"]


def assert_same(found: Account, calm: Account) -> None:
    """As if nothing had happened."""
    for part in ("manifests", "records", "table", "runs", "answers", "parents"):
        one, other = getattr(found, part), getattr(calm, part)
        if isinstance(one, dict):
            assert one.keys() == other.keys(), part
            for key, value in one.items():
                assert value == other[key], f"{part} of {key}"
        assert one == other, part
