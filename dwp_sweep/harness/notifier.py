"""Tells people by a command or a webhook that a run has ended, that a node failed, that one stalled.

The run never waits: each notice is delivered by a process of its own (`notice_sender`), which outlives the
run. `Notifier.event` follows the events of the ledger, so that whatever reports a failure or a stall there is
told. Many failures become few notices.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dwp_sweep.errors import InputError, Problem, visible
from dwp_sweep.harness.dag.ledger import Event
from dwp_sweep.passwords import without_secrets

NOTICES = ("end", "failure", "stall")
_EVERY_S = 60.0
"""Failures in this time after a notice become one notice."""
_ABOUT = {"failed": "failure", "stalled": "stall"}
_SENDER = Path(__file__).with_name("notice_sender.py")
_MAX_CHARS = 1_000


@dataclass(frozen=True)
class Notify:
    """Who is told, and of what.

    Attributes:
        command: Program and arguments, without a shell; it finds the notice in ``DWP_SWEEP_TEXT``, and as
            JSON on its standard input. Empty: none.
        webhook: URL that gets the notice as JSON, its sentence under ``text``. Empty: none.
        about: Of what: ``end``, ``failure``, ``stall``.

    Raises:
        InputError: No such program, no such event, or no http address.
    """

    command: str = ""
    webhook: str = field(default="", repr=False)
    about: tuple[str, ...] = NOTICES

    def __post_init__(self) -> None:
        if problems := [*_command_problems(self.command), *_webhook_problems(self.webhook)]:
            raise InputError(problems)
        if unknown := [word for word in self.about if word not in NOTICES]:
            what = f"there is no event {', '.join(map(repr, unknown))}"
            raise InputError(Problem("--notify-on", what, f"name some of {', '.join(NOTICES)}"))

    @property
    def is_empty(self) -> bool:
        """Whether nobody is told anything."""
        return not (self.command or self.webhook)


@dataclass
class Notifier:
    """The notices of one run.

    Args:
        options: Who is told, and of what.
        sweep: Name of the sweep.
        every_s: Least time between two notices of failures, and of stalls.
        now: A monotonic clock in seconds.
    """

    options: Notify
    sweep: str
    every_s: float = _EVERY_S
    now: Callable[[], float] = time.monotonic
    _held: dict[str, list[str]] = field(default_factory=dict)
    _told_s: dict[str, float] = field(default_factory=dict)
    _senders: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _known_problem: str = ""

    def event(self, event: Event) -> None:
        """Tell of an event of the ledger, if it is a failure or a stall."""
        about = _ABOUT.get(event.kind)
        if about is not None and event.node is not None and self._wants(about):
            self._held.setdefault(about, []).append(f"{event.node.title}: {event.text}")
            self._send_due()

    def ended(self, text: str, **facts: Any) -> None:
        """Tell how the run ended, and what is not told yet."""
        self._send_due(at_once=True)
        if self._wants("end"):
            self._send("end", text, facts)

    @contextlib.contextmanager
    def until_the_end(self) -> Iterator[None]:
        """Context that tells of an end by an error or a signal; any other end is told by `ended`."""
        try:
            yield
        except KeyboardInterrupt:
            self.ended("interrupted; the same command goes on from here", exit_code=130)
            raise
        except Exception as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self.ended(f"ended by an error: {first}", exit_code=2 if isinstance(error, InputError) else 1)
            raise

    def look(self) -> str:
        """Send what is due; returns what went wrong with a delivery, once, in one line."""
        self._send_due()
        for sender in [one for one in self._senders if one.poll() is not None]:
            self._senders.remove(sender)
            said = sender.stderr.read().decode(errors="replace") if sender.stderr is not None else ""
            problem = said.strip() if sender.returncode else ""
            is_new, self._known_problem = problem != self._known_problem, problem
            if problem and is_new:
                return f"a notice was not delivered: {without_secrets(problem)}"
        return ""

    def _wants(self, about: str) -> bool:
        return not self.options.is_empty and about in self.options.about

    def _send_due(self, at_once: bool = False) -> None:
        for about, texts in list(self._held.items()):
            waited_s = self.now() - self._told_s.get(about, float("-inf"))
            if at_once or waited_s >= self.every_s:
                more = f" (and {len(texts) - 1} more)" if len(texts) > 1 else ""
                self._send(about, f"{about}: {texts[0]}{more}", {"n": len(texts)})
                self._told_s[about] = self.now()
                del self._held[about]

    def _send(self, about: str, text: str, facts: dict[str, Any]) -> None:
        shown = visible(without_secrets(f"{self.sweep}: {text}"), one_line=True)[:_MAX_CHARS]
        notice = {"event": about, "sweep": self.sweep, "host": socket.gethostname(), "text": shown, **facts}
        order = {
            "notice": notice,
            "command": shlex.split(self.options.command),
            "webhook": self.options.webhook,
        }
        # A machine that cannot start a process has worse problems: the run goes on.
        with contextlib.suppress(OSError):
            sender = subprocess.Popen(
                [sys.executable, "-I", str(_SENDER)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
            self._senders.append(sender)
            assert sender.stdin is not None
            with sender.stdin:
                sender.stdin.write(json.dumps(order, default=str).encode())


def _command_problems(command: str) -> list[Problem]:
    if not command:
        return []
    try:
        words = shlex.split(command)
    except ValueError as error:
        return [Problem(f"--notify-command {command}", f"cannot be read: {error}", "close the quotes")]
    if not words or shutil.which(words[0]) is None:
        what = f"there is no program {words[0]!r} here" if words else "it is empty"
        fix = "give a program and its arguments; for a line of a shell: sh -c 'LINE'"
        return [Problem(f"--notify-command {command}", what, fix)]
    return []


def _webhook_problems(url: str) -> list[Problem]:
    if not url:
        return []
    fix = "give an address like https://HOST/PATH"  # the address itself may be a secret
    try:
        parts = urlsplit(url)
        is_fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_fine = False
    if not is_fine or any(not " " < char <= "~" for char in url):
        return [Problem("--notify-webhook", "is no http or https address", fix)]
    return []
