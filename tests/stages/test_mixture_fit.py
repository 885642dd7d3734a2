"""The shrunk fit of a mixture: known truths, scikit-learn, and both ends of the shrinkage."""

from __future__ import annotations

import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from dwp_sweep.metrics.kernel_structure import gaussian_log_lik
from dwp_sweep.nets.kernel_mixture import KernelMixture
from dwp_sweep.stages.mixture_fit import fit_mixture
from tests.nets.mixtures import WEIGHTS, mixture, seeded


def heavy_tailed(n: int) -> Tensor:
    """One shape, sizes that differ by orders of magnitude."""
    shape = torch.eye(27) + 0.1 * torch.randn(27, 27, generator=seeded(2))
    return torch.randn(n, 1, generator=seeded()).exp() * torch.randn(n, 27, generator=seeded(1)) @ shape


def mean_log_density(made: KernelMixture, kernels: Tensor) -> float:
    return float(made.log_density(kernels).double().mean())


def test_without_shrinkage_the_fit_is_as_likely_as_scikit_learns_from_the_same_start() -> None:
    """On well separated clusters both searches end in the same maximum."""
    clusters = torch.cat([torch.randn(400, 27, generator=seeded(place)) * size for place, size in
                          enumerate((0.2, 1.0, 5.0))])  # fmt: skip
    found = fit_mixture(clusters, 3, variance_floor=1e-6, shrinkage=0.0).log_density(clusters).mean()
    start = torch.diag_embed(torch.tensor([0.2, 1.0, 5.0]).pow(-2)[:, None].expand(3, 27)).double().numpy()
    reference = GaussianMixture(3, tol=1e-6, precisions_init=start, means_init=torch.zeros(3, 27).numpy())
    assert float(found) == pytest.approx(reference.fit(clusters.double().numpy()).lower_bound_, abs=0.02)


def test_a_fit_recovers_the_parts_of_the_mixture_that_kernels_come_from() -> None:
    made = mixture()
    train, test = made.sample(20_000, seeded(5)), made.sample(4000, seeded(6))
    found = fit_mixture(train, 3, variance_floor=1e-6, shrinkage=27.0)
    assert -0.02 < mean_log_density(made, test) - mean_log_density(found, test) < 0.2
    assert torch.allclose(found.weights.sort().values, WEIGHTS.sort().values, atol=0.02)


def test_shrinkage_serves_few_heavy_tailed_kernels_better_than_the_most_likely_mixture() -> None:
    kernels = heavy_tailed(900)
    train, test = kernels[:300], kernels[300:]
    free = mean_log_density(fit_mixture(train, 8, shrinkage=0.0), test)
    shrunk = mean_log_density(fit_mixture(train, 8), test)
    assert shrunk > free + 5
    assert shrunk > gaussian_log_lik(train, test, "full") + 5


def test_endless_shrinkage_keeps_the_scale_mixture() -> None:
    kernels = heavy_tailed(3000)
    train, test = kernels[:2000], kernels[2000:]
    found = mean_log_density(fit_mixture(train, 8, variance_floor=1e-9, shrinkage=1e12), test)
    assert found == pytest.approx(gaussian_log_lik(train, test, "scale_mixture"), abs=0.1)


def test_no_variance_is_below_the_floor() -> None:
    made = fit_mixture(torch.randn(50, 27, generator=seeded()) * 1e-3, 4, variance_floor=0.01)
    covariances = torch.linalg.inv(made.roots @ made.roots.mT)
    assert float(torch.linalg.eigvalsh(covariances).min()) >= 0.0099


def test_fewer_kernels_than_components_are_refused() -> None:
    with pytest.raises(ValueError, match="mixture of 8 needs as many kernels, not 5"):
        fit_mixture(torch.randn(5, 27), 8)
