"""How a sweep is run: what the caller of a run chooses, checked before anything starts."""

from __future__ import annotations

from dataclasses import dataclass

from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.harness.stopping import DEFAULT_WAIT_S


@dataclass(frozen=True)
class RunOptions:
    """How a sweep is run.

    Attributes:
        address: Of an existing Ray cluster; None: see `ray_session`.
        retry_failed: Whether nodes that failed in an earlier run are tried again.
        max_concurrent: Upper bound on nodes at once; None: as the resources allow.
        wait_s: How long a cluster that grows may take to bring a machine, while nothing else can run.
        wait_for_driver: Of a search: wait until the driver that runs it has ended, then take it over.
        here: Compute all nodes in this process, one after the other, without Ray.

    Raises:
        InputError: A cluster is named beside this process.
    """

    address: str | None = None
    retry_failed: bool = True
    max_concurrent: int | None = None
    wait_s: float = DEFAULT_WAIT_S
    here: bool = False
    wait_for_driver: bool = False

    def __post_init__(self) -> None:
        if self.here and self.address:
            what = f"computes all nodes in this process, and --address {self.address} names a cluster"
            raise InputError(Problem("--here", what, "leave one of the two out"))

    def require_executor(self) -> None:
        """Make sure that what computes the nodes can start on this machine.

        Raises:
            InputError: A local Ray cannot.
        """
        if not self.here:
            from dwp_sweep.harness.cluster.ray_session import require_short_sockets

            require_short_sockets(self.address)

    def require_possible(self, sweep: Sweep) -> None:
        """Make sure that a sweep can be run so: a search in one process gives no configuration up early.

        Raises:
            InputError: It does, by a rule that is Ray Tune's.
        """
        kind = sweep.search.scheduler.kind if sweep.search is not None else "none"
        if self.here and kind != "none":
            what = f"scheduler.kind = {kind} is a rule of Ray Tune's, and --here starts no Ray"
            fix = "leave --here out, or try every configuration to its end: --set scheduler.kind=none"
            raise InputError(Problem("--here", what, fix))
