"""The target stage: scans of one patient, from the table of pairs to the scores of the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dwp_sweep.config.space import load_space
from dwp_sweep.config.sweep import build_sweep
from dwp_sweep.data.config import PhantomConfig
from dwp_sweep.data.phantom.dataset import write_phantom
from dwp_sweep.stages.registry import STAGES
from dwp_sweep.strict import parse


def visits(root: Path, n_patients: int) -> dict[str, str]:
    """Two scans a patient, as ``pairs``; scan -> patient."""
    write_phantom(PhantomConfig(kind="target", n_subjects=2 * n_patients, shape=(16, 16, 16)), root)
    lines, patients = ["image,mask,subject,patient"], {}
    images = sorted((root / "imagesTr").glob("*.nii.gz"))
    for place, image in enumerate(images):
        name, patients[f"scan{place}"] = f"scan{place}", f"patient{place // 2}"
        lines.append(f"imagesTr/{image.name},labelsTr/{image.name},{name},{patients[name]}")
    (root / "pairs.csv").write_text("\n".join(lines))
    return patients


def test_no_patient_is_on_two_sides_and_the_scores_name_patients(tmp_path: Path) -> None:
    patients = visits(tmp_path / "scans", 6)
    space: dict[str, Any] = {
        "name": "visits",
        "data": {
            "target": {"layout": "pairs", "root": str(tmp_path / "scans"), "n_val": 2, "n_test": 4},
        },
        "fixed": {
            "unet.channels": [4, 4, 4, 4],
            "target": {"max_epochs": 1, "steps_per_epoch": 1},
            "train_size": 4,
        },
    }
    sweep = build_sweep(load_space(space), tmp_path / "runs")
    stage, out = STAGES["target"], tmp_path / "out"
    out.mkdir()
    config = parse(stage.config, sweep.nodes[sweep.targets[0]].config, "node")
    metrics = stage.run(config, {}, tmp_path, out, lambda stage, step, metrics: None)

    split = json.loads((out / "split.json").read_text())
    sides = [{patients[name] for name in split[role]} for role in ("train", "val", "test")]
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert [metrics[f"n_{role}"] for role in ("train", "val", "test")] == [4, 2, 4]
    for role in ("test", "val"):
        scores = json.loads((out / f"{role}_scores.json").read_text())
        assert {name: values["patient"] for name, values in scores.items()} == {
            name: patients[name] for name in split[role]
        }
