"""What each signal does inside the contexts, by real signals to this process and to children of it."""

from __future__ import annotations

import ctypes
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dwp_sweep.stop_signals import STOP_SIGNALS, finish_first, on_stop, rearm


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_interrupts_and_the_handler_from_before_returns(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), on_stop():
        send(number)
    assert signal.getsignal(number) == before


def test_the_signals_that_end_sessions_and_warn_of_the_end_are_covered() -> None:
    assert set(STOP_SIGNALS) == {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1}


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_an_ignored_signal_stays_ignored(number: int) -> None:
    before = signal.signal(number, signal.SIG_IGN)  # as under nohup
    try:
        with on_stop():
            send(number)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_step_is_finished_before_its_signal_counts_and_the_second_counts_at_once(number: int) -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), finish_first():
        send(number)
        steps.append("finished")
    with pytest.raises(KeyboardInterrupt), finish_first():
        send(number)
        send(number)
        steps.append("never")
    with finish_first():
        steps.append("undisturbed")
    assert steps == ["finished", "undisturbed"]


def test_another_thread_replaces_nothing() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def look() -> None:
        with on_stop(), finish_first():
            rearm()
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]


def test_handlers_that_a_library_has_replaced_below_python_return() -> None:
    c_signal = ctypes.CDLL(None).signal
    c_signal.argtypes, c_signal.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    heard = []
    with on_stop(lambda: heard.append("stop")):
        c_signal(signal.SIGTERM, 1)  # SIG_IGN; Ray puts an aborting handler there, then SIG_DFL
        send(signal.SIGTERM)
        assert heard == []
        rearm()
        send(signal.SIGTERM)
    assert heard == ["stop"]


def test_a_forked_child_ends_by_the_signal() -> None:
    with on_stop(lambda: os._exit(3)):
        child = os.fork()
        if child == 0:
            send(signal.SIGTERM)
            os._exit(4)
        _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM


CHILD = """
import os, signal, sys, time
from dwp_sweep.stop_signals import on_stop
heard = []
with on_stop(lambda: heard.append(1)):
    print("up", flush=True)
    while not heard:
        time.sleep(0.01)
    print("nobody reads this", flush=True)
    print("nor this", file=sys.stderr, flush=True)
    open(sys.argv[1], "w").write("orderly")
"""


def test_a_process_whose_terminal_is_gone_ends_orderly_although_it_prints(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", CHILD, str(tmp_path / "end")]
    child = subprocess.Popen(command, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    assert os.read(ours, 100).strip() == b"up"
    os.close(ours)  # from now on to write there is an error
    child.send_signal(signal.SIGHUP)
    assert child.wait(60) == 0 and (tmp_path / "end").read_text() == "orderly"
