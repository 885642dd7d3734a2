"""A sweep on three machines: a head, two workers, MLflow on PostgreSQL, a shared storage, and a token.

The machines are network namespaces of this one. What a user does is done from the first of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess, run

import pytest

from tests.benchmarks.postgres import started_postgres, why_no_postgres
from tests.benchmarks.servers import running
from tests.cluster import hosts as namespaces
from tests.cluster.hosts import Host, everything_gone, joined_hosts
from tests.cluster.processes import BIN, PLAIN, ROOT, finished

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

TOKEN = "0123456789abcdef" * 2
_DASHBOARD, _GCS, _MLFLOW, _POSTGRES = 8265, 6379, 5000, 5432


@dataclass(frozen=True)
class Machines:
    """Three machines with all that a sweep needs.

    Attributes:
        hosts: The head's first.
        folder: The shared storage is in it, and the token.
    """

    hosts: list[Host]
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return PLAIN | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "DWP_SWEEP_STORAGE": str(self.storage),
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "OMP_NUM_THREADS": "1",
            "HOME": str(self.folder),
        }

    @property
    def storage(self) -> Path:
        return self.folder / "store"

    @property
    def tracking_uri(self) -> str:
        return f"http://{self.hosts[0].address}:{_MLFLOW}"

    def do(self, *words: str, host: int = 0, **variables: str) -> CompletedProcess[str]:
        """A command of ours, on one of the machines."""
        command = self.hosts[host].command(BIN / "dwp-sweep", *words)
        return finished(command, self.environment | variables, timeout_s=600.0)

    def answers(self, url: str) -> bool:
        """Whether something answers on the head's machine."""
        code = f"import urllib.request as u; u.urlopen({url!r}, timeout=5)"
        asked = self.hosts[0].command(BIN / "python", "-c", code)
        return run(asked, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    if reason := namespaces.why_not() or why_no_postgres():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("machines")
    (folder / "token").write_text(TOKEN)
    hosts: list[Host] = []
    try:
        with ExitStack() as stack:
            hosts += stack.enter_context(joined_hosts(3))
            machines = Machines(hosts, folder)
            _start_mlflow(machines, stack)
            _start_ray(machines, stack)
            yield machines
    finally:
        assert everything_gone(hosts)


def _start_mlflow(machines: Machines, stack: ExitStack) -> None:
    head = machines.hosts[0]
    database = stack.enter_context(started_postgres("127.0.0.1", _POSTGRES, head.inside))
    name = f"{head.address}:{_MLFLOW}"
    options = ["--host", "0.0.0.0", "--port", str(_MLFLOW), "--workers", "1", "--allowed-hosts", name]
    stores = ["--backend-store-uri", database, "--artifacts-destination", str(machines.folder / "artifacts")]
    command = head.command(BIN / "mlflow", "server", *options, *stores)
    environment = PLAIN | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    url = f"http://{name}/health"
    log = machines.folder / "mlflow.log"
    stack.enter_context(running(command, environment, log, lambda: machines.answers(url)))


def _start_ray(machines: Machines, stack: ExitStack) -> None:
    head, *workers = machines.hosts
    listens = [f"--node-ip-address={head.address}", f"--dashboard-host={head.address}"]
    ports = [f"--port={_GCS}", f"--dashboard-port={_DASHBOARD}", "--num-cpus=0"]
    _start_node(machines, stack, head, ["--head", *listens, *ports])
    for worker in workers:
        joins = [f"--address={head.address}:{_GCS}", f"--node-ip-address={worker.address}", "--num-cpus=1"]
        _start_node(machines, stack, worker, joins)


def _start_node(machines: Machines, stack: ExitStack, host: Host, options: list[str]) -> None:
    log = machines.folder / f"{host.name}.log"
    command = host.command(BIN / "ray", "start", "--block", "--disable-usage-stats", *options)
    stack.enter_context(
        running(command, machines.environment, log, lambda: "Ray runtime started" in log.read_text())
    )


@pytest.fixture(scope="module")
def space(machines: Machines) -> Path:
    """The demo's smoke scale with two methods: targets that need nothing, and one behind a source network."""
    text = (ROOT / "search_spaces" / "demo.yaml").read_text()
    methods = "random_init, fine_tune, freeze_middle, deep_weight_prior"
    assert methods in text
    file = machines.folder / "shared.yaml"
    file.write_text(text.replace(methods, "random_init, fine_tune"))
    return file


@pytest.fixture(scope="module")
def submitted(machines: Machines, space: Path) -> CompletedProcess[str]:
    address = f"http://{machines.hosts[0].address}:{_DASHBOARD}"
    wider = ("--set", "grid.split=[0,1]")
    return machines.do("submit", str(space), "--address", address, "--smoke", *wider)


def records(machines: Machines) -> list[dict[str, object]]:
    files = sorted(machines.storage.glob("*/*/record.json"))
    return [json.loads(path.read_text()) for path in files]


def test_the_sweep_runs_to_its_end_and_its_log_is_seen(
    machines: Machines, submitted: CompletedProcess[str]
) -> None:
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert "Best of" in submitted.stdout
    assert TOKEN not in submitted.stdout + submitted.stderr
    assert {record["status"] for record in records(machines)} == {"done"}


def test_nodes_ran_on_both_workers_and_none_on_the_head(
    machines: Machines, submitted: CompletedProcess[str]
) -> None:
    hosts = {record["host"] for record in records(machines)}
    assert hosts == {host.name for host in machines.hosts[1:]}


ASK = """
import json, sys
import mlflow
import dwp_sweep
sweep = sys.argv[1]
client = mlflow.MlflowClient()
experiment = client.get_experiment_by_name(sweep)
runs = client.search_runs([experiment.experiment_id], max_results=1000)
best = dwp_sweep.best_config(sweep)
print(json.dumps({
    "keys": [run.data.tags.get("dwp.key") for run in runs],
    "status": [run.info.status for run in runs],
    "artifacts": [len(client.list_artifacts(run.info.run_id)) for run in runs],
    "method": best.config["method"],
    "n": best.metrics["val_dice"].n if "val_dice" in best.metrics else 0,
}))
"""


def test_mlflow_holds_one_finished_run_a_node_and_tells_the_best_from_any_machine(
    machines: Machines, submitted: CompletedProcess[str]
) -> None:
    asked = machines.hosts[2].command(BIN / "python", "-c", ASK, "shared-smoke")
    done = finished(asked, machines.environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    nodes = [key for key in found["keys"] if key]
    assert sorted(nodes) == sorted(str(record["key"]) for record in records(machines))
    assert len(found["keys"]) == len(nodes) + 1  # and the sweep's own
    assert set(found["status"]) == {"FINISHED"}
    assert min(found["artifacts"]) > 0
    assert found["method"] in ("random_init", "fine_tune")


def test_mlflow_answers_only_to_the_name_that_it_was_told(
    machines: Machines, submitted: CompletedProcess[str]
) -> None:
    by_another_name = (
        "import urllib.request as u; r = u.Request({!r}, headers={{'Host': 'other:5000'}}); u.urlopen(r)"
    )
    url = f"{machines.tracking_uri}/api/2.0/mlflow/experiments/get?experiment_id=0"
    asked = machines.hosts[1].command(BIN / "python", "-c", by_another_name.format(url))
    done = run(asked, capture_output=True, text=True, check=False)
    assert "403" in done.stderr


def test_the_same_submission_again_builds_nothing(
    machines: Machines, space: Path, submitted: CompletedProcess[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in machines.storage.glob("*/*/manifest.json")}
    address = f"http://{machines.hosts[0].address}:{_DASHBOARD}"
    wider = ("--set", "grid.split=[0,1]")
    again = machines.do("submit", str(space), "--address", address, "--smoke", *wider, host=1)
    assert again.returncode == 0, again.stdout + again.stderr
    after = {path: path.stat().st_mtime_ns for path in machines.storage.glob("*/*/manifest.json")}
    assert after == before
