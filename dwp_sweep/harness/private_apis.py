"""What we use of Ray beyond its public API: all of it, each with the reason why no public name serves.

`CHECKED_WITH` names the version that each was last checked with; a test fails at another one, so that
somebody looks. Of Optuna nothing private is used.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import grpc

CHECKED_WITH = {"ray": "2.60.0"}
"""Library -> version."""

_GET_CLUSTER_ID = "/ray.rpc.NodeInfoGcsService/GetClusterId"
_AUTOSCALING_STATUS = "__autoscaling_status"
_MANY_MACHINES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Off, where it is not said, on those two systems alone; on Linux it is nowhere documented, but works."""


def ask_head(channel: grpc.Channel, headers: Mapping[str, str], timeout_s: float) -> None:
    """Ask a cluster's head for its id, which every head answers to whoever may connect.

    `ray.init` is the only public way to find out whether a cluster takes a token; of a refused one it says
    only that it could not connect, after two minutes.

    Raises:
        grpc.RpcError: With the status, e.g. ``UNAUTHENTICATED``.
    """
    ask: Any = channel.unary_unary(_GET_CLUSTER_ID)
    metadata = [(name.lower(), value) for name, value in headers.items()]
    ask(b"", metadata=metadata, timeout=timeout_s)


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Let Ray take 127.0.0.1 as the address of this machine, and so listen there alone.

    Ray has no public option for it: it replaces the address of the loopback by that of another interface,
    and its processes then listen on all of them. A variable that the user has set decides.
    """
    from ray._private import ray_constants

    if _MANY_MACHINES in os.environ:
        yield
        return
    before = ray_constants.ENABLE_RAY_CLUSTER
    os.environ[_MANY_MACHINES] = "0"  # for the processes that Ray starts
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        del os.environ[_MANY_MACHINES]


def send_token() -> None:
    """Let Ray send its token, as ``RAY_AUTH_MODE=token`` in the environment of a new process does.

    `ray.init` does so by itself for a new local cluster alone, and reads the variable once.
    """
    from ray._raylet import Config  # type: ignore[attr-defined]

    os.environ["RAY_AUTH_MODE"] = "token"
    Config.initialize("")


def has_second_autoscaler() -> bool:
    """Whether the connected cluster has Ray's second autoscaler, which runs only where machines come and go.

    Neither `ray.nodes` nor the state API says whether a cluster has an autoscaler.
    """
    from ray.experimental.internal_kv import _internal_kv_get

    return bool(_internal_kv_get("__autoscaler_v2_enabled", namespace="__autoscaler") == b"1")


def autoscaling_status() -> bytes | None:
    """What the first autoscaler last wrote, as JSON; None: nothing yet. ``ray status`` prints the same."""
    from ray.experimental.internal_kv import _internal_kv_get

    status: bytes | None = _internal_kv_get(_AUTOSCALING_STATUS)
    return status


def machine_of_actor(actor: Any) -> str:
    """Ray's name of the machine of an actor, also of a dead one; empty where it is not known any more.

    `ray.util.state` has it, too, and asks the dashboard, which our local clusters do not start.
    """
    from ray._private import state

    try:
        return str(state.actors(actor._actor_id.hex()).get("Address", {}).get("NodeID", ""))
    except Exception:  # a head that is going: whose fault it was is then not known
        return ""


@contextlib.contextmanager
def without_sigterm_handler() -> Iterator[None]:
    """Keep `ray.init` from installing its own handler of SIGTERM, which exits in the middle of whatever runs.

    Ray has no setting for it, and our own handler has to stand while Ray starts, which takes seconds.
    """
    from ray._private import utils

    install = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = install


def keep_from_trials(prefix: str) -> None:
    """Let no trial's process be started with variables of this process whose names begin so.

    Tune hands a fixed list of variables on to trials, and no setting shortens it.
    """
    from ray.tune.execution import class_cache

    names = class_cache.ENV_VARS_TO_PROPAGATE
    names.difference_update([name for name in names if name.startswith(prefix)])
