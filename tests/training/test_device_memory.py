from __future__ import annotations

import pytest
import torch

from dwp_sweep.errors import DeviceMemoryError
from dwp_sweep.training.compute import memory_advice


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
