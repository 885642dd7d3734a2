"""Control with the simplest prior: every weight is ``N(0, unit ** 2)``, the variance of its kernels' group.

Says what the deep weight prior's structure adds to knowing how large weights are. Its divergence has a
closed form, so there is neither encoder nor estimate; start, noise and schedule are as in the deep weight
prior. For a comparison of shapes alone give both the same ``standardise``; both default to ``layer``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from dwp_sweep.errors import Problem
from dwp_sweep.losses.gaussian import kl_from_standard
from dwp_sweep.methods.contract import Method, MethodInputs, Surroundings, TrainingSetup
from dwp_sweep.methods.start import Scales, constant_scales, measured_scales
from dwp_sweep.methods.variational import (
    DivergenceConfig,
    KernelGroup,
    make_posterior,
    prepare_pulled,
    start_network,
    unit_misfits,
)
from dwp_sweep.nets.kernel_bank import Standardise, load_bank
from dwp_sweep.nets.unet3d import UNet3D
from dwp_sweep.training.compute import named_generator


class GaussianPriorConfig(DivergenceConfig):
    """Settings of the control; names and meanings as in `DwpConfig`.

    Attributes:
        init: Posterior mean at the start.
        standardise: Whose variance the prior has: a group's, a layer's or a filter's; ``none``: 1.
        scale: Where that variance is measured: on the network that starts, or on the kernel bank.
    """

    init: Literal["he", "source"] = "he"
    standardise: Standardise = "layer"
    scale: Literal["start", "source"] = "start"


def needs(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The source network where the posterior starts from it, the bank where it gives the variance."""
    config: GaussianPriorConfig = settings["gaussian_prior"]
    return ("source",) * (config.init == "source") + ("bank",) * (config.scale == "source")


def misfits(settings: Mapping[str, Any], around: Surroundings) -> tuple[Problem, ...]:
    """An annealing that outlasts the training; units that the network that starts does not have."""
    config: GaussianPriorConfig = settings["gaussian_prior"]
    key = "gaussian_prior.standardise"
    units = unit_misfits("gaussian_prior", config.init, config.scale, key, config.standardise)
    return config.annealing_misfits("gaussian_prior", around.length) + units


def prepare(inputs: MethodInputs) -> TrainingSetup:
    """A Bayesian U-Net under a Gaussian prior."""
    config: GaussianPriorConfig = inputs.settings["gaussian_prior"]
    net, scales = start_network(inputs, config.init == "source", lambda start: _units(config, inputs, start))
    noise = named_generator(inputs.seed, "noise", inputs.device)
    groups = make_posterior(net, config, scales, noise, inputs.device)
    return prepare_pulled(net, groups, config, inputs, noise, lambda: gaussian_divergence(groups))


def gaussian_divergence(groups: Sequence[KernelGroup]) -> dict[int, Tensor]:
    """``KL(q || N(0, unit ** 2))`` by group, summed over its kernels, in nats."""
    return {
        group.number: kl_from_standard(
            group.mean() / group.scale, group.log_var() - 2 * group.scale.log()
        ).sum()
        for group in groups
    }


def _units(config: GaussianPriorConfig, inputs: MethodInputs, net: UNet3D) -> Scales:
    if config.scale == "source":
        assert inputs.bank is not None, "Method.needs names 'bank'"
        bank = load_bank(inputs.bank)
        known = {
            name: scale
            for group in bank.groups
            for name, scale in bank.scales(group, config.standardise).items()
        }
        return constant_scales(net, known)
    return measured_scales(net, config.standardise)


method = Method(
    label="Gaussian prior",
    sections={"gaussian_prior": GaussianPriorConfig},
    needs=needs,
    prepare=prepare,
    misfits=misfits,
)
