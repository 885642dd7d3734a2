"""A 3D convolution with a factorised Gaussian posterior over its weights, and predictions drawn from it.

Takes the place of the U-Net's 3x3x3 convolutions when a method learns a distribution. What pulls the
posterior is computed from `mean`, `log_var` and `sample` by `dwp_sweep.losses.kernel_bound`. Activation
checkpointing (`recomputed`) stands here because it draws the same noise a second time.
Source: Algorithm 1 of the paper; local reparametrisation after Kingma et al. (2015).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dwp_sweep.nets.layers import conv3d

Noise = Literal["weight", "local"]

SMALLEST_VARIANCE = 1e-16
"""Below this an output counts as free of noise: the root's slope at zero would be infinite."""


class BayesConv3d(nn.Module):
    """Convolution without bias whose weights are ``N(mean, exp(log_var))``, independently.

    In training it is noisy; in evaluation it uses the mean, unless `sampling` is set: then each
    forward pass draws one set of weights (whatever `noise` says, so that one pass is one network).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Edge of the cubic kernel.
        stride: Same for the three axes.
        padding: Zeros at each side of each axis.
        noise: In training, ``weight`` draws the weights once a forward pass and keeps them as `sample`;
            ``local`` draws each output voxel on its own from its Gaussian (same mean and variance,
            independent between voxels and images), and leaves `sample` empty.
        init_log_var: Logarithm of the initial variance of every weight.

    Attributes:
        mean: Parameter ``(out, in, k, k, k)``.
        log_var: Parameter of the same shape.
        sample: Weights of the last noisy forward pass with their graph, or None.
        generator: Source of the noise, on the device of the weights; None is torch's global one.
        sampling: Noise in evaluation too, for Monte-Carlo predictions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int = 1,
        noise: Noise = "weight",
        init_log_var: float = -10.0,
    ) -> None:
        super().__init__()
        if noise not in ("weight", "local"):
            raise ValueError(f"noise must be 'weight' or 'local', not {noise!r}")
        shape = (out_channels, in_channels, kernel_size, kernel_size, kernel_size)
        self.mean = nn.Parameter(torch.empty(shape))
        self.log_var = nn.Parameter(torch.full(shape, float(init_log_var)))
        nn.init.kaiming_normal_(self.mean, nonlinearity="relu")
        self.stride, self.padding, self.noise = stride, padding, noise
        self.sample: Tensor | None = None
        self.generator: torch.Generator | None = None
        self.sampling = False

    @classmethod
    def from_conv(
        cls,
        conv: nn.Conv3d,
        noise: Noise = "weight",
        init_log_var: float = -10.0,
        generator: torch.Generator | None = None,
    ) -> BayesConv3d:
        """A variational copy of a convolution: its weights are the mean.

        Raises:
            ValueError: If the convolution has a bias, groups, dilation or differing axes.
        """
        kernel_size, stride, padding = _cubic(conv)
        with torch.device("meta"):
            bayes = cls(conv.in_channels, conv.out_channels, kernel_size, stride, padding, noise)
        weight = conv.weight.detach()
        bayes.mean = nn.Parameter(weight.clone())
        bayes.log_var = nn.Parameter(torch.full_like(weight, float(init_log_var)))
        bayes.generator = generator
        return bayes.train(conv.training)

    @property
    def kernel_size(self) -> tuple[int, int, int]:
        """Edges of the kernel, as `torch.nn.Conv3d` gives them."""
        return cast(tuple[int, int, int], tuple(self.mean.shape[2:]))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in, D, H, W)`` to ``(B, out, D', H', W')``."""
        self.sample = None
        if self.training and self.noise == "local":
            return self._local(x)
        if self.training or self.sampling:
            self.sample = self.draw()
            return self._conv(x, self.sample)
        return self._conv(x, self.mean)

    def draw(self) -> Tensor:
        """One reparametrised draw of the weights, ``(out, in, k, k, k)``, with its graph."""
        return torch.addcmul(self.mean, self._normal(self.mean), (0.5 * self.log_var).exp())

    def extra_repr(self) -> str:
        """Shown when the network is printed."""
        out_channels, in_channels, *_ = self.mean.shape
        return f"{in_channels}, {out_channels}, stride={self.stride}, noise={self.noise!r}"

    def __getstate__(self) -> dict[str, Any]:
        """State for copies and worker processes; graph and generator stay behind."""
        return {**self.__dict__, "sample": None, "generator": None}

    def _local(self, x: Tensor) -> Tensor:
        mean = self._conv(x, self.mean)
        variance = self._conv(x * x, self.log_var.exp())
        return torch.addcmul(mean, self._normal(mean), variance.clamp_min(SMALLEST_VARIANCE).sqrt())

    def _conv(self, x: Tensor, weight: Tensor) -> Tensor:
        return conv3d(x, weight, self.stride, self.padding)

    def _normal(self, like: Tensor) -> Tensor:
        return torch.empty_like(like, requires_grad=False).normal_(generator=self.generator)


def make_bayesian(
    net: nn.Module,
    init_log_var: float = -10.0,
    noise: Noise = "weight",
    generator: torch.Generator | None = None,
) -> tuple[BayesConv3d, ...]:
    """Replace every 3x3x3 convolution of a network, in place; the others stay deterministic.

    Args:
        net: Its convolutions' weights become the means.
        init_log_var: Logarithm of the initial variance of every weight.
        noise: See `BayesConv3d`.
        generator: Shared by all the new layers.

    Returns:
        The new layers in the network's order.
    """
    layers = []
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv3d) and tuple(child.kernel_size) == (3, 3, 3):
                layers.append(BayesConv3d.from_conv(child, noise, init_log_var, generator))
                setattr(parent, name, layers[-1])
    return tuple(layers)


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

    def rewind() -> None:
        for generator, state in before:
            generator.set_state(state)

    return rewind


def _cubic(conv: nn.Conv3d) -> tuple[int, int, int]:
    if conv.bias is not None or conv.groups != 1 or set(conv.dilation) != {1} or conv.padding_mode != "zeros":
        raise ValueError(f"no variational form of a convolution with bias, groups or dilation: {conv}")
    axes = set(zip(conv.kernel_size, conv.stride, cast(tuple[int, ...], conv.padding), strict=True))
    if len(axes) != 1:
        raise ValueError(f"no variational form of a convolution whose axes differ: {conv}")
    kernel_size, stride, padding = axes.pop()
    return kernel_size, stride, padding


def recomputed(block: nn.Module, *inputs: Tensor) -> Tensor:
    """``block(*inputs)``, keeping only the inputs for the backward pass.

    Args:
        block: Any module with one output; the generators of its variational layers are replayed, torch's
            global one too.
        inputs: Its inputs.
    """
    layers = variational_layers(block)
    generators = list(dict.fromkeys(layer.generator for layer in layers if layer.generator is not None))
    before = [generator.get_state() for generator in generators]

    def contexts() -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
        return nullcontext(), _replay(generators, before)

    output: Tensor = checkpoint(block, *inputs, use_reentrant=False, context_fn=contexts)
    return output


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
