"""Activation checkpointing of a block: its activations are dropped and computed again for the gradient.

Saves memory for about a third more time, and gives the same gradients: noise drawn inside the block is
drawn again from the same state of its generators. Knows nothing of the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dwp_sweep.nets.bayes_conv import BayesConv3d


def recomputed(block: nn.Module, *inputs: Tensor) -> Tensor:
    """``block(*inputs)``, keeping only the inputs for the backward pass.

    Args:
        block: Any module with one output; the generators of its variational layers are replayed, torch's
            global one too.
        inputs: Its inputs.
    """
    generators = _generators(block)
    before = [generator.get_state() for generator in generators]

    def contexts() -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
        return nullcontext(), _replay(generators, before)

    output: Tensor = checkpoint(block, *inputs, use_reentrant=False, context_fn=contexts)
    return output


def _generators(block: nn.Module) -> list[torch.Generator]:
    layers = [module for module in block.modules() if isinstance(module, BayesConv3d)]
    found = [layer.generator for layer in layers if layer.generator is not None]
    return list(dict.fromkeys(found))


@contextmanager
def _replay(generators: list[torch.Generator], states: list[Tensor]) -> Iterator[None]:
    after = [generator.get_state() for generator in generators]
    try:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        yield
    finally:  # torch ends the second pass by an exception as soon as it has all that it needs
        for generator, state in zip(generators, after, strict=True):
            generator.set_state(state)
