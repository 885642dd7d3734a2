"""Shapes and types that the tests of the methods share."""

from __future__ import annotations

from collections.abc import Callable

from dwp_sweep.methods.contract import TrainingSetup
from dwp_sweep.nets.unet3d import UNetConfig

UNET = UNetConfig(channels=(2, 2, 3, 4))
Prepare = Callable[..., TrainingSetup]
