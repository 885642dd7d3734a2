"""A sweep's parent run: what was asked for and with what it ran, and the report's files added to it.

`client` makes the parent run; this reads it back for reports, and logs a finished report with it.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.tracking.client import ENVIRONMENT_FILE, SETTINGS_FILE, Tracking, mlflow_client, one_line
from dwp_sweep.tracking.pages import NOTE_TAG, targets_page
from dwp_sweep.tracking.parent import parent_run
from dwp_sweep.tracking.runs import open_reader

if TYPE_CHECKING:
    from mlflow import MlflowClient

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
