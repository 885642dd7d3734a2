"""Inside an epoch nothing is read back from the device: on a GPU every such read stops the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.stages.network_training import train_network
from dwp_sweep.training import loop
from dwp_sweep.training.compute import ComputeConfig
from dwp_sweep.training.loop import TrainConfig
from tests.methods.tiny import Prepare

WAITS = {
    torch.ops.aten._local_scalar_dense.default,  # item(), float(), bool()
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.equal.default,
}


class NothingReadBack(TorchDispatchMode):
    """Counts operations, and refuses those whose result the host must wait for."""

    n_seen = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        assert func not in WAITS, f"{func} waits for the device"
        self.n_seen += 1
        return func(*args, **(kwargs or {}))


def case(name: str) -> Case:
    rng = np.random.default_rng(len(name))
    image = rng.normal(size=(1, 16, 16, 16)).astype(np.float32)
    return Case(name, image, (image[0] > 1).astype(np.uint8))


def watch(step: Callable[[Any, Tensor, Tensor | None], dict[str, Tensor]], mode: NothingReadBack) -> Any:
    def watched(run: Any, indices: Tensor, following: Tensor | None) -> dict[str, Tensor]:
        with mode:
            return step(run, indices, following)

    return watched


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("method", ["random_init", "deep_weight_prior"])
def test_no_step_reads_a_value_back(
    method: str, checkpointing: bool, prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode = NothingReadBack()
    monkeypatch.setattr(loop._Training, "_train_step", watch(loop._Training._train_step, mode))
    compute = ComputeConfig(device="cpu", precision="bf16", checkpointing=checkpointing)
    cases = [case("a"), case("bb")]
    config = TrainConfig(max_epochs=2)
    path = tmp_path / "checkpoint.safetensors"
    train_network(
        prepare(method, length=config.length(2)),
        cases,
        cases,
        config,
        compute,
        0,
        path,
        lambda epoch, metrics: None,
    )
    assert mode.n_seen > 100
    with pytest.raises(AssertionError, match="waits for the device"), mode:
        float(torch.ones(1).sum())
