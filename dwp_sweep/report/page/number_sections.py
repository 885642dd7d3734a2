"""Sections of a report made of numbers: answer, what is missing, tables, calibration, cost."""

from __future__ import annotations

from collections.abc import Sequence

from dwp_sweep.report.answers.scores import BOUNDARY, CALIBRATION, OVERLAP, Score
from dwp_sweep.report.page.common_scans import common_table
from dwp_sweep.report.page.cost import by_method, by_stage
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.report.page.headline import Winner
from dwp_sweep.report.page.html import Section, bullets, details, paragraph
from dwp_sweep.report.page.score_tables import ScoreTable, notes_on_cells, score_table
from dwp_sweep.report.page.table_files import score_csv, score_latex
from dwp_sweep.report.page.tables_html import costs_html, score_html, winners_html
from dwp_sweep.report.page.workshop import ReportBuilder
from dwp_sweep.tracking.read.rows import NodeRow

_ALWAYS_OPEN = 12


def answer_section(shop: ReportBuilder, found: Sequence[Winner]) -> Section:
    """Who is best by validation at each size."""
    note = (
        "Chosen by mean validation Dice over splits and seeds; test scores are only reported. Over splits: a "
        "t interval for training again on other scans. Over subjects: a bootstrap interval for other test "
        "scans and these very networks; its verdict is Wilcoxon's test after Holm's correction."
    )
    body = (
        winners_html(found, shop.reference_label)
        if found
        else paragraph("Nothing has finished yet.", "absent")
    )
    return Section("answer", "Answer", body + paragraph(note, "note"))


def missing_lines(evidence: Evidence) -> tuple[list[str], list[str]]:
    """(What is missing or failed, cells and upstream nodes; what was chosen among configurations)."""
    words = notes_on_cells(evidence)
    chosen = [word for word in words if "configurations by validation" in word]
    upstream = [_upstream(row) for row in evidence.rows if row.stage != "target" and row.state != "done"]
    return [*upstream, *(word for word in words if word not in chosen)], chosen


def status_html(evidence: Evidence) -> str:
    """The line below the headline: complete, or what is missing or failed."""
    problems, _ = missing_lines(evidence)
    n = len(evidence.columns) * len(evidence.sizes) * len(evidence.repeats)
    cells = f"{len(evidence.columns)} methods × {len(evidence.sizes)} sizes × {len(evidence.repeats)} runs"
    if not problems:
        return (
            f'<div class="status">Complete: all {n} target networks ({cells}) are there; none failed.</div>'
        )
    n_there = sum(
        target.state == "done"
        for name in evidence.columns
        for size in evidence.sizes
        for target in evidence.chosen(name, size).values()
    )
    count = f"{n - n_there} of {n} target networks ({cells}) are missing, unfinished or failed"
    if n_there == n:
        count = f"All {n} target networks ({cells}) are there, but not all that was built for them"
    listed = bullets(problems)
    if len(problems) > _ALWAYS_OPEN:
        listed = bullets(problems[:_ALWAYS_OPEN]) + details(
            f"and {len(problems) - _ALWAYS_OPEN} more", bullets(problems[_ALWAYS_OPEN:])
        )
    return f'<div class="status bad" id="missing"><b>{count}:</b>{listed}</div>'


def tables_section(shop: ReportBuilder) -> Section:
    """The paper's Tables 3 to 6 and their like."""
    parts = [_score(shop, score) for score in OVERLAP]
    boundary = [_score(shop, score) for score in BOUNDARY]
    body = _beside(parts) or paragraph("No finished network has test scores yet.", "absent")
    if any(boundary):
        body += "<h3>Surfaces, lesions and volumes</h3>" + _beside(boundary)
        body += paragraph(
            "A distance is undefined where either truth or prediction is empty, a sensitivity where the "
            "truth is: such scans do not enter a mean, and a cell counts them.",
            "note",
        )
    _, chosen = missing_lines(shop.evidence)
    notes = [
        *chosen,
        *_costs_of_validation(shop.evidence),
        "Bold: the best mean of its training size. n/N: only n of N runs are there; point at a cell.",
    ]
    return Section("tables", "Test scores", body + bullets(notes, "notes"))


def calibration_section(shop: ReportBuilder) -> Section:
    """Whether the probabilities can be believed."""
    parts = [part for score in CALIBRATION if (part := _score(shop, score))]
    note = "Over test voxels near truth or prediction; lower is better for all three."
    absent = paragraph("No run has these scores.", "absent")
    body = _beside(parts) + paragraph(note, "note") if parts else absent
    return Section("calibration", "Calibration", body)


def cost_section(evidence: Evidence) -> Section:
    """Hours by stage and by method."""
    stages = costs_html(by_stage(evidence), "Stage", "By stage")
    methods = costs_html(
        by_method(evidence), "Target networks of", "By method, without what its networks came from"
    )
    note = "Each node's last attempt, added up, whether nodes ran side by side or not; waiting is not in it."
    return Section("cost", "Cost", _beside([stages, methods]) + paragraph(note, "note"))


def _score(shop: ReportBuilder, score: Score) -> str:
    found: ScoreTable | None = score_table(shop.evidence, score)
    if found is None:
        return ""
    about = paragraph(score.about, "note") if score.about else ""
    return _table(shop, found) + about + (_on_common_scans(shop, found) if found.is_uneven else "")


def _table(shop: ReportBuilder, found: ScoreTable) -> str:
    name = found.score.name
    return score_html(found, shop.keep({f"{name}.csv": score_csv(found), f"{name}.tex": score_latex(found)}))


def _on_common_scans(shop: ReportBuilder, found: ScoreTable) -> str:
    common = common_table(shop.evidence, found)
    why = "Methods leave out different scans of the table above, so that no best one is marked there: "
    if common is None:
        return paragraph(why + "the same scans cannot be compared, none has a value for several.", "note")
    which = "the table below compares them on the scans that all of them have a value for."
    lost = "A method that leaves a lesion unseen is not worse for it here: see its undefined scans and Dice."
    return paragraph(f"{why}{which} {lost}", "note") + _table(shop, common)


def _beside(parts: Sequence[str]) -> str:
    """Tables next to each other where the screen is wide enough."""
    there = "".join(f"<div>{part}</div>" for part in parts if part)
    return f'<div class="beside">{there}</div>' if there else ""


def _upstream(row: NodeRow) -> str:
    which = "".join(f" {name} {row.labels[name]}" for name in ("seed", "group") if name in row.labels)
    return f"{row.stage}{which}: {row.state}" + (f": {row.error}" if row.error else "")


def _costs_of_validation(evidence: Evidence) -> list[str]:
    counts = sorted({int(one.metrics["n_val"]) for one in evidence.targets if "n_val" in one.metrics})
    if not counts:
        return []
    # A user with m labelled scans does not have these: the table must not hide what m really costs.
    return [
        f"Each network's epoch was chosen on {' or '.join(map(str, counts))} validation scans, labelled too."
    ]
