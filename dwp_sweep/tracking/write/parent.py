"""What the parent run of a sweep holds beside its nodes' runs: objectives, shares of the machine, files.

Written by the driver, read by whoever asks a sweep from elsewhere. Knows nothing of what the files show.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.tracking.client import (
    ENVIRONMENT_FILE,
    PARENT_TAG,
    SETTINGS_FILE,
    Tracking,
    mlflow_client,
    one_line,
)
from dwp_sweep.tracking.read.runs import open_reader
from dwp_sweep.tracking.write.pages import NOTE_TAG, targets_page

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


log = logging.getLogger(__name__)

OBJECTIVES_TAG, SHARES_TAG = "dwp.objectives", "dwp.target_resources"


@dataclass(frozen=True)
class ParentFacts:
    """What a sweep's parent run tells.

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


def log_facts(
    tracking: Tracking, objectives: Sequence[str], shares: Mapping[str, tuple[float, float]]
) -> None:
    """Tag the parent run with objectives and with the (CPUs, GPUs) of its target nodes. Never raises."""
    if not tracking.online:
        return
    tags = {OBJECTIVES_TAG: ",".join(objectives)} if objectives else {}
    tags |= {SHARES_TAG: json.dumps(shares["target"])} if "target" in shares else {}
    try:
        client = mlflow_client(tracking.uri)
        for name, value in tags.items():
            client.set_tag(tracking.parent_run_id, name, value)
    except Exception as error:  # a sweep must never end by what only its answers need
        log.warning("MLflow did not take what sweep %s is: %s", tracking.sweep_name, one_line(error))


def log_parent_files(tracking: Tracking, files: Mapping[str, Path]) -> None:
    """Attach files to the parent run: place there -> file. Never raises."""
    if not tracking.online:
        return
    try:
        client = mlflow_client(tracking.uri)
        for place, path in files.items():
            folder = Path(place).parent.as_posix()
            client.log_artifact(tracking.parent_run_id, str(path), None if folder == "." else folder)
    except Exception as error:  # they lie in the sweep's folder as well
        log.warning("MLflow did not take the figures of sweep %s: %s", tracking.sweep_name, one_line(error))


def parent_text(client: MlflowClient, sweep: str, place: str) -> str | None:
    """A text file of the parent run; None where there is none."""
    run = parent_run(client, sweep)
    if run is None:
        return None
    try:
        with tempfile.TemporaryDirectory() as folder:
            return Path(client.download_artifacts(run.info.run_id, place, folder)).read_text()
    except Exception:  # MLflow's own kinds: it has no such file
        return None


def parent_run(client: MlflowClient, sweep: str) -> Run | None:
    """The parent run of a sweep, the first one where there are several; None where there is none."""
    experiment = client.get_experiment_by_name(sweep)
    if experiment is None:
        return None
    found = client.search_runs(
        [experiment.experiment_id],
        f"tags.`{PARENT_TAG}` = 'true'",
        max_results=1,
        order_by=["attributes.start_time ASC"],
    )
    return found[0] if found else None


log = logging.getLogger(__name__)

REPORT_FOLDER = "report"
_NOTE_CHARS = 7_500
"""MLflow takes tags of up to 8,000 bytes."""


@dataclass(frozen=True)
class Parent:
    """What the parent run holds; all empty where there is none.

    Attributes:
        run_id: Of the run.
        settings: The resolved search space: ``file``, ``fixed``, ``grid``.
        environment: Versions, commit and command line of the last start.
        started_ms: Unix time of the first start; 0 where unknown.
        ended_ms: Unix time of the last end; 0 where unknown or still running.
    """

    run_id: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    started_ms: int = 0
    ended_ms: int = 0


def read_parent(sweep: str, tracking_uri: str | None) -> Parent:
    """The parent run of a sweep; an empty one where runs were made without.

    Raises:
        InputError: No MLflow there.
    """
    client, _ = open_reader(tracking_uri)
    run = parent_run(client, sweep)
    if run is None:
        return Parent()
    info = run.info
    return Parent(
        run_id=info.run_id,
        settings=_json(client, info.run_id, SETTINGS_FILE),
        environment={k: str(v) for k, v in _json(client, info.run_id, ENVIRONMENT_FILE).items()},
        started_ms=int(info.start_time or 0),
        ended_ms=int(info.end_time or 0),
    )


def log_report(tracking: Tracking, folder: Path) -> str:
    """Add the files of a report to the parent run, under ``report``. Never raises.

    Returns:
        What went wrong, in one line; empty where nothing did.
    """
    if not tracking.online:
        return "MLflow is not there"
    try:
        mlflow_client(tracking.uri).log_artifacts(tracking.parent_run_id, str(folder), REPORT_FOLDER)
    except Exception as error:  # the sweep is done; its report can be made again at any time
        log.warning("MLflow did not take the report of sweep %s: %s", tracking.sweep_name, one_line(error))
        return one_line(error)
    return ""


def describe_parent(tracking: Tracking, tables: str) -> None:
    """Write the sweep's tables where MLflow's page of the parent run shows its description. Never raises.

    Args:
        tracking: Of the sweep.
        tables: In Markdown.
    """
    if not tracking.online:
        return
    link = f"[Target networks with their settings and scores]({targets_page(tracking.experiment_id)[1:]})"
    text = f"{link}. Page, figures and tables: artifacts, `{REPORT_FOLDER}`.\n\n{tables}"
    try:
        mlflow_client(tracking.uri).set_tag(tracking.parent_run_id, NOTE_TAG, text[:_NOTE_CHARS])
    except Exception as error:  # the tables are printed, and stand in the report
        log.warning("MLflow did not take the tables of sweep %s: %s", tracking.sweep_name, one_line(error))


def _json(client: MlflowClient, run_id: str, name: str) -> dict[str, Any]:
    try:
        if name not in {item.path for item in client.list_artifacts(run_id)}:
            return {}
        with tempfile.TemporaryDirectory() as folder:
            found = json.loads(Path(client.download_artifacts(run_id, name, folder)).read_text())
    except Exception:  # a lost file of an old run must not cost the whole report
        return {}
    return found if isinstance(found, dict) else {}
