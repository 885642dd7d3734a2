"""The share of a posterior's kernels that have left their prior.

A kernel has left when its mean is less likely under the prior than all but a twentieth of the prior's own
draws: 0.05 is what the prior itself would show, 1 means that the data have taken all kernels elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dwp_sweep.losses.kernel_bound import prior_cost
from dwp_sweep.methods.variational import KernelGroup
from dwp_sweep.nets.kernel_prior import KernelPrior
from dwp_sweep.training.seeds import named_generator

N_WATCHED = 256
"""Kernels of each group that are looked at after every epoch: a standard error of at most 0.03."""
N_DRAWS = 512
RARE = 0.95


class LeftPrior:
    """Watches a random part of each group's kernels, the same in all epochs.

    Args:
        groups: Of the posterior.
        priors: By group number, on the device.
        seed: Of the choice and of all draws.
        device: Of the network.
    """

    def __init__(
        self,
        groups: Sequence[KernelGroup],
        priors: Mapping[int, KernelPrior],
        seed: int,
        device: torch.device,
    ) -> None:
        self.groups, self.priors, self.seed, self.device = groups, priors, seed, device
        choice = named_generator(seed, "watched", device)
        self.watched = {
            group.number: torch.randperm(len(group.scale), generator=choice, device=device)[:N_WATCHED]
            for group in groups
        }
        # By the encoders as they were fitted: a training that is resumed must find the same limits.
        self.limit = {group.number: self._limit(group.number) for group in groups}

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """``left_prior_group<g>`` for each group, now."""
        return {f"left_prior_group{group.number}": self._share(group) for group in self.groups}

    @torch.no_grad()
    def _limit(self, number: int) -> Tensor:
        generator = named_generator(self.seed, "draws", self.device)
        draws = self.priors[number].sample_standardised(N_DRAWS, generator)
        return self._surprise(number, draws).quantile(RARE)

    def _share(self, group: KernelGroup) -> float:
        chosen = self.watched[group.number]
        surprise = self._surprise(group.number, group.mean()[chosen] / group.scale[chosen])
        return float((surprise > self.limit[group.number]).float().mean())

    def _surprise(self, number: int, kernels: Tensor) -> Tensor:
        """``-log p``, or its bound, in nats ``(n,)`` of standardised kernels ``(n, 27)``."""
        generator = named_generator(self.seed, "surprise", self.device)
        return prior_cost(kernels, self.priors[number].model, generator)
