"""One real SQLite MLflow a test process (making its database costs seconds), one sweep name a test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.config.node import Node
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Point, Record
from dwp_sweep.tracking.client import mlflow_client
from dwp_sweep.tracking.write.parent import Tracking, open_tracking


@pytest.fixture(scope="session")
def mlflow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Storage folder with a database in it."""
    folder = tmp_path_factory.mktemp("mlflow")
    tracking = open_tracking(f"sqlite:///{folder}/mlflow.db", folder, "first", {})
    assert tracking.online, tracking.problem
    return folder


@pytest.fixture(scope="session")
def uri(mlflow_folder: Path) -> str:
    return f"sqlite:///{mlflow_folder}/mlflow.db"


@pytest.fixture
def sweep_name(request: pytest.FixtureRequest) -> str:
    """Own experiment for each test."""
    return f"{request.node.name}-{os.urandom(2).hex()}"


@pytest.fixture
def tracking(uri: str, mlflow_folder: Path, sweep_name: str) -> Tracking:
    return open_tracking(uri, mlflow_folder, sweep_name, {"grid": {"train_size": [5, 10]}})


@pytest.fixture
def client(uri: str) -> Any:
    return mlflow_client(uri)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path / "runs")


def make_node(
    key: str, stage: str = "target", parents: Mapping[str, tuple[Node, ...]] | None = None, **labels: Any
) -> Node:
    """A node with a config as the stage would have it."""
    config: dict[str, Any] = {
        "seed": labels.get("seed", 0),
        "compute": {"device": "auto", "precision": "fp32"},
    }
    if stage in ("source", "target"):
        config["dataset"] = {
            "layout": "msd",
            "root": "/data",
            "subjects": "0:90",
            "fingerprint": f"{stage}-hash",
        }
        config["unet"] = {"channels": [4, 8, 8, 16]}
    if stage == "source":
        config["source"] = {"lr": 1e-3, "weight_decay": 3e-3, "n_seeds": 10}
    if stage == "prior":
        config |= {"prior": {"latent_dim": 6, "head": "free"}, "group": labels["group"]}
    if stage == "target":
        config |= {name: labels[name] for name in ("method", "train_size", "split") if name in labels}
        config |= {"target": {"lr": 1e-3, "max_epochs": 3}, "settings": {}}
    if labels.get("method") == "deep_weight_prior":
        config["settings"] = {"dwp": {"kl_weight": 1e-5, "noise": "weight"}}
    inputs = {role: tuple((n.stage, n.key) for n in nodes) for role, nodes in (parents or {}).items()}
    return Node(key, stage, config, inputs, labels)


def make_record(
    node: Node, status: Any = "done", n_epochs: int = 3, error: str | None = None, **metrics: float
) -> Record:
    """A record with a history of its own times."""
    points = tuple(
        Point(step, 1_700_000_000_000 + 1000 * step, {"train_loss": 1 / step, "val_dice": 0.1 * step})
        for step in range(1, n_epochs + 1)
    )
    return Record(
        key=node.key,
        stage=node.stage,
        status=status,
        config=dict(node.config),
        inputs={role: [key for _, key in pairs] for role, pairs in node.inputs.items()},
        labels=dict(node.labels),
        metrics={"wall_s": 3.5, **metrics},
        history=points,
        started_ms=1_700_000_000_000,
        wall_s=3.5,
        error=error,
    )


def publish(store: Store, node: Node, record: Record, files: Mapping[str, str] | None = None) -> Path:
    """Publish a node with small files."""
    out_dir = store.new_out_dir(node.stage, node.key)
    for name, text in (files or {"net.json": "{}", "figures/curve.png": "png"}).items():
        (out_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (out_dir / name).write_text(text)
    return store.publish(out_dir, record)


@pytest.fixture
def add_run(client: Any, tracking: Tracking) -> Iterator[Callable[..., str]]:
    """Runs made by hand: tags, some parameters, final metrics."""

    def add(
        metrics: Mapping[str, float],
        params: Mapping[str, Any] | None = None,
        status: str = "FINISHED",
        **tags: Any,
    ) -> str:
        all_tags = {"dwp.sweep": tracking.sweep_name, "dwp.stage": "target"}
        all_tags |= {f"dwp.{name}": str(value) for name, value in tags.items()}
        run_id = client.create_run(tracking.experiment_id, tags=all_tags).info.run_id
        for name, value in (params or {}).items():
            client.log_param(run_id, name, value)
        for name, value in metrics.items():
            client.log_metric(run_id, name, value)
        if status != "RUNNING":
            client.set_terminated(run_id, status)
        return str(run_id)

    yield add
