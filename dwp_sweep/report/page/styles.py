"""One colour, line and marker for each method or variant, the same in every figure of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

# Okabe and Ito's palette without black and yellow, which vanish on a dark or a white page. What everything
# is compared with is grey.
_REFERENCE = "#8a8f98"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "*", "d")


class Style(NamedTuple):
    """How a method is drawn.

    Attributes:
        colour: Six hexadecimal digits.
        dash: Line style of matplotlib.
        marker: Marker of matplotlib.
    """

    colour: str
    dash: Any
    marker: str


def styles(columns: Mapping[str, str], reference: str | None) -> dict[str, Style]:
    """A style for each method or variant.

    Colours repeat after six, then with another dash and marker, so that no two look alike.

    Args:
        columns: Name -> label, in the order of the tables.
        reference: Name of what the others are compared with; drawn in grey.
    """
    others = [name for name in columns if name != reference]
    found = {
        name: Style(
            _COLOURS[place % len(_COLOURS)],
            _DASHES[place // len(_COLOURS) % len(_DASHES)],
            _MARKERS[place % len(_MARKERS)],
        )
        for place, name in enumerate(others)
    }
    return {name: found.get(name, Style(_REFERENCE, "-", "o")) for name in columns}
