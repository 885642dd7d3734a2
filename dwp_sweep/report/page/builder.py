"""What all sections of a report share: how figures look, and the files of figures and tables.

Figures are drawn with matplotlib's object interface. The files have a white ground, for papers and slides;
the page's own copies have none, and take the ink of the reader's theme. A method has the same colour, line
and marker in all figures. One `ReportBuilder` a report writes the files and returns plain values, which the
templates draw.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure

from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.tables import Table

INK, MUTED, GRID, FAINT, PAPER = "#22252b", "#6b7280", "#e5e7eb", "#c9cdd4", "#ffffff"
_DARK = {INK: "#e8eaed", MUTED: "#9aa3b2", GRID: "#2f353e", FAINT: "#4a515c", PAPER: "#14171c"}
_RC: Any = {
    "svg.hashsalt": "dwp_sweep",  # equal figures give equal files
    "svg.fonttype": "path",  # the same letters on every machine
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlecolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.labelcolor": INK,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.dpi": 100,
    "axes.facecolor": "none",
}
# Okabe and Ito's palette without black and yellow, which vanish on a dark or a white page. What everything
# is compared with is grey.
_REFERENCE = "#8a8f98"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "*", "d")
_WHITE = '<rect width="100%" height="100%" fill="#ffffff"/>'
_FORMATS = {"csv": "CSV", "tex": "LaTeX"}


@dataclass(frozen=True)
class Picture:
    """One figure of a report.

    Attributes:
        name: Stem of its files.
        figure: What to draw.
        alt: What a reader who cannot see it should know.
        caption: Below it, plain text.
    """

    name: str
    figure: Figure
    alt: str
    caption: str = ""

    @property
    def width_px(self) -> int:
        """On the page, at most: letters then have the same size in all pictures."""
        return round(100 * self.figure.get_figwidth())


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


@dataclass(frozen=True)
class Download:
    """A small file that the page holds itself."""

    name: str
    word: str
    uri: str


@dataclass(frozen=True)
class ShownTable:
    """A table of the page.

    Attributes:
        table: Its texts.
        files: The same table to download.
        is_dense: Small letters, rows grouped by their first cell.
    """

    table: Table
    files: tuple[Download, ...] = ()
    is_dense: bool = False


@dataclass(frozen=True)
class ShownFigure:
    """A picture of the page.

    Attributes:
        name: Stem of its files.
        uri: The picture itself.
        alt: For readers who do not see it.
        caption: Below it.
        width_px: At most.
        number: 0 for one that is not counted.
    """

    name: str
    uri: str
    alt: str
    caption: str
    width_px: int
    number: int = 0


@dataclass
class ReportBuilder:
    """Files and figures of one report.

    Attributes:
        evidence: The sweep.
        reference: Name of what others are compared with; None where there is none.
        looks: Of each method or variant.
        folder: Where files go.
        n_figures: Numbered so far.
    """

    evidence: Evidence
    reference: str | None
    looks: Mapping[str, Style]
    folder: Path
    n_figures: int = field(default=0)

    @property
    def reference_label(self) -> str:
        """For people; empty where there is none."""
        return self.evidence.columns.get(self.reference or "", "")

    def figure(self, picture: Picture) -> ShownFigure:
        """Number a picture and write its files."""
        self.n_figures += 1
        uri = write_picture(picture, self.folder / "figures")
        return ShownFigure(picture.name, uri, picture.alt, picture.caption, picture.width_px, self.n_figures)

    def png(self, name: str, content: bytes, caption: str) -> ShownFigure:
        """Write a PNG that a node made itself."""
        path = self.folder / "figures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return ShownFigure(name, data_uri(content, "image/png"), caption, caption, 620)

    def downloads(self, files: Mapping[str, str]) -> tuple[Download, ...]:
        """Write tables as files.

        Args:
            files: File name -> content.
        """
        place = self.folder / "tables"
        place.mkdir(parents=True, exist_ok=True)
        downloads = []
        for name, text in files.items():
            # A file's name may hold bytes that are no text.
            content = text.encode("utf-8", "backslashreplace")
            (place / name).write_bytes(content)
            downloads.append(
                Download(name, _FORMATS[name.rpartition(".")[2]], data_uri(content, "text/plain"))
            )
        return tuple(downloads)


@contextmanager
def drawing() -> Iterator[None]:
    """The look that all figures of a report share; they are made inside."""
    with matplotlib.rc_context(_RC):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure in inches, arranged by constrained layout."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="none")


def styles(columns: Mapping[str, str], reference: str | None) -> dict[str, Style]:
    """A style for each method or variant.

    Colours repeat after six, then with another dash and marker, so that no two look alike.

    Args:
        columns: Name -> label, in the order of the tables.
        reference: Name of what the others are compared with; drawn in grey.
    """
    others = [name for name in columns if name != reference]
    of_others = {
        name: Style(
            _COLOURS[place % len(_COLOURS)],
            _DASHES[place // len(_COLOURS) % len(_DASHES)],
            _MARKERS[place % len(_MARKERS)],
        )
        for place, name in enumerate(others)
    }
    return {name: of_others.get(name, Style(_REFERENCE, "-", "o")) for name in columns}


def write_picture(picture: Picture, folder: Path) -> str:
    """Write ``<name>.svg`` and ``<name>.png``; the page's copy as a data URI."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.StringIO()
    with drawing():
        metadata = {"Date": None, "Creator": None}
        picture.figure.savefig(buffer, format="svg", metadata=metadata, facecolor="none")
        picture.figure.savefig(
            folder / f"{picture.name}.png", dpi=150, facecolor="white", metadata={"Software": None}
        )
    svg = buffer.getvalue()
    on_white = re.sub(r"(<svg\b[^>]*>)", rf"\1{_WHITE}", svg, count=1)
    (folder / f"{picture.name}.svg").write_text(on_white, encoding="utf-8")
    return data_uri(themed(svg).encode(), "image/svg+xml")


def data_uri(content: bytes, kind: str) -> str:
    """Content as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def themed(svg: str) -> str:
    """The SVG with the greys of text and grid as variables that follow the reader's theme."""
    names = {colour: f"var(--c{place})" for place, colour in enumerate(_DARK)}

    def follow(attribute: re.Match[str]) -> str:
        return re.sub("|".join(names), lambda colour: names[colour[0]], attribute[0])

    light = "".join(f"--c{place}:{colour};" for place, colour in enumerate(_DARK))
    dark = "".join(f"--c{place}:{colour};" for place, colour in enumerate(_DARK.values()))
    rules = f"<style>:root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    svg = re.sub(r'style="[^"]*"', follow, svg)
    return re.sub(r"(<svg\b[^>]*>)", rf"\1{rules}", svg, count=1)
