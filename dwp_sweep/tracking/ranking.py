"""Which of several configurations is better: one rule for the best one, for shortlists and for tables.

A configuration with all its splits and seeds goes before one that lacks some: the mean of an easy half
says little. Knows nothing of where runs are read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dwp_sweep.tracking.selection import lower_is_better


def rank(values: Sequence[float], metric: str) -> tuple[int, float]:
    """Sort key of a configuration, the best one smallest.

    Equals want something of their own behind it, such as their identity, so that every answer names the same
    one.

    Args:
        values: A validation metric of its runs; those that are not finite count as not there.
        metric: Its name, which says which way is better.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0, math.inf
    sign = 1.0 if lower_is_better(metric) else -1.0
    return -len(finite), sign * math.fsum(finite) / len(finite)
