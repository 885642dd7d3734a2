"""What every public function takes: where nodes lie by default, and whom to tell."""

from __future__ import annotations

from collections.abc import Callable

DEFAULT_STORAGE = "./dwp_runs"
Say = Callable[[str], None]
"""Receives remarks for people."""
Checking = Callable[[str, int, int], None]
"""Receives (what, done, total) while scans are checked or predicted."""


def silent(_: str) -> None:
    """Tell nobody."""
