"""The command and the package answer at once: nothing heavy is imported before it is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "ray",
    "mlflow",
    "pandas",
    "optuna",
    "monai",
    "matplotlib",
    "nibabel",
    "scipy",
    "pydantic",
    "rich",
)

PROBE = """
import json, sys
from dwp_sweep.cli import main
try:
    main(sys.argv[1:], prog_name="dwp-sweep")
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["plan", "-h"],
        ["best", "-h"],
        ["bench", "-h"],
        ["status", "-h"],
        ["cancel", "-h"],
        ["retrain", "-h"],
        ["predict", "-h"],
        ["explain", "-h"],
        ["gc", "-h"],
        ["settings", "-h"],
        ["export", "-h"],
        ["data", "check", "-h"],
    ],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    loaded = json.loads(python(PROBE, *arguments).splitlines()[-1])
    assert "click" in loaded
    assert [name for name in HEAVY if name in loaded] == []


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "-h"], ["plan", "-h"], ["data", "-h"]], ids=" ".join
)
def test_help_shows_no_marks_of_its_own_making(arguments: list[str]) -> None:
    text = python(PROBE, *arguments)
    assert "\\b" not in text and "\b" not in text


def test_help_names_all_exit_codes() -> None:
    text = " ".join(python(PROBE, "--help").split())
    assert "Exit codes: 0 all done; 1 some node failed or was blocked, or the storage failed; 2 bad" in text
    assert "130 interrupted." in text


def test_help_lists_the_commands_in_the_order_of_use() -> None:
    lines = python(PROBE, "--help").splitlines()
    names = [line.split()[0] for line in lines[lines.index("Commands:") + 1 :] if line.startswith("  ")]
    wanted = (
        "demo init run submit plan ls status cancel best report retrain predict export register explain sync "
        "gc data settings bench"
    )
    assert names == wanted.split()


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, json, dwp_sweep; dir(dwp_sweep); print(json.dumps(sorted(sys.modules)))"
    assert [name for name in json.loads(python(code)) if name in HEAVY] == []


def test_planning_loads_neither_ray_nor_mlflow() -> None:
    names = "{'ray', 'mlflow', 'optuna'}"
    code = f"import sys, dwp_sweep; dwp_sweep.plan_sweep; print(sorted({names} & {{*sys.modules}}))"
    assert python(code).strip() == "[]"


def test_public_names_are_there_and_others_are_named_in_the_error() -> None:
    import dwp_sweep

    for name in dwp_sweep.__all__:
        assert getattr(dwp_sweep, name) is not None
    with pytest.raises(AttributeError, match=r"no attribute 'run_sweeps'; public names: .*run_sweep"):
        dwp_sweep.run_sweeps  # noqa: B018


def test_the_package_is_the_command_where_its_script_is_not_on_the_path() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dwp_sweep", "no-such-command"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "Usage: dwp-sweep" in done.stderr


def test_version_of_package_and_command_agree() -> None:
    from importlib.metadata import version

    import dwp_sweep

    assert version("dwp-sweep") == dwp_sweep.__version__


def test_a_user_without_a_name_can_predict(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    nameless = "import os, pwd; pwd.getpwuid = lambda number: {}[number]\n"
    uses = "import dwp_sweep; import monai.inferers.utils; print(os.environ['USER'])"
    assert python(nameless + uses).strip() == f"uid{os.getuid()}"
