from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from dwp_sweep.tables import Stat, print_tables
from dwp_sweep.tracking.read.best import Best, Upstream
from dwp_sweep.tracking.read.configuration import Candidate


def shown(best: Best) -> str:
    screen = io.StringIO()
    print_tables(best.tables(), Console(file=screen, width=200))
    return screen.getvalue()


def best(n_candidates: int = 2, **changes: Any) -> Best:
    candidates = tuple(
        Candidate(
            {"method": f"method{rank}", "train_size": 5, "unet.channels": [4, 8]},
            {"val_dice": Stat(0.8 - rank / 100, 0.02, 3), "test_dice": Stat(0.7, 0.03, 3)},
            ("run0", "run1", "run2"),
        )
        for rank in range(n_candidates)
    )
    values: dict[str, Any] = {
        "sweep": "demo",
        "metric": "val_dice",
        "config": {"method": "method0"},
        "metrics": candidates[0].metrics,
        "run_ids": candidates[0].run_ids,
        "artifacts": {f"run{n}": f"file:///runs/{n}" for n in range(3)},
        "upstream": (Upstream("prior", "run9", "file:///runs/9"),),
        "candidates": candidates,
        "varied": ("method",),
        "notes": ("one split [missing]",),
        "tracking_uri": "sqlite:///x.db",
    }
    return Best(**(values | changes))


def test_the_winner_its_spread_its_rivals_and_its_places_are_shown() -> None:
    text = shown(best())
    for part in (
        "Best of 2 configurations",
        "method0",
        "0.8000 (std 0.0200, n = 3)",
        "reported only",
        "method1",
        "0.790 (0.020)",
        "run1",
        "file:///runs/2",
        "upstream: 1 prior",
        "one split [missing]",
    ):
        assert part in text


def test_a_long_ranking_is_cut_and_says_so() -> None:
    text = shown(best(n_candidates=12))
    assert "method7" in text and "method8" not in text and "and 4 more" in text


def test_a_single_run_claims_no_spread() -> None:
    only = {"val_dice": Stat(0.8, None, 1)}
    assert "one run: no spread known" in shown(best(n_candidates=1, metrics=only, varied=()))
