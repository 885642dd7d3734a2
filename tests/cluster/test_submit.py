"""``dwp-sweep submit`` against a head that asks for a token: started, attached to, refused, failed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cluster.heads import BIN, ROOT, started_head

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

TOKEN = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Head:
    """A running head.

    Attributes:
        address: Of its job server.
        storage: Where its jobs write.
        token_file: The right token.
        environment: Of whoever submits.
    """

    address: str
    storage: Path
    token_file: Path
    environment: dict[str, str] = field(repr=False)

    def command(self, *words: str) -> list[str]:
        return [str(BIN / "dwp-sweep"), "submit", *words, "--address", self.address]

    def submit(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    folder = tmp_path_factory.mktemp("submit")
    (folder / "token").write_text(TOKEN)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    token = {"RAY_AUTH_TOKEN_PATH": str(folder / "token")}
    with started_head(folder, plain | token | {"RAY_AUTH_MODE": "token"}, "/api/gcs_healthz") as address:
        mine = plain | token | {"HOME": str(folder)}
        yield Head(address, folder / "runs", folder / "token", mine)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's smoke scale with one method and nothing upstream: one node."""
    file = tmp_path_factory.mktemp("space") / "tiny.yaml"
    text = (ROOT / "search_spaces" / "demo.yaml").read_text()
    assert "method: [random_init, fine_tune, freeze_middle, deep_weight_prior]" in text
    file.write_text(text.replace("random_init, fine_tune, freeze_middle, deep_weight_prior", "random_init"))
    return file


def test_a_refused_token_is_told_and_nothing_is_started(head: Head, space: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("f" * 32)
    refused = head.submit(str(space), "--smoke", RAY_AUTH_TOKEN_PATH=str(wrong))
    assert refused.returncode == 2, refused.stderr
    assert "refuses the token of RAY_AUTH_TOKEN_PATH" in refused.stderr
    assert "Traceback" not in refused.stderr and "f" * 32 not in refused.stderr
    assert not head.storage.exists()


def test_a_sweep_runs_once_though_submitted_twice_and_goes_on_after_its_end(head: Head, space: Path) -> None:
    first = subprocess.Popen(
        head.command(str(space), "--smoke"),
        env=head.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert first.stderr is not None
    started = next(line for line in first.stderr if "submitted as job" in line)
    assert "tiny-smoke: submitted as job dwp-sweep.tiny-smoke.1" in started

    second = head.submit(str(space), "--smoke")  # while the first one runs
    out, _ = first.communicate(timeout=600)
    assert "attached to job dwp-sweep.tiny-smoke.1" in second.stderr
    assert (first.returncode, second.returncode) == (0, 0), out + second.stdout + second.stderr
    assert "Test Dice, mean (std)" in out
    assert out == second.stdout  # both saw the whole log

    # The third one adds a node that fails to the one that is there.
    third = head.submit(str(space), "--smoke", "--set", "grid.target.lr=[1e-3, 1e30]")
    assert third.returncode == 1, third.stdout + third.stderr
    assert "submitted as job dwp-sweep.tiny-smoke.2" in third.stderr
    assert "failed target lr=1e+30 random_init m=5" in third.stdout and "last finite value" in third.stdout
    assert "1 cached" in third.stdout
    assert len(list((head.storage / "target").glob("*/manifest.json"))) == 1
    everything = out + second.stderr + third.stdout + third.stderr
    assert TOKEN not in everything


def test_bad_input_that_only_the_cluster_can_see_ends_with_two(head: Head, space: Path) -> None:
    words = ("--set", "name=bad", "--set", "data.target.split_file=/nowhere/splits.csv")
    bad = head.submit(str(space), "--smoke", *words)
    assert bad.returncode == 2, bad.stdout + bad.stderr
    assert "/nowhere/splits.csv" in bad.stdout and "Traceback" not in bad.stdout
    assert "submitted as job" in bad.stderr
