"""Whether a Ray cluster answers at an address and takes our token: known within seconds, before Ray tries.

Ray itself waits two minutes for an address where nothing listens, and says of a refused token only that it
could not connect.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.harness.private_apis import ask_head, send_token

_ANSWER_WITHIN_S = 15.0
_HOST_AND_PORT = re.compile(r"^(\[[0-9a-fA-F:.]+\]|[^\s:/]+):\d+$")
_LOOPBACK = re.compile(r"^(?:localhost|127(?:\.\d+){3}):(\d+)$")
_NEARBY_ANSWERS_WITHIN_S = 2.0
_ANY_ADDRESS_OUTSIDE = ("192.0.2.1", 9)


def require_open_door(address: str) -> None:
    """Make sure that a cluster answers at an address and takes our token, if it asks for one.

    Addresses that name no host and port (``auto``) are left to Ray.

    Args:
        address: As after ``--address`` or in ``RAY_ADDRESS``.

    Raises:
        InputError: The address is none of a cluster; nothing answers there; the token is missing or refused.
    """
    where = shown(address)
    if address.startswith(("http://", "https://")):
        fix = "a run takes HOST:6379, where the head listens; this is the address that `submit` takes"
        raise InputError(Problem(where, "is the address of a dashboard", fix))
    if not _HOST_AND_PORT.match(address):
        return
    if _head_status(address, None) != "UNAUTHENTICATED":
        return
    token = cluster_token(where)
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        what = "the cluster asks for a token, but RAY_AUTH_MODE=disabled keeps Ray from sending one"
        raise InputError(Problem(where, what, "set RAY_AUTH_MODE=token"))
    if _head_status(address, token) == "UNAUTHENTICATED":
        raise token.refused(where)
    if "RAY_AUTH_MODE" not in os.environ:
        send_token()


def is_on_loopback_alone(address: str) -> bool:
    """Whether an address is one of the loopback where a head listens that no other machine can reach."""
    if (match := _LOOPBACK.match(address)) is None:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        try:
            route.connect(_ANY_ADDRESS_OUTSIDE)  # sends nothing: it only finds out by which interface
            own: str = route.getsockname()[0]
        except OSError:
            return True  # this machine has no other interface
    try:
        socket.create_connection((own, int(match[1])), _NEARBY_ANSWERS_WITHIN_S).close()
    except OSError:
        return True
    return False


def not_connected(address: str, error: Exception) -> InputError:
    """Ray's own error when it could not connect, in words for people."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if "Version mismatch" in lines[0]:
        return InputError(_other_version(address, lines))
    what = f"no Ray cluster answers there: {lines[0]}"
    fix = "start one (ray start --head), correct --address or RAY_ADDRESS, or leave both out"
    return InputError(Problem(shown(address), what, fix))


def shown(address: str) -> str:
    """An address as messages name it."""
    return f"Ray address {address}"


def _other_version(address: str, lines: list[str]) -> Problem:
    # Ray names theirs first, then ours, each as "Ray: X" and "Python: Y".
    parts = [line.partition(": ") for line in lines if line.startswith(("Ray: ", "Python: "))]
    versions = [f"{name} {value}" for name, _, value in parts] + ["an unknown version"] * 4
    what = f"the cluster runs {versions[0]} on {versions[1]}, this is {versions[2]} on {versions[3]}"
    fix = (
        f"start head and workers from this project's constraints.txt (ray=={version('ray')}) with one Python"
    )
    return Problem(shown(address), what, fix)


def _head_status(address: str, token: Token | None) -> str:
    """Status of a request that every head answers: ``OK``, ``UNAUTHENTICATED`` or something else."""
    import grpc

    if os.environ.get("RAY_USE_TLS", "").lower() in ("1", "true"):
        return "OK"  # only Ray has the certificates: it finds out itself
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(_ANSWER_WITHIN_S)
        except grpc.FutureTimeoutError:
            fix = "is the head up, is this its address (port 6379 by default), does a firewall stand between?"
            what = f"nothing answers there within {_ANSWER_WITHIN_S:g} s"
            raise InputError(Problem(shown(address), what, fix)) from None
        try:
            ask_head(channel, token.headers if token else {}, _ANSWER_WITHIN_S)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


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
