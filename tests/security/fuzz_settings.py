"""How many inputs the fuzz tests try: the same at each run, or new ones where FUZZ_EXAMPLES says how many."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings


def same_inputs(max_examples: int) -> settings:
    """Draw the same inputs at each run, so that a failure concerns the change under test."""
    return settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        database=None,
    )


def many_inputs(max_examples: int) -> settings:
    """The same, or as many new inputs as FUZZ_EXAMPLES says (`make fuzz`)."""
    n_new = int(os.environ.get("FUZZ_EXAMPLES", "0"))
    return settings(same_inputs(n_new or max_examples), derandomize=not n_new)
