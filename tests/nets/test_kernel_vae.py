"""The kernel VAE against the modules of the paper's table."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dwp_sweep.nets import kernel_vae
from dwp_sweep.nets.kernel_vae import Head, KernelVAE


class Table2(nn.Module):
    """The listing of Appendix B, module by module."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            nn.Conv3d(1, 32, 3, padding=1),
            nn.MaxPool3d(2, padding=1),
            nn.ELU(),
            nn.Conv3d(32, 64, 3, padding=1),
            nn.MaxPool3d(2),
            nn.ELU(),
            nn.Conv3d(64, 128, 1),
            nn.ELU(),
            nn.Flatten(),
        )
        self.latent_mu = nn.Linear(128, latent_dim)
        self.latent_logsigma = nn.Linear(128, latent_dim)
        self.linear = nn.Linear(latent_dim, 128)
        self.decode = nn.Sequential(
            nn.Conv3d(128, 128, 3, padding=1),
            nn.ELU(),
            nn.ConvTranspose3d(128, 128, 3),
            nn.ELU(),
            nn.ConvTranspose3d(128, 64, 1),
            nn.ELU(),
            nn.ConvTranspose3d(64, 32, 1),
            nn.ELU(),
        )
        self.reconstruction_mu = nn.Sequential(nn.ConvTranspose3d(32, 1, 1), nn.Tanh())
        self.reconstruction_logsigma = nn.Sequential(nn.ConvTranspose3d(32, 1, 1), nn.Tanh())

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        h = self.encode(x.view(-1, 1, 3, 3, 3))
        mean, log_var = self.latent_mu(h), self.latent_logsigma(h)
        h = self.decode(self.linear(mean).view(-1, 128, 1, 1, 1))
        return mean, log_var, self.reconstruction_mu(h).flatten(1), self.reconstruction_logsigma(h).flatten(1)


def pair(latent_dim: int = 6) -> tuple[KernelVAE, Table2]:
    torch.manual_seed(0)
    ours, reference = KernelVAE(latent_dim, head="tanh"), Table2(latent_dim)
    for p, q in zip(ours.parameters(), reference.parameters(), strict=True):
        q.data.copy_(p.data)
    return ours, reference


def test_dense_maps_compute_what_the_modules_of_the_table_compute() -> None:
    ours, reference = pair()
    x = torch.randn(50, 27, generator=torch.Generator().manual_seed(1))
    mean, log_var = ours.encode(x)
    got, expected = (mean, log_var, *ours.decode(mean)), reference(x)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    sum(t.square().sum() for t in got).backward()
    sum(t.square().sum() for t in expected).backward()
    for p, q in zip(ours.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-4 * float(q.grad.abs().max()))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [1, 8, 19])
def test_in_double_precision_the_two_forms_agree_to_rounding(
    n: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values and gradients, over random weights and across the border of the encoder's parts."""
    monkeypatch.setattr(kernel_vae, "_ENCODER_ROWS", {"cpu": 8})
    torch.manual_seed(seed)
    ours, reference = (module.double() for module in pair())
    for p, q in zip(ours.parameters(), reference.parameters(), strict=True):
        p.data.normal_(std=0.2)
        q.data.copy_(p.data)
    x = torch.randn(n, 27, dtype=torch.float64, requires_grad=True)
    y = x.detach().clone().requires_grad_(True)
    mean, log_var = ours.encode(x)
    got, expected = (mean, log_var, *ours.decode(mean)), reference(y)
    sum(t.square().sum() for t in got).backward()
    sum(t.square().sum() for t in expected).backward()
    pairs = [(x.grad, y.grad), *zip(got, expected, strict=True)]
    pairs += [(p.grad, q.grad) for p, q in zip(ours.parameters(), reference.parameters(), strict=True)]
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11 * float(b.detach().abs().max()))


def test_a_decoder_made_ready_once_computes_what_decode_computes() -> None:
    vae = KernelVAE(3)
    z = torch.randn(7, 3)
    ready = vae.decoder()
    for a, b in zip((*ready(z[:4]), *ready(z[4:])), (*vae.decode(z[:4]), *vae.decode(z[4:])), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("latent_dim", [1, 6, 11])
def test_shapes_follow_the_latent_dimension(latent_dim: int) -> None:
    vae = KernelVAE(latent_dim)
    mean, log_var = vae.encode(torch.zeros(5, 27))
    assert mean.shape == log_var.shape == (5, latent_dim)
    assert [t.shape for t in vae.decode(mean)] == [(5, 27), (5, 27)]


@pytest.mark.parametrize(("head", "low", "high"), [("tanh", -1.0, 1.0), ("free", -4.0, float("inf"))])
def test_decoder_variance_stays_in_the_range_of_its_head(head: Head, low: float, high: float) -> None:
    torch.manual_seed(0)
    vae = KernelVAE(3, head=head, log_var_floor=-4.0)
    with torch.no_grad():
        for parameter in vae.kernel_log_var.parameters():
            parameter.mul_(100)
    log_var = vae.decode(100 * torch.randn(500, 3))[1].detach()
    assert low <= float(log_var.min()) and float(log_var.max()) <= high
    assert float(log_var.max() - log_var.min()) > 1.5


def test_free_head_neither_bounds_the_mean_nor_bends_a_log_variance_well_above_its_floor() -> None:
    vae = KernelVAE(3)
    mean, log_var = vae.heads(torch.tensor([5.0]), torch.tensor([1.5]))
    assert mean.item() == 5.0
    assert log_var.item() == pytest.approx(1.5, abs=1e-3)


def test_encoder_and_decoder_share_no_parameter_and_together_are_all() -> None:
    vae = KernelVAE()
    encoder, decoder = set(vae.encoder_parameters()), set(vae.decoder_parameters())
    assert not encoder & decoder
    assert encoder | decoder == set(vae.parameters())
    mean, log_var = vae.encode(torch.randn(4, 27))
    (mean.sum() + log_var.sum()).backward()
    assert all(p.grad is not None for p in encoder) and all(p.grad is None for p in decoder)


@pytest.mark.parametrize("shape", [(4, 26), (4, 1, 3, 3, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(N, 27\)"):
        KernelVAE().encode(torch.zeros(shape))


@pytest.mark.parametrize("bad", [{"latent_dim": 0}, {"head": "relu"}])
def test_arguments_out_of_range_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="latent_dim >= 1 and head"):
        KernelVAE(**bad)  # type: ignore[arg-type]
