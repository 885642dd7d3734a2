"""Write an export: the network in one of several formats, what it needs, and code that runs it.

The folder appears when it is complete. It holds no image; ``training.json`` alone names scans, and
``weights_only`` leaves it out.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dwp_sweep import __version__
from dwp_sweep.atomic_write import place_beside
from dwp_sweep.data.config import several
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.export.bundle import MODEL as BUNDLE_MODEL
from dwp_sweep.export.bundle import write_configs
from dwp_sweep.export.card import write_card
from dwp_sweep.export.facts import Engine, ExportFacts, write_facts
from dwp_sweep.export.graph import as_graph, write_onnx, write_torchscript
from dwp_sweep.export.source import LIBRARIES, copy_runtime
from dwp_sweep.nets.net_files import save_net
from dwp_sweep.nets.unet3d import UNet3D
from dwp_sweep.prediction.trained import Trained

Format = Literal["bundle", "onnx", "torchscript", "safetensors"]
TRAINING_FILE = "training.json"

_ENGINES: Mapping[Format, tuple[Engine, str]] = {
    "bundle": ("torchscript", BUNDLE_MODEL),
    "onnx": ("onnx", "model.onnx"),
    "torchscript": ("torchscript", "model.ts"),
    "safetensors": ("safetensors", "."),
}
"""Format -> what runs it, and where the network lies in the folder."""
_LIBRARIES: Mapping[Format, tuple[str, ...]] = {"onnx": ("onnx", "onnxruntime")}
_ROOTS = ("dwp_sweep.export.runtime",)
_BUNDLE_ROOTS = (*_ROOTS, "dwp_sweep.export.monai_parts")
_SCRIPT = '''"""Segment a scan: python segment.py IMAGE... MASK. Needs {libraries}."""

import sys
from pathlib import Path

from dwp_sweep_runtime.export.runtime import main

sys.exit(main(Path(__file__).resolve().parent, sys.argv[1:]))
'''


@dataclass(frozen=True)
class Origin:
    """Where an exported network comes from.

    Attributes:
        run: MLflow run id, or key of the node.
        training: Settings, split and scores, as plain values: names scans.
    """

    run: str
    training: Mapping[str, Any]


def check_export(out: Path, form: Format) -> None:
    """Refuse what can be seen before a network is loaded.

    Raises:
        InputError: The folder exists, its parent does not, or a library of the format is missing.
    """
    problems = []
    if out.exists() or out.is_symlink():
        problems.append(Problem(str(out), "exists already", "name a folder that does not exist"))
    elif not out.absolute().parent.is_dir():
        problems.append(Problem(str(out), f"there is no folder {out.absolute().parent}", "make it first"))
    missing = [name for name in _LIBRARIES.get(form, ()) if importlib.util.find_spec(name) is None]
    if missing:
        what = f"needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed"
        problems.append(Problem(f"format {form}", what, "pip install 'dwp-sweep[export]'"))
    if problems:
        raise InputError(problems)


def write_export(
    trained: Trained, origin: Origin, out: Path, form: Format, weights_only: bool = False
) -> ExportFacts:
    """Write a folder that runs without this package.

    Args:
        trained: The network, on the CPU.
        origin: Where it comes from.
        out: The folder; must not exist.
        form: How the network is written. A Bayesian one becomes its weight draws, except in
            ``safetensors``, which keeps its distribution.
        weights_only: Leave out settings, scores and names of scans.

    Returns:
        What ``export.json`` says.

    Raises:
        InputError: As `check_export`.
        DwpSweepError: A written graph differs from its network.
    """
    check_export(out, form)
    facts = export_facts(trained, origin.run, form)
    with place_beside(out) as beside:
        beside.mkdir()
        _write_network(trained, facts, beside)
        write_facts(facts, beside)
        copy_runtime(beside, _BUNDLE_ROOTS if form == "bundle" else _ROOTS)
        if form == "bundle":
            write_configs(facts, beside, _versions(LIBRARIES), __version__)
        else:
            libraries = [*LIBRARIES, *(["onnxruntime"] if form == "onnx" else [])]
            (beside / "segment.py").write_text(_SCRIPT.format(libraries=", ".join(libraries)))
        if not weights_only:
            text = json.dumps(dict(origin.training), indent=1, default=str)
            (beside / TRAINING_FILE).write_text(text + "\n")
        write_card(facts, beside, form, {} if weights_only else origin.training)
        _copy_license(beside)
        beside.replace(out)
    return facts


def export_facts(trained: Trained, run: str, form: Format) -> ExportFacts:
    """What an export says of a network."""
    assert isinstance(trained.net, UNet3D)
    engine, model = _ENGINES[form]
    dataset, unet, n_draws = trained.dataset, trained.net.config, trained.n_draws
    volumes = tuple(number for number in several(dataset.channel) if number is not None)
    return ExportFacts(
        engine=engine,
        model=model,
        title=trained.title,
        run=run,
        n_channels=unet.in_channels,
        channel_names=dataset.channel_names,
        volumes=volumes,
        n_classes=unet.n_classes,
        classes=trained.classes,
        n_networks=1 if engine == "safetensors" else max(1, n_draws),
        n_draws=n_draws if engine == "safetensors" else 0,
        seed=trained.seed,
        background=trained.net.background,
        preprocess=dataset.preprocess,
        patch=trained.patch,
        postprocess=trained.postprocess,
        spacing_mm=trained.spacing_mm,
        temperature=trained.temperature.value,
        temperature_scans=trained.temperature.n_scans,
        temperature_note=trained.temperature.note,
        made_by=f"dwp_sweep {__version__}",
    )


def _write_network(trained: Trained, facts: ExportFacts, folder: Path) -> None:
    assert isinstance(trained.net, UNet3D)
    place = folder / facts.model
    if facts.engine == "safetensors":
        save_net(trained.net, trained.net.config, place)
        return
    place.parent.mkdir(exist_ok=True)
    graph = as_graph(trained.net, trained.n_draws, trained.seed)
    (write_onnx if facts.engine == "onnx" else write_torchscript)(graph, place)


def _versions(libraries: tuple[str, ...]) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in libraries}


def _copy_license(folder: Path) -> None:
    """Ours, which holds for the copied code: from a clone or from the installed package."""
    top = Path(__file__).resolve().parents[2] / "LICENSE"
    if top.is_file():
        shutil.copyfile(top, folder / "LICENSE")
        return
    for file in importlib.metadata.files("dwp-sweep") or ():
        if file.name == "LICENSE":
            shutil.copyfile(Path(str(file.locate())), folder / "LICENSE")
            return
