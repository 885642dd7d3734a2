"""A trained network as a graph without Python: TorchScript or ONNX, for volumes of any size.

A Bayesian network becomes as many plain networks as it has weight draws, the very draws that ``predict``
takes; their logits stand one after another on the channel axis.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dwp_sweep.errors import DwpSweepError
from dwp_sweep.nets.bayes_conv import BayesConv3d, sampling, variational_layers
from dwp_sweep.nets.unet3d import REDUCTION, UNet3D
from dwp_sweep.training.compute import named_generator

IMAGE, LOGITS = "image", "logits"
"""Names of input and output in ONNX."""
_OPSET = 17
_EXAMPLE = (2, 16, 16, 24)
"""Batch and voxels of the example that is traced: two images, since one alone takes another route on CPUs."""
_CLOSE = 1e-3
"""Largest difference of a logit between a graph and its network that is rounding."""


class StackedNetworks(nn.Module):
    """Networks side by side: images (B, C, D, H, W) to logits (B, n_networks * n_classes, D, H, W).

    Args:
        networks: Plain networks of one shape.
    """

    def __init__(self, networks: list[UNet3D]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.background = networks[0].background

    def forward(self, image: Tensor) -> Tensor:
        """Pads to what the networks need with sums of sizes, so that a trace holds for every size."""
        depth, height, width = image.shape[2:]
        sides = (0, -width % REDUCTION, 0, -height % REDUCTION, 0, -depth % REDUCTION)
        padded = F.pad(image, sides, value=self.background)
        logits = torch.cat([network(padded) for network in self.networks], dim=1)
        return logits[:, :, :depth, :height, :width]


def as_graph(net: nn.Module, n_draws: int, seed: int) -> StackedNetworks:
    """The plain networks that a prediction uses, on the CPU.

    Args:
        net: A `UNet3D`, plain or variational, in evaluation mode, on the CPU.
        n_draws: Weight draws of a variational network; 0 takes its posterior mean.
        seed: Of these draws, as for `dwp_sweep.stages.evaluation.predict_volume`.
    """
    assert isinstance(net, UNet3D)
    if not n_draws or not variational_layers(net):
        return StackedNetworks([_plain(net)])
    networks = []
    volume = torch.zeros(1, net.config.in_channels, *_EXAMPLE[1:])
    with torch.no_grad(), sampling(net, named_generator(seed, "monte_carlo")):
        for _ in range(n_draws):
            net(volume)  # a forward pass draws the weights of all layers, in the order of `predict`
            networks.append(_plain(net))
    return StackedNetworks(networks)


def write_torchscript(graph: StackedNetworks, path: Path) -> None:
    """Write a TorchScript file that `torch.jit.load` reads without this package.

    Raises:
        DwpSweepError: The file gives other logits than the network.
    """
    with _quiet():
        traced = torch.jit.trace(graph, (_example(graph),), check_trace=False)  # type: ignore[no-untyped-call]
        traced.save(str(path))
        loaded = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    require_same(graph, loaded, path)


def write_onnx(graph: StackedNetworks, path: Path) -> None:
    """Write an ONNX file with batch size and volume left open; checked with onnxruntime.

    Raises:
        DwpSweepError: The file gives other logits than the network.
    """
    from dwp_sweep.export.runtime import OnnxNetwork

    axes = {0: "batch", 2: "depth", 3: "height", 4: "width"}
    with _quiet():
        torch.onnx.export(
            graph,
            (_example(graph),),
            str(path),
            dynamo=False,  # the newer exporter fixes the sizes that the padding depends on
            opset_version=_OPSET,
            input_names=[IMAGE],
            output_names=[LOGITS],
            dynamic_axes={IMAGE: axes, LOGITS: axes},
        )
    require_same(graph, OnnxNetwork(path), path)


def require_same(graph: StackedNetworks, loaded: nn.Module, path: Path) -> None:
    """Compare a written graph with its network on a volume of another size than the traced one.

    Raises:
        DwpSweepError: They differ by more than rounding.
    """
    volume = torch.randn(1, _n_channels(graph), 19, 26, 33, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), _quiet():
        difference = float((graph(volume) - loaded(volume)).abs().max())
    if not difference <= _CLOSE:
        raise DwpSweepError(f"{path} differs from its network by {difference:.3g} in a logit: not written")


def _plain(net: UNet3D) -> UNet3D:
    """A copy with plain convolutions: of a variational layer the weights of its last draw, else the mean."""
    plain = UNet3D(**net.config.model_dump())
    weights = {}
    for name, module in net.named_modules():
        if isinstance(module, BayesConv3d):
            weights[f"{name}.weight"] = module.mean if module.sample is None else module.sample
        elif isinstance(module, nn.Conv3d):
            weights[f"{name}.weight"] = module.weight
    plain.load_state_dict({name: weight.detach().clone() for name, weight in weights.items()})
    plain.background, plain.channels_last = net.background, False
    return plain.eval().requires_grad_(False)


def _n_channels(graph: StackedNetworks) -> int:
    first = graph.networks[0]
    assert isinstance(first, UNet3D)
    return first.config.in_channels


def _example(graph: StackedNetworks) -> Tensor:
    return torch.zeros(_EXAMPLE[0], _n_channels(graph), *_EXAMPLE[1:])


@contextmanager
def _quiet() -> Iterator[None]:
    # Tracing warns of each size that it reads, and torch that tracing is to go one day.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
