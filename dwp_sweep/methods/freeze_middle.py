"""UNet-PRf: start from a source network, train some of its blocks only, or the others later (Section 2.7).

The paper trains the first and the last blocks throughout. Frozen blocks may instead be the first few,
counted from the input, and may thaw after some epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field, model_validator
from torch import nn

from dwp_sweep.errors import Problem
from dwp_sweep.methods.contract import Method, MethodInputs, Surroundings, TrainingSetup
from dwp_sweep.methods.start import prepare_plain, source_network
from dwp_sweep.strict import StrictModel

Block = Literal[
    "init_conv", "down1", "down2", "down3", "down4", "down5", "down6", "up1", "up2", "up3", "out"
]  # fmt: skip

BLOCKS: tuple[Block, ...] = get_args(Block)
"""From the input to the output."""

ENDS: tuple[Block, ...] = ("init_conv", "down1", "up3", "out")


class FreezeConfig(StrictModel):
    """Which blocks learn, and from when on.

    Attributes:
        trainable: Blocks that are tuned; the paper says "the first and the last block".
        n_frozen: Instead of it: so many blocks are frozen, counted from the input; 0 none, 10 all but the
            last.
        thaw_epoch: Epoch, from 1, from whose first step on the frozen blocks learn as well; None: never.
            Until then no step, no moment and no weight decay of Adam touches them. With 1 nothing is ever
            frozen.
    """

    trainable: tuple[Block, ...] = Field(ENDS, min_length=1)
    n_frozen: int | None = Field(None, ge=0, lt=len(BLOCKS))
    thaw_epoch: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _says_it_once(self) -> FreezeConfig:
        if self.n_frozen is not None and self.trainable != ENDS:
            raise ValueError("trainable and n_frozen both say what is frozen: give one of them")
        return self

    @property
    def tuned(self) -> tuple[Block, ...]:
        """The blocks that learn from the start."""
        return self.trainable if self.n_frozen is None else BLOCKS[self.n_frozen :]


def needs(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The source network."""
    return ("source",)


def prepare(inputs: MethodInputs) -> TrainingSetup:
    """The source network with all blocks but the tuned ones frozen, for good or until they thaw."""
    config: FreezeConfig = inputs.settings["freeze"]
    net = source_network(inputs)
    net.requires_grad_(False)
    for name in config.tuned:
        net.get_submodule(name).requires_grad_(True)
    if config.thaw_epoch is None:
        return prepare_plain(net, inputs, [weight for weight in net.parameters() if weight.requires_grad])
    # The optimiser knows the frozen ones from the start: nothing has to join it, or a checkpoint, later.
    return prepare_plain(net, inputs)._replace(begin_epoch=_Thaw(net, config.thaw_epoch))


def misfits(settings: Mapping[str, Any], around: Surroundings) -> tuple[Problem, ...]:
    """The problem with a new head that would stay as it was drawn."""
    config: FreezeConfig = settings["freeze"]
    if not around.new_head or "out" in config.tuned or config.thaw_epoch is not None:
        return ()
    what = (
        f"{list(config.trainable)}: the target has other classes than the source, and the new head is frozen"
    )
    return (Problem("freeze.trainable", what, "add out, or give freeze.thaw_epoch"),)


class _Thaw:
    """Lets all of a network learn from an epoch on, also where a training goes on after it."""

    def __init__(self, net: nn.Module, epoch: int) -> None:
        self.net, self.epoch = net, epoch

    def __call__(self, epoch: int) -> None:
        if epoch >= self.epoch:
            self.net.requires_grad_(True)


method = Method("UNet-PRf", {"freeze": FreezeConfig}, needs, prepare, misfits)
