"""What a sweep's parent run in MLflow holds: objectives, shares of the machine, settings, files.

The reading counterpart of `write.parent`. A sweep may have no parent run: its nodes were logged by hand.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.tracking.read.runs import open_reader
from dwp_sweep.tracking.tags import ENVIRONMENT_FILE, OBJECTIVES_TAG, PARENT_TAG, SETTINGS_FILE, SHARES_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True)
class ParentFacts:
    """What the tags of a parent run say.

    Attributes:
        run_id: Of the parent run; empty where there is none.
        objectives: Metrics that were searched for; none where nothing was.
        cpu: CPUs of a target node.
        gpu: Its share of a GPU.
        has_shares: Whether they are known.
    """

    run_id: str = ""
    objectives: tuple[str, ...] = ()
    cpu: float = 1.0
    gpu: float = 1.0
    has_shares: bool = False


@dataclass(frozen=True)
class Parent:
    """What the files and times of a parent run say; all empty where there is none.

    Attributes:
        run_id: Of the run.
        settings: The resolved search space: ``file``, ``fixed``, ``grid``.
        environment: Versions, commit and command line of the last start.
        started_ms: Unix time of the first start; 0 where unknown.
    """

    run_id: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    started_ms: int = 0


def parent_run(client: MlflowClient, sweep: str) -> Run | None:
    """The parent run of a sweep, the first one where there are several; None where there is none."""
    experiment = client.get_experiment_by_name(sweep)
    if experiment is None:
        return None
    runs = client.search_runs(
        [experiment.experiment_id],
        f"tags.`{PARENT_TAG}` = 'true'",
        max_results=1,
        order_by=["attributes.start_time ASC"],
    )
    return runs[0] if runs else None


def parent_facts(client: MlflowClient, sweep: str) -> ParentFacts:
    """The facts of a sweep; empty ones where it has no parent run."""
    run = parent_run(client, sweep)
    if run is None:
        return ParentFacts()
    tags = run.data.tags
    objectives = tuple(name for name in tags.get(OBJECTIVES_TAG, "").split(",") if name)
    try:
        cpu, gpu = (float(value) for value in json.loads(tags[SHARES_TAG]))
    except (KeyError, ValueError, TypeError):
        return ParentFacts(str(run.info.run_id), objectives)
    return ParentFacts(str(run.info.run_id), objectives, cpu, gpu, True)


def parent_text(client: MlflowClient, sweep: str, place: str) -> str | None:
    """A text file of the parent run; None where there is none."""
    run = parent_run(client, sweep)
    return None if run is None else _text(client, str(run.info.run_id), place)


def read_parent(sweep: str, tracking_uri: str | None) -> Parent:
    """The parent run of a sweep; an empty one where runs were made without.

    Raises:
        InputError: No MLflow there.
    """
    client, _ = open_reader(tracking_uri)
    run = parent_run(client, sweep)
    if run is None:
        return Parent()
    run_id = str(run.info.run_id)
    return Parent(
        run_id=run_id,
        settings=_json(client, run_id, SETTINGS_FILE),
        environment={k: str(v) for k, v in _json(client, run_id, ENVIRONMENT_FILE).items()},
        started_ms=int(run.info.start_time or 0),
    )


def _json(client: MlflowClient, run_id: str, name: str) -> dict[str, Any]:
    try:
        values = json.loads(_text(client, run_id, name) or "")
    except ValueError:  # a lost file of an old run must not cost the whole report
        return {}
    return values if isinstance(values, dict) else {}


def _text(client: MlflowClient, run_id: str, place: str) -> str | None:
    try:
        with tempfile.TemporaryDirectory() as folder:
            return Path(client.download_artifacts(run_id, place, folder)).read_text()
    except Exception:  # MLflow's own kinds: it has no such file
        return None
