"""What all sections of a report share: the folder of its files, numbered figures, tables to download.

One object a report. A section asks it to show a picture or to keep a table; it writes the files and answers
with plain values, which the templates draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dwp_sweep.report.page.canvas import Picture, Style, data_uri, write_picture
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.tables.table import Table

_WORDS = {"csv": "CSV", "tex": "LaTeX"}


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
        for name, text in files.items():
            (place / name).write_text(text)
        return tuple(
            Download(name, _WORDS[name.rpartition(".")[2]], data_uri(text.encode(), "text/plain"))
            for name, text in files.items()
        )
