"""Names under which a sweep stands in MLflow: tags of its experiment's runs, files of its parent run.

Whoever writes runs and whoever reads them takes the names from here. They are part of what users search for
and what older runs hold: none is ever renamed.
"""

from __future__ import annotations

SWEEP_TAG = "dwp.sweep"
PARENT_TAG = "dwp.parent"
"""``true`` on the parent run of a sweep alone."""
STORAGE_TAG = "dwp.storage"
"""On the parent run: the storage that all runs of the sweep came from; `SEVERAL`: there are more."""
SEVERAL = "several"
KEY_TAG = "dwp.key"
STAGE_TAG = "dwp.stage"
INPUTS_TAG = "dwp.inputs"
"""JSON: role -> [[stage, key], ...]."""
RECORD_TAG = "dwp.record"
"""Digest of the record that the run mirrors, written last: the run is complete."""
ERROR_TAG = "dwp.error"
PRUNED_TAG = "dwp.pruned"
CONFIGURATION_TAG = "dwp.configuration"
"""Equal for runs that differ in split and seed alone, so that MLflow's pages can group them."""
OBJECTIVES_TAG = "dwp.objectives"
SHARES_TAG = "dwp.target_resources"

MLFLOW_PARENT = "mlflow.parentRunId"
NOTE_TAG = "mlflow.note.content"
"""Shown as the description of an experiment or a run."""

LABELS = ("method", "variant", "train_size", "split", "seed", "group")
"""What a node's labels may be; each stands in a tag of its own."""

SETTINGS_FILE = "sweep.json"
"""Of the parent run: the resolved search space."""
ENVIRONMENT_FILE = "environment.json"
"""Of the parent run: versions, commit and command line."""
REPORT_FOLDER = "report"
"""Of the parent run: the report's page, figures and tables."""


def label_tag(name: str) -> str:
    """The tag of a node's label.

    >>> label_tag("train_size")
    'dwp.train_size'
    """
    return f"dwp.{name}"
