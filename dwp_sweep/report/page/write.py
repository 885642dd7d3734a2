"""A sweep's report: one page that needs nothing else, and the files of its figures and tables beside it.

The last step of a sweep. ``DIR/index.html`` holds all pictures and tables itself and opens without a
network; ``DIR/figures`` has them as SVG and PNG, ``DIR/tables`` as CSV and LaTeX.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dwp_sweep import __version__
from dwp_sweep.errors import visible
from dwp_sweep.report.answers.scores import DECIDES, OVERLAP
from dwp_sweep.report.page.answer import sentences, winners
from dwp_sweep.report.page.builder import ReportBuilder, styles
from dwp_sweep.report.page.comparisons import compare, reference_of
from dwp_sweep.report.page.evidence import Evidence, gather
from dwp_sweep.report.page.score_tables import score_table
from dwp_sweep.report.page.sections import missing_lines, sections_of

if TYPE_CHECKING:
    from dwp_sweep.store.protocol import Store

PAGE = "index.html"
_ROOM = "dwp_sweep.report.page"


@dataclass(frozen=True)
class Written:
    """What a report says, and where it lies.

    Attributes:
        page: The HTML file.
        headline: One or two sentences.
        missing: What is missing or failed, in words.
    """

    page: Path
    headline: str
    missing: tuple[str, ...]


def write_report(
    sweep: str,
    out: Path,
    tracking_uri: str | None = None,
    store: Store | None = None,
    versus: str | None = None,
) -> Written:
    """Make the report of a sweep from MLflow.

    Args:
        sweep: Its name.
        out: Folder; made if missing, files of an earlier report replaced.
        tracking_uri: As for `tracking.results`.
        store: Read instead of downloading where it has a node; None reads MLflow alone.
        versus: Method or variant that everything is compared with; None: the random start.

    Raises:
        InputError: No such sweep or method, no target in it, or no MLflow.
    """
    return write_page(gather(sweep, tracking_uri, store), out, versus)


def write_page(evidence: Evidence, out: Path, versus: str | None = None) -> Written:
    """The same from evidence at hand."""
    reference = reference_of(evidence, versus)
    out.mkdir(parents=True, exist_ok=True)
    builder = ReportBuilder(evidence, reference, styles(evidence.columns, reference), out)
    test, validation = score_table(evidence, OVERLAP[0]), score_table(evidence, DECIDES)
    comparisons = compare(evidence, reference)
    best = winners(evidence, validation, test, comparisons, reference)
    headline = sentences(best, builder.reference_label)
    problems, _ = missing_lines(evidence)
    text = _page(
        sweep=evidence.sweep,
        kicker=_kicker(evidence),
        headline=headline,
        status=_status(evidence, problems),
        sections=sections_of(builder, best, comparisons),
        version=__version__,
        made=time.strftime("%Y-%m-%d %H:%M"),
        uri=evidence.uri,
    )
    (out / PAGE).write_text(text, encoding="utf-8")
    return Written(out / PAGE, " ".join(headline), tuple(problems))


def _page(**values: Any) -> str:
    """The page that needs no script, no network and no other file; all values are escaped, in one line."""
    environment = Environment(
        loader=PackageLoader(_ROOM),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: visible(value, one_line=True) if type(value) is str else value,
    )
    css = (files(_ROOM) / "page.css").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(css=Markup(css), **values)


def _kicker(evidence: Evidence) -> str:
    """The line above the title: how large the sweep is, and its day."""
    sizes = ", ".join(map(str, evidence.sizes))
    splits, seeds = ({repeat[place] for repeat in evidence.repeats} for place in (0, 1))
    started_ms = evidence.parent.started_ms
    day = time.strftime("%Y-%m-%d", time.localtime(started_ms / 1000)) if started_ms else ""
    return (
        f"Transfer sweep · {len(evidence.columns)} methods · m = {sizes} · {len(splits)} "
        f"split{'s' * (len(splits) != 1)}"
        + (f" · {len(seeds)} seeds" if len(seeds) > 1 else "")
        + (f" · {day}" if day else "")
    )


def _status(evidence: Evidence, problems: list[str]) -> dict[str, Any]:
    """The line below the headline: complete, or what is missing or failed."""
    n_methods, n_sizes, n_runs = len(evidence.columns), len(evidence.sizes), len(evidence.repeats)
    n_there = sum(
        target.state == "done"
        for name in evidence.columns
        for size in evidence.sizes
        for target in evidence.chosen(name, size).values()
    )
    return {
        "n": n_methods * n_sizes * n_runs,
        "n_there": n_there,
        "cells": f"{n_methods} methods × {n_sizes} sizes × {n_runs} runs",
        "problems": problems,
    }
