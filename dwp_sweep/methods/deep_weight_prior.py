"""UNet-DWP: variational training under kernel priors of source networks (Sections 2.2-2.3, Algorithm 1).

Minimises, per step, ``mean over the batch of the per-image loss + (kl_weight / N) * bound``, where
the bound sums over all 3x3x3 kernels ``E[log q(w) + log r(z|w) - log p(z) - log p(w|z)]`` and N counts
the training images. Posterior and the priors' encoders learn, their decoders stay frozen; 1x1x1
convolutions stay deterministic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.losses.kernel_bound import kernel_bound, prior_cost, subset
from dwp_sweep.methods.contract import Method, MethodInputs, Surroundings, TrainingSetup
from dwp_sweep.methods.start import Scales, constant_scales, measured_scales
from dwp_sweep.methods.variational import (
    DivergenceConfig,
    KernelGroup,
    layers_by_group,
    make_posterior,
    prepare_pulled,
    start_network,
    unit_misfits,
)
from dwp_sweep.nets.kernel_bank import Standardise
from dwp_sweep.nets.kernel_groups import kernel_layers, kernel_weight
from dwp_sweep.nets.kernel_mixture import KernelMixture
from dwp_sweep.nets.kernel_prior import KernelPrior, load_prior, require_fit
from dwp_sweep.nets.unet3d import UNet3D
from dwp_sweep.strict import expert
from dwp_sweep.training.compute import named_generator

Priors = Mapping[int, KernelPrior]

FRACTION_OF_VAES = 0.05
"""Adds less variance to a step's gradient than the images do, at a twentieth of the cost."""


N_WATCHED = 256
"""Kernels of each group that `LeftPrior` looks at after every epoch: a standard error of at most 0.03."""
N_DRAWS = 512
"""Draws of a prior that say how surprising its own kernels are."""
RARE = 0.95
"""A kernel that is more surprising than this share of the draws has left its prior."""


class DwpConfig(DivergenceConfig):
    """Settings of Algorithm 1.

    Attributes:
        kl_fraction: Share of each group's kernels drawn for a step's unbiased estimate of the bound. None:
            a twentieth under an autoencoder (``tests/benchmarks/fraction.py`` says why), all under a mixture,
            whose density costs next to nothing.
        bound: ``closed`` uses the Gaussian terms' closed forms, ``sampled`` is Algorithm 1 to the letter.
        init: Posterior mean at the start.
        scale: Raw weight of one standardised unit: that of the network that starts (``start``: He's, or
            the source network's own, rescaled with it), or of the source networks (``source``). A source
            kernel then costs the nats that it cost where its prior was fitted, in the first case after it
            was brought to the size of the layer; what `prior.standardise` cannot bring there is refused.
            The paper has no units: ``prior.standardise: none``.
        encoder_lr: Learning rate of the priors' encoders (beta in Algorithm 1).
    """

    kl_fraction: float | None = expert(None, gt=0, le=1)
    bound: Literal["closed", "sampled"] = expert("closed")
    init: Literal["he", "prior", "source"] = "he"
    scale: Literal["start", "source"] = "start"
    encoder_lr: float = Field(1e-3, gt=0)


def needs(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The priors, and the source network where the posterior starts from it."""
    return ("priors", "source") if settings["dwp"].init == "source" else ("priors",)


def misfits(settings: Mapping[str, Any], around: Surroundings) -> tuple[Problem, ...]:
    """An annealing that outlasts the training; units that the network that starts does not have."""
    config: DwpConfig = settings["dwp"]
    return config.annealing_misfits("dwp", around.length) + _unit_misfits(config, around.standardise)


def prepare(inputs: MethodInputs) -> TrainingSetup:
    """A Bayesian U-Net under its kernel priors.

    Raises:
        ValueError: A group of the network's kernels has no prior, or a prior was fitted to other layers.
        InputError: Imported priors have units that the network that starts does not have.
    """
    config: DwpConfig = inputs.settings["dwp"]
    priors = {prior.group: prior for prior in map(load_prior, inputs.priors)}
    kinds = sorted({prior.standardise for prior in priors.values()})
    if problems := [problem for kind in kinds for problem in _unit_misfits(config, kind)]:
        raise InputError(problems)
    net, scales = _start(config, inputs, priors)
    noise = named_generator(inputs.seed, "noise", inputs.device)
    groups = make_posterior(net, config, scales, noise, inputs.device)
    models = nn.ModuleDict({f"group{number}": priors[number].model.to(inputs.device) for number in priors})
    bound = DwpBound(groups, priors, config, noise)
    left_prior = LeftPrior(groups, priors, inputs.seed, inputs.device)
    pulled = prepare_pulled(net, groups, config, inputs, noise, bound)
    return pulled._replace(
        state=nn.ModuleDict({"net": net, "priors": models}),
        param_groups=pulled.param_groups + _encoder_group(priors, config),
        diagnostics=lambda: pulled.diagnostics() | left_prior(),
    )


class DwpBound:
    """Estimate of the bound by group, summed over the group's kernels, in nats."""

    def __init__(
        self, groups: Sequence[KernelGroup], priors: Priors, config: DwpConfig, noise: torch.Generator
    ) -> None:
        self.groups, self.priors, self.config, self.noise = groups, priors, config, noise

    def __call__(self) -> dict[int, Tensor]:
        """By group number; unbiased for any ``kl_fraction``. Follows a forward pass in training mode."""
        return {group.number: self._of_group(group) for group in self.groups}

    def _of_group(self, group: KernelGroup) -> Tensor:
        model = self.priors[group.number].model
        chosen, factor = subset(len(group.scale), _fraction(self.config, model), self.noise)
        # Algorithm 1: the kernels that made this step's prediction are the ones that are scored.
        nats = kernel_bound(
            group.drawn(self.noise)[chosen],
            group.mean()[chosen],
            group.log_var()[chosen],
            model,
            group.scale[chosen],
            self.noise,
            form=self.config.bound,
        )
        return factor * nats.sum()


class LeftPrior:
    """Share of the kernels that have left their prior: of a part of each group, the same in all epochs.

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


def _unit_misfits(config: DwpConfig, standardise: Standardise | None) -> tuple[Problem, ...]:
    return unit_misfits("dwp", config.init, config.scale, "prior.standardise", standardise)


def _fraction(config: DwpConfig, model: nn.Module) -> float:
    if config.kl_fraction is not None:
        return config.kl_fraction
    return 1.0 if isinstance(model, KernelMixture) else FRACTION_OF_VAES


def _start(config: DwpConfig, inputs: MethodInputs, priors: Priors) -> tuple[UNet3D, Scales]:
    """The network whose weights become the posterior means, and the units of its kernels."""

    def units(net: UNet3D) -> Scales:
        _require_priors(net, priors)
        return _scales(config, net, priors)

    net, scales = start_network(inputs, config.init == "source", units)
    if config.init == "prior":
        _fill_from_priors(net, priors, scales, named_generator(inputs.seed, "prior_samples"))
    return net, scales


def _scales(config: DwpConfig, net: UNet3D, priors: Priors) -> Scales:
    if config.scale == "source":
        known = {name: scale for prior in priors.values() for name, scale in prior.scale.items()}
        return constant_scales(net, known)
    measured = {kind: measured_scales(net, kind) for kind in {prior.standardise for prior in priors.values()}}
    return {layer.name: measured[priors[layer.group].standardise][layer.name] for layer in kernel_layers(net)}


def _fill_from_priors(net: UNet3D, priors: Priors, scales: Scales, generator: torch.Generator) -> None:
    for layer in kernel_layers(net):
        weight = kernel_weight(net.get_submodule(layer.name))
        samples = priors[layer.group].sample_standardised(layer.n_kernels, generator)
        weight.data.copy_((samples * scales[layer.name]).view_as(weight))


def _require_priors(net: UNet3D, priors: Priors) -> None:
    layers = layers_by_group(net)
    if missing := sorted(layers.keys() - priors.keys()):
        names = ", ".join(name for group in missing for name in layers[group])
        raise ValueError(f"no kernel prior for group {missing}: the kernels of {names} would have none")
    for prior in priors.values():
        require_fit(prior, net)


def _encoder_group(priors: Priors, config: DwpConfig) -> list[dict[str, Any]]:
    encoders: list[nn.Parameter] = []
    for prior in priors.values():
        prior.model.requires_grad_(False)
        encoders += prior.model.encoder_parameters()
    for parameter in encoders:
        parameter.requires_grad_(True)
    return [{"params": encoders, "lr": config.encoder_lr, "weight_decay": 0.0}] if encoders else []


method = Method(label="UNet-DWP", sections={"dwp": DwpConfig}, needs=needs, prepare=prepare, misfits=misfits)
