"""A sweep's report: one page that needs nothing else, and the files of its figures and tables beside it.

The last step of a sweep. ``DIR/index.html`` holds all pictures and tables itself and opens without a
network; ``DIR/figures`` has them as SVG and PNG, ``DIR/tables`` as CSV and LaTeX.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dwp_sweep import __version__
from dwp_sweep.report.answers.scores import DECIDES, OVERLAP
from dwp_sweep.report.page.comparisons import compare, reference_of
from dwp_sweep.report.page.evidence import Evidence, gather
from dwp_sweep.report.page.headline import sentences, winners
from dwp_sweep.report.page.html import Section, esc, page
from dwp_sweep.report.page.number_sections import (
    answer_section,
    calibration_section,
    cost_section,
    missing_lines,
    status_html,
    tables_section,
)
from dwp_sweep.report.page.paired_section import tests_section
from dwp_sweep.report.page.picture_sections import (
    curves_section,
    examples_section,
    kernels_section,
    size_section,
)
from dwp_sweep.report.page.score_tables import score_table
from dwp_sweep.report.page.settings_section import settings_section
from dwp_sweep.report.page.styles import styles
from dwp_sweep.report.page.workshop import ReportBuilder

if TYPE_CHECKING:
    from dwp_sweep.store.protocol import Store

PAGE = "index.html"


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
    shop = ReportBuilder(evidence, reference, styles(evidence.columns, reference), out)
    test = score_table(evidence, OVERLAP[0])
    found = compare(evidence, reference)
    best = winners(evidence, score_table(evidence, DECIDES), test, found, reference)
    headline = sentences(best, shop.reference_label)
    makers: list[Callable[[], Section | None]] = [
        lambda: answer_section(shop, best),
        lambda: tables_section(shop),
        lambda: size_section(shop),
        lambda: tests_section(shop, found, OVERLAP[0]),
        lambda: examples_section(shop),
        lambda: kernels_section(shop),
        lambda: curves_section(shop),
        lambda: calibration_section(shop),
        lambda: cost_section(evidence),
        lambda: settings_section(shop),
    ]
    sections = [section for make in makers if (section := make()) is not None]
    text = page(f"{evidence.sweep}: report", _header(evidence, headline), sections, _footer(evidence))
    (out / PAGE).write_text(text, encoding="utf-8")
    return Written(out / PAGE, " ".join(headline), tuple(missing_lines(evidence)[0]))


def _header(evidence: Evidence, headline: list[str]) -> str:
    sizes = ", ".join(map(str, evidence.sizes))
    splits, seeds = ({repeat[place] for repeat in evidence.repeats} for place in (0, 1))
    kicker = (
        f"Transfer sweep · {len(evidence.columns)} methods · m = {sizes} · {len(splits)} "
        f"split{'s' * (len(splits) != 1)}"
        + (f" · {len(seeds)} seeds" if len(seeds) > 1 else "")
        + (f" · {_day(evidence.parent.started_ms)}" if evidence.parent.started_ms else "")
    )
    lead = "".join(f'<p class="lead">{esc(sentence)}</p>' for sentence in headline)
    return f'<p class="kicker">{esc(kicker)}</p><h1>{esc(evidence.sweep)}</h1>{lead}{status_html(evidence)}'


def _footer(evidence: Evidence) -> str:
    made = time.strftime("%Y-%m-%d %H:%M")
    return esc(f"Made by dwp-sweep {__version__} on {made} from MLflow at {evidence.uri}. Not for diagnosis.")


def _day(ms: int) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(ms / 1000))
