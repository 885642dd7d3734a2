"""UNet-PRf: start from a source network, train its first and last blocks only (Section 2.7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from dwp_sweep.methods.contract import Method, MethodInputs, Prepared
from dwp_sweep.methods.plain_training import prepare_plain, source_network
from dwp_sweep.strict import StrictModel

Block = Literal[
    "init_conv", "down1", "down2", "down3", "down4", "down5", "down6", "up1", "up2", "up3", "out"
]  # fmt: skip


class FreezeConfig(StrictModel):
    """Which blocks learn.

    Attributes:
        trainable: Blocks that are tuned; the paper says "the first and the last block".
    """

    trainable: tuple[Block, ...] = Field(("init_conv", "down1", "up3", "out"), min_length=1)


def needs(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The source network."""
    return ("source",)


def prepare(inputs: MethodInputs) -> Prepared:
    """The source network with all blocks but the trainable ones frozen."""
    config: FreezeConfig = inputs.settings["freeze"]
    net = source_network(inputs)
    net.requires_grad_(False)
    for name in config.trainable:
        net.get_submodule(name).requires_grad_(True)
    return prepare_plain(
        net, inputs, [parameter for parameter in net.parameters() if parameter.requires_grad]
    )


method = Method(label="UNet-PRf", sections={"freeze": FreezeConfig}, needs=needs, prepare=prepare)
