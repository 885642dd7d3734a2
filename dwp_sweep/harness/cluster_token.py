"""The token that proves to a Ray cluster that we may: where it comes from, and how it is shown (never).

The same places and the same order as for Ray's own commands. Knows no cluster.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from dwp_sweep.errors import InputError, Problem


@dataclass(frozen=True)
class Token:
    """What proves to the cluster that we may.

    Attributes:
        value: Never shown.
        source: Where it comes from, for messages.
    """

    value: str = field(repr=False)
    source: str

    @property
    def headers(self) -> dict[str, str]:
        """Of each request."""
        return {"Authorization": f"Bearer {self.value}"}

    def refused(self, where: str) -> InputError:
        """The error of a cluster that does not take it."""
        fix = "use the token that the head was started with"
        return InputError(Problem(where, f"the cluster refuses the token of {self.source}", fix))


def cluster_token(where: str) -> Token:
    """The token of ``RAY_AUTH_TOKEN``, of the file ``RAY_AUTH_TOKEN_PATH``, or of ``~/.ray/auth_token``.

    Args:
        where: What the user gave the cluster's address as.

    Raises:
        InputError: There is none.
    """
    if value := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return Token(value, "RAY_AUTH_TOKEN")
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(given) if given else Path.home() / ".ray" / "auth_token"
    source = f"RAY_AUTH_TOKEN_PATH={given}" if given else str(path)
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        value = ""
    if not value:
        what = "the cluster asks for a token" + (f", and {source} holds none" if given else "")
        fix = "set RAY_AUTH_TOKEN_PATH to a file with the token that the head was started with"
        raise InputError(Problem(where, what, fix))
    return Token(value, source)
