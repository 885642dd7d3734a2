"""Signals that ask this process to stop.

SIGINT (Ctrl-C), SIGTERM (batch systems), SIGHUP (lost terminal), SIGUSR1 (a batch system's warning before it
takes the machine, as Slurm's ``--signal=USR1@120``).

Outside a run each raises KeyboardInterrupt, which closes what is open; a run lets its nodes leave at their
checkpoints (`harness.stopping`). Ray replaces handlers below Python; `rearm` puts them back.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)
_STDOUT, _STDERR = 1, 2


def interrupt() -> None:
    """Raise KeyboardInterrupt, whichever signal it was."""
    raise KeyboardInterrupt


@contextlib.contextmanager
def on_stop(act: Callable[[], None] = interrupt) -> Iterator[None]:
    """Call a function at each signal that asks to stop, for the time of the context.

    Signals reach the main thread only: in another thread nothing is replaced. A signal that is ignored stays
    so (``nohup``, a job in the background of a script). When the terminal is lost, what would be printed
    there is dropped.

    Args:
        act: Called in the main thread, between two lines of whatever runs there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Looked up now: a terminal that is lost is no terminal any more.
    terminals = [output for output in (_STDOUT, _STDERR) if os.isatty(output)]
    owner = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked child ends as if there were no handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if number == getattr(signal, "SIGHUP", None):
            _drop_output(terminals)
        act()

    before = {
        number: signal.signal(number, handle)
        for number in STOP_SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def finish_first() -> Iterator[None]:
    """Let a signal wait for the end of the context, which then raises KeyboardInterrupt.

    For steps that leave something open when they are interrupted. A second signal raises at once.
    """
    n_signals = 0

    def act() -> None:
        nonlocal n_signals
        n_signals += 1
        if n_signals > 1:
            raise KeyboardInterrupt

    with on_stop(act):
        yield
    if n_signals:
        raise KeyboardInterrupt


def rearm() -> None:
    """Install Python's handlers once more, where a library has replaced them below Python."""
    if threading.current_thread() is threading.main_thread():
        for number in STOP_SIGNALS:
            handler = signal.getsignal(number)
            if handler is not None:
                signal.signal(number, handler)


def _drop_output(outputs: list[int]) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    for output in outputs:
        os.dup2(nothing, output)
    os.close(nothing)
