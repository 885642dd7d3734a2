"""UNet-PR: start from a source network and train all of it (Algorithm 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dwp_sweep.methods.contract import Method, MethodInputs, TrainingSetup
from dwp_sweep.methods.start import prepare_plain, source_network


def needs(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The source network."""
    return ("source",)


def prepare(inputs: MethodInputs) -> TrainingSetup:
    """The source network, all of it trained."""
    return prepare_plain(source_network(inputs), inputs)


method = Method(label="UNet-PR", sections={}, needs=needs, prepare=prepare)
