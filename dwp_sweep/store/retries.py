"""Requests to a server that may be away for a while: sent again until it answers, or the patience ends.

Around every method of `remote.Bucket` that travels. Knows neither the client nor what was asked.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

from dwp_sweep.errors import Problem, StorageError

OUTAGE_S = 120.0
"""How long a server may be away before what was asked of it fails."""
_LONGEST_PAUSE_S = 5.0


class Server(Protocol):
    """Who asks a server, and can say what went wrong."""

    def is_of_client(self, error: Exception) -> bool:
        """Whether the client of the server raised an error, rather than the disk, say."""

    def may_pass(self, error: Exception) -> bool:
        """Whether the same request may succeed a while later."""

    def problem(self, error: Exception) -> Problem:
        """What an error means, for people."""


SelfT = TypeVar("SelfT", bound=Server)
ArgumentsT = ParamSpec("ArgumentsT")
ResultT = TypeVar("ResultT")

_is_brief: ContextVar[bool] = ContextVar("_is_brief", default=False)


@contextlib.contextmanager
def brief() -> Iterator[None]:
    """Context in which an outage is told at once: for what is asked again soon, and is not worth a wait."""
    token = _is_brief.set(True)
    try:
        yield
    finally:
        _is_brief.reset(token)


def with_retries(
    method: Callable[Concatenate[SelfT, ArgumentsT], ResultT],
) -> Callable[Concatenate[SelfT, ArgumentsT], ResultT]:
    """Let a method that asks a server outlive an outage; what does not pass is told as `StorageError`."""

    @functools.wraps(method)
    def called(self: SelfT, *args: ArgumentsT.args, **kwargs: ArgumentsT.kwargs) -> ResultT:
        begun_s, pause_s = time.monotonic(), 0.25
        while True:
            try:
                return method(self, *args, **kwargs)
            except Exception as error:
                if not self.is_of_client(error):  # what the disk raised stays as it is
                    raise
                is_over = _is_brief.get() or time.monotonic() - begun_s + pause_s > OUTAGE_S
                if is_over or not self.may_pass(error):
                    raise StorageError(str(self.problem(error))) from error
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    return cast(Callable[Concatenate[SelfT, ArgumentsT], ResultT], called)
