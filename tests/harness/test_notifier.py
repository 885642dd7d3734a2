"""A real server and a real command get the notices of a run, which never waits for them."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.cli import main
from dwp_sweep.errors import InputError
from dwp_sweep.harness.dag.ledger import Event
from dwp_sweep.harness.notifier import Notifier, Notify
from dwp_sweep.harness.options import RunOptions
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.passwords import without_secrets
from dwp_sweep.store.local.store import LocalStore
from tests.harness.test_run import Witness
from tests.harness.toy_stages import STAGES, toy_node, toy_sweep

NODE, OTHER = toy_node("target", "one"), toy_node("target", "two")


@dataclass
class Webhook:
    """A server that takes notices; it answers with `code`, once it `may_answer`."""

    code: int = 200
    got: list[dict[str, Any]] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def wait_for(self, n: int) -> list[dict[str, Any]]:
        wait_for(lambda: len(self.got) >= n)
        return self.got


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    hook.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hook.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            hook.may_answer.wait()
            self.send_response(hook.code)
            self.end_headers()

        def log_message(self, *words: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hook.url = f"http://127.0.0.1:{server.server_port}/services/a-secret-path"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield hook
    hook.may_answer.set()
    server.shutdown()
    server.server_close()


def wait_for(is_so: Callable[[], object], patience_s: float = 60.0) -> None:
    until_s = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def problem_of(notifier: Notifier) -> str:
    """What the deliveries met, once they have ended."""
    found: list[str] = []
    wait_for(lambda: found.append(notifier.look()) or found[-1])  # type: ignore[func-returns-value]
    return found[-1]


def test_a_failure_and_the_end_are_posted_and_given_to_the_command(webhook: Webhook, tmp_path: Path) -> None:
    heard = tmp_path / "heard.txt"
    script = tmp_path / "hear.py"
    script.write_text(
        "import os, sys\n"
        f"open({str(heard)!r}, 'a').write(os.environ['DWP_SWEEP_NOTICE'] + ' ' + "
        "os.environ['DWP_SWEEP_TEXT'] + ' ' + sys.stdin.read() + '\\n')"
    )
    bad = toy_node("target", "bad", behaviour="diverges")
    notifier = Notifier(Notify(f"{sys.executable} {script}", webhook.url), "toy")
    outcome = run_sweep(
        toy_sweep(bad, NODE), LocalStore(tmp_path / "storage"), options=RunOptions(here=True),
        progress=Witness(), stages=STAGES, notifier=notifier,
    )  # fmt: skip
    notifier.ended("ended with failures", exit_code=outcome.exit_code)
    by_event = {notice["event"]: notice for notice in webhook.wait_for(2)}
    failure = f"toy: failure: {bad.title}: the loss became nan in step 7; the last finite step was 6"
    assert by_event["failure"]["text"] == failure and by_event["failure"]["n"] == 1
    assert by_event["end"]["text"] == "toy: ended with failures" and by_event["end"]["exit_code"] == 1
    assert by_event["end"]["sweep"] == "toy"
    wait_for(lambda: heard.exists() and len(heard.read_text().splitlines()) == 2)
    lines = sorted(heard.read_text().splitlines())
    assert lines[0].startswith("end toy: ended with failures {")
    assert json.loads(lines[1].removeprefix(f"failure {failure} ")) == by_event["failure"]


def test_a_webhook_that_hangs_is_not_waited_for(webhook: Webhook, tmp_path: Path) -> None:
    webhook.may_answer.clear()
    bad = toy_node("target", "bad", behaviour="diverges")
    notifier = Notifier(Notify(webhook=webhook.url), "toy")
    outcome = run_sweep(
        toy_sweep(bad, NODE), LocalStore(tmp_path), options=RunOptions(here=True),
        progress=Witness(), stages=STAGES, notifier=notifier,
    )  # fmt: skip
    notifier.ended("over", exit_code=1)
    assert outcome.counts["done"] == 1 and not webhook.may_answer.is_set()
    webhook.wait_for(2)  # both are on their way, side by side


def test_a_webhook_that_answers_500_is_told_once_without_its_address(webhook: Webhook) -> None:
    webhook.code = 500
    notifier = Notifier(Notify(webhook=webhook.url), "toy", every_s=0.0)
    notifier.event(Event("failed", NODE, "bad"))
    assert problem_of(notifier) == "a notice was not delivered: the webhook answered 500"
    notifier.event(Event("failed", OTHER, "bad"))
    webhook.wait_for(2)
    wait_for(lambda: not notifier.look() and not notifier._senders)
    webhook.code = 200
    notifier.event(Event("failed", OTHER, "bad"))
    wait_for(lambda: not notifier.look() and not notifier._senders)
    webhook.code = 404
    notifier.event(Event("failed", OTHER, "bad"))
    assert problem_of(notifier) == "a notice was not delivered: the webhook answered 404"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            Notify(webhook="http://127.0.0.1:9/x"),
            "the webhook cannot be reached: [Errno 111] Connection refused",
        ),
        (Notify("sh -c 'echo broken >&2; exit 3'"), "the command ended with 3: broken"),
    ],
)
def test_what_cannot_be_delivered_is_a_remark(options: Notify, problem: str) -> None:
    notifier = Notifier(options, "toy")
    notifier.event(Event("stalled", NODE, "no epoch for 2 h"))
    assert problem_of(notifier) == f"a notice was not delivered: {problem}"


def test_failures_within_a_minute_become_one_notice(webhook: Webhook) -> None:
    now = [0.0]
    notifier = Notifier(Notify(webhook=webhook.url), "toy", now=lambda: now[0])
    for node in (NODE, OTHER, NODE, OTHER):
        notifier.event(Event("failed", node, "bad"))
    assert [notice["n"] for notice in webhook.wait_for(1)] == [1]
    now[0] = 60.0
    notifier.look()
    assert webhook.wait_for(2)[1]["text"] == f"toy: failure: {OTHER.title}: bad (and 2 more)"
    notifier.event(Event("failed", NODE, "bad"))
    notifier.ended("over")
    assert sorted(notice["event"] for notice in webhook.wait_for(4)) == [
        "end",
        "failure",
        "failure",
        "failure",
    ]


def test_only_events_that_were_asked_for_are_told(webhook: Webhook) -> None:
    notifier = Notifier(Notify(webhook=webhook.url, about=("stall",)), "toy")
    notifier.event(Event("failed", NODE, "bad"))
    notifier.event(Event("done", NODE))
    notifier.event(Event("stalled", NODE, "no epoch for 2 h"))
    notifier.ended("over")
    assert [notice["text"] for notice in webhook.wait_for(1)] == [
        f"toy: stall: {NODE.title}: no epoch for 2 h"
    ]


@pytest.mark.parametrize(
    ("error", "text", "code"),
    [
        (KeyboardInterrupt(), "toy: interrupted; the same command goes on from here", 130),
        (ValueError("a bug\nsecond line"), "toy: ended by an error: a bug", 1),
    ],
)
def test_an_end_by_an_error_is_told_too(webhook: Webhook, error: BaseException, text: str, code: int) -> None:
    notifier = Notifier(Notify(webhook=webhook.url), "toy")
    with pytest.raises(type(error)), notifier.until_the_end():
        raise error
    assert [(notice["text"], notice["exit_code"]) for notice in webhook.wait_for(1)] == [(text, code)]


def test_everything_wrong_is_reported_at_once_and_no_address_is_shown() -> None:
    with pytest.raises(InputError) as refused:
        Notify("no-such-program --x", "htps://hooks.example/secret")
    shown = str(refused.value)
    assert "--notify-command no-such-program --x: there is no program 'no-such-program' here" in shown
    assert "--notify-webhook: is no http or https address" in shown and "secret" not in shown


@pytest.mark.parametrize(
    "url", ["x", "http://", "http://[::1", "http://a b", "http://a:99999/", "file:///etc"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="--notify-webhook"):
        Notify(webhook=url)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--notify-command", "'x"], "cannot be read: No closing quotation"),
        (["--notify-webhook", "ftp://h/x"], "is no http or https address"),
        (["--notify-on", "end,begin"], "there is no event 'begin'"),
    ],
)
def test_the_command_refuses_them_before_anything_starts(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    monkeypatch.setenv("DWP_SWEEP_NOTIFY_WEBHOOK", "")
    storage = tmp_path / "storage"
    done = CliRunner().invoke(main, ["demo", "--storage", str(storage), *words])
    assert done.exit_code == 2 and message in done.output, done.output
    assert not storage.exists()


def test_an_address_given_on_the_command_line_is_a_secret_from_then_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from click.testing import CliRunner

    monkeypatch.setenv("DWP_SWEEP_NOTIFY_WEBHOOK", "")
    url = "https://hooks.example/services/T0/B0/abcdef"
    CliRunner().invoke(main, ["run", "no-such-file.yaml", "--notify-webhook", url])
    assert without_secrets(f"dwp-sweep run --notify-webhook {url}") == "dwp-sweep run --notify-webhook ***"
