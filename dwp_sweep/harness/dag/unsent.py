"""What MLflow lacks of a run while it is away: epochs of running nodes, ends of nodes that have ended.

Workers say it with their reports, the driver's thread that sends what was missed takes it away
(`tracking.write.catch_up`), and the run's heartbeat file tells other terminals.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dwp_sweep.config.node import Node

UNSENT_SINCE = "mlflow_away_since"
"""Among the metrics of a report: Unix time in ms since when MLflow lacks epochs of the node."""


@dataclass
class Unsent:
    """What MLflow lacks.

    Attributes:
        running: Key of a running node -> Unix time in ms since when its epochs are kept back.
        ended: Key -> node that has ended and whose end did not arrive.
        problem: What the driver met at its last try to send; empty: it has not tried, or nothing.
        now: Unix time in seconds.
    """

    running: dict[str, int] = field(default_factory=dict)
    ended: dict[str, Node] = field(default_factory=dict)
    problem: str = ""
    now: Callable[[], float] = time.time

    def reported(self, node: Node, since_ms: int) -> bool:
        """A worker has reported; returns whether it is the first one to lack MLflow.

        Args:
            node: At which it works.
            since_ms: Since when MLflow lacks epochs of it; 0: it has all.
        """
        is_first = bool(since_ms) and not self.running and not self.ended
        if since_ms:
            self.running[node.key] = since_ms
        else:
            self.running.pop(node.key, None)
        return is_first

    def closed(self, node: Node, is_unsent: bool) -> None:
        """A node has ended; MLflow may lack its end."""
        self.running.pop(node.key, None)
        if is_unsent:
            self.ended[node.key] = node

    def sent(self, node: Node) -> None:
        """The end of a node has arrived."""
        self.ended.pop(node.key, None)

    def text(self) -> str:
        """What MLflow lacks, in words; empty: nothing."""
        running, n_ended = list(self.running.values()), len(self.ended)
        if not running and not n_ended:
            return ""
        since = f" for {max(0.0, self.now() - min(running) / 1000) / 60:.0f} min" if running else ""
        parts = [f"epochs of {_counted(len(running), 'running node')}"] if running else []
        parts += [f"the ends of {_counted(n_ended, 'node')}"] if n_ended else []
        reason = f" ({self.problem})" if self.problem else ""
        return f"MLflow lacks {' and '.join(parts)}{since}{reason}; they are kept, and sent once it answers"


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
