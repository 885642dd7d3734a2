"""Metrics epoch by epoch of single runs, as MLflow keeps them.

Used for learning curves. A run that lacks a metric has an empty curve.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dwp_sweep.tracking.client import KEY_TAG
from dwp_sweep.tracking.runs import open_reader, sweep_runs

Curve = tuple[tuple[int, float], ...]
"""(epoch, value), epochs rising."""


class HistoryReader:
    """Reads curves of one run after another through one client.

    Args:
        tracking_uri: As for `tracking.results`.
    """

    def __init__(self, tracking_uri: str | None) -> None:
        self._client, _ = open_reader(tracking_uri)

    def curve(self, run_id: str, names: Sequence[str]) -> Curve:
        """The first of some metrics that a run has.

        Args:
            run_id: MLflow run id; empty gives an empty curve.
            names: In order of preference.
        """
        if not run_id:
            return ()
        for name in names:
            try:
                points = self._client.get_metric_history(run_id, name)
            except Exception:  # a run that is gone has no curve; the report says which are shown
                return ()
            if points:
                # A continued node may have sent an epoch twice: the later one counts.
                by_step = {
                    int(one.step): float(one.value) for one in sorted(points, key=lambda p: p.timestamp)
                }
                return tuple(sorted(by_step.items()))
        return ()


def told_points(
    tracking_uri: str | None, sweep: str, names: Sequence[str]
) -> Iterator[tuple[str, str, Mapping[str, list[tuple[int, float]]]]]:
    """Every point that MLflow holds of some metrics, doubles included, run by run.

    Args:
        tracking_uri: As for `tracking.results`.
        sweep: Name of the sweep.
        names: Of the metrics.

    Yields:
        (key of the node, status of its run, metric -> (step, value) in no order).

    Raises:
        InputError: No such sweep, or MLflow does not answer.
    """
    client, uri = open_reader(tracking_uri)
    for run in sweep_runs(client, uri, sweep):
        points = {
            name: [
                (int(one.step), float(one.value)) for one in client.get_metric_history(run.info.run_id, name)
            ]
            for name in names
        }
        yield run.data.tags.get(KEY_TAG, ""), str(run.info.status), points
