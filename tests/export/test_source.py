"""The copy of our source that travels with an export: whole, under its own name, of few libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from dwp_sweep.export.source import LIBRARIES, RUNTIME, copy_runtime, imported_names, runtime_modules

ROOTS = ("dwp_sweep.export.runtime", "dwp_sweep.export.monai_parts")
OPTIONAL = {"onnxruntime", "SimpleITK"}


def test_the_copied_modules_import_the_named_libraries_alone() -> None:
    tops = {name.partition(".")[0] for path in runtime_modules(ROOTS) for name in imported_names(path)}
    foreign = tops - set(sys.stdlib_module_names) - {"dwp_sweep"}
    assert foreign - OPTIONAL == set(LIBRARIES)


def test_what_an_export_has_no_use_for_stays_behind() -> None:
    rooms = {
        path.relative_to(Path(path.parents[len(path.parents) - 1])).as_posix()
        for path in runtime_modules(ROOTS)
    }
    for room in ("tracking", "store", "config", "harness", "methods", "cli", "api", "report"):
        assert not [path for path in rooms if f"/dwp_sweep/{room}/" in path]


def test_no_import_of_the_copy_leads_back_to_the_package(tmp_path: Path) -> None:
    copy = copy_runtime(tmp_path, ROOTS)
    for path in copy.rglob("*.py"):
        ast.parse(path.read_text())
        assert "dwp_sweep" not in {name.partition(".")[0] for name in imported_names(path)}
    assert copy.name == RUNTIME


def test_the_copy_is_imported_where_the_package_is_not(tmp_path: Path) -> None:
    copy_runtime(tmp_path, ROOTS[:1])
    code = f"import {RUNTIME}.export.runtime as r, sys; assert 'dwp_sweep' not in sys.modules; print(r.main)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
