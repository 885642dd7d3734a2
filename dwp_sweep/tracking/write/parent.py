"""What the driver adds to a sweep's parent run beside the nodes' own: objectives, shares, files, tables.

Nothing here raises: what only the answers about a sweep need must never end it. `read.parent` reads it back.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from dwp_sweep.tracking.client import Tracking, mlflow_client, one_line
from dwp_sweep.tracking.tags import NOTE_TAG, OBJECTIVES_TAG, REPORT_FOLDER, SHARES_TAG
from dwp_sweep.tracking.write.pages import targets_page

log = logging.getLogger(__name__)

_NOTE_CHARS = 7_500
"""MLflow takes tags of up to 8,000 bytes."""


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
