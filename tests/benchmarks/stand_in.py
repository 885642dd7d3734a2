"""Kernels and priors like those of trained networks, made in seconds without any data.

Kernels of trained layers are smooth and of very different sizes; a VAE that has just been made scores all
alike, and nothing about variance could be read from it. Hence smooth random kernels with a wide spread of
sizes, and one VAE fitted to them briefly. Benches say that they are stand-ins.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from dwp_sweep.bench.frame import Setting
from dwp_sweep.losses.kernel_bound import negative_elbo
from dwp_sweep.nets.kernel_groups import kernel_layers
from dwp_sweep.nets.kernel_vae import KernelVAE
from dwp_sweep.nets.unet3d import UNet3D

_N_FITTED, _N_STEPS, _BATCH = 8192, 400, 256
_QUICK_CHANNELS = (2, 2, 2, 2)


def network(setting: Setting) -> UNet3D:
    """The U-Net of the paper, a narrow one at the tiny scale, started with the setting's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        net = UNet3D(channels=_QUICK_CHANNELS) if setting.quick else UNet3D()
    return net.to(setting.device)


def group_sizes(setting: Setting) -> dict[int, int]:
    """Number of 3x3x3 kernels of each group of `network`; 26,640 together in the paper's."""
    sizes: dict[int, int] = {}
    for layer in kernel_layers(network(setting)):
        sizes[layer.group] = sizes.get(layer.group, 0) + layer.n_kernels
    return dict(sorted(sizes.items()))


def kernels(n: int, generator: torch.Generator) -> Tensor:
    """Smooth random kernels ``(n, 27)`` with sizes over two orders of magnitude and a mean square of 1."""
    noise = torch.randn(n, 1, 5, 5, 5, generator=generator)
    smooth = F.avg_pool3d(noise, 3, stride=1).flatten(1)
    sized = smooth * torch.randn(n, 1, generator=generator).exp()
    return sized / sized.square().mean().sqrt()


def fitted_vae(setting: Setting) -> KernelVAE:
    """A VAE fitted for a few hundred steps to `kernels`; its decoder frozen, its encoder still to learn."""
    generator = torch.Generator().manual_seed(setting.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        vae = KernelVAE()
    known = kernels(_N_FITTED, generator)
    optimiser = torch.optim.Adam(vae.parameters(), lr=2e-3)
    for step in range(2 if setting.quick else _N_STEPS):
        setting.tell(f"fitting a stand-in prior: step {step + 1}")
        batch = known[torch.randint(_N_FITTED, (_BATCH,), generator=generator)]
        optimiser.zero_grad()
        torch.autograd.backward(negative_elbo(batch, vae, generator).mean())
        optimiser.step()
    return freeze_decoder(vae).to(setting.device)


def one_a_group(vae: KernelVAE, sizes: dict[int, int]) -> dict[int, KernelVAE]:
    """A copy of a VAE for each group: their encoders learn apart from each other."""
    return {group: freeze_decoder(copy.deepcopy(vae)) for group in sizes}


def freeze_decoder(vae: KernelVAE) -> KernelVAE:
    """As in target training: the encoder learns, the decoder does not."""
    vae.requires_grad_(False)
    for parameter in vae.encoder_parameters():
        parameter.requires_grad_(True)
    return vae
