"""A registered network: what MLflow loads and serves gives the mask of ``predict``, without pickle."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import dwp_sweep
from dwp_sweep.cli import main
from dwp_sweep.errors import InputError
from dwp_sweep.tracking.client import mlflow_client
from dwp_sweep.tracking.mlflow_format import KEY_TAG, STAGE_TAG
from tests.prediction.conftest import save_scan


@pytest.fixture
def run_id(add_target, uri, tmp_path):
    """A target network whose run MLflow knows."""
    client = mlflow_client(uri)
    tags = {KEY_TAG: add_target(log_var=-3.0), STAGE_TAG: "target"}
    experiment = client.create_experiment(tmp_path.name, artifact_location=(tmp_path / "files").as_uri())
    return client.create_run(experiment, tags=tags).info.run_id


def mask_of(content: bytes, folder: Path) -> np.ndarray:
    (folder / "answer.nii.gz").write_bytes(content)
    return np.asarray(nib.load(folder / "answer.nii.gz").dataobj)


def test_a_registered_model_is_code_and_answers_with_the_mask_of_predict(
    run_id, storage, uri, scan, tmp_path
):
    image = save_scan(tmp_path / "t2.nii.gz", scan)
    wanted = dwp_sweep.predict(run_id, image, storage=storage, tracking_uri=uri, device="cpu")

    added = dwp_sweep.register_model(run_id, "lesions", storage=storage, tracking_uri=uri)
    again = dwp_sweep.register_model(run_id, "lesions", storage=storage, tracking_uri=uri)

    client = mlflow_client(uri)
    assert (added.uri, again.version) == ("models:/lesions/1", "2")
    assert client.get_model_version("lesions", "1").run_id == run_id
    place = Path(client.get_model_version("lesions", "1").source.removeprefix("file://"))
    assert not [path for path in place.rglob("*") if path.suffix in (".pkl", ".pickle")]
    assert "/gone" not in "".join(path.read_text() for path in place.rglob("*.json"))
    model = mlflow.pyfunc.load_model(str(place))
    assert model.metadata.signature.inputs.input_names() == ["image"]
    answer = model.predict(pd.DataFrame({"image": [image.read_bytes()]}))
    assert np.array_equal(mask_of(answer["mask"][0], tmp_path), wanted.mask)
    assert answer["volume_ml"][0] == pytest.approx(wanted.volume_ml)
    assert model.predict(model.input_example)["volume_ml"][0] >= 0


@pytest.mark.slow
def test_mlflow_serves_a_registered_model(run_id, storage, uri, scan, tmp_path):
    image = save_scan(tmp_path / "t2.nii.gz", scan)
    wanted = dwp_sweep.predict(run_id, image, storage=storage, tracking_uri=uri, device="cpu")
    added = dwp_sweep.register_model(run_id, "served", storage=storage, tracking_uri=uri)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", added.uri, "-p", str(port)]
    command += ["-h", "127.0.0.1", "--env-manager", "local", "--workers", "1"]
    scripts = Path(sys.executable).parent
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            command,
            env=os.environ | {"MLFLOW_TRACKING_URI": uri, "PATH": f"{scripts}:{os.environ['PATH']}"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        body = {"dataframe_records": [{"image": base64.b64encode(image.read_bytes()).decode()}]}
        answer = ask(f"http://127.0.0.1:{port}/invocations", body, server, tmp_path / "log")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
    mask = base64.b64decode(answer["predictions"][0]["mask"])
    assert np.array_equal(mask_of(mask, tmp_path), wanted.mask)


def ask(url: str, body: object, server: subprocess.Popen[bytes], log: Path) -> dict:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    for _ in range(200):
        assert server.poll() is None, log.read_text()[-2_000:]
        try:
            return json.load(urllib.request.urlopen(request, timeout=60))
        except urllib.error.HTTPError as error:
            pytest.fail(error.read().decode()[-2_000:])
        except OSError:
            time.sleep(0.5)
    pytest.fail(log.read_text()[-2_000:])


def test_a_node_is_registered_with_the_run_that_has_its_key(run_id, storage, uri):
    key = mlflow_client(uri).get_run(run_id).data.tags[KEY_TAG]
    added = dwp_sweep.register_model(key, "by key", storage=storage, tracking_uri=uri)
    runs = {run_id, mlflow_client(uri).get_model_version("by key", added.version).run_id}
    tags = {mlflow_client(uri).get_run(run).data.tags[KEY_TAG] for run in runs}
    assert tags == {key}


@pytest.mark.parametrize("name", ["a/b", "a:b", " ", ""])
def test_names_that_mlflow_refuses_are_named_before_any_work(name, storage, uri):
    done = CliRunner().invoke(
        main,
        ["register", "best:none", "--name", name, "--storage", str(storage), "--tracking-uri", uri],
    )
    assert done.exit_code == 2 and "is no name of a model" in done.stderr


def test_an_mlflow_without_a_registry_is_named(monkeypatch, uri):
    from dwp_sweep.tracking.write import registry

    class Bare:
        def search_registered_models(self, max_results: int) -> None:
            raise mlflow.exceptions.MlflowException("Model Registry features are not supported by the store")

    monkeypatch.setattr(registry, "mlflow_client", lambda uri: Bare())
    with pytest.raises(InputError, match=r"has no model registry.*not supported"):
        registry.check_name("lesions", uri)


def test_a_database_that_is_not_there_is_not_made(tmp_path):
    from dwp_sweep.tracking.write.registry import check_name

    with pytest.raises(InputError, match="no MLflow database"):
        check_name("lesions", f"sqlite:///{tmp_path}/mlflow.db")
    assert not (tmp_path / "mlflow.db").exists()
