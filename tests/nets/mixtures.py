"""A small mixture that is known exactly, for the tests of mixtures and of their fit."""

from __future__ import annotations

import torch

from dwp_sweep.nets.kernel_mixture import KernelMixture

WEIGHTS = torch.tensor([0.2, 0.5, 0.3])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixture() -> KernelMixture:
    roots = 0.2 * torch.randn(3, 27, 27, generator=seeded()).triu(1) + torch.diag_embed(
        0.5 + torch.rand(3, 27, generator=seeded(1))
    )
    return KernelMixture(WEIGHTS, 2 * torch.randn(3, 27, generator=seeded(2)), roots)
