"""A sweep that never ran, as a report sees it: four methods, two sizes, two splits, something missing."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.report.page.evidence import Evidence, evidence_of
from dwp_sweep.stages.examples import predicted_example, save_example, scan_example
from dwp_sweep.tracking.read.rows import NodeRow
from dwp_sweep.tracking.read.runs import Curve, Parent

SHIFTS = {"random_init": 0.0, "fine_tune": 0.04, "freeze_middle": -0.05, "deep_weight_prior": 0.02}
SETTINGS: dict[str, Any] = {
    "file": "search_spaces/toy.yaml",
    "fixed": {},
    "grid": {"method": list(SHIFTS), "train_size": [5, 10], "split": [0, 1]},
}
ENVIRONMENT = {
    "python": "3.11.9",
    "torch": "2.9.0",
    "git_commit": "c0ffee+",
    "command": "dwp-sweep run toy.yaml",
}
N_SUBJECTS = 20


class ToyScores:
    """Per-subject scores: a subject's own level, a method's shift, a little noise."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, dict[str, float]]] = {}

    def add(self, key: str, method: str, size: int, split: int) -> float:
        rng = random.Random(f"{method}{size}{split}")
        scores = {}
        for number in range(split * 6, split * 6 + N_SUBJECTS):
            level = random.Random(f"subject {number}").uniform(0.5, 0.8)
            dice = level + SHIFTS[method] + size / 100 + rng.gauss(0, 0.01)
            scores[f"s{number:02d}"] = {"dice": dice, "iou": dice / (2 - dice), "hd95_mm": 20 * (1 - dice)}
        self.values[key] = scores
        return sum(one["dice"] for one in scores.values()) / N_SUBJECTS

    def read(self, key: str, run_id: str) -> Mapping[str, Mapping[str, Any]]:
        if key not in self.values:
            raise InputError(Problem(f"target {key}", "has no scores"))
        return self.values[key]


class ToyFiles:
    """Files of nodes under one folder, by key."""

    def __init__(self, folder: Path) -> None:
        self.root = folder

    def path(self, row: NodeRow, name: str) -> Path | None:
        path = self.root / row.key / name
        return path if row.key and path.is_file() else None

    def folder(self, row: NodeRow, names: tuple[str, ...]) -> Path | None:
        paths = [self.path(row, name) for name in names]
        return None if None in paths else self.root / row.key


class ToyCurves:
    """Curves that rise or fall as they should."""

    def curve(self, run_id: str, names: Sequence[str]) -> Curve:
        if not run_id:
            return ()
        falls = "train_loss" in names
        return tuple((epoch, 1 / epoch if falls else 1 - 1 / epoch) for epoch in range(1, 6))


def case(name: str, shape: tuple[int, int, int] = (20, 24, 10)) -> Case:
    """A scan with a bright ball as its foreground."""
    grid = np.stack(np.meshgrid(*(np.arange(n) - n / 2 for n in shape), indexing="ij"))
    mask = (np.linalg.norm(grid, axis=0) < 4).astype(np.uint8)
    noise = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return Case(name, (noise + 3 * mask)[None].astype(np.float32), mask, (1.0, 1.0, 2.0))


def add_files(folder: Path, rows: Sequence[NodeRow]) -> None:
    """Example slices of the source and of every finished target."""
    for row in rows:
        if row.state != "done":
            continue
        if row.stage == "source":
            save_example(scan_example(case("source scan")), folder / row.key)
        if row.stage == "target":
            scan = case("s00")
            foreground = np.clip(0.1 + 0.8 * scan.mask, 0, 1).astype(np.float32)
            probs = np.stack([1 - foreground, foreground])
            is_variational = row.labels["method"].startswith("deep")
            save_example(predicted_example(scan, foreground > 0.5, probs, is_variational), folder / row.key)


def toy_evidence(folder: Path, with_files: bool = True, **changes: Any) -> Evidence:
    """The sweep: freeze_middle failed once at m = 10, DWP at m = 10 was never begun, a prior failed."""
    scores = ToyScores()
    rows = [
        NodeRow(
            "source0", "source", "done", {"seed": 0}, {"source.lr": 1e-3}, {"wall_s": 3600.0}, run_id="rs"
        ),
        NodeRow(
            "prior4", "prior", "failed", {"group": 4}, {}, {"wall_s": 30.0}, run_id="rp", error="it broke <b>"
        ),
    ]
    for method in SHIFTS:
        for size in (5, 10):
            for split in (0, 1):
                if method == "deep_weight_prior" and size == 10:
                    continue
                rows.append(_target(scores, method, size, split))
    rows = changes.pop("rows", rows)
    if with_files:
        add_files(folder, rows)
    parent = Parent("parent", SETTINGS, ENVIRONMENT, 1_700_000_000_000)
    return evidence_of(
        "toy & co", rows, changes.pop("parent", parent), "sqlite:////nowhere/mlflow.db", scores.read,
        ToyFiles(folder), ToyCurves(),
    )  # fmt: skip


def _target(scores: ToyScores, method: str, size: int, split: int) -> NodeRow:
    key = f"{method}-{size}-{split}"
    labels = {"method": method, "train_size": size, "split": split, "seed": 0}
    params = {
        "method": method,
        "train_size": size,
        "target.lr": 1e-3,
        "target.rescale": method == "fine_tune",
    }
    if (method, size, split) == ("freeze_middle", 10, 1):
        error = "the loss became nan"
        return NodeRow(
            key, "target", "failed", labels, params, {"wall_s": 9.0}, run_id=f"r{key}", error=error
        )
    dice = scores.add(key, method, size, split)
    metrics = {"test_dice": dice, "test_iou": dice / (2 - dice), "best_val_dice": dice + 0.01, "n_val": 8.0}
    metrics |= {"test_nll": 1 - dice, "test_ece": 0.05, "test_brier": 0.04, "test_hd95_mm": 20 * (1 - dice)}
    return NodeRow(key, "target", "done", labels, params, metrics | {"wall_s": 60.0}, run_id=f"r{key}")
