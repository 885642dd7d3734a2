"""A real sweep in this process, down to the pictures that its parent run in MLflow keeps."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from dwp_sweep.api import SweepRun, run_sweep
from dwp_sweep.tracking.client import mlflow_client
from tests.harness.test_run import Witness

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SPACE: dict[str, Any] = {
    "name": "pictures",
    "data": {
        kind: {
            "layout": "phantom",
            "phantom": {"kind": kind, "n_subjects": 8, "shape": [16, 16, 16]},
            "n_val": 1,
            "preprocess": {"shape": [16, 16, 16]},
        }
        for kind in ("source", "target")
    },
    "fixed": {
        "unet.channels": [4, 8, 8, 8],
        "source": {"n_seeds": 1, "n_cycles": 1, "max_epochs": 2},
        "prior": {"max_epochs": 2, "batch_size": 16, "latent_dim": 2},
        "target": {"max_epochs": 2, "n_samples": 2},
        "compute.device": "cpu",
    },
    "grid": {"method": ["random_init", "deep_weight_prior"], "train_size": [2, 3]},
}
SPACE["data"]["target"]["n_test"] = 3


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> SweepRun:
    return run_sweep(SPACE, tmp_path_factory.mktemp("pictures") / "runs", here=True, progress=Witness())


def artifacts(ran: SweepRun, folder: str) -> set[str]:
    client, parent = mlflow_client(ran.tracking.uri), ran.tracking.parent_run_id
    return {item.path for item in client.list_artifacts(parent, folder)}


def fetched(ran: SweepRun, path: str, folder: Path) -> Path:
    client = mlflow_client(ran.tracking.uri)
    return Path(client.download_artifacts(ran.tracking.parent_run_id, path, str(folder)))


def test_every_picture_of_the_report_is_an_artifact_of_the_parent_run(ran: SweepRun, tmp_path: Path) -> None:
    assert ran.exit_code == 0 and ran.tracking.online
    page = fetched(ran, "report/index.html", tmp_path).read_text()
    linked = {f"report/{path}" for path in re.findall(r'href="(figures/[^"]+)"', page)}
    kept = artifacts(ran, "report/figures")

    assert linked and linked <= kept
    names = {Path(path).stem for path in kept}
    expected = {"source_and_target", "dice_over_m", "differences", "predictions_m2", "predictions_m3"}
    assert expected | {"learning_curves"} <= names
    assert any("kernel" in name for name in names), names
    for path in sorted(path for path in linked if path.endswith(".png")):
        pixels = matplotlib.image.imread(fetched(ran, path, tmp_path))
        assert min(pixels.shape[:2]) > 100 and pixels[..., :3].std() > 0.02, f"{path} is blank"


def test_so_are_its_tables_with_the_numbers_of_the_runs(ran: SweepRun, tmp_path: Path) -> None:
    assert {"report/tables/test_dice.csv", "report/tables/test_dice.tex"} <= artifacts(ran, "report/tables")
    text = fetched(ran, "report/tables/test_dice.csv", tmp_path).read_text()
    found = {(row["method"], int(row["m"])): float(row["mean"]) for row in csv.DictReader(io.StringIO(text))}
    targets = ran.results[ran.results.stage == "target"]

    assert len(found) == 4
    for row in targets.itertuples():
        assert found[row.method, row.train_size] == pytest.approx(row.test_dice)
