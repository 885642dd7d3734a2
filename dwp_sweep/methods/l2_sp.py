"""Fine-tuning with a penalty on the distance from the source network (L2-SP).

Minimises ``loss + weight / 2 * sum (w - w_source) ** 2``: all weights that start from the source network are
pulled back to it. Where the target tells other classes apart its head is new and is pulled to 0 with the same
weight, which is the second penalty of the original (there with a weight of its own, beta).
Source: Li, Grandvalet, Davoine, Explicit inductive bias for transfer learning, ICML 2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from dwp_sweep.methods.contract import Method, MethodInputs, TrainingSetup
from dwp_sweep.methods.start import HEAD, has_new_head, prepare_plain, source_network
from dwp_sweep.strict import StrictModel


class L2SpConfig(StrictModel):
    """Settings of L2-SP.

    Attributes:
        weight: Of the penalty (alpha of the source).
    """

    weight: float = Field(1e-2, ge=0)


def needs(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The source network."""
    return ("source",)


def prepare(inputs: MethodInputs) -> TrainingSetup:
    """The source network, all of it trained and held near its start."""
    config: L2SpConfig = inputs.settings["l2_sp"]
    plain = prepare_plain(source_network(inputs), inputs)
    start = [(parameter, parameter.detach().clone()) for parameter in plain.net.parameters()]
    if has_new_head(inputs):
        head = plain.net.get_parameter(HEAD)
        start = [(now, torch.zeros_like(then) if now is head else then) for now, then in start]

    def batch_loss(
        logits: Tensor, masks: Tensor, step: int, n_patches: Tensor | None = None
    ) -> dict[str, Tensor]:
        data = plain.data_loss(logits, masks, n_patches)
        distance = torch.stack([(now - then).square().sum() for now, then in start]).sum()
        return {"data_loss": data, "distance": distance, "loss": data + 0.5 * config.weight * distance}

    return plain._replace(batch_loss=batch_loss)


method = Method(label="L2-SP", sections={"l2_sp": L2SpConfig}, needs=needs, prepare=prepare)
