"""Pareto fronts: which points no other point beats in every objective, and the knee among them.

Plain numbers; knows nothing of runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def front_of(points: Sequence[Sequence[float]], signs: Sequence[float]) -> list[int]:
    """Places of the points that no other one dominates, the first objective's best first.

    One point dominates another that it equals or beats in every objective and beats in one.

    Args:
        points: One value an objective; finite.
        signs: 1 where larger is better, -1 where smaller is.
    """
    gains = [tuple(sign * value for sign, value in zip(signs, point, strict=True)) for point in points]
    order = sorted(range(len(gains)), key=lambda place: gains[place], reverse=True)
    kept: list[int] = []
    for place in order:  # whoever dominates a point comes before it
        if not any(_dominates(gains[other], gains[place]) for other in kept):
            kept.append(place)
    return kept


def knee_of(points: Sequence[Sequence[float]], signs: Sequence[float]) -> int | None:
    """The place on a front that is nearest to the best of every objective at once.

    Distances are in shares of each objective's range on the front. None where fewer than three points
    leave no choice between the ends.

    Args:
        points: All of a front.
        signs: As for `front_of`.
    """
    if len(points) < 3:
        return None
    columns = list(zip(*points, strict=True))
    best = [max(column) if sign > 0 else min(column) for sign, column in zip(signs, columns, strict=True)]
    reach = [max(column) - min(column) or 1.0 for column in columns]

    def distance(point: Sequence[float]) -> float:
        return math.hypot(*((v - top) / width for v, top, width in zip(point, best, reach, strict=True)))

    return min(range(len(points)), key=lambda place: distance(points[place]))


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)
