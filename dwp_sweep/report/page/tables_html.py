"""Tables of a report as HTML, with the links to the same tables as CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dwp_sweep.report.answers.scores import Score
from dwp_sweep.report.page.comparisons import Comparisons
from dwp_sweep.report.page.cost import Cost, hours_text
from dwp_sweep.report.page.headline import Winner, signed
from dwp_sweep.report.page.html import Td, downloads, table
from dwp_sweep.report.page.score_tables import ScoreTable
from dwp_sweep.report.paired.significance import Interval

_KINDS = {"csv": "CSV", "tex": "LaTeX"}


def score_html(found: ScoreTable, files: Mapping[str, str]) -> str:
    """One score, the best of each training size bold, how many runs under the pointer."""
    digits = found.score.digits
    rows: list[list[Td | str]] = [
        [
            name,
            *(
                Td(
                    one.text(digits),
                    one.about(digits),
                    "best" if one.is_best else "" if one.cell.summary else "bad",
                )
                for one in cells
            ),
        ]
        for name, cells in found.lines()
    ]
    return table(found.header, rows, found.caption, more=downloads(files, _KINDS))


def winners_html(found: Sequence[Winner], reference: str) -> str:
    """Who is best by validation at each size."""
    header: list[Td | str] = ["m", "best by validation", "validation Dice", "test Dice"]
    if reference:
        header += [f"minus {reference}", "95 % over splits", "95 % over subjects", Td("how sure")]
    rows: list[list[Td | str]] = []
    for one in found:
        row: list[Td | str] = [
            str(one.size),
            Td(one.label, f"second: {one.runner_up}" if one.runner_up else "", "best"),
            str(one.validation),
            str(one.test) if one.test else "-",
        ]
        if reference:
            difference = one.against.difference if one.against else None
            row += [
                signed(difference.mean) if difference else "-",
                interval_text(difference.over_splits if difference else None),
                interval_text(difference.over_subjects if difference else None),
                Td(one.verdict if one.label != reference else "it is the reference", kind="words"),
            ]
        rows.append(row)
    return table(header, rows, n_left=2)


def comparisons_html(found: Comparisons, title: str, score: Score | None, files: Mapping[str, str]) -> str:
    """The paired tests; what stays after Holm's correction is bold."""
    digits = score.digits if score else 3
    references = {one.reference for one in found.rows}
    header = [
        "m", "method" if len(references) == 1 else "difference of", "mean", "95 % over splits (t)",
        "95 % over subjects", "rank-biserial [95 %]", "p Wilcoxon", "p Holm", "splits ahead", "subjects",
    ]  # fmt: skip
    rows: list[list[Td | str]] = []
    size = None
    for one in found.rows:
        row, test = one.difference, one.test
        is_new, size = row.train_size != size, row.train_size
        name = row.name if len(references) == 1 else f"{row.name} − {one.reference}"
        effect = f"{signed(test.rank_biserial, 2)} {interval_text(test.interval, 2)}"
        rows.append([
            str(size) if is_new else "",
            name,
            signed(row.mean, digits),
            Td(interval_text(row.over_splits, digits), kind="best" if one.is_shown_over_splits else ""),
            interval_text(row.over_subjects, digits),
            effect,
            p_text(test.p) if test.can_tell else "too few",
            Td(p_text(one.p_holm), kind="best" if one.is_shown_over_subjects else ""),
            f"{row.n_ahead}/{len(row.by_split)}",
            Td(str(test.n), f"{test.n_untied} of them differ"),
        ])  # fmt: skip
    return table(header, rows, title, n_left=2, more=downloads(files, _KINDS), kind="dense")


def costs_html(found: Sequence[Cost], first: str, caption: str) -> str:
    """Hours of nodes."""
    rows: list[list[Td | str]] = [
        [
            one.name,
            str(one.n_done),
            Td(str(one.n_failed), kind="bad" if one.n_failed else ""),
            str(one.n_other),
            hours_text(one.hours),
            "-" if one.median_s is None else hours_text(one.median_s / 3600),
        ]
        for one in found
    ]
    return table([first, "done", "failed", "other", "time, added up", "median of one"], rows, caption)


def p_text(p: float) -> str:
    """A p-value for people."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def interval_text(interval: Interval | None, digits: int = 3) -> str:
    """``[−0.010, +0.020]``, or a dash."""
    return "-" if interval is None else f"[{signed(interval.low, digits)}, {signed(interval.high, digits)}]"
