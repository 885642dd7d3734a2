"""A trained prior over the kernels of one group: the VAE and the scales of the layers.

Made by the prior stage, used by the deep weight prior in target training, and by users to sample from.
The VAE speaks of standardised kernels; raw kernel = standardised kernel x scale of its layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dwp_sweep.nets.kernel_vae import KernelVAE
from dwp_sweep.nets.tensor_files import fact, load_state, read_facts, read_tensors, write_tensors

STEM = "prior"


@dataclass(frozen=True)
class KernelPrior:
    """Prior of one kernel group.

    Attributes:
        group: 1 to 7.
        vae: Over standardised kernels.
        scale: By layer name, what one unit of a standardised kernel is in raw weights.
    """

    group: int
    vae: KernelVAE
    scale: Mapping[str, float]

    def __post_init__(self) -> None:
        bad = {name: scale for name, scale in self.scale.items() if not 0 < scale < float("inf")}
        if bad or not self.scale:
            raise ValueError(f"a prior needs a positive, finite scale for each layer, not {bad}")

    def scale_of(self, layer_name: str) -> float:
        """Scale of one layer.

        Raises:
            ValueError: If the prior does not know the layer.
        """
        if layer_name not in self.scale:
            known = ", ".join(self.scale)
            raise ValueError(f"the prior of group {self.group} has no layer {layer_name!r}, only {known}")
        return self.scale[layer_name]

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None, layer: str | None = None) -> Tensor:
        """Draw raw kernels from the prior.

        Args:
            n: How many.
            generator: On the device of the VAE; None: torch's default, as ``torch.manual_seed`` set it.
            layer: Whose scale they get; None: each that of a random layer of the group.

        Returns:
            ``(n, 27)``, raw scale.
        """
        device = self.vae.linear.weight.device
        z = torch.randn(n, self.vae.latent_dim, generator=generator, device=device)
        mean, log_var = self.vae.decode(z)
        noise = torch.randn(mean.shape, generator=generator, device=device)
        return (mean + (0.5 * log_var).exp() * noise) * self._scales(n, generator, layer)

    def _scales(self, n: int, generator: torch.Generator | None, layer: str | None) -> float | Tensor:
        if layer is not None:
            return self.scale_of(layer)
        device = self.vae.linear.weight.device
        scales = torch.tensor(list(self.scale.values()), device=device)
        return scales[torch.randint(len(scales), (n, 1), generator=generator, device=device)]


def save_prior(prior: KernelPrior, folder: Path) -> None:
    """Write ``prior.safetensors`` and ``prior.json`` into a folder, which is made if missing."""
    facts = {
        "format": 1,
        "group": prior.group,
        "latent_dim": prior.vae.latent_dim,
        "head": prior.vae.head,
        "log_var_floor": prior.vae.log_var_floor,
        "scale": dict(prior.scale),
    }
    write_tensors(Path(folder), STEM, prior.vae.state_dict(), facts)


def load_prior(folder: Path) -> KernelPrior:
    """Read a prior, on the CPU, in evaluation mode.

    Raises:
        ValueError: If a file is missing, damaged, or does not fit the other; names it.
    """
    folder = Path(folder)
    path = folder / f"{STEM}.json"
    facts = read_facts(folder, STEM)
    latent_dim, head, floor = (fact(facts, key, path) for key in ("latent_dim", "head", "log_var_floor"))
    group, scale = fact(facts, "group", path), fact(facts, "scale", path)
    try:
        with torch.random.fork_rng(devices=[]):  # the start drawn here is overwritten at once
            vae = KernelVAE(latent_dim, head, floor)
        prior = KernelPrior(group, vae, scale)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: describes no prior: {error}") from None
    load_state(vae, read_tensors(folder, STEM), folder / f"{STEM}.safetensors")
    vae.eval()
    return prior
