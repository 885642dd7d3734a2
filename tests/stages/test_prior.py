"""The prior stage on made-up kernels: kinds, standardisation, warm-up, scores, refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dwp_sweep.errors import InputError, StopTrial
from dwp_sweep.nets.kernel_bank import KernelBank, collect_bank, drop_tiny, load_bank, save_bank
from dwp_sweep.nets.kernel_mixture import KernelMixture
from dwp_sweep.nets.kernel_prior import load_prior, require_fit
from dwp_sweep.nets.unet3d import UNet3D, he_init
from dwp_sweep.stages.prior import stage
from dwp_sweep.stages.prior_fit import PriorConfig, fit_model
from dwp_sweep.strict import parse

SHAPE = (2, 4, 4, 4)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def net(seed: int = 0) -> UNet3D:
    made = UNet3D(channels=SHAPE)
    he_init(made, seeded(seed))
    return made


def bank() -> KernelBank:
    return drop_tiny(collect_bank({(seed, 0): net(seed) for seed in range(10)}))[0]


def silent(stage: str, step: int, metrics: Mapping[str, float]) -> None:
    return None


def run(folder: Path, prior: Mapping[str, Any], held: KernelBank | None = None, emit: Any = silent) -> Any:
    save_bank(held or bank(), folder / "bank")
    config = parse(stage.config, {"group": 7, "prior": {"max_epochs": 3, "batch_size": 16, **prior}}, "node")
    (folder / "work").mkdir(exist_ok=True)
    return stage.run(config, {"bank": (folder / "bank",)}, folder / "work", folder / "out", emit)


def test_a_mixture_is_fitted_at_once_and_published_in_the_same_files(tmp_path: Path) -> None:
    told = []
    scores = run(tmp_path, {"kind": "mixture", "n_components": 2}, emit=lambda *words: told.append(words[:2]))
    prior = load_prior(tmp_path / "out")
    assert isinstance(prior.model, KernelMixture) and prior.model.n_components == 2
    assert told == [("prior", 1)]
    assert scores["held_out_elbo_nats"] == scores["held_out_log_lik_nats"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "prior.safetensors", "prior.json", "kernels_and_samples.safetensors", "kernels_and_samples.json",
        "figures",
    }  # fmt: skip
    assert (tmp_path / "out" / "figures" / "kernels_and_samples.png").stat().st_size > 1000


@pytest.mark.parametrize("standardise", ["group", "layer", "filter"])
def test_a_prior_knows_its_standardisation_scales_and_widths(tmp_path: Path, standardise: Any) -> None:
    run(tmp_path, {"standardise": standardise, "max_epochs": 1})
    prior = load_prior(tmp_path / "out")
    assert prior.standardise == standardise
    assert prior.scale == bank().scales(7, standardise)
    require_fit(prior, net())


def test_nats_of_raw_kernels_do_not_depend_on_the_unit_of_the_weights(tmp_path: Path) -> None:
    held = bank()
    part = held.groups[7]
    small = replace(held, groups={**held.groups, 7: replace(part, kernels=0.01 * part.kernels)})
    settings = {"kind": "mixture", "n_components": 2}
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    plain, scaled = run(tmp_path / "a", settings, held), run(tmp_path / "b", settings, small)
    moved = -27 * torch.tensor(0.01).log().item()
    assert scaled["held_out_elbo_nats"] == pytest.approx(plain["held_out_elbo_nats"] + moved, abs=0.01)
    gain = "gain_over_full_gaussian_nats"
    assert scaled[gain] == pytest.approx(plain[gain], abs=0.01)


def test_a_vae_is_scored_against_every_rival(tmp_path: Path) -> None:
    scores = run(tmp_path, {"max_epochs": 1})
    rivals = ("diagonal_gaussian", "full_gaussian", "scale_mixture", "mixture")
    assert {f"gain_over_{rival}_nats" for rival in rivals} <= scores.keys()
    assert scores["held_out_log_lik_nats"] >= scores["held_out_elbo_nats"] - 0.2


def fit(folder: Path, emit: Any = silent, **settings: Any) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    kernels = torch.randn(90, 27, generator=seeded())
    config = PriorConfig(batch_size=30, **settings)
    return fit_model(config, kernels[:60], kernels[60:], torch.device("cpu"), folder, emit)


def test_no_epoch_of_the_warm_up_is_chosen_and_all_are_told(tmp_path: Path) -> None:
    told: list[int] = []
    # At this rate every epoch is worse than the one before: the plateau's choice is the first it sees.
    made = fit(tmp_path, lambda _, epoch, __: told.append(epoch), max_epochs=7, kl_warmup_epochs=4, lr=1e-12,
               stop_lr=0, patience=0)  # fmt: skip
    assert told == [1, 2, 3, 4, 5, 6, 7] and len(made.result.history) == 7
    assert made.result.best_epoch > 4
    assert made.result.n_steps == 14


def test_the_rate_does_not_fall_during_the_warm_up(tmp_path: Path) -> None:
    made = fit(tmp_path, max_epochs=8, kl_warmup_epochs=5, lr=0.03, patience=0)
    assert {epoch["lr"] for epoch in made.result.history[:5]} == {0.03}


def test_the_weight_of_the_divergence_rises_from_nothing(tmp_path: Path) -> None:
    """Right at the start only reconstruction counts, so the training loss is below that without warm-up."""
    plain = fit(tmp_path / "plain", max_epochs=2).result.history[0]
    warm = fit(tmp_path / "warm", max_epochs=2, kl_warmup_epochs=1, free_bits=5.0).result.history[0]
    free = fit(tmp_path / "free", max_epochs=2, free_bits=5.0).result.history[0]
    assert plain["train_loss"] + 5 < warm["train_loss"] < free["train_loss"] - 5


def test_a_fit_stopped_in_or_after_its_warm_up_ends_bit_equal(tmp_path: Path) -> None:
    settings = {"max_epochs": 5, "kl_warmup_epochs": 3}
    whole = fit(tmp_path / "whole", **settings)
    for stop in (2, 4):

        def leave(_: str, epoch: int, __: Any, stop: int = stop) -> None:
            if epoch == stop:
                raise StopTrial

        with pytest.raises(StopTrial):
            fit(tmp_path / str(stop), leave, **settings)
        again = fit(tmp_path / str(stop), **settings)
        assert again.result == whole.result
        state = again.model.state_dict()
        assert all(torch.equal(state[name], value) for name, value in whole.model.state_dict().items())


def test_a_warm_up_that_leaves_no_epoch_is_refused() -> None:
    with pytest.raises(InputError, match="kl_warmup_epochs 5 must be below max_epochs 5"):
        parse(PriorConfig, {"max_epochs": 5, "kl_warmup_epochs": 5}, "sweep.yaml")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "the bank holds 12 kernels after 28 tiny ones were dropped, a VAE needs at least 20"),
        ({"kind": "mixture"}, "a mixture of 8 Gaussians needs at least 224"),
    ],
)
def test_too_few_kernels_are_refused_with_counts(
    tmp_path: Path, settings: Mapping[str, Any], message: str
) -> None:
    held = bank()
    few = {**held.groups, 7: held.groups[7].take(torch.arange(12))}
    with pytest.raises(InputError, match=f"kernel group 7: .*{message}"):
        run(tmp_path, settings, replace(held, groups=few, dropped={7: 28}))


def test_filters_of_a_bank_without_channels_are_refused_in_words(tmp_path: Path) -> None:
    held = bank()
    old = {number: replace(part, channels={}) for number, part in held.groups.items()}
    with pytest.raises(InputError, match=r"filter needs the channel numbers of up3\.conv_1"):
        run(tmp_path, {"standardise": "filter"}, replace(held, groups=old))
    assert not load_bank(tmp_path / "bank").groups[7].channels
