"""Where the sections of a report leave their files, and how a picture gets onto the page.

One object a report: it knows the folder, counts the figures and keeps the tables as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dwp_sweep.report.page.canvas import Picture, data_uri, write_picture
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.report.page.html import figure
from dwp_sweep.report.page.styles import Style


@dataclass
class ReportBuilder:
    """What all sections share.

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

    def show(self, picture: Picture) -> str:
        """Write a picture's files; its figure for the page."""
        self.n_figures += 1
        uri = write_picture(picture, self.folder / "figures")
        links = " · ".join(
            f'<a href="figures/{picture.name}.{kind}">{kind.upper()}</a>' for kind in ("svg", "png")
        )
        files = f' <span class="files">{links}</span>'
        return figure(uri, picture.alt, picture.caption, picture.width_px, f"Figure {self.n_figures}", files)

    def show_png(self, name: str, content: bytes, caption: str) -> str:
        """Write a PNG that a node made itself; its figure for the page, on a light ground."""
        path = self.folder / "figures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return f'<div class="light">{figure(data_uri(content, "image/png"), caption, caption, 620)}</div>'

    def keep(self, files: Mapping[str, str]) -> Mapping[str, str]:
        """Write tables as files; what was given."""
        place = self.folder / "tables"
        place.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (place / name).write_text(text)
        return files
