"""What ended a trial that Tune gave up, and on which machine: from Ray's own errors and words.

Tune keeps the text of each failure in a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ray.tune.experiment import Trial

from dwp_sweep.harness.cluster.ray_session import host_of
from dwp_sweep.harness.dag.failures import FailureKind, Place
from dwp_sweep.harness.private_apis import machine_of_actor

_OUT_OF_MEMORY = "running low on memory"
"""Of `ray.exceptions.OutOfMemoryError`, and of an `ActorDiedError` with that cause."""
_PREEMPTED = "preempted"
"""Of a machine that was drained before it went, as clouds and autoscalers do."""


class Loss(NamedTuple):
    """Why a trial was lost.

    Attributes:
        kind: What ended it.
        reason: One line, then Ray's own words.
    """

    kind: FailureKind
    reason: str


def loss_of(trial: Trial) -> Loss:
    """Why a trial was lost. Tune keeps all failures of a trial in one text."""
    # `Trial.get_error` reads the storage, where the file arrives later.
    path = Path(trial.error_file) if trial.error_file else None
    failures = (path.read_text() if path and path.is_file() else "").split("Failure # ")
    lines = [line.strip() for line in failures[-1].splitlines()[1:] if line.strip()]
    text = "\n".join(lines)
    if _OUT_OF_MEMORY in text:
        what = "its worker was killed because the machine ran out of memory: give the stage fewer trials at "
        what += "once, or resources.STAGE.memory"
        return Loss("memory", f"{what}\n{text}")
    if _PREEMPTED in text.lower():
        return Loss("preempted", f"its machine was taken away (preempted)\n{text}")
    if "is temporarily unavailable" in text:
        return Loss("lost", f"its worker cannot be reached (its machine was lost, or the network)\n{text}")
    if "died" in text:
        return Loss("lost", f"its worker died (killed, out of memory, or its machine was lost)\n{text}")
    what = f"its trial was aborted by Tune: {lines[-1] if lines else 'no reason given'}"
    return Loss("lost", f"{what}\n{text}".strip())


def place_of(actor: Any) -> Place:
    """Where an actor runs or ran; unknown without one, and where Ray does not answer any more."""
    machine = machine_of_actor(actor) if actor is not None else ""
    return Place(machine, host_of(machine) if machine else "")
