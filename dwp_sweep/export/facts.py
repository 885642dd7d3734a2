"""What an exported network needs beside its weights: how scans are prepared, windows, clean-up, temperature.

Nothing in it names a person, a scan or a folder. Read by `dwp_sweep.export.runtime`, which travels with each
export.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from dwp_sweep.atomic_write import write_whole
from dwp_sweep.data.classes import ClassPairs
from dwp_sweep.data.config import PreprocessConfig
from dwp_sweep.data.patches import PatchConfig
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.stages.prediction import PostprocessConfig
from dwp_sweep.strict import StrictModel, json_of, parse

FACTS_FILE = "export.json"
Engine = Literal["torchscript", "onnx", "safetensors"]


class ExportFacts(StrictModel):
    """Content of ``export.json``.

    Attributes:
        engine: What runs the file of the network.
        model: That file, or its folder, relative to this one.
        title: For people: what was trained.
        run: Which run it is: MLflow run id, or key of the node.
        n_channels: Input channels.
        channel_names: What they are; empty for one.
        volumes: Which volumes of a 4D image are the channels, from 0; empty: all.
        n_classes: Outputs of one network, background first.
        classes: Names and labels of the classes behind the background; empty with one foreground.
        n_networks: Networks in the file: draws from the posterior of a Bayesian network. Their logits stand
            one after another on the channel axis, and the mean of their softmaxes is the probability.
        n_draws: Weight draws at prediction where ``engine`` is safetensors; 0: none.
        seed: Of these draws.
        background: Pads volumes.
        preprocess: How a scan becomes an input.
        patch: Windows for volumes that are larger.
        postprocess: Clean-up of masks.
        spacing_mm: Median voxel size of the training scans; None where nobody kept it.
        temperature: At which probabilities are shown.
        temperature_scans: Validation scans that it was fitted on; 0: none was fitted.
        temperature_note: What a person should know of it.
        made_by: Name and version of the program that wrote this.
    """

    engine: Engine
    model: str
    title: str
    run: str = ""
    n_channels: int = 1
    channel_names: tuple[str, ...] = ()
    volumes: tuple[int, ...] = ()
    n_classes: int = 2
    classes: ClassPairs = ()
    n_networks: int = 1
    n_draws: int = 0
    seed: int = 0
    background: float = 0.0
    preprocess: PreprocessConfig = PreprocessConfig()
    patch: PatchConfig = PatchConfig()
    postprocess: PostprocessConfig = PostprocessConfig()
    spacing_mm: tuple[float, float, float] | None = None
    temperature: float = 1.0
    temperature_scans: int = 0
    temperature_note: str = ""
    made_by: str = "dwp_sweep"


def write_facts(facts: ExportFacts, folder: Path) -> None:
    """Write ``export.json``."""
    write_whole(folder / FACTS_FILE, json.dumps(facts.model_dump(mode="json"), indent=1) + "\n")


def read_facts(folder: Path) -> ExportFacts:
    """What a folder's ``export.json`` says.

    Raises:
        InputError: The folder holds no export, or the file is damaged.
    """
    path = folder / FACTS_FILE
    try:
        values = json_of(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(Problem(str(folder), f"holds no export: there is no {FACTS_FILE}")) from None
    except (OSError, ValueError) as error:
        raise InputError(Problem(str(path), f"cannot be read: {error}", "export the network again")) from None
    # A seed has more bits than numbers that people write.
    seed = values.pop("seed", 0) if isinstance(values, dict) else 0
    return parse(ExportFacts, values, str(path)).model_copy(update={"seed": int(seed)})
