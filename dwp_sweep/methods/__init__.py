"""Transfer methods: one file each and one line here."""

from __future__ import annotations

from dwp_sweep.methods import (
    deep_weight_prior,
    fine_tune,
    freeze_middle,
    gaussian_prior,
    l2_sp,
    noise_only,
    random_init,
)
from dwp_sweep.methods.contract import Method

METHODS: dict[str, Method] = {
    "random_init": random_init.method,
    "fine_tune": fine_tune.method,
    "freeze_middle": freeze_middle.method,
    "deep_weight_prior": deep_weight_prior.method,
    "noise_only": noise_only.method,
    "gaussian_prior": gaussian_prior.method,
    "l2_sp": l2_sp.method,
}
