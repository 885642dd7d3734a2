"""With what a sweep was run: versions of the packages that decide numbers, the commit, the command line.

Kept with the parent run at its start, so that a report can say years later how to get the same again.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from dwp_sweep import __version__
from dwp_sweep.passwords import without_secrets

PACKAGES = (
    "torch", "ray", "mlflow", "optuna", "monai", "nibabel", "numpy", "scipy", "pandas", "pydantic",
    "safetensors",
)  # fmt: skip


def run_environment() -> dict[str, str]:
    """Name -> version; ``git_commit`` where the package lies in a checkout, ``command`` as it was typed."""
    found = {"dwp-sweep": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    commit = _commit(Path(__file__).resolve().parents[2])
    return found | ({"git_commit": commit} if commit else {}) | {"command": _command(sys.argv)}


def _commit(folder: Path) -> str:
    """The commit of a checkout, with a plus sign where its files differ from it; empty where it is none."""
    if not (folder / ".git").exists():
        return ""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "--no-optional-locks", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout.strip()


def _command(arguments: list[str]) -> str:
    name = Path(arguments[0]).name if arguments else ""
    return shlex.join([name, *(without_secrets(word) for word in arguments[1:])])
