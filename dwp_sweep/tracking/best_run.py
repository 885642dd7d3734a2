"""The one run of the best configuration whose network is the best by validation.

Between `answers`, which compares configurations, and whoever needs one network of it.
"""

from __future__ import annotations

from dwp_sweep.tracking.answers import Best
from dwp_sweep.tracking.client import mlflow_client
from dwp_sweep.tracking.rows import NodeRow, row_of_run
from dwp_sweep.tracking.selection import lower_is_better


def best_run(best: Best, uri: str) -> NodeRow:
    """Of the best configuration's runs the one with the best validation score; the first of equal ones.

    Args:
        best: From `best_config`.
        uri: MLflow's tracking URI, password included.
    """
    client = mlflow_client(uri)
    rows = [row_of_run(client.get_run(run_id)) for run_id in best.run_ids]
    sign = -1.0 if lower_is_better(best.metric) else 1.0
    return max(rows, key=lambda row: sign * (row.metric(best.metric) or 0.0))
