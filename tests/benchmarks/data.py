"""Whether training waits for data: volumes of the paper's size from a warm cache, batch 2.

What counts is the sum of all waits by the sum of all steps, the first batch of each epoch and of the
training included. A GPU gets bf16, whose shorter steps leave less time to make the next batch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from torch import Tensor

from dwp_sweep.bench.frame import Row, Setting, wait_for
from dwp_sweep.data.batches import BatchMaker
from dwp_sweep.data.cache.cases import IMAGE, MASK, StoredCase
from dwp_sweep.data.patches import PatchConfig
from dwp_sweep.losses.segmentation import LossConfig, segmentation_loss
from dwp_sweep.training.compute import ComputeConfig, autocast, to_device
from dwp_sweep.training.loop import Learner, TrainConfig, fit, lower_val_loss
from tests.benchmarks.stand_in import network

_SIZE, _QUICK_SIZE = (152, 184, 144), (16, 16, 16)
_N_CASES, _BATCH = 6, 2
_N_EPOCHS, _N_QUICK_EPOCHS = 3, 2
GOAL = 0.02


def data(setting: Setting) -> list[Row]:
    """Share of training that waits for batches, from a warm cache at the paper's volume size."""
    with _cached_cases(setting) as cases, TemporaryDirectory(prefix="dwp_sweep_") as folder:
        ahead, at_once = (_times(cases, setting, flag, Path(folder)) for flag in (True, False))
    unit = ahead.mean_step_s
    return [
        Row(
            "step", f"forward, backward, Adam in {_precision(setting)}, the batch at hand", unit, "step", 1.0
        ),
        _row("wait", "for batches made while the step before ran, across epochs", ahead, GOAL),
        _row("wait, made at once", "the same without a thread beside", at_once, None),
    ]


@dataclass
class _StepTimes:
    """Seconds of each step before its batch was there, and from then to its end."""

    waits_s: list[float] = field(default_factory=list)
    steps_s: list[float] = field(default_factory=list)

    @property
    def mean_step_s(self) -> float:
        return sum(self.steps_s) / len(self.steps_s)


def _row(name: str, what: str, times: _StepTimes, goal: float | None) -> Row:
    wait = sum(times.waits_s) / len(times.waits_s)
    extra = {
        "first of all, s": times.waits_s[0],
        "longest later, s": max(times.waits_s[1:]),
        "step, s": times.mean_step_s,
    }
    return Row(name, what, wait, "step", sum(times.waits_s) / sum(times.steps_s), goal, extra)


def _times(cases: list[StoredCase], setting: Setting, ahead: bool, folder: Path) -> _StepTimes:
    """Train by the one loop for some epochs and time every step; nothing validates in between."""
    watch = _StepTimer(setting, "ahead" if ahead else "at once")
    pin = setting.device.type == "cuda"
    n_epochs = _N_QUICK_EPOCHS if setting.quick else _N_EPOCHS
    config = TrainConfig(batch_size=_BATCH, max_epochs=n_epochs, checkpoint_every=n_epochs + 1)
    with BatchMaker(cases, PatchConfig(), setting.seed, pin=pin, ahead=ahead) as batches:
        learner = _learner(setting, batches, watch)
        fit(learner, config, len(cases), setting.seed, folder / "none", lambda epoch, metrics: None)
    return watch.times


class _StepTimer:
    """Notes when a step has asked for its batch, has got it, and is over."""

    def __init__(self, setting: Setting, words: str) -> None:
        self.times, self._setting, self._words = _StepTimes(), setting, words
        self._got_s: float | None = None

    def asks(self) -> float:
        """The device has done what was asked of it: a wait from here on is one."""
        self.ends()
        self._setting.tell(f"{self._words}: step {len(self.times.waits_s) + 1}")
        return time.perf_counter()

    def got(self, asked_s: float) -> None:
        self._got_s = time.perf_counter()
        self.times.waits_s.append(self._got_s - asked_s)

    def ends(self) -> None:
        wait_for(self._setting.device)
        if self._got_s is not None:
            self.times.steps_s.append(time.perf_counter() - self._got_s)
            self._got_s = None


def _learner(setting: Setting, batches: BatchMaker, watch: _StepTimer) -> Learner:
    """The default network on whole volumes."""
    net = network(setting)
    compute = ComputeConfig.model_validate({"device": setting.device.type, "precision": _precision(setting)})

    def batch_loss(indices: Tensor, step: int) -> dict[str, Tensor]:
        asked_s = watch.asks()
        (batch,) = batches.batch(indices, step)
        watch.got(asked_s)
        images, masks = (to_device(part, setting.device) for part in (batch.images, batch.masks))
        with autocast(compute, setting.device):
            logits = net(images)
        return {"loss": segmentation_loss(logits.float(), masks.long(), LossConfig()).loss}

    def validate() -> dict[str, float]:
        watch.ends()
        return {"val_loss": 0.0}

    groups = [{"params": list(net.parameters())}]
    return Learner(net, groups, batch_loss, validate, lower_val_loss, upcoming=batches.upcoming)


def _precision(setting: Setting) -> str:
    return "bf16" if setting.device.type == "cuda" else "fp32"


@contextmanager
def _cached_cases(setting: Setting) -> Iterator[list[StoredCase]]:
    """Entries as the cache writes them; just written, they lie in the system's page cache: it is warm."""
    size = _QUICK_SIZE if setting.quick else _SIZE
    rng = np.random.default_rng(setting.seed)
    with TemporaryDirectory(prefix="dwp_sweep_") as folder:
        cases = []
        for number in range(_N_CASES):
            setting.tell(f"writing volume {number + 1} of {_N_CASES}")
            entry = Path(folder) / str(number)
            entry.mkdir()
            np.save(entry / IMAGE, rng.standard_normal((1, *size), dtype=np.float32))
            np.save(entry / MASK, (rng.random(size) > 0.9).astype(np.uint8))
            cases.append(StoredCase(str(number), entry, (1.0, 1.0, 1.0), 0.0))
        yield cases
