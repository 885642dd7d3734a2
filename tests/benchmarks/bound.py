"""The kernel bound over all kernels of a network, forward and backward, in four implementations.

Decoder frozen, encoder and posterior learning, as in target training. Beside the time stands by how much the
gradients differ from those of the modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dwp_sweep.bench.frame import Row, Setting, Version, compare
from dwp_sweep.losses.kernel_bound import EncodesDecodes, kernel_bound
from dwp_sweep.nets.kernel_vae import KernelVAE
from tests.benchmarks.stand_in import freeze_decoder, group_sizes, kernels, one_a_group

GOAL = 0.2
N_REPEATS = 5
INIT_LOG_VAR = -10.0


def bound(setting: Setting) -> list[Row]:
    """The kernel bound: as convolution modules, as dense maps, with gradients at once, in bf16."""
    sizes = group_sizes(setting)
    vae = freeze_decoder(KernelVAE()).to(setting.device)
    ways: dict[str, tuple[str, float | None, Callable[[KernelVAE], EncodesDecodes], torch.dtype]] = {
        "modules": ("Conv3d, MaxPool3d and ConvTranspose3d of Table 2", None, AsModules, torch.float32),
        "dense": ("dense maps, ordinary differentiation", None, OnlyEncodesDecodes, torch.float32),
        "used": ("dense maps, the frozen decoder's gradients with its values", GOAL, _itself, torch.float32),
        "bf16": ("the same in bfloat16: not used", None, _itself, torch.bfloat16),
    }
    passes = {name: _Pass(setting, sizes, vae, wrap, dtype) for name, (_, _, wrap, dtype) in ways.items()}
    rows = compare(
        [Version(name, what, passes[name], goal) for name, (what, goal, _, _) in ways.items()],
        setting,
        N_REPEATS,
    )
    reference = passes["modules"]
    return [replace(row, extra={**row.extra, **_difference(passes[row.name], reference)}) for row in rows]


class OnlyEncodesDecodes:
    """A VAE whose decoder cannot be told to be frozen: every gradient the ordinary way."""

    def __init__(self, vae: KernelVAE) -> None:
        self.vae = vae

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `KernelVAE.encode`."""
        return self.vae.encode(x)

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """See `KernelVAE.decode`."""
        return self.vae.decode(z)


class AsModules(OnlyEncodesDecodes):
    """The layers of the paper's table called one after the other: the same parameters, the same numbers."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(n, 27)`` to mean and log-variance ``(n, L)``."""
        vae = self.vae
        h = F.elu(F.max_pool3d(vae.encoder_1(x.view(-1, 1, 3, 3, 3)), 2, padding=1))
        h = F.elu(F.max_pool3d(vae.encoder_2(h), 2))
        h = F.elu(vae.encoder_3(h)).flatten(1)
        return vae.latent_mean(h), vae.latent_log_var(h)

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """``(n, L)`` to mean and log-variance ``(n, 27)``."""
        vae = self.vae
        h = F.elu(vae.decoder_1(vae.linear(z).view(len(z), -1, 1, 1, 1)))
        for layer in (vae.decoder_2, vae.decoder_3, vae.decoder_4):
            h = F.elu(layer(h))
        return vae.heads(vae.kernel_mean(h).flatten(1), vae.kernel_log_var(h).flatten(1))


@dataclass(frozen=True)
class _Group:
    mean: nn.Parameter
    log_var: nn.Parameter
    prior: EncodesDecodes
    encoder: list[nn.Parameter]


class _Pass:
    """One forward and backward pass; the same draws every time, so that versions can be compared."""

    def __init__(
        self,
        setting: Setting,
        sizes: dict[int, int],
        vae: KernelVAE,
        wrap: Callable[[KernelVAE], EncodesDecodes],
        dtype: torch.dtype,
    ) -> None:
        generator = torch.Generator().manual_seed(setting.seed)
        self.setting, self.nats, self.groups = setting, torch.zeros(()), []
        for group, one in one_a_group(vae, sizes).items():
            start = kernels(sizes[group], generator).to(setting.device, dtype)
            noise = nn.Parameter(torch.full_like(start, INIT_LOG_VAR))
            prior = wrap(one.to(dtype))
            self.groups.append(_Group(nn.Parameter(start), noise, prior, one.encoder_parameters()))

    def __call__(self) -> None:
        generator = torch.Generator(self.setting.device).manual_seed(self.setting.seed)
        for leaf in self.leaves():
            leaf.grad = None
        nats = [_nats(group, generator) for group in self.groups]
        torch.autograd.backward(torch.stack(nats).sum())
        self.nats = torch.stack(nats).detach().float()

    def leaves(self) -> Iterable[nn.Parameter]:
        for group in self.groups:
            yield from (group.mean, group.log_var, *group.encoder)


def _nats(group: _Group, generator: torch.Generator) -> Tensor:
    noise = torch.randn(group.mean.shape, generator=generator, device=group.mean.device)
    w = group.mean + (0.5 * group.log_var).exp() * noise.to(group.mean.dtype)
    return kernel_bound(w, group.mean, group.log_var, group.prior, 1.0, generator).sum()


def _difference(found: _Pass, reference: _Pass) -> dict[str, float]:
    """Largest relative difference of a gradient tensor (2-norm), and of the sum of nats."""
    pairs = [(a.grad, b.grad) for a, b in zip(found.leaves(), reference.leaves(), strict=True)]
    gradients = [
        float((a.float() - b).norm() / b.norm()) for a, b in pairs if a is not None and b is not None
    ]
    nats = float((found.nats - reference.nats).abs().sum() / reference.nats.abs().sum())
    return {"gradient differs by": max(gradients), "nats differ by": nats}


def _itself(vae: KernelVAE) -> KernelVAE:
    return vae
