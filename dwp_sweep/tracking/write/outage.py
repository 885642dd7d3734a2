"""Whether MLflow answers, as one process knows it: when it went away, why, and when it is asked again.

All nodes of a process share what one of them has met, so that the next node does not wait for the same
silence. A request that fails costs training time: after one that took long, MLflow is left alone for ten
times as long.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

_FIRST_PAUSE_S = 15.0
_LONGEST_PAUSE_S = 120.0
_SHARE = 10.0
"""The pause is at least so many times as long as the request that failed: training waits a tenth at most."""


@dataclass
class Outage:
    """MLflow has not answered since some time.

    Attributes:
        since_ms: Unix time of the first failure.
        problem: What the last request met, in one line.
        pause_s: How long MLflow is left alone after the last failure.
        retry_s: When it is asked again, by the monotonic clock.
    """

    since_ms: int
    problem: str
    pause_s: float = 0.0
    retry_s: float = 0.0


_outages: dict[str, Outage] = {}
"""By tracking URI, of this process."""
_answered: set[str] = set()


def outage_of(uri: str) -> Outage | None:
    """The present outage; None while MLflow answers."""
    return _outages.get(uri)


def may_ask(uri: str) -> bool:
    """Whether a request may be tried now."""
    outage = _outages.get(uri)
    return outage is None or time.monotonic() >= outage.retry_s


def was_away(uri: str, since_ms: int, problem: str) -> None:
    """Take over what another process has met, unless MLflow has answered to this one."""
    if uri not in _answered and uri not in _outages:
        _outages[uri] = _later(Outage(since_ms, problem), 0.0)


def failed(uri: str, problem: str, took_s: float) -> bool:
    """A request has failed; returns whether it is the first one of an outage.

    Args:
        uri: MLflow's.
        problem: What it met, in one line.
        took_s: How long the request took.
    """
    known = _outages.get(uri)
    outage = known or Outage(time.time_ns() // 1_000_000, problem)
    outage.problem = problem
    _outages[uri] = _later(outage, took_s)
    return known is None


def answered(uri: str) -> None:
    """A request has succeeded: the outage is over."""
    _outages.pop(uri, None)
    _answered.add(uri)


def _later(outage: Outage, took_s: float) -> Outage:
    pause_s = min(2 * outage.pause_s or _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
    outage.pause_s = max(pause_s, _SHARE * took_s)
    outage.retry_s = time.monotonic() + outage.pause_s
    return outage
