"""Delivers one notice to a command and a webhook, in a process of its own that the run does not wait for.

`notifier` starts this file by its path, without the package: the standard library alone is imported. A JSON
object on standard input says what to send: ``notice``, and ``command`` (a list of words) or ``webhook`` (an
URL, which may hold a secret, so that it is no argument of a process). What goes wrong is one line on standard
error and exit code 1.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

WEBHOOK_S, COMMAND_S, LONGEST_S = 10.0, 60.0, 120
_MAX_CHARS = 200


def main() -> int:
    """Deliver the notice of standard input; returns the exit code."""
    if hasattr(signal, "alarm"):
        signal.alarm(LONGEST_S)  # a server that sends a byte now and then never times out
    order = json.load(sys.stdin)
    problems = []
    if order.get("command"):
        problems.append(run_command(order["command"], order["notice"]))
    if order.get("webhook"):
        problems.append(post(order["webhook"], order["notice"]))
    text = "; ".join(problem for problem in problems if problem)
    if text:
        with contextlib.suppress(OSError):  # the run has ended
            sys.stderr.write(text)
    return int(bool(text))


def run_command(words: Sequence[str], notice: Mapping[str, Any]) -> str:
    """Run a command that finds the notice in its variables and on its input; returns what went wrong."""
    variables = {"DWP_SWEEP_NOTICE": str(notice["event"]), "DWP_SWEEP_TEXT": str(notice["text"])}
    text = json.dumps(notice)
    try:
        done = subprocess.run(
            words, input=text, text=True, errors="replace", env=os.environ | variables, timeout=COMMAND_S,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"the command did not end within {COMMAND_S:g} s"
    except OSError as error:
        return f"the command does not start: {error.strerror}"
    if not done.returncode:
        return ""
    last = (done.stderr.strip().splitlines() or [""])[-1][:_MAX_CHARS]
    return f"the command ended with {done.returncode}{': ' if last else ''}{last}"


def post(url: str, notice: Mapping[str, Any]) -> str:
    """Send the notice as JSON; returns what went wrong, without the URL."""
    headers = {"Content-Type": "application/json", "User-Agent": "dwp-sweep"}
    request = urllib.request.Request(url, json.dumps(notice).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=WEBHOOK_S):
            return ""
    except urllib.error.HTTPError as error:
        return f"the webhook answered {error.code}"
    except TimeoutError:
        return f"the webhook did not answer within {WEBHOOK_S:g} s"
    except (OSError, ValueError) as error:  # no such host, no connection, no HTTP
        reason = getattr(error, "reason", error)
        return f"the webhook cannot be reached: {str(reason)[:_MAX_CHARS]}"


if __name__ == "__main__":
    sys.exit(main())
