"""The paired differences to the reference with both intervals, a panel a training size."""

from __future__ import annotations

from dwp_sweep.report.forest import forest
from dwp_sweep.report.page.canvas import Picture, drawing
from dwp_sweep.report.page.comparisons import Comparisons
from dwp_sweep.report.paired import PairedTable


def forest_picture(found: Comparisons, reference: str) -> Picture | None:
    """The figure; None where nothing was compared with the reference."""
    rows = tuple(one.difference for one in found.rows if one.reference == reference)
    if not rows:
        return None
    with drawing():
        figure = forest([PairedTable(reference, found.metric, rows, ())])
    caption = (
        f"Difference to {reference}, subject by subject on the same test scans. Thin: 95 % over splits, for "
        "training again on other scans; thick: 95 % over test subjects, for these very networks."
    )
    alt = f"Mean differences in test Dice to {reference} with two intervals: the numbers of the table below."
    return Picture("differences", figure, alt, caption)
