"""Exported networks at work: the part of the package that travels with an export and needs none of the rest.

`dwp_sweep.export.source` copies this module, and the modules that it imports, into each export under another
name. A scan is prepared, segmented and brought back by the very code that ``predict`` runs.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dwp_sweep.data.batches import collate
from dwp_sweep.data.cache.cases import Case
from dwp_sweep.data.classes import ClassPairs
from dwp_sweep.data.config import PreprocessConfig
from dwp_sweep.data.files.volumes import Volume, read_header, read_volume, write_volume
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.export.facts import ExportFacts, read_facts
from dwp_sweep.metrics.temperature import Temperature
from dwp_sweep.nets.bayes_conv import variational_layers
from dwp_sweep.nets.net_files import load_net
from dwp_sweep.nets.unet3d import pad_to_fit
from dwp_sweep.prediction.segment import Segmentation, segment
from dwp_sweep.stages.evaluation import Prediction, predict_volume
from dwp_sweep.stages.prediction import WHOLE, Notify, clean_mask, logits_of, n_windows, silent
from dwp_sweep.training.compute import ComputeConfig

_CPU = ComputeConfig(device="cpu")


@dataclass(frozen=True, eq=False)
class Exported:
    """An exported network, ready to segment; what `segment` asks of a network.

    Attributes:
        facts: What its folder says of it.
        net: Images (1, C, D, H, W) to logits (1, n_networks * n_classes, D, H, W).
        given: Logits that some other program has computed for the one scan; None: `net` computes them.
    """

    facts: ExportFacts
    net: nn.Module
    given: Tensor | None = None

    @property
    def preprocess(self) -> PreprocessConfig:
        """How a scan becomes an input."""
        return self.facts.preprocess

    @property
    def classes(self) -> ClassPairs:
        """Names and labels of the classes; empty with one foreground."""
        return self.facts.classes

    @property
    def temperature(self) -> Temperature:
        """At which probabilities are shown."""
        facts = self.facts
        return Temperature(facts.temperature, facts.temperature_scans, facts.temperature_note)

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Median voxel size of the training scans."""
        return self.facts.spacing_mm

    def with_logits(self, logits: Tensor) -> Exported:
        """The same for the one scan whose logits (1, n_networks * n_classes, D, H, W) are known already."""
        return replace(self, given=logits)

    def predict(self, case: Case, notify: Notify = silent) -> Prediction:
        """What the network, or the mean of its draws, says about a prepared scan."""
        facts, patch = self.facts, self.facts.patch if self.given is None else WHOLE
        net = self.net if self.given is None else GivenLogits(self.given)
        if facts.n_networks == 1:
            return predict_volume(
                net, case, _CPU, facts.n_draws, facts.seed, patch, facts.postprocess, notify
            )
        with torch.no_grad():
            stacked = logits_of(net, collate([case])[0], patch, case.background, notify)
        each = stacked.reshape(facts.n_networks, facts.n_classes, *stacked.shape[2:])
        total = torch.zeros(each.shape[1:], dtype=torch.float64)
        for logits in each:
            total += logits.softmax(0).double()
        probs = (total / facts.n_networks).float().numpy()
        likeliest = Prediction(np.zeros(case.mask.shape, dtype=bool), probs)
        mask = clean_mask(likeliest.probs_mask, facts.postprocess, case.spacing_mm)
        return replace(likeliest, mask=mask)

    def n_passes(self, case: Case) -> int:
        """How many forward passes `predict` takes."""
        n_draws = self.facts.n_draws if variational_layers(self.net) else 0
        return n_windows(case.mask.shape, self.facts.patch) * (1 + n_draws)

    def read(self, images: Sequence[Path]) -> list[Volume]:
        """The volumes that are the network's channels.

        Raises:
            InputError: Files that are no NIfTI, or another number of channels.
        """
        volumes: list[Volume] = []
        for path in images:
            n = read_header(path).n_channels
            wanted = (self.facts.volumes or range(n)) if n > 1 else (None,)
            volumes += [read_volume(path, volume) for volume in wanted]
        if len(volumes) != self.facts.n_channels:
            names = f" ({', '.join(self.facts.channel_names)})" if self.facts.channel_names else ""
            what = f"{len(volumes)} channel(s) given, and the network takes {self.facts.n_channels}{names}"
            raise InputError(Problem(", ".join(map(str, images)), what, "give one image for each"))
        return volumes

    def segment(self, images: Sequence[Path]) -> Segmentation:
        """Segment one scan.

        Args:
            images: NIfTI files, the channels in the order of the training.
        """
        return segment(self.read(images), self)


class GivenLogits(nn.Module):
    """Stands for a network that another program has run."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        """The known logits."""
        return self.logits


class GraphNetwork(nn.Module):
    """A TorchScript file as a network."""

    def __init__(self, path: Path, background: float = 0.0) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that TorchScript is to go one day
            self.graph = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        self.background = background

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images (1, C, D, H, W)."""
        depth, height, width = images.shape[2:]
        logits: Tensor = self.graph(pad_to_fit(images, self.background))
        return logits[:, :, :depth, :height, :width]


class OnnxNetwork(nn.Module):
    """An ONNX file as a network, run by onnxruntime on the CPU."""

    def __init__(self, path: Path, background: float = 0.0) -> None:
        super().__init__()
        import onnxruntime

        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.background = background

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images (1, C, D, H, W)."""
        depth, height, width = images.shape[2:]
        name = self._session.get_inputs()[0].name
        (logits,) = self._session.run(None, {name: pad_to_fit(images, self.background).numpy()})
        return torch.from_numpy(logits)[:, :, :depth, :height, :width]


def load_export(folder: Path) -> Exported:
    """The network of an export.

    Raises:
        InputError: The folder holds no export.
    """
    facts = read_facts(folder)
    path = folder / facts.model
    if facts.engine == "safetensors":
        return Exported(facts, load_net(path))
    engine = OnnxNetwork if facts.engine == "onnx" else GraphNetwork
    return Exported(facts, engine(path, facts.background).eval())


def write_mask(path: Path, found: Segmentation) -> None:
    """Write the mask of a scan as ``predict`` does."""
    write_volume(path, found.mask, found.affine if found.forms is None else found.forms)


def main(folder: Path, arguments: Sequence[str]) -> int:
    """``segment.py IMAGE... MASK`` of an export; the exit code."""
    parser = argparse.ArgumentParser(prog="segment.py", description="Segment a scan with this network.")
    parser.add_argument("images", nargs="+", type=Path, help="NIfTI files, one a channel")
    parser.add_argument("mask", type=Path, help="NIfTI file to write; must not exist")
    asked = parser.parse_args(arguments)
    try:
        if asked.mask.exists():
            raise InputError(Problem(str(asked.mask), "exists already", "name another file"))
        found = load_export(folder).segment(asked.images)
        write_mask(asked.mask, found)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{asked.mask}: {found.volume_ml:.4g} ml")
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    return 0
