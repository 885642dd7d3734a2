"""What this machine has, and how much of it a training step takes: decides batches, patches and resources."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dwp_sweep.data.files.free_memory import free_memory

_STEP_BYTES_A_VOXEL = 1_270
"""Of a step of the network of 16, 32, 32, 64 channels in fp32: 10.2 GB for 8.06 million voxels, measured."""
_WIDTH = 16
_BF16 = 0.56
"""Of the memory of fp32: 5.7 GB of 10.2 GB, measured."""
_SPARE = 0.6
"""Of the memory; the rest is for the scans, the weights and other programs."""
_LARGEST_CPU_STEP = 2**20
"""Voxels: a step of more takes several seconds on a few cores."""


@dataclass(frozen=True)
class TrainingMachine:
    """What a run can use.

    Attributes:
        n_cpus: Cores of this process.
        memory: Free bytes of the machine.
        gpu_memory: Bytes of the smallest GPU; 0: there is none.
        n_gpus: How many.
        has_bf16: Whether the GPUs compute bf16 fast.
    """

    n_cpus: int
    memory: int
    gpu_memory: int = 0
    n_gpus: int = 0
    has_bf16: bool = False

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Of a U-Net that trains in reasonable time."""
        return (16, 32, 32, 64) if self.n_gpus else (8, 16, 16, 32)

    @property
    def most_voxels(self) -> int:
        """Of all volumes of a batch."""
        if not self.n_gpus:
            return min(_LARGEST_CPU_STEP, int(_SPARE * self.memory / self.bytes_a_voxel))
        return int(_SPARE * self.gpu_memory / self.bytes_a_voxel)

    @property
    def bytes_a_voxel(self) -> float:
        """That a training step takes."""
        in_bf16 = _BF16 if self.has_bf16 else 1.0
        return _STEP_BYTES_A_VOXEL * self.channels[0] / _WIDTH * in_bf16

    def cpus_a_node(self, voxels: int) -> int:
        """CPUs of one training, so that all that run side by side fit into memory.

        Args:
            voxels: Of all volumes of a batch.
        """
        if self.n_gpus:
            return max(1, min(8, self.n_cpus // self.n_gpus))
        fitting = int(_SPARE * self.memory / max(1.0, voxels * self.bytes_a_voxel))
        return max(1, math.ceil(self.n_cpus / max(1, min(self.n_cpus, fitting))))

    def gpu_share(self, voxels: int) -> float:
        """Share of a GPU that one training needs; small ones run side by side."""
        needed = voxels * self.bytes_a_voxel / max(1.0, _SPARE * self.gpu_memory)
        return next((share for share in (0.25, 0.5) if needed <= share), 1.0)


def this_machine() -> TrainingMachine:
    """The machine that the first search space is written on."""
    n_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not torch.cuda.is_available():
        return TrainingMachine(n_cpus, free_memory())
    gpus = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    has_bf16 = all(gpu.major >= 8 for gpu in gpus)
    return TrainingMachine(n_cpus, free_memory(), min(gpu.total_memory for gpu in gpus), len(gpus), has_bf16)


def padded_voxels(shape: Sequence[int]) -> int:
    """Voxels of a volume as the network pads it."""
    return math.prod(-(-n // 8) * 8 for n in shape)
