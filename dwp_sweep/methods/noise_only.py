"""Control without a prior: weight noise of a fixed variance, and no bound.

Says what the noise of the deep weight prior does by itself. Without a divergence the variance would
shrink to nothing, so it does not learn. Starts and draws as the deep weight prior does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from dwp_sweep.methods.contract import Method, MethodInputs, TrainingSetup
from dwp_sweep.methods.start import measured_scales
from dwp_sweep.methods.variational import PosteriorConfig, make_posterior, prepare_unpulled, start_network
from dwp_sweep.training.compute import named_generator


class NoiseOnlyConfig(PosteriorConfig):
    """Settings of the control.

    Attributes:
        init: Weights at the start.
    """

    init: Literal["he", "source"] = "he"


def needs(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The source network where training starts from it."""
    config: NoiseOnlyConfig = settings["noise_only"]
    return ("source",) if config.init == "source" else ()


def prepare(inputs: MethodInputs) -> TrainingSetup:
    """A U-Net whose kernels are noisy in training."""
    config: NoiseOnlyConfig = inputs.settings["noise_only"]
    net, scales = start_network(
        inputs, config.init == "source", lambda start: measured_scales(start, "layer")
    )
    noise = named_generator(inputs.seed, "noise", inputs.device)
    groups = make_posterior(net, config, scales, noise, inputs.device)
    for group in groups:
        for layer in group.layers:
            layer.log_var.requires_grad_(False)
    return prepare_unpulled(net, groups, config, inputs, noise)


method = Method(label="Noise only", sections={"noise_only": NoiseOnlyConfig}, needs=needs, prepare=prepare)
