"""Section of a report with the paired tests: those of Dice, and folded those of the other scores.

Beside `number_sections`. What is tested, and how, is `comparisons`'s matter.
"""

from __future__ import annotations

from collections.abc import Mapping

from dwp_sweep.report.answers.scores import OTHER_TESTED, Score
from dwp_sweep.report.page.comparisons import MAX_PAIRED, Comparisons, compare
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.report.page.html import Section, bullets, details, paragraph
from dwp_sweep.report.page.table_files import comparisons_csv, comparisons_latex
from dwp_sweep.report.page.tables_html import comparisons_html
from dwp_sweep.report.page.workshop import ReportBuilder
from dwp_sweep.report.paired.forest import forest_picture


def tests_section(shop: ReportBuilder, found: Comparisons, score: Score) -> Section:
    """Paired tests between methods."""
    if not found.rows:
        text = "There are no pairs of finished networks with scores of the same test subjects."
        return Section("tests", "Paired tests", paragraph(text, "absent") + bullets(found.missing, "notes"))
    few = len(shop.evidence.columns) <= MAX_PAIRED
    title = f"{score.title}: {'every pair' if few else 'everything minus ' + shop.reference_label}"
    files = shop.keep({
        "paired_tests.csv": comparisons_csv(found),
        "paired_tests.tex": comparisons_latex(found, title),
    })  # fmt: skip
    picture = forest_picture(found, shop.reference_label)
    body = (shop.show(picture) if picture else "") + comparisons_html(found, title, score, files)
    notes = [
        *found.notes,
        "Rank-biserial: the share of the rank sum in favour minus the share against, −1 to 1. Bold: an "
        "interval over splits without 0; a corrected p of at most 0.05.",
    ]
    body += bullets(notes, "notes") + bullets(found.missing, "notes")
    return Section("tests", "Paired tests", body + _other_tests(shop))


def _other_tests(shop: ReportBuilder) -> str:
    """The same for the other scores, folded: each corrected for its own comparisons."""
    scores = [score for score in OTHER_TESTED if _has(shop.evidence, score)]
    found = [(score, compare(shop.evidence, shop.reference, f"test_{score.by_scan}")) for score in scores]
    tables = [(score, one) for score, one in found if one.rows]
    if not tables:
        return ""
    name = "paired_tests_other_scores.csv"
    files = shop.keep({name: comparisons_csv(*(one for _, one in tables))})
    note = (
        "Each score is corrected for its own comparisons, not for there being several scores: what only one "
        "of them shows is weaker evidence than the table above. A scan on which a score is undefined for one "
        "of two methods makes no pair: listed below its table."
    )
    folded = "".join(_folded(score, one, files if not n else {}) for n, (score, one) in enumerate(tables))
    return "<h3>The other scores</h3>" + paragraph(note, "note") + folded


def _folded(score: Score, found: Comparisons, files: Mapping[str, str]) -> str:
    sign = "negative" if score.lower_is_better else "positive"
    title = (
        f"{score.title}; {score.way}: a {sign} difference or rank-biserial is in favour of the first named"
    )
    body = comparisons_html(found, title, score, files)
    n_shown = sum(one.is_shown_over_subjects for one in found.rows)
    summary = (
        f"{score.title}: {n_shown} of {len(found.rows)} differences shown over subjects after correction"
    )
    return details(summary, body + bullets(found.notes, "notes") + bullets(found.missing, "notes"))


def _has(evidence: Evidence, score: Score) -> bool:
    return any(score.name in one.metrics for one in evidence.targets)
