"""Says why torch cannot compute on this machine's GPUs and ends with 1, else becomes the command given.

    require_gpu.py [COMMAND ...]     at the start of a worker with GPUs
    require_gpu.py --build           while an image is built, where there is no GPU: only torch's own build

Without it such a worker would offer GPUs to Ray and compute on its CPUs.
"""

from __future__ import annotations

import ctypes
import os
import sys

import torch

LEAST_DRIVER = {11: "450", 12: "525", 13: "580"}
"""CUDA's major version -> the oldest branch of NVIDIA's driver for Linux that runs it."""
OTHER_BUILD = "build the image with another TORCH_BUILD and its PIP_EXTRA_INDEX_URL (deploy/README.md)"


def trouble(while_building: bool) -> str | None:
    """Why torch cannot use a GPU here, and what to do; None: it can."""
    built = torch.version.cuda
    if built is None:
        what = f"torch {torch.__version__} is a build without CUDA"
        return f"{what}: leave TORCH_BUILD=cpu and the index of CPU builds out, or leave compose.gpu.yaml out"
    if while_building:
        return None
    major = int(built.split(".")[0])
    needs = f"torch {torch.__version__} is built for CUDA {built}"
    driver = newest_cuda_of_driver()
    if driver // 1000 < major:
        newest = f"{driver // 1000}.{driver % 1000 // 10}"
        has = f"this driver runs CUDA {newest} at most" if driver else "there is no driver"
        least = f"{LEAST_DRIVER[major]} or newer" if major in LEAST_DRIVER else "for that CUDA"
        return f"{needs}, and {has}: install NVIDIA's driver {least}, or {OTHER_BUILD}"
    if not torch.cuda.is_available():
        return f"{needs}, and sees no GPU: give the container one (--gpus, NVIDIA's container toolkit)"
    cards = [name.removeprefix("sm_") for name in torch.cuda.get_arch_list() if name.startswith("sm_")]
    oldest = min((int(name) for name in cards if name.isdigit()), default=0)
    for n in range(torch.cuda.device_count()):
        capability = torch.cuda.get_device_capability(n)
        if 10 * capability[0] + capability[1] < oldest:
            card = f"{torch.cuda.get_device_name(n)} has compute capability {capability[0]}.{capability[1]}"
            return f"{needs} and GPUs from {oldest // 10}.{oldest % 10} on, and {card}: {OTHER_BUILD}"
    return None


def newest_cuda_of_driver() -> int:
    """The newest CUDA that NVIDIA's driver runs, 12040 for 12.4; 0: there is no driver."""
    newest = ctypes.c_int(0)
    try:
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(newest))
    except OSError:
        return 0
    return newest.value


if __name__ == "__main__":
    reason = trouble(while_building="--build" in sys.argv[1:2])
    if reason is not None:
        sys.exit(f"no GPU for torch: {reason}")
    if (command := sys.argv[1:]) and command != ["--build"]:
        os.execvp(command[0], command)
