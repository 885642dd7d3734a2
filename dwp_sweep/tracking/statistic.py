"""Mean and standard deviation over splits and seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Stat:
    """Summary of one metric.

    Attributes:
        mean: Arithmetic mean.
        std: Sample standard deviation (ddof 1); None for a single value.
        n: Number of values.
    """

    mean: float
    std: float | None
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.std:.3f})" if self.std is not None else f"{self.mean:.3f}"


def stat(values: Sequence[float]) -> Stat | None:
    """Summary of the finite values; None where there is none."""
    finite = [float(value) for value in values if math.isfinite(value)]
    if not finite:
        return None
    return Stat(statistics.fmean(finite), statistics.stdev(finite) if len(finite) > 1 else None, len(finite))
