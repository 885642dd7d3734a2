"""The README of an export: what the network is, how it is run, how good it was, what it is not for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dwp_sweep.export.facts import ExportFacts

_SCORES = ("best_val_dice", "test_dice", "test_dice_mc", "test_iou", "test_hd95_mm")
_RUN = {
    "bundle": """Put NIfTI files into a folder and run, from this folder:

```python
from monai.bundle import run

run(config_file="configs/inference.json", dataset_dir="SCANS", output_dir="MASKS")
```

or, with the library fire, `python -m monai.bundle run --config_file configs/inference.json` and the same
settings.

Servers of MONAI bundles find `network_def`, `preprocessing`, `inferer` and `postprocessing` in
`configs/inference.json`. A scan is named by its file (of several channels, a list of files): it is read and
prepared by the transform `PrepareScand`, not by `LoadImaged`.""",
    "onnx": """```sh
python segment.py SCAN.nii.gz MASK.nii.gz
```

`model.onnx` alone: `image` (B, C, D, H, W), a prepared scan of any size, gives `logits`.""",
    "torchscript": """```sh
python segment.py SCAN.nii.gz MASK.nii.gz
```

`model.ts` alone: `torch.jit.load` gives a function of a prepared scan (B, C, D, H, W) to logits.""",
    "safetensors": """```sh
python segment.py SCAN.nii.gz MASK.nii.gz
```

`net.safetensors` holds the weights, `net.json` the shape of the network.""",
}


def write_card(facts: ExportFacts, folder: Path, form: str, training: Mapping[str, Any]) -> None:
    """Write the README: of a bundle into ``docs``, where its format wants it.

    Args:
        facts: Of the network.
        folder: Of the export.
        form: Its format.
        training: Settings and metrics; empty: none are told.
    """
    place = folder / "docs" if form == "bundle" else folder
    place.mkdir(exist_ok=True)
    parts = [f"# {facts.title}", _about(facts), "## Run it", _RUN[form], "## Output", _output(facts)]
    if scores := _scores(training):
        parts += ["## Scores", scores]
    parts += ["## Limits", _limits(facts)]
    (place / "README.md").write_text("\n\n".join(parts) + "\n")


def _about(facts: ExportFacts) -> str:
    names = f" ({', '.join(facts.channel_names)})" if facts.channel_names else ""
    lines = [
        f"A 3D U-Net that segments scans of {facts.n_channels} channel(s){names}, exported by {facts.made_by}"
        + (f" from run {facts.run}." if facts.run else "."),
        "Scans may have any orientation and spacing: they are prepared as for the training, and the mask "
        "lies on the scan's own voxels.",
    ]
    if facts.classes:
        named = ", ".join(f"{name} ({min(labels)})" for name, labels in facts.classes)
        lines.append(f"Classes, by their value in the mask: {named}.")
    return " ".join(lines)


def _output(facts: ExportFacts) -> str:
    if facts.n_networks == 1:
        return f"{facts.n_classes} logits a voxel, background first; the mask is the likeliest class."
    n, classes = facts.n_networks, facts.n_classes
    return (
        f"{n * classes} logits a voxel: those of {n} weight draws of a Bayesian network, {classes} each, "
        f"background first. The probability is the mean of the {n} softmaxes, the mask its likeliest class:"
        "\n\n```python\n"
        f"probs = logits.reshape(-1, {n}, {classes}, *logits.shape[2:]).softmax(2).mean(1)\n```"
    )


def _scores(training: Mapping[str, Any]) -> str:
    metrics = training.get("metrics") or {}
    rows = [f"| {name} | {float(metrics[name]):.4f} |" for name in _SCORES if name in metrics]
    return "\n".join(["| score | mean over scans |", "|:--|--:|", *rows]) if rows else ""


def _limits(facts: ExportFacts) -> str:
    size = " x ".join(f"{size:.3g}" for size in facts.spacing_mm) if facts.spacing_mm else ""
    voxels = f" The training scans had voxels of {size} mm (median)." if size else ""
    return (
        "A network of a study, not a medical device. It knows scans like those that it was trained on alone."
        + voxels
        + " Computed in float32; other libraries round differently, and a voxel at the very boundary may "
        "differ."
    )
