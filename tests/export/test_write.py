"""Exports against ``predict``: the same mask voxel by voxel, by other programs and without this package."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

import dwp_sweep
from dwp_sweep.errors import InputError
from dwp_sweep.export import write
from dwp_sweep.export.source import RUNTIME, copy_runtime
from tests.prediction.conftest import save_scan

KINDS = {
    "plain": {},
    "draws": {"log_var": -3.0},
    "patches": {"target": {"patch": {"shape": [16, 16, 16]}, "postprocess": {"min_lesion_voxels": 20}}},
    "draws in patches": {"log_var": -3.0, "target": {"patch": {"shape": [16, 16, 16]}}},
    "resampled": {"preprocess": {"spacing_mm": [1.7, 1.1, 2.3], "orientation": "SRA"}},
    "CT": {"preprocess": {"window": [-100, 300], "shape": [24, 16, 16]}},
    "two channels": {"channel": [0, 1]},
}


@pytest.fixture
def image(tmp_path: Path, scan: np.ndarray) -> Path:
    return save_scan(tmp_path / "t2.nii.gz", scan)


def images_of(kind: str, image: Path, scan: np.ndarray) -> list[Path]:
    if kind != "two channels":
        return [image]
    return [image, save_scan(image.with_name("flair.nii.gz"), scan[::-1].copy())]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The copy of our source as an export carries it, imported from there."""
    place = tmp_path_factory.mktemp("runtime")
    copy_runtime(place, ("dwp_sweep.export.runtime",))
    sys.path.insert(0, str(place))
    yield importlib.import_module(f"{RUNTIME}.export.runtime")
    sys.path.remove(str(place))


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("plain", "onnx"),
        ("draws", "torchscript"),
        ("draws", "safetensors"),
        ("patches", "torchscript"),
        ("draws in patches", "onnx"),
        ("resampled", "torchscript"),
        ("CT", "onnx"),
        ("two channels", "torchscript"),
    ],
)
def test_an_export_gives_the_mask_of_predict(kind, form, add_target, storage, image, scan, tmp_path, runtime):
    key, images = add_target(**KINDS[kind]), images_of(kind, image, scan)
    wanted = dwp_sweep.predict(key, images, storage=storage, device="cpu")

    out = dwp_sweep.export_model(key, tmp_path / "out", form, storage=storage).folder
    found = runtime.load_export(out).segment(images)

    assert 0 < wanted.mask.sum() < wanted.mask.size
    assert np.array_equal(found.mask, wanted.mask)
    assert np.allclose(found.probability, wanted.probability, atol=1e-4)


def test_the_posterior_mean_is_one_network(add_target, storage, image, tmp_path, runtime):
    key = add_target(log_var=-3.0)
    wanted = dwp_sweep.predict(key, image, storage=storage, device="cpu", estimate="mean")
    out = dwp_sweep.export_model(key, tmp_path / "out", "onnx", estimate="mean", storage=storage).folder
    found = runtime.load_export(out)
    assert found.facts.n_networks == 1
    assert np.array_equal(found.segment([image]).mask, wanted.mask)


def test_a_graph_takes_batches_and_volumes_of_any_size(add_target, storage, tmp_path):
    key = add_target(log_var=-3.0)
    out = dwp_sweep.export_model(key, tmp_path / "out", "onnx", storage=storage).folder
    session = importlib.import_module("onnxruntime").InferenceSession(str(out / "model.onnx"))
    for shape in ((1, 1, 24, 24, 24), (3, 1, 17, 25, 9)):
        (logits,) = session.run(None, {"image": np.zeros(shape, np.float32)})
        assert logits.shape == (shape[0], 3 * 2, *shape[2:])


def bundle(folder: Path, scans: Path, masks: Path) -> subprocess.CompletedProcess[str]:
    # MONAI's own command line needs the library fire; this is what it calls.
    code = "import sys; from monai.bundle import run; run(config_file='configs/inference.json', "
    code += "dataset_dir=sys.argv[1], output_dir=sys.argv[2])"
    command = [sys.executable, "-P", "-c", code, str(scans), str(masks)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "draws in patches", "resampled"])
def test_monai_runs_a_bundle_on_nifti_files_to_the_mask_of_predict(kind, add_target, storage, scan, tmp_path):
    key = add_target(**KINDS[kind])
    image = save_scan(tmp_path / "scans" / "t2.nii.gz", scan)
    wanted = dwp_sweep.predict(key, image, storage=storage, device="cpu")
    out = dwp_sweep.export_model(key, tmp_path / "out", storage=storage).folder

    done = bundle(out, tmp_path / "scans", tmp_path / "masks")

    assert done.returncode == 0, done.stderr[-3_000:]
    mask = nib.load(tmp_path / "masks" / "t2_seg.nii.gz")
    assert np.array_equal(np.asarray(mask.dataobj), wanted.mask)
    assert np.allclose(mask.affine, wanted.affine)


@pytest.mark.slow
def test_the_script_of_an_export_runs_without_this_package(add_target, storage, image, tmp_path):
    key = add_target()
    wanted = dwp_sweep.predict(key, image, storage=storage, device="cpu")
    out = dwp_sweep.export_model(key, tmp_path / "out", "onnx", storage=storage).folder
    script = (
        (out / "segment.py")
        .read_text()
        .replace("sys.exit(main", "code = main(")
        .replace("main((Path", "main(Path")
    )
    guard = (
        "\nassert not [name for name in sys.modules if name.split('.')[0] == 'dwp_sweep']\nsys.exit(code)\n"
    )
    (out / "guarded.py").write_text(script.replace("sys.argv[1:]))", "sys.argv[1:])") + guard)

    def run(*arguments: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(out / "guarded.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    mask = tmp_path / "m.nii.gz"
    done = run(image, mask)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.asarray(nib.load(mask).dataobj), wanted.mask)
    again = run(image, mask)
    assert again.returncode == 2 and "exists already" in again.stderr


def test_a_bundle_has_the_files_and_keys_that_servers_look_for(add_target, storage, tmp_path):
    out = dwp_sweep.export_model(add_target(), tmp_path / "out", storage=storage).folder
    inference = json.loads((out / "configs" / "inference.json").read_text())
    metadata = json.loads((out / "configs" / "metadata.json").read_text())
    assert {"network_def", "preprocessing", "inferer", "postprocessing", "device"} <= inference.keys()
    assert (out / "models" / "model.ts").is_file() and (out / "docs" / "README.md").is_file()
    data = metadata["network_data_format"]
    assert data["inputs"]["image"]["num_channels"] == 1 and data["outputs"]["pred"]["num_channels"] == 2
    assert {"version", "monai_version", "required_packages_version", "task"} <= metadata.keys()
    assert "LICENSE" in {path.name for path in out.iterdir()}


def texts(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.rglob("*") if path.suffix in (".json", ".md"))


def test_weights_only_names_no_scan_and_no_place(add_target, storage, tmp_path):
    key = add_target(subjects=["Jane_Doe_1970"])
    whole = dwp_sweep.export_model(key, tmp_path / "whole", "safetensors", storage=storage).folder
    bare = dwp_sweep.export_model(
        key, tmp_path / "bare", "safetensors", weights_only=True, storage=storage
    ).folder
    assert "Jane_Doe_1970" in texts(whole) and "Jane_Doe_1970" not in texts(bare)
    assert "/gone" not in texts(whole) + texts(bare)
    for folder in (whole, bare):
        assert not [path for path in folder.rglob("*") if path.suffix in (".gz", ".nii", ".png", ".npz")]


def test_the_order_of_problems_is_before_any_work(add_target, storage, tmp_path, monkeypatch):
    key = add_target()
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="exists already"):
        dwp_sweep.export_model(key, tmp_path / "there", storage=storage)
    with pytest.raises(InputError, match="make it first"):
        dwp_sweep.export_model(key, tmp_path / "no" / "folder", storage=storage)
    real = write.importlib.util.find_spec
    monkeypatch.setattr(
        write.importlib.util, "find_spec", lambda name: None if name == "onnx" else real(name)
    )
    with pytest.raises(InputError, match=r"needs onnx, which is not installed .*dwp-sweep\[export\]"):
        dwp_sweep.export_model(key, tmp_path / "out", "onnx", storage=storage)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_export_is_named(tmp_path):
    from dwp_sweep.export.runtime import load_export

    with pytest.raises(InputError, match="holds no export"):
        load_export(tmp_path)
    (tmp_path / "export.json").write_text('{"engine": "tape"}')
    with pytest.raises(InputError, match="engine"):
        load_export(tmp_path)


def test_a_wrong_number_of_channels_is_refused(add_target, storage, image, tmp_path):
    from dwp_sweep.export.runtime import load_export

    out = dwp_sweep.export_model(add_target(channel=[0, 1]), tmp_path / "out", storage=storage).folder
    with pytest.raises(InputError, match=r"1 channel.*takes 2"):
        load_export(out).segment([image])


def test_torch_finds_a_graph_that_differs_from_its_network(add_target, storage, tmp_path):
    from dwp_sweep.errors import DwpSweepError
    from dwp_sweep.export.graph import as_graph, require_same
    from dwp_sweep.prediction.trained import find_trained

    net = find_trained(add_target(), storage, device="cpu").net
    graph, other = as_graph(net, 0, 0), as_graph(net, 0, 0)
    require_same(graph, other, tmp_path)
    with torch.no_grad():
        next(other.parameters()).mul_(1.1)
    with pytest.raises(DwpSweepError, match="differs from its network"):
        require_same(graph, other, tmp_path)
