"""What MLflow's own pages show of a sweep: names of runs, a view of its target networks, what came from what.

Each node's output is a logged model of MLflow, each use of it an input: the pages show, for a target network,
the source networks, the kernel bank and the priors behind it, and the data set by its fingerprint.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwp_sweep.passwords import without_secrets
from dwp_sweep.tracking.mlflow_format import KEY_TAG, NOTE_TAG, public_config

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

    from dwp_sweep.config.node import Node


TARGETS_VIEW = "targets"
_VIEW_TAG = f"mlflow.sharedViewState.{TARGETS_VIEW}"
_COLUMNS = (
    "params.`method`",
    "params.`train_size`",
    "params.`split`",
    "metrics.`best_val_dice`",
    "metrics.`test_dice`",
    "metrics.`test_iou`",
    "tags.`dwp.variant`",
)


def experiment_tags(sweep: str, asked: Sequence[str] = ()) -> dict[str, str]:
    """Tags of a sweep's experiment: its kind, what it is, the view that a link of `targets_page` opens.

    The kind says that networks are trained here; MLflow's pages else guess at language models.

    Args:
        sweep: Its name.
        asked: Dotted keys that it asks about: columns of the view.
    """
    own = [f"params.`{key}`" for key in asked]
    view = {
        "searchFilter": "tags.`dwp.stage` = 'target'",
        "orderByKey": "metrics.`best_val_dice`",
        "orderByAsc": False,
        "selectedColumns": [
            *_COLUMNS[:3],
            *(column for column in own if column not in _COLUMNS),
            *_COLUMNS[3:],
        ],
    }
    note = (
        f"Sweep {sweep} of dwp_sweep: a run for each node beneath one for the sweep, which holds the report."
    )
    return {
        "mlflow.experimentKind": "custom_model_development",
        NOTE_TAG: note,
        _VIEW_TAG: json.dumps(view),
    }


def is_own_tag(sweep: str, tag: str, value: str) -> bool:
    """Whether a tag is as `experiment_tags` gives it for whatever keys: no person has changed it."""
    if tag != _VIEW_TAG:
        return False
    try:
        columns = json.loads(value)["selectedColumns"]
        keys = [name for column in columns if (name := _asked_key(column)) is not None]
        return bool(value == experiment_tags(sweep, keys)[tag])
    except (ValueError, KeyError, TypeError):
        return False


def _asked_key(column: Any) -> str | None:
    """The key of a view's column; None where all sweeps have that column."""
    match = re.fullmatch(r"params\.`(.+)`", column)
    return match[1] if match and column not in _COLUMNS else None


def targets_page(experiment_id: str) -> str:
    """What follows a server's address where it lists target networks with their settings and scores.

    >>> targets_page("1")
    '/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=targets'
    """
    return (
        f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={TARGETS_VIEW}"
    )


def run_name(node: Node) -> str:
    """A run's name: the node's title; a target's begins with what tells it apart, columns are narrow."""
    if node.stage != "target":
        return node.title
    words = node.title.removeprefix("target ")
    variant, method = node.labels.get("variant"), node.labels.get("method")
    return words.replace(f"{variant}: {method}", str(variant), 1) if variant else words


PACKAGES = (
    "torch", "ray", "mlflow", "optuna", "monai", "nibabel", "numpy", "scipy", "pandas", "pydantic",
    "safetensors",
)  # fmt: skip


def run_environment() -> dict[str, str]:
    """Name -> version; ``git_commit`` where the package lies in a checkout, ``command`` as it was typed."""
    versions = {
        "dwp-sweep": importlib.metadata.version("dwp-sweep"),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    name = Path(sys.argv[0]).name if sys.argv else ""
    command = shlex.join([name, *(without_secrets(word) for word in sys.argv[1:])])
    commit = _commit(Path(__file__).resolve().parents[2])
    return versions | ({"git_commit": commit} if commit else {}) | {"command": command}


MODEL_TYPES = {
    "source": "source_nets",
    "harvest": "kernel_bank",
    "prior": "kernel_prior",
    "target": "target_net",
}
"""Type of the logged model by stage; a further stage gets its own name."""


def log_lineage(
    client: MlflowClient,
    experiment_id: str,
    run_id: str,
    node: Node,
    shown: Callable[[Any], Any] = lambda values: values,
) -> None:
    """Name the node's output, and link what it read; a second call changes nothing.

    Args:
        client: Of MLflow.
        experiment_id: Of the sweep.
        run_id: Of the node.
        node: The node.
        shown: What of plain values may be shown.
    """
    from mlflow.entities import LoggedModelInput

    _log_output(client, experiment_id, run_id, node)
    model_ids = [_find_model(client, experiment_id, key) for _, key in node.parents]
    models = [LoggedModelInput(model_id) for model_id in model_ids if model_id]
    data = list(_data_sets(shown(public_config(node.stage, node.config))))
    if models or data:
        client.log_inputs(run_id, datasets=data, models=models)


def remove_output(client: MlflowClient, experiment_id: str, node: Node) -> None:
    """Take the name of a node's output away, with the run that it came from: the node is built again."""
    model_id = _find_model(client, experiment_id, node.key)
    if model_id is not None:
        client.delete_logged_model(model_id)


def _commit(folder: Path) -> str:
    """The commit of a checkout, with a plus sign where its files differ from it; empty where it is none."""
    if not (folder / ".git").exists():
        return ""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "--no-optional-locks", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout.strip()


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
