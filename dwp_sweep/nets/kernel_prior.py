"""A trained prior over the kernels of one group: its model and the scales of the layers.

Made by the prior stage, used by the deep weight prior in target training, and by users to sample from.
The model (a VAE or a Gaussian mixture) speaks of standardised kernels; raw kernel = standardised kernel x
scale of its layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from dwp_sweep.nets.kernel_bank import Standardise, kernel_channels
from dwp_sweep.nets.kernel_groups import GROUPS, Channels, read_channels
from dwp_sweep.nets.kernel_mixture import KernelMixture
from dwp_sweep.nets.kernel_vae import KernelVAE
from dwp_sweep.nets.net_files import fact, is_number, load_state, read_facts, read_tensors, write_tensors
from dwp_sweep.strict import shortened

STEM = "prior"

_MAX_SIZE = 1_000
"""Of a model that a file describes: latent dimensions of an autoencoder, components of a mixture."""


@dataclass(frozen=True)
class KernelPrior:
    """Prior of one kernel group.

    Attributes:
        group: 1 to 7.
        model: Over standardised kernels.
        scale: By layer name, what one unit of a standardised kernel is in raw weights; with
            ``standardise: filter`` the median over the layer's filters.
        standardise: Whose root mean square the kernels that it learned from were divided by.
        channels: Of the layers that it learned from; empty where that is not known.
    """

    group: int
    model: KernelVAE | KernelMixture
    scale: Mapping[str, float]
    standardise: Standardise = "group"
    channels: Channels = field(default_factory=dict)

    def __post_init__(self) -> None:
        bad = {name: scale for name, scale in self.scale.items() if not is_number(scale) or scale <= 0}
        if bad or not self.scale:
            raise ValueError(f"a prior needs a positive, finite scale for each layer, not {bad}")
        if self.standardise not in get_args(Standardise):
            raise ValueError(f"standardise must be none, group, layer or filter, not {self.standardise!r}")

    def scale_of(self, layer_name: str) -> float:
        """Scale of one layer.

        Raises:
            ValueError: If the prior does not know the layer.
        """
        if layer_name not in self.scale:
            known = ", ".join(self.scale)
            raise ValueError(f"the prior of group {self.group} has no layer {layer_name!r}, only {known}")
        return self.scale[layer_name]

    def sample(self, n: int, generator: torch.Generator | None = None, layer: str | None = None) -> Tensor:
        """Draw raw kernels from the prior.

        Args:
            n: How many.
            generator: On the device of the model; None: torch's default, as ``torch.manual_seed`` set it.
            layer: Whose scale they get; None: each that of a random layer of the group.

        Returns:
            ``(n, 27)``, raw scale.
        """
        return self.sample_standardised(n, generator) * self._scales(n, generator, layer)

    @torch.no_grad()
    def sample_standardised(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw standardised kernels ``(n, 27)``; the generator is on the device of the model."""
        if isinstance(self.model, KernelMixture):
            return self.model.sample(n, generator)
        z = torch.randn(n, self.model.latent_dim, generator=generator, device=self._device())
        mean, log_var = self.model.decode(z)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        return mean + (0.5 * log_var).exp() * noise

    def _scales(self, n: int, generator: torch.Generator | None, layer: str | None) -> float | Tensor:
        if layer is not None:
            return self.scale_of(layer)
        scales = torch.tensor(list(self.scale.values()), device=self._device())
        return scales[torch.randint(len(scales), (n, 1), generator=generator, device=self._device())]

    def _device(self) -> torch.device:
        model = self.model
        return model.means.device if isinstance(model, KernelMixture) else model.linear.weight.device


def require_fit(prior: KernelPrior, net: nn.Module) -> None:
    """Refuse a prior that was fitted on other layers than a network has.

    Args:
        prior: Compared by the names of its layers, and by their channels if it knows them.
        net: A network that `kernel_layers` accepts, plain or variational.

    Raises:
        ValueError: Names the layers and both widths.
    """
    fitted = {name: prior.channels.get(name) for name in prior.scale}
    if misfits := layer_misfits(fitted, kernel_channels(net, prior.group)):
        raise ValueError(
            f"the prior of kernel group {prior.group} was fitted for another network: {'; '.join(misfits)}"
        )


def layer_misfits(fitted: Mapping[str, tuple[int, int] | None], needed: Channels) -> list[str]:
    """How the layers that kernels came from differ from those of a network, one phrase a layer.

    Args:
        fitted: By layer name its input and output channels; None where they are not known.
        needed: Those of the network.
    """
    missing = [f"{name} is in the network only" for name in needed if name not in fitted]
    extra = [f"{name} is not in the network" for name in fitted if name not in needed]
    return [
        f"{name} had {_widths(widths)} channels, the network's has {_widths(needed[name])}"
        for name, widths in fitted.items()
        if widths is not None and name in needed and tuple(widths) != tuple(needed[name])
    ] + missing + extra  # fmt: skip


def _widths(channels: tuple[int, int]) -> str:
    return f"{channels[0]} to {channels[1]}"


def save_prior(prior: KernelPrior, folder: Path) -> None:
    """Write ``prior.safetensors`` and ``prior.json`` into a folder, which is made if missing."""
    facts = {
        "format": 1,
        "group": prior.group,
        **_describe(prior.model),
        "scale": dict(prior.scale),
        "standardise": prior.standardise,
        "channels": {name: list(widths) for name, widths in prior.channels.items()},
    }
    write_tensors(Path(folder), STEM, prior.model.state_dict(), facts)


def load_prior(folder: Path) -> KernelPrior:
    """Read a prior, on the CPU, in evaluation mode.

    Files without kind, standardise and channels are of VAEs on group-standardised kernels.

    Raises:
        ValueError: If a file is missing, damaged, or does not fit the other; names it.
    """
    folder = Path(folder)
    path = folder / f"{STEM}.json"
    facts, tensors = read_facts(folder, STEM), read_tensors(folder, STEM)
    group, scale = fact(facts, "group", path), fact(facts, "scale", path)
    if group not in GROUPS or isinstance(group, bool):
        allowed = f"group must be one of 1 to {len(GROUPS)}, not {shortened(repr(group))}"
        raise ValueError(f"{path}: describes no prior: {allowed}")
    try:
        channels = read_channels(facts.get("channels", {}))
        model = _new_model(facts, path)
        prior = KernelPrior(group, model, scale, facts.get("standardise", "group"), channels)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: describes no prior: {error}") from None
    load_state(model, tensors, folder / f"{STEM}.safetensors")
    model.eval()
    return prior


def _describe(model: KernelVAE | KernelMixture) -> dict[str, Any]:
    if isinstance(model, KernelMixture):
        return {"kind": "mixture", "n_components": model.n_components}
    return {
        "kind": "vae",
        "latent_dim": model.latent_dim,
        "head": model.head,
        "log_var_floor": model.log_var_floor,
    }


def _new_model(facts: Mapping[str, Any], path: Path) -> KernelVAE | KernelMixture:
    kind = facts.get("kind", "vae")
    if kind not in ("vae", "mixture"):
        raise ValueError(f"kind must be 'vae' or 'mixture', not {kind!r}")
    size = fact(facts, "n_components" if kind == "mixture" else "latent_dim", path)
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= _MAX_SIZE:
        raise ValueError(f"its size must be a whole number from 1 to {_MAX_SIZE}, not {shortened(str(size))}")
    if kind == "mixture":
        return KernelMixture.blank(size)
    head, floor = fact(facts, "head", path), fact(facts, "log_var_floor", path)
    if not is_number(floor):
        raise ValueError(f"log_var_floor must be a finite number, not {floor!r}")
    with torch.random.fork_rng(devices=[]):  # the start drawn here is overwritten at once
        return KernelVAE(size, head, floor)
