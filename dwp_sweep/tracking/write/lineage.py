"""What came from what: each node's output is a logged model of MLflow, each use of it an input.

Called at the end of a node. MLflow's pages then show, for a target network, the source networks, the
kernel bank and the priors behind it, and the data set by its fingerprint.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dwp_sweep.tracking.mlflow_format import KEY_TAG, public_config

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

    from dwp_sweep.config.node import Node

MODEL_TYPES = {
    "source": "source_nets",
    "harvest": "kernel_bank",
    "prior": "kernel_prior",
    "target": "target_net",
}
"""Type of the logged model by stage; a further stage gets its own name."""


def log_lineage(client: MlflowClient, experiment_id: str, run_id: str, node: Node) -> None:
    """Name the node's output, and link what it read; a second call changes nothing."""
    from mlflow.entities import LoggedModelInput

    _log_output(client, experiment_id, run_id, node)
    model_ids = [_find_model(client, experiment_id, key) for _, key in node.parents]
    models = [LoggedModelInput(model_id) for model_id in model_ids if model_id]
    data = list(_data_sets(public_config(node.stage, node.config)))
    if models or data:
        client.log_inputs(run_id, datasets=data, models=models)


def remove_output(client: MlflowClient, experiment_id: str, node: Node) -> None:
    """Take the name of a node's output away, with the run that it came from: the node is built again."""
    model_id = _find_model(client, experiment_id, node.key)
    if model_id is not None:
        client.delete_logged_model(model_id)


def _log_output(client: MlflowClient, experiment_id: str, run_id: str, node: Node) -> None:
    from mlflow.entities import LoggedModelOutput

    if _find_model(client, experiment_id, node.key):
        return
    model = client.create_logged_model(
        experiment_id,
        name=re.sub(r"[/:.%\"']", "_", node.title),
        source_run_id=run_id,
        tags={KEY_TAG: node.key, "dwp.artifacts": f"runs:/{run_id}"},
        model_type=MODEL_TYPES.get(node.stage, node.stage),
    )
    # The files are artifacts of the run; a copy under the model would double the store.
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    client.finalize_logged_model(model.model_id, "READY")


def _find_model(client: MlflowClient, experiment_id: str, key: str) -> str | None:
    models = client.search_logged_models([experiment_id], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
    return str(models[0].model_id) if models else None


def _data_sets(config: Mapping[str, Any], name: str = "data") -> Iterator[DatasetInput]:
    from mlflow.entities import Dataset, DatasetInput

    for part, value in config.items():
        if not isinstance(value, Mapping):
            continue
        fingerprint = value.get("fingerprint")
        if isinstance(fingerprint, str) and fingerprint:
            source = json.dumps(
                {field: value.get(field) for field in ("layout", "root", "subjects")}, default=str
            )
            yield DatasetInput(Dataset(part, fingerprint[:36], source_type="local", source=source))
        yield from _data_sets(value, part)
