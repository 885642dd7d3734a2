"""Looks up the pinned versions of constraints.txt among known vulnerabilities: ``make audit``.

Runs pip-audit, which asks the package index. Where that cannot be reached, or knows no package, nothing
was audited, and that is what it says: pip-audit alone would say that nothing was found.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"
FOUND, NOT_AUDITED = 1, 2


def main() -> int:
    """Audit and print; returns the exit code: 0 clean, 1 something was found, 2 nothing was audited."""
    words = ["--requirement", CONSTRAINTS, "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    command = [sys.executable, "-m", "pip_audit", *words, "--format", "json", "--timeout", "15"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    text, code = verdict(done.stdout, done.stderr)
    print(text, file=sys.stderr if code else sys.stdout)
    return code


def verdict(answer: str, errors: str) -> tuple[str, int]:
    """What to print, and the exit code.

    Args:
        answer: What pip-audit printed, as JSON.
        errors: What it printed to standard error.
    """
    try:
        packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (errors.strip().splitlines() or ["pip-audit gave no reason"])[-1]
        return f"nothing was audited: {last}", NOT_AUDITED
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    audited = [one for one in packages if "skip_reason" not in one]
    if not audited:
        what = f"no database of vulnerabilities that can be reached knows any of {len(skipped)} packages"
        return f"nothing was audited: {what}", NOT_AUDITED
    lines = [_line(one, flaw) for one in audited for flaw in one.get("vulns", [])]
    lines += [f"not audited: {', '.join(skipped)}"] if skipped else []
    n_found = sum(bool(one.get("vulns")) for one in audited)
    lines.append(f"{len(audited)} packages audited, {n_found} with known vulnerabilities")
    return "\n".join(lines), FOUND if n_found else 0


def _line(package: dict[str, Any], flaw: dict[str, Any]) -> str:
    fixed = ", ".join(flaw.get("fix_versions", [])) or "no version yet"
    return f"{package['name']} {package['version']}: {flaw['id']}, fixed in {fixed}"


if __name__ == "__main__":
    sys.exit(main())
