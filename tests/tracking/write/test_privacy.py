"""What stays on the storage: no picture, name or place of a private sweep reaches MLflow."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.record import Record
from dwp_sweep.tracking.write.node_run import NodeRun
from dwp_sweep.tracking.write.parent import open_tracking
from dwp_sweep.tracking.write.privacy import KEY_FILE, OPEN, Privacy, privacy_of
from tests.tracking.conftest import make_node

NAMES = ("Jane_Doe_1970", "P-Miller")
PRIVATE = {"images": False, "subjects": "pseudonym"}


def node_files(folder: Path) -> Path:
    """Files of a target as its stage leaves them."""
    (folder / "figures").mkdir(parents=True)
    for name in ("median_prediction", "uncertainty", "learning_curve"):
        (folder / "figures" / f"{name}.png").write_bytes(b"png " + NAMES[0].encode())
    (folder / "example.safetensors").write_bytes(b"voxels")
    scores = {NAMES[0]: {"dice": 0.5, "patient": NAMES[1]}, "other": {"dice": 0.7}}
    tables = {
        "example": {"subject": NAMES[0]},
        "split": {"train": ["a"], "val": ["b"], "test": [NAMES[0], "other"]},
        "test_scores": scores,
        "val_scores": {},
        "record": {"config": {"dataset": {"root": "/data/clinic", "subjects": [NAMES[0], "other"]}}},
        "net": {"unet": {}},
    }
    for name, values in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    return folder


def all_bytes(folder: Path) -> bytes:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return b"".join(str(path.relative_to(folder)).encode() + path.read_bytes() for path in files)


def test_by_default_everything_leaves_as_it_is(tmp_path: Path) -> None:
    assert privacy_of({}, tmp_path) == OPEN
    assert OPEN.values({"data.source.root": "/data"}) == {"data.source.root": "/data"}
    with OPEN.public(tmp_path) as folder:
        assert folder == tmp_path
    assert not (tmp_path / KEY_FILE).exists()


def test_a_private_copy_of_a_node_has_no_name_no_place_and_no_scan(tmp_path: Path) -> None:
    privacy, folder = privacy_of({"tracking": PRIVATE}, tmp_path / "runs"), node_files(tmp_path / "node")
    with privacy.public(folder) as public:
        names = {path.relative_to(public).as_posix() for path in public.rglob("*") if path.is_file()}
        scores = json.loads((public / "test_scores.json").read_text())
        split = json.loads((public / "split.json").read_text())
        record = json.loads((public / "record.json").read_text())
        content = b"".join(path.read_bytes() for path in public.rglob("*.json"))
    assert names == {
        "figures/learning_curve.png", "split.json", "test_scores.json", "val_scores.json", "record.json",
        "net.json",
    }  # fmt: skip
    assert not [name for name in (*NAMES, "/data/clinic") if name.encode() in content]
    assert set(split["test"]) == set(scores) == set(record["config"]["dataset"]["subjects"])
    assert scores[privacy.pseudonym(NAMES[0])] == {"dice": 0.5, "patient": privacy.pseudonym(NAMES[1])}


def test_images_alone_keep_names_in_scores(tmp_path: Path) -> None:
    folder = node_files(tmp_path / "node")
    with Privacy(images=False).public(folder) as public:
        assert NAMES[0] in json.loads((public / "test_scores.json").read_text())
        assert not (public / "example.safetensors").exists()


def test_pseudonyms_follow_the_storage_and_its_key(tmp_path: Path) -> None:
    first, again = (privacy_of({"tracking": PRIVATE}, tmp_path / "a") for _ in range(2))
    other = privacy_of({"tracking": PRIVATE}, tmp_path / "b")
    names = {one.pseudonym("P1") for one in (first, again)}
    assert len(names) == 1 and names.pop().startswith("subject-")
    assert other.pseudonym("P1") != first.pseudonym("P1") != first.pseudonym("P2")
    assert first.key not in repr(first)
    assert len(LocalStore(tmp_path / "a").files.read(KEY_FILE) or "") == 64


def test_places_go_and_runs_of_mlflow_stay() -> None:
    values = Privacy(images=False).values(
        {
            "data.target.root": "/data/clinic",
            "source": {"network": "/home/me/net", "lr": 1e-3},
            "harvest.bank": "runs:/abc",
            "file": "/home/me/space.yaml",
            "grid": {"variant": {"a": {"prior.path": "/x"}}},
        }
    )
    assert values == {
        "source": {"lr": 1e-3}, "harvest.bank": "runs:/abc", "file": "space.yaml",
        "grid": {"variant": {"a": {}}},
    }  # fmt: skip


@pytest.mark.parametrize("state", ["done", "failed"])
def test_nothing_private_reaches_mlflow(
    state: str, uri: str, mlflow_folder: Path, sweep_name: str, client: Any, tmp_path: Path
) -> None:
    settings = {"tracking": PRIVATE, "fixed": {"data": {"target": {"root": "/data/clinic"}}}}
    tracking = open_tracking(uri, mlflow_folder, sweep_name, settings)
    node = make_node("ab" * 10, method="fine_tune", split=0)
    dataset = {
        "layout": "msd", "root": "/data/clinic", "subjects": list(NAMES), "fingerprint": "f" * 20,
    }  # fmt: skip
    node = replace(node, config={**node.config, "dataset": dataset})
    run = NodeRun(tracking, node)
    run.start()
    if state == "done":
        record = Record(node.key, "target", "done", node.config, metrics={"val_dice": 0.5})
        run.finish(record, node_files(tmp_path / "node"))
    else:
        run.fail(Record(node.key, "target", "failed", node.config, error=f"/data/clinic/{NAMES[0]}: torn"))
    assert run.problem is None
    text = ""
    for run_id in (run.run_id, tracking.parent_run_id):
        found = client.get_run(run_id)
        text += json.dumps([found.data.params, found.data.tags])
        text += str([one.dataset.source for one in found.inputs.dataset_inputs])
        text += all_bytes(Path(found.info.artifact_uri.removeprefix("file://"))).decode("latin-1")
    text = text.replace("png " + NAMES[0], "")  # what the test's own learning curve holds
    assert not [name for name in (*NAMES, "/data/clinic") if name in text]
    assert "subject-" in text
