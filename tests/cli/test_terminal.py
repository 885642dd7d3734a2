"""One updating line on a terminal while scans are checked; nothing elsewhere, nothing left behind."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from dwp_sweep.cli.terminal import scan_bar


def terminal() -> tuple[Console, io.StringIO]:
    shown = io.StringIO()
    # The terminal of whoever runs the tests (TERM=dumb, NO_COLOR) must not decide.
    environment = {"TERM": "xterm"}
    console = Console(file=shown, force_terminal=True, width=80, legacy_windows=False, _environ=environment)
    return console, shown


def test_there_is_no_bar_where_that_is_no_terminal() -> None:
    with scan_bar(Console(file=io.StringIO())) as checking:
        assert checking is None


def test_each_data_set_has_a_bar_that_is_gone_after_its_last_scan() -> None:
    console, shown = terminal()
    with scan_bar(console) as checking:
        assert checking is not None
        for name in ("plaques", "tumours"):
            checking(f"checking {name} /a/path/that/is/longer/than/the/line", 1, 2)
            checking(f"checking {name} /a/path/that/is/longer/than/the/line", 2, 2)
            with console.status("the display of the run"):  # rich refuses two live displays at once
                pass
    text = shown.getvalue()
    assert text.index("checking plaques /a/path") < text.index("checking tumours /a/path")
    assert "the/line" not in text
    assert "100%" in text
    assert "\x1b[?25h" in text.rpartition("\x1b[?25l")[2]  # the cursor is back


def test_a_data_set_that_ended_early_leaves_no_bar_to_the_next() -> None:
    console, shown = terminal()
    with scan_bar(console) as checking:
        assert checking is not None
        checking("checking plaques", 1, 9)
        checking("checking tumours", 2, 2)
    assert "100%" in shown.getvalue().partition("checking tumours")[2]


def test_an_error_among_the_scans_takes_the_bar_away() -> None:
    console, shown = terminal()
    with pytest.raises(KeyboardInterrupt), scan_bar(console) as checking:
        assert checking is not None
        checking("checking x", 1, 9)
        raise KeyboardInterrupt
    assert "\x1b[?25h" in shown.getvalue().rpartition("\x1b[?25l")[2]
