"""The search space with classes at its smoke scale: from labels to scores, files, report and prediction."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dwp_sweep.api import SweepRun, load_model, predict, run_sweep
from dwp_sweep.nets.net_files import read_net_facts
from dwp_sweep.report.page.write import write_report
from dwp_sweep.stages.examples import load_example
from dwp_sweep.store.local.store import LocalStore
from tests.harness.test_run import Witness
from tests.search_spaces.spaces import FOLDER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
NAMES = ("anterior", "posterior")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classes") / "runs"


@pytest.fixture(scope="module")
def run(storage: Path) -> SweepRun:
    path = FOLDER / "hippocampus_classes.yaml"
    return run_sweep(path, storage, smoke=True, here=True, progress=Witness())


def test_every_method_ends_with_scores_of_each_class_and_their_mean(run: SweepRun) -> None:
    assert run.exit_code == 0 and not run.outcome.failed and run.best is not None
    done = run.results[(run.results.stage == "target") & (run.results.state == "done")]
    assert len(done) == 4
    for score in ("test_dice", "test_ece", "best_val_dice"):
        means = np.mean([done[f"{score}.{name}"] for name in NAMES], axis=0)
        np.testing.assert_allclose(done[score].astype(float), means.astype(float), rtol=1e-6)
    source = run.results[run.results.stage == "source"]
    assert source[f"best_val_dice.{NAMES[0]}"].isna().all()


def test_a_node_keeps_the_classes_beside_its_network_its_scores_and_its_example(
    run: SweepRun, storage: Path
) -> None:
    store = LocalStore(storage)
    for node in run.sweep.nodes.values():
        if node.stage != "target":
            continue
        folder = store.fetch(node.stage, node.key)
        facts = read_net_facts(folder)
        assert facts.class_names == NAMES and facts.unet.n_classes == 3
        for table in ("test_scores", "val_scores"):
            rows = json.loads((folder / f"{table}.json").read_text())
            assert all({f"dice.{name}" for name in NAMES} <= row.keys() for row in rows.values())
        example = load_example(folder)
        assert example.facts.classes == NAMES and example.truth.max() <= 2
        assert example.mask is not None and example.entropy is not None
        assert float(example.entropy.max()) <= np.log(3) + 1e-2


def test_the_report_has_a_table_of_each_class_and_predictions_have_the_user_s_labels(
    run: SweepRun, storage: Path, tmp_path: Path
) -> None:
    uri = f"sqlite:///{storage}/mlflow.db"
    written = write_report(run.sweep.name, tmp_path / "report", uri, LocalStore(storage))
    text = written.page.read_text()
    assert "Test Dice: anterior" in text and "Test Dice: posterior" in text
    scan = next((storage / "phantom").rglob("imagesTr/*.nii.gz"))
    best = f"best:{run.sweep.name}"
    outputs = {name: tmp_path / f"{name}.nii.gz" for name in ("mask", "probability", "uncertainty")}
    outputs["picture"] = tmp_path / "picture.png"
    found = predict(best, scan, storage=storage, tracking_uri=uri, **outputs)
    assert found.class_names == NAMES and set(np.unique(found.mask)) <= {0, 1, 2}
    probability = nib.load(outputs["probability"])
    assert probability.shape == (*found.mask.shape, 2)
    np.testing.assert_array_equal(np.asanyarray(nib.load(outputs["mask"]).dataobj), found.mask)
    assert run.best is not None
    net = load_model(run.best.run_ids[0], uri)
    assert net.get_parameter("out.weight").shape[0] == 3
