"""A target network with a Gaussian posterior over its 3x3x3 kernels, and its objective (Section 2.2).

Per step ``mean over the batch of the per-image loss + (kl_weight / N) * divergence``, N training images. The
method's own file says what the divergence is: the bound of a kernel prior, that of one Gaussian, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from dwp_sweep.errors import Problem
from dwp_sweep.losses.segmentation import LossConfig, segmentation_loss
from dwp_sweep.methods.contract import MethodInputs, TrainingSetup
from dwp_sweep.methods.start import Scales, load_source, new_network, rescale_with_scales, weight_groups
from dwp_sweep.nets.bayes_conv import BayesConv3d, make_bayesian
from dwp_sweep.nets.kernel_bank import Standardise
from dwp_sweep.nets.kernel_groups import as_kernels, kernel_layers
from dwp_sweep.nets.unet3d import UNet3D
from dwp_sweep.strict import StrictModel, expert
from dwp_sweep.training.loop import TrainingLength

ANNEALING_STEPS, ANNEALING_SHARE = 100, 0.2
"""Whichever is less, as a share of the training's steps; the paper names no number."""

EXACT_BAYES = LossConfig(dice_weight=0.0, ce_weight=1.0, ce_reduction="sum")


class PosteriorConfig(StrictModel):
    """How a posterior starts, and how its noise is drawn.

    Attributes:
        init_log_var: Logarithm of the variance of every weight at the start.
        noise_unit: What that variance is measured in: the root mean square of the layer's weights at the
            start (``scale``; -4 is noise of 0.14 of a typical weight), or raw weights (``weight``). Weight
            decay leaves the deepest layers of a source network at 0.003: one raw number that suits a He
            start drowns them.
        noise: Sample weights, or activations (local reparametrisation).
        likelihood: The sweep's loss as a pseudo-likelihood, or the cross-entropy summed over the voxels of
            the whole volume. From patches that sum is estimated: voxels are not all as likely to be drawn,
            those near foreground more (``patch.foreground_share``), those at the rim of the volume less, and
            padding counts as background.
    """

    init_log_var: float = Field(-4.0, ge=-30, le=2)
    noise_unit: Literal["scale", "weight"] = expert("scale")
    noise: Literal["weight", "local"] = "weight"
    likelihood: Literal["dice_ce", "ce"] = "dice_ce"

    def data_loss(self, loss: LossConfig) -> LossConfig:
        """The data term: the sweep's loss, or exact Bayes."""
        return loss if self.likelihood == "dice_ce" else EXACT_BAYES


@dataclass(frozen=True)
class KernelGroup:
    """The kernels of one group: its layers in order and the units of their kernels.

    Attributes:
        number: Group, 1 to 7.
        layers: Its variational convolutions.
        scale: Raw weight of one standardised unit for every kernel ``(n, 1)``, in order of the layers.
        first_log_var: Log-variances at the start ``(n, 27)``, without graph.
    """

    number: int
    layers: tuple[BayesConv3d, ...]
    scale: Tensor
    first_log_var: Tensor

    def mean(self) -> Tensor:
        """Posterior means of all kernels, ``(n, 27)``, with graph."""
        return torch.cat([as_kernels(layer.mean) for layer in self.layers])

    def log_var(self) -> Tensor:
        """Posterior log-variances of all kernels, ``(n, 27)``, with graph."""
        return torch.cat([as_kernels(layer.log_var) for layer in self.layers])

    def drawn(self, generator: torch.Generator) -> Tensor:
        """Kernels ``(n, 27)`` of the posterior: those of this step's prediction, where it drew some."""
        samples = [layer.sample for layer in self.layers if layer.sample is not None]
        if len(samples) == len(self.layers):
            return torch.cat([as_kernels(sample) for sample in samples])
        mean = self.mean()
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        return torch.addcmul(mean, noise, (0.5 * self.log_var()).exp())


def start_network(
    inputs: MethodInputs, from_source: bool, units: Callable[[UNet3D], Scales]
) -> tuple[UNet3D, Scales]:
    """The network whose weights become the posterior means, and the units of its kernels.

    Args:
        inputs: Of the method.
        from_source: Start from the source network, rescaled where the inputs ask for it; else from He.
        units: Measures a network before any rescaling; the units then follow.
    """
    net = load_source(inputs) if from_source else new_network(inputs)
    scales = units(net)
    return net, rescale_with_scales(net, scales) if from_source and inputs.rescale else scales


def make_posterior(
    net: UNet3D, config: PosteriorConfig, scales: Scales, noise: torch.Generator, device: torch.device
) -> tuple[KernelGroup, ...]:
    """Replace every 3x3x3 convolution by a variational one, in place, and move the network.

    Args:
        net: Its weights become the means.
        config: Noise of the start.
        scales: Units by layer name.
        noise: Source of all weight noise, on the device.
        device: Where to train.

    Returns:
        The seven groups (those that the network has), by number.
    """
    # The units of the noise are the layer's own weights, whatever a prior standardises by.
    convolutions = make_bayesian(net, config.init_log_var, config.noise, noise)
    if config.noise_unit == "scale":
        for layer in convolutions:
            layer.log_var.data += layer.mean.detach().square().mean().clamp_min(1e-20).log()
    net.to(device)
    groups = []
    for number, names in sorted(layers_by_group(net).items()):
        modules = (net.get_submodule(name) for name in names)
        layers = tuple(module for module in modules if isinstance(module, BayesConv3d))
        assert len(layers) == len(names), "make_bayesian replaces every 3x3x3 convolution"
        scale = torch.cat([scales[name] for name in names]).to(device)
        log_var = torch.cat([as_kernels(layer.log_var.detach().clone()) for layer in layers])
        groups.append(KernelGroup(number, layers, scale, log_var))
    return tuple(groups)


def posterior_param_groups(
    groups: Sequence[KernelGroup], inputs: MethodInputs, net: UNet3D, log_var_lr: float | None = None
) -> list[dict[str, Any]]:
    """Weights, then log-variances without weight decay, which would pull the noise to a deviation of 1.

    Args:
        groups: Of the posterior.
        inputs: With the rate of the weights.
        net: With its posterior.
        log_var_lr: Rate of the log-variances; None where they do not learn.
    """
    log_vars = [layer.log_var for group in groups for layer in group.layers]
    is_log_var = {id(parameter) for parameter in log_vars}
    weights = [parameter for parameter in net.parameters() if id(parameter) not in is_log_var]
    param_groups = weight_groups(net, inputs, weights)
    if log_var_lr is not None:
        param_groups.append({"params": log_vars, "lr": log_var_lr, "weight_decay": 0.0})
    return param_groups


@torch.no_grad()
def posterior_metrics(groups: Sequence[KernelGroup]) -> dict[str, float]:
    """By group: mean posterior deviation, raw and as a share of the means' root mean square, and its way.

    ``log_var_distance`` is the mean distance of the log-variances from their start: near 0, the posterior
    is what ``init_log_var`` says and nothing that was learned.
    """
    metrics = {}
    for group in groups:
        std = (0.5 * group.log_var()).exp()
        rms = group.mean().square().mean().sqrt()
        metrics[f"posterior_std_group{group.number}"] = float(std.mean())
        metrics[f"posterior_std_share_group{group.number}"] = float(std.square().mean().sqrt() / rms)
        distance = (group.log_var() - group.first_log_var).abs().mean()
        metrics[f"log_var_distance_group{group.number}"] = float(distance)
    return metrics


def layers_by_group(net: nn.Module) -> Mapping[int, tuple[str, ...]]:
    """Names of a network's 3x3x3 convolutions by group."""
    names: dict[int, tuple[str, ...]] = {}
    for layer in kernel_layers(net):
        names[layer.group] = (*names.get(layer.group, ()), layer.name)
    return names


Divergence = Callable[[], Mapping[int, Tensor]]
"""By group number: nats over the group's kernels, with graph. Follows a forward pass in training mode."""


class DivergenceConfig(PosteriorConfig):
    """A posterior that a prior pulls.

    Attributes:
        kl_weight: Weight of the divergence; 1 is exact Bayes with ``likelihood: ce``, a tempering that
            must be searched with the Dice mixture.
        log_var_lr: Learning rate of the log-variances; it falls together with the rate of the weights. They
            count in nats and have units of way to go, where weights have hundredths: at the rate of the
            weights a posterior stays as wide as it starts.
        kl_annealing_steps: Steps over which the weight rises linearly from 0. Until then no epoch is a
            candidate for the best one, and the plateau waits. None: 100, or a fifth of the training's steps
            where that is less.
        kl_annealing_epochs: The same, counted in epochs.
    """

    kl_weight: float = Field(1e-5, ge=0)
    log_var_lr: float = Field(1e-2, gt=0)
    kl_annealing_steps: int | None = Field(None, ge=0)
    kl_annealing_epochs: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _annealing_is_said_once(self) -> DivergenceConfig:
        if self.kl_annealing_steps is not None and self.kl_annealing_epochs is not None:
            raise ValueError("kl_annealing_steps and kl_annealing_epochs say the same: give one of them")
        return self

    def annealing_steps(self, length: TrainingLength) -> int:
        """Steps before the prior is fully on; 0 where it never is."""
        if self.kl_weight == 0:
            return 0
        if self.kl_annealing_epochs is not None:
            return self.kl_annealing_epochs * length.steps_per_epoch
        if self.kl_annealing_steps is not None:
            return self.kl_annealing_steps
        return min(ANNEALING_STEPS, int(ANNEALING_SHARE * length.n_steps))

    def annealing_misfits(self, section: str, length: TrainingLength) -> tuple[Problem, ...]:
        """The problem with an annealing that outlasts the training."""
        if (n_steps := self.annealing_steps(length)) < length.n_steps:
            return ()
        unit = "steps" if self.kl_annealing_epochs is None else "epochs"
        value = self.kl_annealing_steps if self.kl_annealing_epochs is None else self.kl_annealing_epochs
        what = (
            f"{value}: the prior is fully on after {n_steps} steps, and the training has {length.n_steps} "
            f"({length.max_epochs} epochs of {length.steps_per_epoch}): no epoch could be the best one"
        )
        fix = "lower it, or raise target.max_epochs or target.steps_per_epoch"
        return (Problem(f"{section}.kl_annealing_{unit}", what, fix),)


def unit_misfits(
    section: str, init: str, scale: str, key: str, standardise: Standardise | None
) -> tuple[Problem, ...]:
    """The problem with units in which a source kernel would cost other nats than where the prior was fitted.

    Args:
        section: Of the method.
        init: What the posterior means start from.
        scale: Whose units kernels have: the network's that starts, or the source networks'.
        key: Dotted key of ``standardise``.
        standardise: Whose size the kernels were divided by; None: not known yet.
    """
    if standardise == "group" and scale == "start" and init != "source":
        what = f"start: {key} group keeps how sizes differ between layers, and a new network has others"
        fix = f"set {key}: layer, or {section}.scale: source"
    elif standardise == "filter" and scale == "source":
        what = f"source: {key} filter has a unit for each filter of the source networks, and for no other"
        fix = f"set {key}: layer, or {section}.scale: start"
    else:
        return ()
    return (Problem(f"{section}.scale", what, fix),)


def annealing(step: int, n_steps: int) -> float:
    """Linear warm-up of a divergence's weight: 0 in step 0, 1 from step ``n_steps`` on."""
    return min(1.0, step / n_steps) if n_steps else 1.0


def prepare_unpulled(
    net: UNet3D,
    groups: Sequence[KernelGroup],
    config: PosteriorConfig,
    inputs: MethodInputs,
    noise: torch.Generator,
    log_var_lr: float | None = None,
) -> TrainingSetup:
    """Minimise the data term alone under weight noise, of a fixed variance where ``log_var_lr`` is None."""
    likelihood = config.data_loss(inputs.loss)

    def data_loss(logits: Tensor, masks: Tensor, n_patches: Tensor | None = None) -> Tensor:
        return segmentation_loss(logits, masks, likelihood, n_patches).loss

    return TrainingSetup(
        net=net,
        state=net,
        param_groups=posterior_param_groups(groups, inputs, net, log_var_lr),
        batch_loss=lambda logits, masks, step, n_patches=None: {"loss": data_loss(logits, masks, n_patches)},
        data_loss=data_loss,
        noise=noise,
        diagnostics=lambda: posterior_metrics(groups),
    )


def prepare_pulled(
    net: UNet3D,
    groups: Sequence[KernelGroup],
    config: DivergenceConfig,
    inputs: MethodInputs,
    noise: torch.Generator,
    divergence: Divergence,
) -> TrainingSetup:
    """Minimise the data term plus the weighted divergence.

    Args:
        net: With its posterior (`make_posterior`).
        groups: Of the posterior.
        config: Of the method.
        inputs: Of the method.
        noise: Source of the posterior's noise.
        divergence: What pulls it.
    """
    n_annealing = config.annealing_steps(inputs.length)
    unpulled = prepare_unpulled(net, groups, config, inputs, noise, config.log_var_lr)

    def batch_loss(
        logits: Tensor, masks: Tensor, step: int, n_patches: Tensor | None = None
    ) -> dict[str, Tensor]:
        nats = divergence()
        # Groups first: where the loss is not finite, the first bad term named is the one to blame.
        terms = {f"bound_per_kernel_group{g.number}": nats[g.number] / len(g.scale) for g in groups}
        bound, data = torch.stack(list(nats.values())).sum(), unpulled.data_loss(logits, masks, n_patches)
        weight = config.kl_weight / inputs.n_train * annealing(step, n_annealing)
        return terms | {"data_loss": data, "bound": bound, "loss": data + weight * bound}

    return unpulled._replace(batch_loss=batch_loss, warm_up=n_annealing)
