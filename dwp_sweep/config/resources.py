"""What a stage asks of the cluster. Never part of a key."""

from __future__ import annotations

from pydantic import Field

from dwp_sweep.strict import StrictModel


class Resources(StrictModel):
    """Logical resources of one trial.

    Attributes:
        cpu: CPU slots; also the number of torch threads (at least 1).
        gpu: GPU slots; fractions share a GPU. None: one where the cluster has GPUs and the stage
            trains a U-Net, a quarter for the kernel VAEs, else none.
    """

    cpu: float = Field(1.0, gt=0)
    gpu: float | None = Field(None, ge=0)
