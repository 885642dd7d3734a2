"""While a sweep runs, its driver sends MLflow the ends of nodes that workers could not send.

A worker sends the epochs of its own node once MLflow answers again. It does not go back to nodes that it has
ended, so the driver sends those. What is still missing when the run ends, `sync` sends.
"""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from dwp_sweep.store.open_store import open_store
from dwp_sweep.tracking.client import one_line
from dwp_sweep.tracking.write.node_run import NodeRun
from dwp_sweep.tracking.write.parent import Tracking, reopen

if TYPE_CHECKING:
    from dwp_sweep.config.node import Node

log = logging.getLogger(__name__)
SEND_EVERY_S = 120.0


class Missing(Protocol):
    """What MLflow lacks of a run.

    Attributes:
        ended: Key -> node whose end did not arrive.
        problem: What the last try met; empty: nothing.
    """

    ended: dict[str, Node]
    problem: str

    def sent(self, node: Node) -> None:
        """The end of a node has arrived."""


class CatchUp:
    """Context in which a thread sends what MLflow lacks, every few minutes.

    Args:
        tracking: From `open_tracking`; one that was offline is opened once MLflow answers, so that workers
            find the sweep there.
        storage: The storage, a folder or an URL.
        missing: Of the run.
        every_s: Time between two tries.
    """

    def __init__(
        self, tracking: Tracking, storage: str, missing: Missing, every_s: float = SEND_EVERY_S
    ) -> None:
        self._tracking, self._storage, self._missing, self._every_s = tracking, storage, missing, every_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="catch-up", daemon=True)

    def __enter__(self) -> CatchUp:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()  # at most one node's end is on its way

    def _keep(self) -> None:
        while not self._end.wait(self._every_s):
            if not self._tracking.online or self._missing.ended:
                try:
                    self._send()
                except Exception as error:  # a thread that ends by an error would never send anything more
                    self._missing.problem = one_line(error)
                    log.warning("what MLflow lacks could not be sent: %s", self._missing.problem)

    def _send(self) -> None:
        self._tracking = reopen(self._tracking)
        if not self._tracking.online:
            self._missing.problem = self._tracking.problem or ""
            return
        store = open_store(self._storage, check=False)
        for node in list(self._missing.ended.values()):
            if self._end.is_set():
                return
            record = store.record(node.stage, node.key)
            if record is not None:
                folder = store.fetch(node.stage, node.key, check=False) if record.status == "done" else None
                run = NodeRun(self._tracking, node)
                if not run.resend(record, folder):
                    self._missing.problem = run.problem or ""
                    return
            self._missing.sent(node)
        self._missing.problem = ""
