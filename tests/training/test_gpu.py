"""Whether torch can use a GPU, and what was computed on one: with our torch, and on one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dwp_sweep.training import gpu
from dwp_sweep.training.gpu import DeviceWatch, gpu_trouble

needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use a GPU here")


@needs_no_gpu
def test_our_own_torch_says_why_it_cannot_use_a_gpu() -> None:
    text = gpu_trouble()
    assert text.startswith(f"torch {torch.__version__} is ") and "the driver is" in text


@pytest.mark.parametrize(
    ("built", "driver", "words"),
    [
        (None, 12020, ["without CUDA", "the driver is 535.104 (CUDA 12.2 at most)"]),
        ("13.0", 12020, ["built for CUDA 13.0 and sees no GPU", "535.104 (CUDA 12.2 at most)"]),
    ],
)
@needs_no_gpu
def test_the_versions_of_torch_and_of_the_driver_are_told(
    built: str | None, driver: int, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def library(name: str) -> Any:
        assert name == "libcuda.so.1"
        return SimpleNamespace(cuDriverGetVersion=lambda at: setattr(at._obj, "value", driver))

    version = tmp_path / "version"
    version.write_text("535.104\n")
    monkeypatch.setattr(gpu, "_DRIVER", version)
    monkeypatch.setattr(gpu.ctypes, "CDLL", library)
    monkeypatch.setattr(torch.version, "cuda", built)
    text = gpu_trouble()
    assert all(word in text for word in [f"torch {torch.__version__}", *words])


@needs_no_gpu
def test_without_a_driver_the_driver_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def library(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(gpu.ctypes, "CDLL", library)
    assert gpu_trouble().endswith("the driver is missing")


def test_what_never_touches_a_gpu_was_computed_on_the_cpu() -> None:
    watch = DeviceWatch()
    torch.ones(3).sum()
    assert watch.device() == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_counts_where_something_was_computed_on_it_since() -> None:
    assert not gpu_trouble()
    torch.ones(3, device="cuda").sum()
    watch = DeviceWatch()
    assert watch.device() == "cpu"
    torch.ones(3, device="cuda").sum()
    assert watch.device() == torch.cuda.get_device_name()
