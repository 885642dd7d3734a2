"""UNet-RI: He initialisation, trained on the target images alone (Section 2.7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dwp_sweep.methods.contract import Method, MethodInputs, TrainingSetup
from dwp_sweep.methods.start import new_network, prepare_plain


def needs(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Nothing from the source task."""
    return ()


def prepare(inputs: MethodInputs) -> TrainingSetup:
    """A new network, all of it trained."""
    return prepare_plain(new_network(inputs), inputs)


method = Method(label="UNet-RI", sections={}, needs=needs, prepare=prepare)
