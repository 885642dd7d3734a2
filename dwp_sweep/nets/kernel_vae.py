"""The variational autoencoder over 3x3x3 kernels, whose decoder is the deep weight prior.

One is trained for each of the seven kernel groups on harvested, standardised kernels; then its decoder is
frozen and its encoder goes on learning beside the target network. It sees standardised kernels only: the
scale of a layer stands in `KernelPrior`. It knows no loss.
Source: Table 2 and Appendix B of the paper.
"""

from __future__ import annotations

from itertools import product
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Head = Literal["free", "tanh"]

N_TAPS = 27


class KernelVAE(nn.Module):
    """Encoder ``r(z|x)`` and decoder ``p(x|z)`` of kernels ``x`` of 27 numbers (order D, H, W).

    The modules are those of the paper's table. On so small a volume each of them is a dense map, and is
    computed as one, about three times faster; a test holds the two forms together.

    Args:
        latent_dim: Dimension L of ``z``.
        head: ``tanh`` is the paper's: mean and log-variance of a kernel's voxels within [-1, 1].
            ``free`` (default) bounds neither, except the log-variance from below: with the paper's head
            the standard deviation is at least 0.6, which hardly constrains a kernel.
        log_var_floor: Lower limit of the log-variance of the ``free`` head, approached smoothly.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, latent_dim: int = 6, head: Head = "free", log_var_floor: float = -6.0) -> None:
        super().__init__()
        if latent_dim < 1 or head not in ("free", "tanh"):
            raise ValueError(f"need latent_dim >= 1 and head 'free' or 'tanh', not {latent_dim} and {head!r}")
        self.latent_dim, self.head, self.log_var_floor = latent_dim, head, log_var_floor
        self.encoder_1 = nn.Conv3d(1, 32, 3, padding=1)
        self.encoder_2 = nn.Conv3d(32, 64, 3, padding=1)
        self.encoder_3 = nn.Conv3d(64, 128, 1)
        self.latent_mean = nn.Linear(128, latent_dim)
        self.latent_log_var = nn.Linear(128, latent_dim)
        self.linear = nn.Linear(latent_dim, 128)
        self.decoder_1 = nn.Conv3d(128, 128, 3, padding=1)
        self.decoder_2 = nn.ConvTranspose3d(128, 128, 3)
        self.decoder_3 = nn.ConvTranspose3d(128, 64, 1)
        self.decoder_4 = nn.ConvTranspose3d(64, 32, 1)
        self.kernel_mean = nn.ConvTranspose3d(32, 1, 1)
        self.kernel_log_var = nn.ConvTranspose3d(32, 1, 1)
        self.register_buffer("taps_3", _taps(3), persistent=False)
        self.register_buffer("taps_2", _taps(2), persistent=False)

    taps_3: Tensor
    taps_2: Tensor

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of ``r(z|x)``, each ``(N, L)``, for standardised kernels ``(N, 27)``.

        Raises:
            ValueError: If ``x`` has another shape.
        """
        if x.dim() != 2 or x.shape[1] != N_TAPS:
            raise ValueError(f"the encoder takes kernels of shape (N, 27), not {tuple(x.shape)}")
        h = _same_conv(x.unsqueeze(1), self.encoder_1, self.taps_3)  # (N, 32, 27)
        h = F.elu(F.max_pool3d(h.view(-1, h.shape[1], 3, 3, 3), 2, padding=1)).flatten(2)  # (N, 32, 8)
        h = F.elu(_same_conv(h, self.encoder_2, self.taps_2).amax(dim=2))  # (N, 64): the pool covers all
        h = F.elu(F.linear(h, self.encoder_3.weight.flatten(1), self.encoder_3.bias))  # (N, 128)
        return self.latent_mean(h), self.latent_log_var(h)

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of ``p(x|z)``, each ``(N, 27)``, for latents ``(N, L)``."""
        centre = self.decoder_1.weight[:, :, 1, 1, 1]  # on one voxel only the centre of the kernel counts
        h = F.elu(F.linear(self.linear(z), centre, self.decoder_1.bias))  # (N, 128)
        h = F.elu(_spread(h, self.decoder_2))  # (N, 27, 128)
        h = F.elu(_pointwise(h, self.decoder_3))  # (N, 27, 64)
        h = F.elu(_pointwise(h, self.decoder_4))  # (N, 27, 32)
        return self._heads(
            _pointwise(h, self.kernel_mean)[..., 0], _pointwise(h, self.kernel_log_var)[..., 0]
        )

    def encoder_parameters(self) -> list[nn.Parameter]:
        """What goes on learning in target training (psi)."""
        modules = (self.encoder_1, self.encoder_2, self.encoder_3, self.latent_mean, self.latent_log_var)
        return [parameter for module in modules for parameter in module.parameters()]

    def decoder_parameters(self) -> list[nn.Parameter]:
        """What stays frozen in target training (phi)."""
        encoder = {id(parameter) for parameter in self.encoder_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in encoder]

    def _heads(self, mean: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
        if self.head == "tanh":
            return mean.tanh(), log_var.tanh()
        return mean, self.log_var_floor + F.softplus(log_var - self.log_var_floor)


def _taps(edge: int) -> Tensor:
    """For voxels ``(to, from)`` of a cube, which tap of a padded 3x3x3 kernel joins them; 27: none."""
    voxels = list(product(range(edge), repeat=3))
    return torch.tensor([[_tap(a, b) for b in voxels] for a in voxels])


def _tap(to: tuple[int, ...], come: tuple[int, ...]) -> int:
    offsets = [b - a + 1 for a, b in zip(to, come, strict=True)]
    inside = all(0 <= offset <= 2 for offset in offsets)
    return offsets[0] * 9 + offsets[1] * 3 + offsets[2] if inside else N_TAPS


def _same_conv(x: Tensor, conv: nn.Conv3d, taps: Tensor) -> Tensor:
    """A padded 3x3x3 convolution of ``(N, in, P)`` to ``(N, out, P)`` as one dense map."""
    weight = F.pad(conv.weight.flatten(2), (0, 1))[:, :, taps]  # (out, in, P to, P from), 0 where no tap
    dense = weight.permute(0, 2, 1, 3).reshape(weight.shape[0] * taps.shape[0], -1)
    assert conv.bias is not None
    return F.linear(x.flatten(1), dense).view(len(x), -1, taps.shape[0]) + conv.bias[:, None]


def _spread(x: Tensor, conv: nn.ConvTranspose3d) -> Tensor:
    """A transposed 3x3x3 convolution of one voxel ``(N, in)`` to 27 voxels ``(N, 27, out)``."""
    weight = conv.weight.flatten(2).permute(2, 1, 0)  # (27, out, in)
    assert conv.bias is not None
    return F.linear(x, weight.flatten(0, 1)).view(len(x), N_TAPS, -1) + conv.bias


def _pointwise(x: Tensor, conv: nn.ConvTranspose3d) -> Tensor:
    """A transposed 1x1x1 convolution of ``(N, 27, in)`` to ``(N, 27, out)``."""
    return F.linear(x, conv.weight.flatten(1).T, conv.bias)
