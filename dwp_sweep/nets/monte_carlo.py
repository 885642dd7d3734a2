"""Draws of a variational network at prediction time: noise in evaluation, from a generator of its own.

Used where predictions are averaged over the posterior. Knows nothing of what is averaged, nor of priors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from dwp_sweep.nets.bayes_conv import BayesConv3d


def variational_layers(net: nn.Module) -> tuple[BayesConv3d, ...]:
    """The layers that hold distributions, in the network's order; none in a deterministic network."""
    return tuple(module for module in net.modules() if isinstance(module, BayesConv3d))


@contextmanager
def sampling(net: nn.Module, generator: torch.Generator) -> Iterator[None]:
    """Inside, every forward pass in evaluation mode is one network drawn from the posterior.

    Afterwards the layers are as before, the generator of training included: predictions never shift the
    noise of a training that goes on. A deterministic network stays what it is.

    Args:
        net: In evaluation mode.
        generator: Source of all draws, on the device of the weights; it advances.
    """
    layers = variational_layers(net)
    before = [(layer.sampling, layer.generator) for layer in layers]
    for layer in layers:
        layer.sampling, layer.generator = True, generator
    try:
        yield
    finally:
        for layer, (was_sampling, its_generator) in zip(layers, before, strict=True):
            layer.sampling, layer.generator, layer.sample = was_sampling, its_generator, None


def redraw(net: object) -> Callable[[], None]:
    """A function that goes back to the draw that comes next: one network for many inputs.

    Called before every forward pass, it makes all of them use the same weights; afterwards the generator
    stands where one pass would have left it. Does nothing where no weights are drawn.

    Args:
        net: In evaluation mode; anything that is no module draws nothing.
    """
    layers = variational_layers(net) if isinstance(net, nn.Module) else ()
    drawing = [layer.generator for layer in layers if layer.sampling and layer.generator is not None]
    before = [(generator, generator.get_state()) for generator in dict.fromkeys(drawing)]

    def again() -> None:
        for generator, state in before:
            generator.set_state(state)

    return again
