"""A MONAI bundle: ``monai.bundle`` runs it on NIfTI files, and servers of bundles find the keys they know.

The network is TorchScript; preparing a scan and the way back are transforms of `monai_parts`, from the copy
of our source in the bundle. Format: MONAI's "MONAI Bundle Specification".
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dwp_sweep.export.facts import ExportFacts
from dwp_sweep.export.source import LIBRARIES, RUNTIME

MODEL = "models/model.ts"
_PARTS = f"{RUNTIME}.export.monai_parts"


def write_configs(facts: ExportFacts, folder: Path, versions: dict[str, str], version: str) -> None:
    """Write ``configs/metadata.json`` and ``configs/inference.json`` of a bundle.

    Args:
        facts: Of the network.
        folder: The bundle.
        versions: Library -> version that the network was exported with.
        version: Of dwp_sweep.
    """
    configs = folder / "configs"
    configs.mkdir()
    for name, values in (("metadata", _metadata(facts, versions, version)), ("inference", inference())):
        (configs / f"{name}.json").write_text(json.dumps(values, indent=4) + "\n")


def inference() -> dict[str, Any]:
    """How a bundle is run: masks of all NIfTI files of ``dataset_dir`` go into ``output_dir``."""
    root = "$@bundle_root"
    return {
        "imports": ["$import glob", "$import numpy", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/scans'",
        "output_dir": "$@bundle_root + '/masks'",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii.gz') + glob.glob(@dataset_dir + '/*.nii'))",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": f"{_PARTS}.load_network", "bundle_root": root},
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": f"{_PARTS}.PrepareScand", "keys": "image", "bundle_root": root}],
        },
        "inferer": {"_target_": f"{_PARTS}.WindowInferer", "bundle_root": root},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": f"{_PARTS}.MaskOnScand", "keys": "pred", "bundle_root": root},
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_postfix": "seg",
                    "output_dtype": "$numpy.uint8",
                    "resample": False,
                    "separate_folder": False,
                },
            ],
        },
        "evaluator": {
            "_target_": f"{_PARTS}.ScanLoop",
            "scans": "@datalist",
            "preprocessing": "@preprocessing",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "device": "@device",
        },
        "run": ["$@evaluator.run()"],
    }


def _metadata(facts: ExportFacts, versions: dict[str, str], version: str) -> dict[str, Any]:
    n_outputs = facts.n_networks * facts.n_classes
    names = facts.channel_names or ("image",)
    sizes = {"spatial_shape": ["*", "*", "*"], "dtype": "float32", "is_patch_data": bool(facts.patch.shape)}
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "n/a",
        "num_channels": facts.n_channels,
        "value_range": [],
        "channel_def": {str(number): name for number, name in enumerate(names)},
    }
    pred = {
        "type": "image",
        "format": "logits",
        "num_channels": n_outputs,
        "value_range": [],
        "channel_def": {
            str(number): f"network {number // facts.n_classes}, class {number % facts.n_classes}"
            for number in range(n_outputs)
        },
    }
    libraries = {name: versions[name] for name in LIBRARIES if name not in ("monai", "torch", "numpy")}
    return {
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by dwp_sweep {version}"},
        "monai_version": versions["monai"],
        "pytorch_version": versions["torch"].partition("+")[0],
        "numpy_version": versions["numpy"],
        "required_packages_version": libraries,
        "task": "3D segmentation",
        "description": facts.title,
        "authors": "see docs/README.md",
        "copyright": "see LICENSE for the code; the weights belong to who trained them",
        "name": facts.title,
        "network_data_format": {"inputs": {"image": image | sizes}, "outputs": {"pred": pred | sizes}},
    }
