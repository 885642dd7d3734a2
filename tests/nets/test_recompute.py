"""Recomputed blocks give the gradients of kept ones, noise included."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dwp_sweep.nets.bayes_conv import BayesConv3d, Noise, make_bayesian, recomputed
from dwp_sweep.nets.unet3d import UNet3D, he_init


def network(noise: Noise | None, generator: torch.Generator | None = None) -> UNet3D:
    net = UNet3D(channels=(2, 3, 4, 5))
    he_init(net, torch.Generator().manual_seed(0))
    if noise is not None:
        make_bayesian(net, -4.0, noise, generator)
    return net.train()


def gradients(
    noise: Noise | None, checkpointing: bool, own: bool = True, bf16: bool = False
) -> tuple[list[Tensor], Tensor]:
    """Gradients of a loss on the output and on the drawn weights, and the noise generator's last state."""
    torch.manual_seed(7)
    generator = torch.Generator().manual_seed(7) if own else None
    net = network(noise, generator)
    net.checkpointing = checkpointing
    x = torch.randn(2, 1, 16, 16, 8, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        loss = net(x).float().square().mean()
    drawn = [module.sample for module in net.modules() if isinstance(module, BayesConv3d)]
    for sample in drawn:
        if sample is not None:
            loss = loss + 0.1 * sample.square().sum()
    loss.backward()
    state = torch.get_rng_state() if generator is None else generator.get_state()
    return [p.grad for p in net.parameters() if p.grad is not None], state


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("noise", [None, "weight", "local"])
def test_gradients_and_noise_state_are_equal_with_and_without(noise: Noise | None, bf16: bool) -> None:
    kept, state = gradients(noise, checkpointing=False, bf16=bf16)
    again, state_again = gradients(noise, checkpointing=True, bf16=bf16)
    assert len(kept) == len(again) > 0
    assert torch.equal(state, state_again)
    for one, other in zip(kept, again, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("noise", ["weight", "local"])
def test_torchs_own_generator_is_replayed_too(noise: Noise) -> None:
    kept, state = gradients(noise, checkpointing=False, own=False)
    again, state_again = gradients(noise, checkpointing=True, own=False)
    assert torch.equal(state, state_again)
    assert all(torch.equal(one, other) for one, other in zip(kept, again, strict=True))


def test_only_the_inputs_are_kept_for_the_gradient() -> None:
    block = nn.Sequential(*(nn.Conv3d(4, 4, 3, padding=1) for _ in range(4)))
    x = torch.randn(1, 4, 8, 8, 8, requires_grad=True)

    def kept(run: object) -> int:
        sizes: list[int] = []

        def keep(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel() if tensor.shape[0] == 1 else 0)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            run()  # type: ignore[operator]
        return sum(sizes)

    assert kept(lambda: block(x)) == 4 * x.numel()
    assert kept(lambda: recomputed(block, x)) == x.numel()


def test_evaluation_recomputes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Tensor:
        raise AssertionError("recomputed in evaluation")

    net = network(None).eval()
    net.checkpointing = True
    monkeypatch.setattr("dwp_sweep.nets.unet3d.recomputed", refuse)
    assert net(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 2, 16, 16, 16)
