"""UNet-DWP: variational training under kernel priors of source networks (Sections 2.2-2.3, Algorithm 1).

Minimises, per step, ``mean over the batch of the per-image loss + (kl_weight / N) * bound``, where
the bound sums over all 3x3x3 kernels ``E[log q(w) + log r(z|w) - log p(z) - log p(w|z)]`` and N counts
the training images. Posterior and the priors' encoders learn, their decoders stay frozen; 1x1x1
convolutions stay deterministic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from dwp_sweep.losses.kernel_bound import kernel_bound, subset
from dwp_sweep.losses.segmentation import LossConfig, segmentation_loss
from dwp_sweep.methods.contract import Method, MethodInputs, Prepared
from dwp_sweep.methods.plain_training import new_network, source_network
from dwp_sweep.nets.bayes_conv import BayesConv3d, make_bayesian
from dwp_sweep.nets.kernel_groups import KernelLayer, as_kernels, kernel_layers, kernel_weight
from dwp_sweep.nets.kernel_prior import KernelPrior, load_prior
from dwp_sweep.nets.kernel_vae import KernelVAE
from dwp_sweep.nets.unet3d import UNet3D
from dwp_sweep.strict import StrictModel
from dwp_sweep.training.seeds import named_generator

EXACT_BAYES = LossConfig(dice_weight=0.0, ce_weight=1.0, ce_reduction="sum")


class DwpConfig(StrictModel):
    """Settings of Algorithm 1.

    Attributes:
        kl_weight: Weight of the bound; 1 is exact Bayes with ``likelihood: ce``, a tempering that must
            be searched with the Dice mixture.
        kl_annealing_steps: Steps over which the weight rises linearly from 0.
        kl_fraction: Share of each group's kernels drawn for a step's unbiased estimate of the bound.
        bound: ``closed`` uses the Gaussian terms' closed forms, ``sampled`` is Algorithm 1 to the letter.
        noise: Sample weights, or activations (local reparametrisation).
        likelihood: The sweep's loss as a pseudo-likelihood, or the cross-entropy summed over voxels.
        init: Posterior mean at the start.
        init_log_var: Posterior log-variance at the start.
        encoder_lr: Learning rate of the priors' encoders (beta in Algorithm 1).
    """

    kl_weight: float = Field(1e-5, ge=0)
    kl_annealing_steps: int = Field(100, ge=0)
    kl_fraction: float = Field(1.0, gt=0, le=1)
    bound: Literal["closed", "sampled"] = "closed"
    noise: Literal["weight", "local"] = "weight"
    likelihood: Literal["dice_ce", "ce"] = "dice_ce"
    init: Literal["he", "prior", "source"] = "he"
    init_log_var: float = Field(-10.0, ge=-30, le=2)
    encoder_lr: float = Field(1e-3, gt=0)


def needs(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The priors, and the source network where the posterior starts from it."""
    return ("priors", "source") if settings["dwp"].init == "source" else ("priors",)


def check(settings: Mapping[str, Any], rescale: bool) -> str | None:
    """A posterior that starts from the source network keeps that network's scale."""
    if settings["dwp"].init == "source" and rescale:
        return "target.rescale: true and dwp.init: source: the prior knows the kernels' own scale only"
    return None


def prepare(inputs: MethodInputs) -> Prepared:
    """A Bayesian U-Net under its kernel priors.

    Raises:
        ValueError: A group of the network's kernels has no prior, a prior does not know a layer, or the
            source network would be rescaled away from the scale that its prior knows.
    """
    config: DwpConfig = inputs.settings["dwp"]
    if objection := check(inputs.settings, inputs.rescale):
        raise ValueError(objection)
    noise = named_generator(inputs.seed, "noise", inputs.device)
    priors = {prior.group: prior for prior in map(load_prior, inputs.priors)}
    net = _initial_network(config, inputs, priors).to(inputs.device)
    convolutions = make_bayesian(net, config.init_log_var, config.noise, noise)
    groups = _match_groups(net, priors, inputs.device)
    vaes = nn.ModuleDict({f"group{group.number}": group.prior.vae.to(inputs.device) for group in groups})
    bound = DwpBound(groups, config, noise)
    likelihood = inputs.loss if config.likelihood == "dice_ce" else EXACT_BAYES

    def batch_loss(logits: Tensor, masks: Tensor, step: int) -> dict[str, Tensor]:
        data = segmentation_loss(logits, masks, likelihood).loss
        nats = bound()
        weight = config.kl_weight / inputs.n_train * annealing(step, config.kl_annealing_steps)
        return {"loss": data + weight * nats, "data_loss": data, "bound": nats}

    return Prepared(
        net=net,
        state=nn.ModuleDict({"net": net, "priors": vaes}),
        param_groups=_param_groups(net, vaes, config),
        batch_loss=batch_loss,
        data_loss=lambda logits, masks: segmentation_loss(logits, masks, likelihood).loss,
        noise=noise,
        diagnostics=lambda: {"posterior_std": _mean_std(convolutions)},
    )


def annealing(step: int, n_steps: int) -> float:
    """Linear warm-up of the bound's weight: 0 in step 0, 1 from step ``n_steps`` on."""
    return min(1.0, step / n_steps) if n_steps else 1.0


@dataclass(frozen=True)
class KernelGroup:
    """The kernels of one group: its layers in order and their scales.

    Attributes:
        number: Group, 1 to 7.
        prior: Its kernel prior.
        layers: Its convolutions.
        scale: Standardisation scale of every kernel (n, 1), in order of the layers.
    """

    number: int
    prior: KernelPrior
    layers: tuple[BayesConv3d, ...]
    scale: Tensor


class DwpBound:
    """Estimate of the bound summed over all kernels of a network, in nats."""

    def __init__(self, groups: tuple[KernelGroup, ...], config: DwpConfig, noise: torch.Generator) -> None:
        self.groups, self.config, self.noise = groups, config, noise

    def __call__(self) -> Tensor:
        """The sum over groups; unbiased for any ``kl_fraction``. Follows a forward pass in training mode."""
        return torch.stack([self._of_group(group) for group in self.groups]).sum()

    def _of_group(self, group: KernelGroup) -> Tensor:
        indices, factor = subset(len(group.scale), self.config.kl_fraction, self.noise)
        mean, log_var, kernels = self._gather(group, indices)
        nats = kernel_bound(
            kernels, mean, log_var, group.prior.vae, group.scale[indices], self.noise, form=self.config.bound
        )
        return factor * nats.sum()

    def _gather(self, group: KernelGroup, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = torch.cat([as_kernels(layer.mean) for layer in group.layers])[indices]
        log_var = torch.cat([as_kernels(layer.log_var) for layer in group.layers])[indices]
        if self.config.noise == "weight":
            # Algorithm 1: the kernels that made this step's prediction are the ones that are scored.
            return mean, log_var, torch.cat([as_kernels(_drawn(layer)) for layer in group.layers])[indices]
        noise = torch.randn(mean.shape, generator=self.noise, device=mean.device)
        return mean, log_var, mean + (0.5 * log_var).exp() * noise


def _initial_network(config: DwpConfig, inputs: MethodInputs, priors: Mapping[int, KernelPrior]) -> UNet3D:
    if config.init == "source":
        return source_network(inputs)
    net = new_network(inputs)
    if config.init == "prior":
        generator = named_generator(inputs.seed, "prior_samples")
        for layer in kernel_layers(net):
            weight = kernel_weight(net.get_submodule(layer.name))
            samples = priors[layer.group].sample(layer.n_kernels, generator, layer.name)
            weight.data.copy_(samples.view_as(weight))
    return net


def _match_groups(
    net: UNet3D, priors: Mapping[int, KernelPrior], device: torch.device
) -> tuple[KernelGroup, ...]:
    layers: dict[int, list[KernelLayer]] = {}
    for layer in kernel_layers(net):
        layers.setdefault(layer.group, []).append(layer)
    if missing := sorted(layers.keys() - priors.keys()):
        names = ", ".join(layer.name for group in missing for layer in layers[group])
        raise ValueError(f"no kernel prior for group {missing}: the kernels of {names} would have none")
    return tuple(_group(net, priors[number], layers[number], device) for number in sorted(layers))


def _group(net: UNet3D, prior: KernelPrior, layers: list[KernelLayer], device: torch.device) -> KernelGroup:
    scale = torch.cat([torch.full((layer.n_kernels, 1), prior.scale_of(layer.name)) for layer in layers])
    convolutions = (net.get_submodule(layer.name) for layer in layers)
    variational = tuple(layer for layer in convolutions if isinstance(layer, BayesConv3d))
    assert len(variational) == len(layers), "make_bayesian replaces every 3x3x3 convolution"
    return KernelGroup(prior.group, prior, variational, scale.to(device))


def _drawn(layer: BayesConv3d) -> Tensor:
    assert layer.sample is not None, "the bound follows a forward pass in training mode"
    return layer.sample


def _param_groups(net: UNet3D, vaes: nn.ModuleDict, config: DwpConfig) -> list[dict[str, Any]]:
    # Weight decay is for weights: on a log-variance it would pull the noise towards a deviation of 1.
    log_vars = [layer.log_var for layer in net.modules() if isinstance(layer, BayesConv3d)]
    is_log_var = {id(parameter) for parameter in log_vars}
    return [
        {"params": [parameter for parameter in net.parameters() if id(parameter) not in is_log_var]},
        {"params": log_vars, "weight_decay": 0.0},
        {"params": _train_encoders_only(vaes), "lr": config.encoder_lr, "weight_decay": 0.0},
    ]


def _train_encoders_only(vaes: nn.ModuleDict) -> list[nn.Parameter]:
    vaes.requires_grad_(False)
    kernel_vaes = [vae for vae in vaes.values() if isinstance(vae, KernelVAE)]
    encoders = [parameter for vae in kernel_vaes for parameter in vae.encoder_parameters()]
    for parameter in encoders:
        parameter.requires_grad_(True)
    return encoders


def _mean_std(convolutions: tuple[BayesConv3d, ...]) -> float:
    stds = torch.cat([(0.5 * layer.log_var.detach()).exp().flatten() for layer in convolutions])
    return float(stds.mean())


method = Method(label="UNet-DWP", sections={"dwp": DwpConfig}, needs=needs, prepare=prepare, check=check)
