"""Imported outputs, which a condition names in place of a stage: located, hashed, compared with its U-Net.

`dwp_sweep.config.graph` puts them into the configs of nodes; `dwp_sweep.stages.imported` copies them into the
store.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import torch

from dwp_sweep.data.files.names import home_path
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.nets.kernel_bank import Standardise, kernel_channels, read_layers
from dwp_sweep.nets.kernel_groups import GROUPS
from dwp_sweep.nets.kernel_prior import layer_misfits, load_prior, require_fit
from dwp_sweep.nets.net_files import read_net_facts
from dwp_sweep.nets.unet3d import UNet3D, UNetConfig
from dwp_sweep.stages.harvest import BANK_FILES
from dwp_sweep.stages.imported import Imported, describe_imported
from dwp_sweep.stages.prior import PRIOR_FILES
from dwp_sweep.stages.source import NET_FILES

_NETWORK, _BANK, _PRIOR = "source.network", "harvest.bank", "prior.path"
_SEVEN_GROUPS = "give a folder with group1 ... group7"
_MLFLOW_RUN = "runs:/"

FactsT = TypeVar("FactsT")


class ImportedOutputs:
    """Imported outputs by their text; every folder is examined once, since an unreachable MLflow is slow.

    Args:
        fetch: Turns ``runs:/<run id>`` into a local folder; takes the text and its key.
    """

    def __init__(self, fetch: Callable[[str, str], Path] | None = None) -> None:
        self._fetch = fetch
        self._described: dict[tuple[str, str], Imported | InputError] = {}
        self._standardised: dict[str, set[Standardise]] = {}

    def network(self, text: str, unet: UNetConfig) -> Imported:
        """A source network; of a whole source stage the first one, from which targets start.

        Raises:
            InputError: It is not there, or has another shape.
        """
        imported = self._describe(text, _NETWORK, NET_FILES)
        facts = _read(imported, _NETWORK, read_net_facts)
        # Its number of classes is its own: where the target has others, the head is new.
        if facts.unet.model_copy(update={"n_classes": unet.n_classes}) != unet:
            what = f"{imported.path} has unet {facts.unet.model_dump()}, the sweep {unet.model_dump()}"
            fix = "make the sweep's unet section equal to the network's"
            raise InputError(Problem(_NETWORK, what, fix))
        return imported

    def bank(self, text: str, unet: UNetConfig) -> Imported:
        """A kernel bank.

        Raises:
            InputError: It is not there, or its networks have another shape.
        """
        imported = self._describe(text, _BANK, BANK_FILES)
        layers, net = _read(imported, _BANK, read_layers), _without_weights(unet)
        misfits = [
            misfit
            for group in GROUPS
            for misfit in layer_misfits(layers.get(group, {}), kernel_channels(net, group))
        ]
        if misfits:
            what = f"{imported.path} was harvested from another network: {'; '.join(misfits)}"
            raise _other_shape(_BANK, what)
        return imported

    def prior(self, text: str, group: int, unet: UNetConfig) -> Imported:
        """The prior of one kernel group, in its own folder below the named one.

        Raises:
            InputError: It is not there, is of another group, or does not fit the network's layers.
        """
        if not text.startswith(_MLFLOW_RUN) and not home_path(text).is_dir():
            raise InputError(Problem(_PRIOR, f"{text}: there is no such folder", _SEVEN_GROUPS))
        imported = self._describe(f"{text}/group{group}", _PRIOR, PRIOR_FILES)
        prior = _read(imported, _PRIOR, load_prior)
        if prior.group != group:
            what = f"{imported.path} holds the prior of group {prior.group}"
            raise InputError(Problem(_PRIOR, what, f"put the one of group {group} there"))
        try:
            require_fit(prior, _without_weights(unet))
        except ValueError as error:
            raise _other_shape(_PRIOR, f"{imported.path}: {error}") from None
        self._standardised.setdefault(text, set()).add(prior.standardise)
        return imported

    def standardised(self, text: str) -> list[Standardise]:
        """How the kernels of the priors were standardised that `prior` has looked at in a folder."""
        return sorted(self._standardised.get(text, ()))

    def _describe(self, text: str, key: str, files: tuple[str, ...]) -> Imported:
        if (text, key) not in self._described:
            try:
                folder = self._folder(text, key)
                first = folder / "cycle0"
                folder = first if key == _NETWORK and first.is_dir() else folder
                self._described[text, key] = describe_imported(folder, files, key)
            except InputError as error:
                self._described[text, key] = error
        described = self._described[text, key]
        if isinstance(described, InputError):
            raise described
        return described

    def _folder(self, text: str, key: str) -> Path:
        if not text.startswith(_MLFLOW_RUN):
            return home_path(text)
        if key == _PRIOR:
            what = f"{text.rpartition('/')[0]}: a prior's run holds one group, and seven are needed"
            raise InputError(Problem(key, what, _SEVEN_GROUPS))
        if self._fetch is None:
            raise InputError(Problem(key, f"{text} names an MLflow run, but no tracking store is at hand"))
        return self._fetch(text, key)


def _read(imported: Imported, key: str, read: Callable[[Path], FactsT]) -> FactsT:
    try:
        return read(Path(imported.path))
    except ValueError as error:
        raise InputError(Problem(key, str(error), "give files that a stage wrote")) from None


@lru_cache(maxsize=8)
def _without_weights(unet: UNetConfig) -> UNet3D:
    """The network for the names and widths of its layers."""
    with torch.device("meta"):
        return UNet3D(**unet.model_dump())


def _other_shape(key: str, what: str) -> InputError:
    return InputError(Problem(key, what, "make the sweep's unet section equal to that network's"))
