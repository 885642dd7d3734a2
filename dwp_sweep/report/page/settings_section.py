"""The end of a report: settings that differ, settings shared, versions, and the commands that do it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.report.page.html import Section, details, esc, paragraph, table
from dwp_sweep.report.page.settings_tables import settings_tables
from dwp_sweep.report.page.workshop import ReportBuilder

_NOT_VERSIONS = ("command", "git_commit")


def settings_section(shop: ReportBuilder) -> Section:
    """Settings, versions, commands."""
    evidence = shop.evidence
    found = settings_tables(evidence)
    labels = list(evidence.columns.values())
    differing = table(
        ["setting", *labels],
        [[name, *(texts[label] for label in labels)] for name, texts in found.differing.items()],
        "What differs between the methods",
        n_left=len(labels) + 1,
    )
    shared = table(["setting", "value"], [[name, text] for name, text in found.shared.items()], n_left=2)
    body = differing + details(f"{len(found.shared)} settings that they share", shared)
    body += _versions(evidence.parent.environment)
    body += "<h3>Do it again</h3>" + f"<pre>{esc(chr(10).join(_commands(evidence)))}</pre>"
    return Section("settings", "Settings and versions", body)


def _versions(environment: Mapping[str, str]) -> str:
    versions = {name: text for name, text in environment.items() if name not in _NOT_VERSIONS}
    if not versions:
        text = "The parent run holds no versions: the sweep was started by an older version of this project."
        return paragraph(text, "absent")
    commit = environment.get("git_commit", "")
    words = f"Commit {commit}" + (" with changes on top" if commit.endswith("+") else "") if commit else ""
    rows = [[name, text] for name, text in versions.items()]
    return table(["package", "version"], rows, "Versions", n_left=2) + (
        paragraph(words, "note") if words else ""
    )


def _commands(evidence: Evidence) -> list[str]:
    file = str(evidence.parent.settings.get("file") or "SPACE.yaml")
    typed = evidence.parent.environment.get("command", "")
    name = shlex.quote(evidence.sweep)
    uri = f" --tracking-uri {shlex.quote(evidence.uri)}"
    run = typed if typed.startswith("dwp-sweep") else f"dwp-sweep run {shlex.quote(file)}"
    return [
        f"{run}   # goes on where it stopped; finished work is not repeated",
        f"dwp-sweep report {name} --out DIR{uri}",
        f"dwp-sweep best {name}{uri}",
    ]
