"""Parts of a MONAI bundle: transforms that prepare a scan and bring a mask back, the windows, a small loop.

Runs from the copy of our source in the bundle. Scans are named by their files, which are read as ``predict``
reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.inferers.inferer import Inferer
from monai.transforms.transform import MapTransform
from torch import Tensor, nn

from dwp_sweep.data.preprocess import padding_value, prepare_scan
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.export.facts import read_facts
from dwp_sweep.export.runtime import Exported, GivenLogits, load_export
from dwp_sweep.stages.prediction import logits_of

SCAN = "scan"
"""Key under which the files of a scan travel from the first transform to the last."""


def load_network(bundle_root: str) -> nn.Module:
    """The bundle's network: images (1, C, D, H, W) to logits."""
    return load_export(Path(bundle_root)).net


class PrepareScand(MapTransform):
    """The file, or list of files, of a scan becomes the network's input (C, D, H, W).

    Args:
        keys: Of the scan.
        bundle_root: Folder of the bundle.
    """

    def __init__(self, keys: Any, bundle_root: str) -> None:
        super().__init__(keys)
        self._exported = _without_network(bundle_root)

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """``data`` with the input in place of the file."""
        result = dict(data)
        for key in self.keys:
            paths = _paths(result[key])
            volumes = self._exported.read(paths)
            prepared = prepare_scan(volumes, self._exported.preprocess)
            meta = {"filename_or_obj": str(paths[0])}
            affine = torch.as_tensor(prepared.placement.grid_affine)
            result[key] = MetaTensor(torch.as_tensor(prepared.image), affine=affine, meta=meta)
            result[SCAN] = [str(path) for path in paths]
        return result


class WindowInferer(Inferer):
    """Whole volumes at once where they fit into the training's patch, else overlapping windows.

    Args:
        bundle_root: Folder of the bundle.
    """

    def __init__(self, bundle_root: str) -> None:
        super().__init__()
        self._facts = read_facts(Path(bundle_root))

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """Logits (1, n_networks * n_classes, D, H, W) of a scan (1, C, D, H, W)."""
        background = padding_value(self._facts.preprocess)
        return logits_of(network, torch.as_tensor(inputs), self._facts.patch, background)


class MaskOnScand(MapTransform):
    """The logits of a scan become its mask (1, I, J, K), on the scan's own voxels.

    Args:
        keys: Of the logits (n_networks * n_classes, D, H, W).
        bundle_root: Folder of the bundle.
    """

    def __init__(self, keys: Any, bundle_root: str) -> None:
        super().__init__(keys)
        self._exported = _without_network(bundle_root)

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """``data`` with the mask in place of the logits."""
        result = dict(data)
        for key in self.keys:
            logits = torch.as_tensor(result[key]).detach().float().cpu()
            found = self._exported.with_logits(logits[None]).segment(_paths(result[SCAN]))
            mask, affine = torch.as_tensor(found.mask[None]), torch.as_tensor(found.affine)
            meta = {"filename_or_obj": str(_paths(result[SCAN])[0]), "original_affine": affine}
            result[key] = MetaTensor(mask, affine=affine, meta=meta)
        return result


@dataclass(frozen=True, eq=False)
class ScanLoop:
    """Segments scans one after another; what a bundle runs.

    Attributes:
        scans: Files, or lists of files.
        preprocessing: Of one scan.
        network: On the device.
        inferer: Gives the logits of a scan.
        postprocessing: Writes its mask.
        device: Where to compute.
    """

    scans: Sequence[Any]
    preprocessing: Callable[[Any], Any]
    network: nn.Module
    inferer: Callable[..., Tensor]
    postprocessing: Callable[[Any], Any]
    device: torch.device

    def run(self) -> int:
        """Segment all scans; how many."""
        self.network.eval()
        for scan in self.scans:
            data = self.preprocessing({"image": scan})
            with torch.no_grad():
                data["pred"] = self.inferer(data["image"][None].to(self.device), self.network)[0]
            self.postprocessing(data)
        return len(self.scans)


def _without_network(bundle_root: str) -> Exported:
    return Exported(read_facts(Path(bundle_root)), GivenLogits(torch.zeros(0)))


def _paths(value: Any) -> list[Path]:
    if isinstance(value, MetaTensor | Tensor | np.ndarray):
        raise InputError(Problem("image", "was read already", "leave LoadImaged out: give the file's path"))
    return [Path(value)] if isinstance(value, str | Path) else [Path(path) for path in value]
