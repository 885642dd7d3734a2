"""What the parent run of a sweep holds beside its nodes' runs: objectives, shares of the machine, files.

Written by the driver, read by whoever asks a sweep from elsewhere. Knows nothing of what the files show.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dwp_sweep.tracking.client import PARENT_TAG, Tracking, mlflow_client, one_line

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
