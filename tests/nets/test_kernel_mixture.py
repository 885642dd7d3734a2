"""The mixture's density against torch and scikit-learn, and its samples."""

from __future__ import annotations

import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from dwp_sweep.nets.kernel_mixture import KernelMixture
from tests.nets.mixtures import mixture, seeded


def reference(made: KernelMixture) -> MixtureSameFamily:
    precision = made.roots.double() @ made.roots.double().mT
    parts = MultivariateNormal(made.means.double(), precision_matrix=precision)
    return MixtureSameFamily(Categorical(made.weights.double()), parts)


def test_the_density_and_its_gradient_are_those_of_torchs_mixture() -> None:
    made = mixture()
    x = (3 * torch.randn(50, 27, generator=seeded(3))).requires_grad_()
    y = x.detach().double().requires_grad_()
    found, expected = made.log_density(x), reference(made).log_prob(y)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)
    found.sum().backward()
    expected.sum().backward()
    assert x.grad is not None and y.grad is not None
    torch.testing.assert_close(x.grad.double(), y.grad, rtol=1e-4, atol=1e-4)


def test_the_density_is_that_of_scikit_learn() -> None:
    x = torch.randn(600, 27, generator=seeded()) * (1 + torch.rand(600, 1, generator=seeded(1)))
    fitted = GaussianMixture(3, reg_covar=0.01, random_state=0).fit(x.double().numpy())
    parts = (fitted.weights_, fitted.means_, fitted.precisions_cholesky_)
    made = KernelMixture(*(torch.from_numpy(part).float() for part in parts))
    expected = torch.from_numpy(fitted.score_samples(x.double().numpy()))
    torch.testing.assert_close(made.log_density(x).double(), expected, rtol=1e-5, atol=1e-3)


def test_samples_have_the_mean_and_covariance_of_the_mixture() -> None:
    made, exact = mixture(), reference(mixture())
    samples = made.sample(100_000, seeded()).double()
    spread = exact.variance.sqrt()
    assert float(((samples.mean(0) - exact.mean) / spread).abs().max()) < 0.02
    parts = torch.linalg.inv(made.roots.double() @ made.roots.double().mT)
    centred = made.means.double() - exact.mean
    weights = made.weights.double()[:, None, None]
    covariance = (weights * (parts + centred[:, :, None] * centred[:, None, :])).sum(0)
    error = (torch.cov(samples.T) - covariance) / (spread[:, None] * spread)
    assert float(error.abs().max()) < 0.03


def test_equal_generators_give_equal_samples() -> None:
    assert torch.equal(mixture().sample(7, seeded(3)), mixture().sample(7, seeded(3)))
    assert not torch.equal(mixture().sample(7, seeded(3)), mixture().sample(7, seeded(4)))


def test_nothing_of_a_mixture_learns() -> None:
    assert list(mixture().parameters()) == [] and mixture().encoder_parameters() == []


@pytest.mark.parametrize(
    ("weights", "means", "roots"),
    [
        (torch.ones(2), torch.zeros(3, 27), torch.eye(27).repeat(2, 1, 1)),
        (torch.tensor([1.0, -1.0]), torch.zeros(2, 27), torch.eye(27).repeat(2, 1, 1)),
        (torch.ones(2), torch.zeros(2, 27), torch.zeros(2, 27, 27)),
        (torch.ones(0), torch.zeros(0, 27), torch.zeros(0, 27, 27)),
    ],
)
def test_parts_that_make_no_mixture_are_refused(weights: Tensor, means: Tensor, roots: Tensor) -> None:
    with pytest.raises(ValueError, match="mixture"):
        KernelMixture(weights, means, roots)


def test_volumes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N, 27\), not \(4, 3, 3, 3\)"):
        mixture().log_density(torch.zeros(4, 3, 3, 3))
