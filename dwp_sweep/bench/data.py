"""Whether training waits for data: volumes of the paper's size from a warm cache, batch 2.

What counts is the share of a step that passes before its batch is there. A GPU gets bf16, whose shorter
steps leave less time to make the next batch.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from dwp_sweep.bench.frame import Row, Setting, seconds_of
from dwp_sweep.bench.stand_in import network
from dwp_sweep.data.batches import Batch, BatchMaker
from dwp_sweep.data.cache import IMAGE, MASK, StoredCase
from dwp_sweep.data.patches import PatchConfig
from dwp_sweep.losses.segmentation import LossConfig, segmentation_loss
from dwp_sweep.training.compute import ComputeConfig, autocast, to_device

_SIZE, _QUICK_SIZE = (152, 184, 144), (16, 16, 16)
_N_CASES, _BATCH, _N_STEPS = 6, 2, 8
GOAL = 0.02


def data(setting: Setting) -> list[Row]:
    """Share of a training step that waits for its batch, from a warm cache at the paper's volume size."""
    with _cached_cases(setting) as cases:
        step = _Step(setting)
        ahead, at_once = (_times(cases, step, setting, flag) for flag in (True, False))
    unit = statistics.median(ahead.steps_s)
    precision = step.compute.precision
    return [
        Row("step", f"forward, backward, Adam in {precision}, the batch at hand", unit, "step", 1.0),
        _row("wait", "for a batch made while the step before ran", ahead, unit, GOAL),
        _row("wait, made at once", "the same without a thread beside", at_once, unit, None),
    ]


@dataclass
class _Times:
    waits_s: list[float] = field(default_factory=list)
    steps_s: list[float] = field(default_factory=list)


def _row(name: str, what: str, times: _Times, unit: float, goal: float | None) -> Row:
    wait = statistics.median(times.waits_s[1:])
    return Row(name, what, wait, "step", wait / unit, goal, {"first of an epoch, s": times.waits_s[0]})


def _times(cases: list[StoredCase], step: _Step, setting: Setting, ahead: bool) -> _Times:
    order = torch.randint(len(cases), (_BATCH * (setting.repeats(_N_STEPS) + 1),))
    found = _Times()
    pin = setting.device.type == "cuda"
    with BatchMaker(cases, PatchConfig(), setting.seed, pin=pin, ahead=ahead) as batches:
        for number, indices in enumerate(order.split(_BATCH)):  # type: ignore[no-untyped-call]
            setting.tell(f"{'ahead' if ahead else 'at once'}: step {number + 1}")
            started = time.perf_counter()
            batch = batches.batch(indices, number)
            found.waits_s.append(time.perf_counter() - started)
            found.steps_s.append(seconds_of(partial(step, batch), setting.device))
    return found


class _Step:
    """A training step of the default network on a batch of the host."""

    def __init__(self, setting: Setting) -> None:
        self.device, self.net = setting.device, network(setting)
        precision = "bf16" if setting.device.type == "cuda" else "fp32"
        self.compute = ComputeConfig.model_validate({"device": setting.device.type, "precision": precision})
        self.optimizer = torch.optim.Adam(self.net.parameters(), fused=True)

    def __call__(self, batch: Batch) -> None:
        images, masks = (to_device(part, self.device) for part in batch)
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.compute, self.device):
            logits = self.net(images)
        torch.autograd.backward(segmentation_loss(logits.float(), masks.long(), LossConfig()).loss)
        self.optimizer.step()


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
