"""What `make audit` says: what was found, and that nothing was audited where nothing could be."""

from __future__ import annotations

import importlib.util
import json
from types import ModuleType
from typing import Any

import pytest

from tests.deploy.documents import DEPLOY


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", DEPLOY / "audit.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


CLEAN = {"name": "numpy", "version": "2.4.0", "vulns": []}
FLAWED = {"name": "old", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "ours", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def test_clean_packages_end_well(audit: ModuleType) -> None:
    assert audit.verdict(answer(CLEAN), "") == ("1 packages audited, 0 with known vulnerabilities", 0)


def test_a_known_flaw_is_named_with_the_version_that_mends_it(audit: ModuleType) -> None:
    text, code = audit.verdict(answer(CLEAN, FLAWED, UNKNOWN), "")
    assert code == 1
    assert "old 1.0: CVE-1, fixed in 1.1" in text
    assert "not audited: ours" in text


@pytest.mark.parametrize("packages", [(), (UNKNOWN,)])
def test_nothing_found_where_nothing_was_known_is_not_called_clean(
    audit: ModuleType, packages: tuple[dict[str, Any], ...]
) -> None:
    text, code = audit.verdict(answer(*packages), "")
    assert code == 2 and text.startswith("nothing was audited")


def test_an_index_that_cannot_be_reached_is_told(audit: ModuleType) -> None:
    errors = "Traceback ...\nrequests.exceptions.ConnectionError: HTTPSConnectionPool: timed out\n"
    text, code = audit.verdict("", errors)
    assert code == 2
    assert text == f"nothing was audited: {errors.splitlines()[1]}"
