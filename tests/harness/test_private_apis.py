"""What is not public of Ray is in one file, and is looked at whenever Ray changes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

import dwp_sweep
from dwp_sweep.harness import private_apis

HOME = Path(private_apis.__file__)
PRIVATE = {
    "_internal_kv_get",
    "_internal_kv_put",
    "class_cache",
    "set_sigterm_handler",
    "_study_id",
    "_trial_id",
    "_storage",
}


@pytest.mark.parametrize("library", private_apis.CHECKED_WITH)
def test_private_names_were_looked_at_with_this_version(library: str) -> None:
    checked, here = private_apis.CHECKED_WITH[library], version(library)
    assert here == checked, (
        f"{library} is {here}, and harness/private_apis.py was last looked at with {checked}: see whether "
        "each name there still is what it says and whether a public one serves by now, run tests/cluster, "
        f"and then write {here} into CHECKED_WITH"
    )


def names_of_others(path: Path) -> Iterator[str]:
    """Private names that a file takes from something that is not its own object."""
    for item in ast.walk(ast.parse(path.read_text())):
        if isinstance(item, ast.ImportFrom):
            yield from (alias.name for alias in item.names)
        if isinstance(item, ast.Attribute) and ast.unparse(item.value) not in ("self", "cls"):
            yield item.attr


def test_no_other_file_of_the_harness_uses_any() -> None:
    files = [path for path in (Path(dwp_sweep.__file__).parent / "harness").rglob("*.py") if path != HOME]
    assert [(path.name, PRIVATE & {*names_of_others(path)}) for path in files
            if PRIVATE & {*names_of_others(path)}] == []  # fmt: skip


def test_variables_of_a_prefix_are_kept_from_trials() -> None:
    from ray.tune.execution import class_cache

    before = set(class_cache.ENV_VARS_TO_PROPAGATE)
    class_cache.ENV_VARS_TO_PROPAGATE.add("AWS_SECRET_ACCESS_KEY")  # a run in this process has taken it away
    try:
        private_apis.keep_from_trials("AWS_")
        assert {name for name in before if not name.startswith("AWS_")} == class_cache.ENV_VARS_TO_PROPAGATE
    finally:
        class_cache.ENV_VARS_TO_PROPAGATE |= before
