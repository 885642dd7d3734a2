"""What MLflow's own pages show of a sweep: names of runs, a saved view of its target networks, a description.

Beside `client`, `node_run` and `sync`, which write them.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dwp_sweep.passwords import without_secrets
from dwp_sweep.tracking.mlflow_format import NOTE_TAG

if TYPE_CHECKING:
    from dwp_sweep.config.node import Node


TARGETS_VIEW = "targets"
_COLUMNS = (
    "params.`method`",
    "params.`train_size`",
    "params.`split`",
    "metrics.`best_val_dice`",
    "metrics.`test_dice`",
    "metrics.`test_iou`",
    "tags.`dwp.variant`",
)


def experiment_tags(sweep: str) -> dict[str, str]:
    """Tags of a sweep's experiment: its kind, what it is, the view that a link of `targets_page` opens.

    The kind says that networks are trained here; MLflow's pages else guess at language models.
    """
    view = {
        "searchFilter": "tags.`dwp.stage` = 'target'",
        "orderByKey": "metrics.`best_val_dice`",
        "orderByAsc": False,
        "selectedColumns": list(_COLUMNS),
    }
    note = (
        f"Sweep {sweep} of dwp_sweep: a run for each node beneath one for the sweep, which holds the report."
    )
    return {
        "mlflow.experimentKind": "custom_model_development",
        NOTE_TAG: note,
        f"mlflow.sharedViewState.{TARGETS_VIEW}": json.dumps(view),
    }


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
