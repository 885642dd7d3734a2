"""The variational autoencoder over 3x3x3 kernels, whose decoder is the deep weight prior.

One is trained for each of the seven kernel groups on harvested, standardised kernels; then its decoder is
frozen and its encoder goes on learning beside the target network. It sees standardised kernels only: the
scale of a layer stands in `KernelPrior`.
Source: Table 2 and Appendix B of the paper.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dwp_sweep.nets.dense_map import DenseMap, dense_map, larger

Head = Literal["free", "tanh"]

N_TAPS = 27

_ENCODER_ROWS = {"cpu": 1024}
"""Kernels at once by type of device, so that what lies between two maps stays in a core's cache."""


class KernelVAE(nn.Module):
    """Encoder ``r(z|x)`` and decoder ``p(x|z)`` of kernels ``x`` of 27 numbers (order D, H, W).

    The modules are those of the paper's table. On so small a volume each of them is a dense map, and is
    computed as one: of a convolution only the taps that meet a voxel count, the pools are maxima over
    fixed sets of voxels, and a transposed convolution of one voxel is a matrix. Tests hold the two forms
    together.

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
        maps = (
            _same_conv(self.encoder_1, self.taps_3),
            _same_conv(self.encoder_2, self.taps_2),
            dense_map(self.encoder_3.weight.flatten(1), _bias(self.encoder_3)),
        )
        n_rows = _ENCODER_ROWS.get(x.device.type, len(x) or 1)
        parts = [_hidden(part, *maps) for part in torch.split(x, n_rows)]
        hidden = parts[0] if len(parts) == 1 else torch.cat(parts)
        return self.latent_mean(hidden), self.latent_log_var(hidden)

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of ``p(x|z)``, each ``(N, 27)``, for latents ``(N, L)``."""
        return self.decoder()(z)

    def decoder(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """`decode` with its maps made ready, for use on many batches between two changes of the weights."""
        maps = (
            self._first_decoder_map(),
            _spread(self.decoder_2),
            _pointwise(self.decoder_3),
            _pointwise(self.decoder_4),
        )
        heads = _pointwise(self.kernel_mean, self.kernel_log_var)

        def decode(z: Tensor) -> tuple[Tensor, Tensor]:
            h = F.elu(maps[0](z), inplace=True)  # (N, 128)
            h = F.elu(maps[1](h), inplace=True).view(len(z) * N_TAPS, -1)  # (N * 27, 128)
            h = F.elu(maps[2](h), inplace=True)  # (N * 27, 64)
            h = F.elu(maps[3](h), inplace=True)  # (N * 27, 32)
            mean, log_var = heads(h).T.reshape(2, len(z), N_TAPS)
            return self.heads(mean, log_var)

        return decode

    def encoder_parameters(self) -> list[nn.Parameter]:
        """What goes on learning in target training (psi)."""
        modules = (self.encoder_1, self.encoder_2, self.encoder_3, self.latent_mean, self.latent_log_var)
        return [parameter for module in modules for parameter in module.parameters()]

    def decoder_parameters(self) -> list[nn.Parameter]:
        """What stays frozen in target training (phi)."""
        encoder = {id(parameter) for parameter in self.encoder_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in encoder]

    def _first_decoder_map(self) -> DenseMap:
        """The linear layer and, on one voxel, the centre of the convolution after it: no ELU between."""
        centre = self.decoder_1.weight[:, :, 1, 1, 1]
        return dense_map(centre @ self.linear.weight, centre @ self.linear.bias + _bias(self.decoder_1))

    def heads(self, mean: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs of the last two layers as mean and log-variance in the range of the head."""
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


def _hidden(x: Tensor, first: DenseMap, second: DenseMap, third: DenseMap) -> Tensor:
    """Kernels ``(N, 27)`` to the encoder's last hidden layer ``(N, 128)``."""
    h = first(x).view(len(x), 3, 3, 3, -1)  # (N, 3, 3, 3, 32)
    h = F.elu(_pool(_pool(_pool(h, 1), 2), 3), inplace=True).flatten(1)  # (N, 8 * 32)
    h = second(h)  # (N, 8 * 64), halved three times: the second pool covers all voxels
    for _ in range(3):
        h = larger(*h.chunk(2, dim=1))
    return F.elu(third(F.elu(h)), inplace=True)  # (N, 128)


def _pool(x: Tensor, axis: int) -> Tensor:
    """Maximum over {0} and over {1, 2} of an axis: windows of 2 with a padding of 1 on 3 voxels."""
    first, second, third = torch.split(x, 1, dim=axis)
    return torch.cat((first, larger(second, third)), dim=axis)


def _same_conv(conv: nn.Conv3d, taps: Tensor) -> DenseMap:
    """A padded 3x3x3 convolution on ``P`` voxels: of ``(N, P * in)`` to ``(N, P * out)``, channels last."""
    weight = F.pad(conv.weight.flatten(2), (0, 1))[:, :, taps]  # (out, in, P to, P from), 0 where no tap
    dense = weight.permute(2, 0, 3, 1).flatten(2).flatten(0, 1)
    return dense_map(dense, _bias(conv).repeat(len(taps)))


def _spread(conv: nn.ConvTranspose3d) -> DenseMap:
    """A transposed 3x3x3 convolution of one voxel: of ``(N, in)`` to ``(N, 27 * out)``, channels last."""
    return dense_map(conv.weight.flatten(2).permute(2, 1, 0).flatten(0, 1), _bias(conv).repeat(N_TAPS))


def _pointwise(*convs: nn.ConvTranspose3d) -> DenseMap:
    """Transposed 1x1x1 convolutions side by side: of ``(..., in)`` to ``(..., sum of out)``."""
    weights = [conv.weight.flatten(1).T for conv in convs]
    return dense_map(torch.cat(weights), torch.cat([_bias(conv) for conv in convs]))


def _bias(conv: nn.Conv3d | nn.ConvTranspose3d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
