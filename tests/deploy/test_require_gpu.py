"""What a worker with GPUs says when torch cannot use them: with made-up torches, and with ours."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from tests.deploy.documents import DEPLOY, PINS, load, pod_specs

SCRIPT = DEPLOY / "require_gpu.py"


@dataclass(frozen=True)
class Machine:
    """A machine with a card, a driver and a torch.

    Attributes:
        cuda: What torch is built for.
        driver: The newest CUDA that it runs.
        available: Whether torch sees a card.
        capability: Of the card.
    """

    cuda: str | None = "13.0"
    driver: int = 13000
    available: bool = True
    capability: tuple[int, int] = (9, 0)

    def trouble(self, monkeypatch: pytest.MonkeyPatch, while_building: bool = False) -> str | None:
        """What the script says on it."""
        monkeypatch.setitem(sys.modules, "torch", cast(ModuleType, self._torch()))
        specification = importlib.util.spec_from_file_location("require_gpu", SCRIPT)
        assert specification and specification.loader
        script: Any = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(script)
        monkeypatch.setattr(script, "newest_cuda_of_driver", lambda: self.driver)
        said: str | None = script.trouble(while_building)
        return said

    def _torch(self) -> SimpleNamespace:
        cuda = SimpleNamespace(
            is_available=lambda: self.available,
            get_arch_list=lambda: ["sm_75", "sm_90", "sm_90a", "compute_90"],
            device_count=lambda: 1,
            get_device_capability=lambda n: self.capability,
            get_device_name=lambda n: "a card",
        )
        return SimpleNamespace(__version__="2.13.0", version=SimpleNamespace(cuda=self.cuda), cuda=cuda)


@pytest.mark.parametrize("machine", [Machine(), Machine(driver=13020), Machine("12.6")])
def test_nothing_is_said_of_a_machine_that_can_compute(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert machine.trouble(monkeypatch) is None


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (Machine(None), ["without CUDA", "TORCH_BUILD=cpu", "compose.gpu.yaml"]),
        (
            Machine(driver=0, available=False),
            ["CUDA 13.0", "there is no driver", "580 or newer", "TORCH_BUILD"],
        ),
        (Machine(driver=12040, available=False), ["CUDA 13.0", "CUDA 12.4 at most", "580 or newer"]),
        (Machine("12.6", driver=11080, available=False), ["CUDA 11.8 at most", "525 or newer"]),
        (Machine(available=False), ["sees no GPU", "container toolkit"]),
        (Machine(capability=(6, 1)), ["a card has compute capability 6.1", "from 7.5 on", "TORCH_BUILD"]),
    ],
)
def test_a_machine_that_cannot_compute_is_told_why(
    machine: Machine, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = machine.trouble(monkeypatch)
    assert said is not None and [word for word in words if word not in said] == []


def test_a_build_looks_at_torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Machine(driver=0, available=False).trouble(monkeypatch, while_building=True) is None
    assert "without CUDA" in str(Machine(None).trouble(monkeypatch, while_building=True))


TORCH = """
from types import SimpleNamespace
__version__ = "2.13.0"
version = SimpleNamespace(cuda={cuda!r})
cuda = SimpleNamespace(is_available=lambda: True, get_arch_list=lambda: [], device_count=lambda: 0)
"""


def run_script(folder: Path, cuda: str | None, *words: str) -> subprocess.CompletedProcess[str]:
    """The script with a made-up torch; CUDA 0.0 needs no driver."""
    (folder / "torch.py").write_text(TORCH.format(cuda=cuda))
    environment = {"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, SCRIPT, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_command_is_started_only_where_nothing_is_said(tmp_path: Path) -> None:
    done = run_script(tmp_path, None, "echo", "started")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("no GPU for torch: torch 2.13.0 is a build without CUDA")
    assert run_script(tmp_path, "0.0", "echo", "started", "--build").stdout == "started --build\n"
    assert run_script(tmp_path, "13.0", "--build").returncode == 0


def test_the_torch_of_this_environment_is_understood() -> None:
    import torch

    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == (0 if torch.cuda.is_available() else 1)


def test_the_overlay_and_a_cpu_build_exclude_each_other() -> None:
    overlay = load(DEPLOY / "compose.gpu.yaml")["services"]
    assert all(service["build"]["args"] == {"GPU": "required"} for service in overlay.values())
    assert set(overlay) == {"ray-head", "ray-worker"}  # all that build the image
    assert overlay["ray-worker"]["entrypoint"] == ["python", "/app/require_gpu.py"]
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert 'if [ "$GPU" = required ]; then /app/venv/bin/python require_gpu.py --build; fi' in dockerfile
    assert "${TORCH_BUILD:++$TORCH_BUILD}" in dockerfile


def test_workers_with_gpus_of_the_clouds_look_as_well() -> None:
    (look,) = pod_specs()["ray gpu"]["initContainers"]
    assert look["command"] == ["python", "/app/require_gpu.py"]
    assert look["resources"] == pod_specs()["ray gpu"]["containers"][0]["resources"]
    kinds = load(DEPLOY / "ray-cluster-aws.yaml")["available_node_types"]
    looks = {name for name, kind in kinds.items() if "require_gpu" in str(kind.get("worker_setup_commands"))}
    assert looks == {name for name, kind in kinds.items() if kind["resources"].get("GPU")}


def test_the_readme_says_what_the_pinned_torch_needs() -> None:
    readme = (DEPLOY / "README.md").read_text()
    assert f"torch {PINS['torch']}, as PyPI has it for Linux, is built for CUDA 13.0" in readme
    assert "580 or newer" in readme
