"""How long processes stand idle between the trials that they run, and when each of them began.

Of the bench `makespan`, for our trials and for plain ones. Knows nothing of nodes.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

from dwp_sweep.harness.plain_trials import Span


def gaps(spans: Sequence[Span]) -> list[float]:
    """Seconds between a trial and the next one in the same process, of all processes."""
    own: defaultdict[int, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda one: one.began_s):
        own[span.pid].append(span)
    return [
        later.began_s - earlier.ended_s
        for found in own.values()
        for earlier, later in itertools.pairwise(found)
    ]


def first_starts(spans: Sequence[Span], since_s: float) -> list[float]:
    """Seconds from a moment to the first trial of each process, the earliest first."""
    firsts: dict[int, float] = {}
    for span in spans:
        firsts[span.pid] = min(firsts.get(span.pid, span.began_s), span.began_s)
    return sorted(began_s - since_s for began_s in firsts.values())
