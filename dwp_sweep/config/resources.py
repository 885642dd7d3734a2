"""What a stage asks of the cluster. Never part of a key."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, field_validator

from dwp_sweep.strict import StrictModel


class ResourcesConfig(StrictModel):
    """Logical resources of one trial.

    Attributes:
        cpu: CPU slots; also the number of torch threads (at least 1).
        gpu: GPU slots; fractions share a GPU. None: one where the cluster has GPUs and the stage
            trains a U-Net, a quarter for the kernel VAEs, else none.
    """

    cpu: float = Field(1.0, gt=0)
    gpu: float | None = Field(None, ge=0)


HOUR_S = 3600.0

_WALL = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|d)\s*$")
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class BudgetConfig(StrictModel):
    """When nothing new is started any more; None: no limit.

    Attributes:
        gpu_hours: Of all nodes of the run together.
        cpu_hours: Of all nodes of the run together.
        wall: Time on the clock with its unit: ``90s``, ``20m``, ``2h``, ``1d``.
        trials: Configurations of all studies together; target networks where nothing is searched for.
    """

    gpu_hours: float | None = Field(None, ge=0)
    cpu_hours: float | None = Field(None, ge=0)
    wall: str | None = None
    trials: int | None = Field(None, ge=0)

    @field_validator("wall", mode="before")
    @classmethod
    def _has_a_unit(cls, value: Any) -> Any:
        if value is None or (isinstance(value, str) and _WALL.match(value)):
            return value
        raise ValueError("should be a time with its unit: 90s, 20m, 2h or 1d")

    @property
    def wall_s(self) -> float | None:
        """`wall` in seconds."""
        found = _WALL.match(self.wall or "")
        return float(found[1]) * _SECONDS[found[2]] if found else None

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return any(value is not None for value in (self.gpu_hours, self.cpu_hours, self.wall, self.trials))
