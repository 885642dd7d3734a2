"""What a run makes of failures: which node is tried again, which host is avoided, when the run ends by them.

Four rules on one account of what failed where. The account holds no nodes' states (`Board`) and reads no
storage; executors report to it through `Dispatch`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from dwp_sweep.config.sections import LOST_RETRIES, FailuresConfig

FailureKind = Literal["preempted", "lost", "memory", "gpu_memory", "no_gpu", "stalled", "error"]

WORDS: Mapping[str, str] = {
    "preempted": "preempted",
    "lost": "worker lost",
    "memory": "out of memory",
    "gpu_memory": "GPU out of memory",
    "no_gpu": "GPU not usable",
    "stalled": "stalled",
    "error": "error in the node",
}
"""Kind of failure -> for people."""

IN_A_ROW_OF_A_SEARCH = 10


class Place(NamedTuple):
    """A machine that computed something.

    Attributes:
        machine: Ray's name of it; empty: this process, or unknown.
        host: For people; empty: unknown.
    """

    machine: str = ""
    host: str = ""


@dataclass(frozen=True)
class HostFailures:
    """Failures of one host.

    Attributes:
        host: Its name; empty: unknown.
        counts: Kind -> number, retried ones included.
        is_avoided: Whether the run gives it no further node.
    """

    host: str
    counts: Mapping[FailureKind, int]
    is_avoided: bool = False

    @property
    def text(self) -> str:
        """``node7: 3 x out of memory, 1 x error in the node (avoided)``."""
        counts = ", ".join(f"{n} x {WORDS.get(kind, kind)}" for kind, n in self.counts.items())
        return f"{self.host or 'unknown host'}: {counts}{' (avoided)' if self.is_avoided else ''}"


@dataclass
class FailureAccount:
    """The failures of one run.

    Args:
        config: What is made of them.
        is_search: Whether the run is a search, which ends by itself after some failures in a row.

    Attributes:
        n_failed: Nodes that failed for good.
    """

    config: FailuresConfig = field(default_factory=FailuresConfig)
    is_search: bool = False
    n_failed: int = 0
    _attempts: Counter[tuple[str, FailureKind]] = field(default_factory=Counter)
    _epoch_of_loss: dict[str, int] = field(default_factory=dict)
    _in_a_row: Counter[str] = field(default_factory=Counter)
    _by_place: dict[Place, Counter[FailureKind]] = field(default_factory=dict)
    _since_success: dict[Place, Counter[FailureKind]] = field(default_factory=dict)

    def may_retry(self, key: str, kind: FailureKind, epoch: int = 0) -> bool:
        """Count a failed attempt at a node; whether the node is tried again.

        Args:
            key: Of the node.
            kind: What ended the attempt.
            epoch: Epochs that it had done; a loss after further epochs starts a new row of losses.
        """
        if kind == "preempted":
            return True
        if kind == "lost" and epoch > self._epoch_of_loss.get(key, 0):
            self._attempts[key, kind] = 0
            self._epoch_of_loss[key] = epoch
        self._attempts[key, kind] += 1
        allowed: int | None = getattr(self.config.retries, kind)
        return self._attempts[key, kind] <= (LOST_RETRIES if allowed is None else allowed)

    def attempt_failed(self, kind: FailureKind, place: Place) -> bool:
        """Note where an attempt failed; whether this host has just failed too often in the same way."""
        if kind == "preempted":
            return False
        for counts in (self._by_place, self._since_success):
            counts.setdefault(place, Counter())[kind] += 1
        return bool(place.machine) and self._since_success[place][kind] == self.config.per_host

    def failed(self, stage: str) -> str:
        """A node of a stage failed for good; why the run ends by it, in words, else empty."""
        self.n_failed += 1
        self._in_a_row[stage] += 1
        in_a_row = self.config.in_a_row or (IN_A_ROW_OF_A_SEARCH if self.is_search else None)
        if self.config.max_failed is not None and self.n_failed >= self.config.max_failed:
            return f"failures.max_failed = {self.config.max_failed} is reached"
        if in_a_row is not None and self._in_a_row[stage] >= in_a_row:
            return f"{in_a_row} nodes of stage {stage} failed in a row (failures.in_a_row = {in_a_row})"
        return ""

    def succeeded(self, stage: str, place: Place) -> None:
        """A node of a stage was built."""
        self._in_a_row[stage] = 0
        self._since_success.pop(place, None)

    @property
    def has_bad_places(self) -> bool:
        """Whether there is any machine to avoid."""
        return any(map(self._is_bad, self._since_success))

    def avoided(self, alive: Collection[str]) -> tuple[str, ...]:
        """Machines that get no further node: none where that would leave no machine at all.

        Args:
            alive: Machines that are there, by Ray's names.
        """
        bad = {place.machine for place in self._since_success if self._is_bad(place)} & set(alive)
        return tuple(sorted(bad)) if len(bad) < len(set(alive)) else ()

    def by_host(self) -> list[HostFailures]:
        """Failures of each host, the one with the most first."""
        hosts: dict[str, Counter[FailureKind]] = {}
        for place, counts in self._by_place.items():
            hosts.setdefault(place.host, Counter()).update(counts)
        bad = {place.host for place in self._since_success if self._is_bad(place)}
        several = len({place.host for place in self._by_place}) > 1
        return host_rows(hosts, bad if several else frozenset())

    def entries(self) -> list[dict[str, Any]]:
        """`by_host` as other terminals read it."""
        return [
            {"host": row.host, "counts": dict(row.counts), "is_avoided": row.is_avoided}
            for row in self.by_host()
        ]

    def _is_bad(self, place: Place) -> bool:
        limit, counts = self.config.per_host, self._since_success[place]
        return limit is not None and bool(place.machine) and any(n >= limit for n in counts.values())


def host_rows(
    hosts: Mapping[str, Mapping[FailureKind, int]], avoided: Collection[str] = frozenset()
) -> list[HostFailures]:
    """Failures by host, the host with the most first.

    Args:
        hosts: Counts by kind of each host; `asdict` spoils a Counter, so the rows hold plain mappings.
        avoided: Hosts that the run gives no further node.
    """
    rows = [HostFailures(host, dict(counts), host in avoided) for host, counts in hosts.items()]
    return sorted(rows, key=lambda row: -sum(row.counts.values()))


def kind_of(name: str) -> FailureKind:
    """A kind by its name in a record; an error where a record of an earlier version has none."""
    return next((kind for kind in get_args(FailureKind) if kind == name), "error")
