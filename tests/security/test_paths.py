"""Names inside manifests, archives and artifacts never lead out of their folder; nothing is unpickled."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import dwp_sweep
from dwp_sweep.api.planning import _fetch_run
from dwp_sweep.errors import CorruptArtifactError, InputError
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.record import Record
from dwp_sweep.tracking.read.files import _inside, download_outputs

KEY = "0123456789abcdef0123"
OUTSIDE = ["../evil", "figures/../../evil", "/etc/evil", "..", "figures/../../../../evil"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_manifest_that_names_a_file_outside_is_damaged(tmp_path: Path, name: str) -> None:
    store = LocalStore(tmp_path / "runs")
    out_dir = store.new_out_dir("target", KEY)
    (out_dir / "net.json").write_text("{}")
    folder = store.publish(out_dir, Record(KEY, "target", "done", {}))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = manifest["files"]["net.json"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptArtifactError, match="names a file outside its folder"):
        store.verify("target", KEY)


def test_a_link_in_a_published_folder_leads_nowhere_else(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "runs")
    out_dir = store.new_out_dir("target", KEY)
    (out_dir / "net.json").write_text("{}")
    folder = store.publish(out_dir, Record(KEY, "target", "done", {}))
    (tmp_path / "elsewhere.json").write_text("{}")
    (folder / "net.json").unlink()
    (folder / "net.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(CorruptArtifactError, match="outside its folder"):
        store.verify("target", KEY)


class Evil(BaseHTTPRequestHandler):
    """An artifact server that names what it should not."""

    name = ""

    def do_GET(self) -> None:
        info = {"run_id": "r", "artifact_uri": "mlflow-artifacts:/1/r/artifacts", "status": "FINISHED"}
        answer: dict[str, object] = {"experiments": []}
        if "runs/get" in self.path:
            answer = {"run": {"info": info, "data": {}}}
        elif "mlflow-artifacts" in self.path:
            files = [{"path": self.name, "is_dir": False, "file_size": 4}]
            answer = {"files": files}
        self._send(json.dumps(answer).encode())

    def do_POST(self) -> None:
        self._send(b'{"experiments": []}')

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def evil() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Evil)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_artifact_store_cannot_write_beside_the_folder(
    evil: str, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Evil, "name", name)
    with pytest.raises((CorruptArtifactError, InputError)):
        download_outputs("r", tmp_path / "a" / "fetched", evil)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not Path("/etc/evil").exists()


@pytest.mark.parametrize("name", [*OUTSIDE, "a\\..\\b", "a\0b"])
def test_names_of_any_other_store_are_looked_at_as_well(name: str) -> None:
    with pytest.raises(CorruptArtifactError, match="names a file outside its folder"):
        _inside("r", ["net.json", name])


@pytest.mark.parametrize("text", ["runs:/../x", "runs:/..", "runs:/", "runs:/r/../../x", "runs:/r//etc/x"])
def test_a_brought_run_stays_in_the_storage(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="names no folder of a run"):
        _fetch_run(text, "source.network", tmp_path, "http://127.0.0.1:9")


UNSAFE = re.compile(
    r"import (?:cloud)?pickle|pickle\.\w|torch\.load\b|\bjoblib\b|allow_pickle\s*=\s*True|\bmarshal\b"
    r"|\bshelve\b|yaml\.(?:unsafe_|full_)?load\(|(?<![.\w])(?:eval|exec)\(|mlflow\.pytorch"
)


def test_nothing_in_the_package_unpickles_or_evaluates_what_it_reads() -> None:
    root = Path(dwp_sweep.__file__).parent
    found = {
        f"{path.relative_to(root)}:{number}: {line.strip()}"
        for path in root.rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNSAFE.search(line)
    }
    assert found == set()
