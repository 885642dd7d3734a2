"""Devices, seeds and the error of a full device."""

from __future__ import annotations

import pytest
import torch

from dwp_sweep.errors import DeviceMemoryError
from dwp_sweep.strict import keyed_values
from dwp_sweep.training.compute import ComputeConfig, autocast, memory_advice, to_device


def test_what_changes_numbers_is_keyed_and_nothing_else() -> None:
    assert keyed_values(ComputeConfig()) == {"precision": "fp32", "channels_last": None}


def test_bf16_runs_convolutions_in_bf16_and_leaves_losses_in_fp32() -> None:
    x, weight = torch.ones(1, 1, 8, 8, 8), torch.ones(1, 1, 3, 3, 3)
    with autocast(ComputeConfig(precision="bf16"), torch.device("cpu")):
        logits = torch.nn.functional.conv3d(x, weight)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logits.float(), torch.zeros_like(logits).float()
        )
    assert logits.dtype == torch.bfloat16 and loss.dtype == torch.float32
    with autocast(ComputeConfig(), torch.device("cpu")):
        assert torch.nn.functional.conv3d(x, weight).dtype == torch.float32


def test_on_a_cpu_nothing_is_copied() -> None:
    x = torch.ones(3)
    assert to_device(x, torch.device("cpu")) is x


@pytest.mark.parametrize(
    "lost",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported asynchronously"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=["allocator", "context", "workspace"],
)
def test_out_of_memory_becomes_advice_that_names_the_field_its_value_and_the_cause(
    lost: RuntimeError,
) -> None:
    named = pytest.raises(DeviceMemoryError, match=r"lower target\.batch_size \(now 4\)")
    with named as caught, memory_advice("target.batch_size", 4):
        raise lost
    assert caught.value.__cause__ is lost


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), memory_advice("target.batch_size", 4):
        raise RuntimeError("shapes differ")
