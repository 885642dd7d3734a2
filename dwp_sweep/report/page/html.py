"""HTML of a report: elements as text, everything that comes from data escaped.

Knows nothing of sweeps. The page it makes needs no script, no network and no other file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from dwp_sweep.report.page.canvas import data_uri
from dwp_sweep.report.page.style import CSS


@dataclass(frozen=True)
class Td:
    """One cell of a table.

    Attributes:
        text: Plain text.
        title: Shown when it is pointed at.
        kind: CSS classes: ``num``, ``best``, ``bad``.
        span: Columns.
    """

    text: str
    title: str = ""
    kind: str = ""
    span: int = 1


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: Its id.
        title: Heading, and its name in the list of contents.
        body: HTML.
    """

    anchor: str
    title: str
    body: str


def esc(text: object) -> str:
    """Plain text as HTML."""
    return escape(str(text), quote=True)


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f"<p{_class(kind)}>{esc(text)}</p>"


def bullets(texts: Iterable[str], kind: str = "") -> str:
    """A list of plain texts; nothing where there is none."""
    items = "".join(f"<li>{esc(text)}</li>" for text in texts)
    return f"<ul{_class(kind)}>{items}</ul>" if items else ""


def details(summary: str, body: str, is_open: bool = False) -> str:
    """What is folded until asked for."""
    return f"<details{' open' if is_open else ''}><summary>{esc(summary)}</summary>{body}</details>"


def table(
    header: Sequence[Td | str],
    rows: Iterable[Sequence[Td | str]],
    caption: str = "",
    n_left: int = 1,
    more: str = "",
    kind: str = "",
) -> str:
    """A table that scrolls on its own where the screen is narrow.

    Args:
        header: Cells above the columns.
        rows: Cells; texts are plain cells. The first cell of a row is its heading.
        caption: Plain text above it.
        n_left: Columns of words; the others are numbers, aligned to the right.
        more: HTML after the caption: links to the same table as files.
        kind: CSS class of the whole; ``dense`` for small letters and rows grouped by their first cell.
    """
    head = "".join(
        f'<th scope="col"{_class("num" if is_number else "")}>{esc(_text(one))}</th>'
        for one, is_number in (
            (one, place >= n_left and not isinstance(one, Td)) for place, one in enumerate(header)
        )
    )
    rows = list(rows)
    starts = [kind == "dense" and place > 0 and _text(row[0]) != "" for place, row in enumerate(rows)]
    body = "".join(
        f"<tr{_class('first' if is_start else '')}>{_row(row, n_left)}</tr>"
        for row, is_start in zip(rows, starts, strict=True)
    )
    above = f"<caption>{esc(caption)}{more}</caption>" if caption or more else ""
    return (
        f'<div class="{f"scroll {kind}".strip()}" tabindex="0"><table>{above}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def figure(picture: str, alt: str, caption: str, width_px: int, number: str = "", more: str = "") -> str:
    """A picture with its caption.

    Args:
        picture: Its data URI.
        alt: For readers who do not see it.
        caption: Plain text.
        width_px: At most.
        number: Before the caption, e.g. ``Figure 4``.
        more: HTML after the caption.
    """
    name = f"<b>{esc(number)}.</b> " if number else ""
    return (
        f'<figure><img src="{picture}" alt="{esc(alt)}" style="max-width:min(100%,{width_px}px)">'
        f"<figcaption>{name}{esc(caption)}{more}</figcaption></figure>"
    )


def downloads(files: Mapping[str, str], kinds: Mapping[str, str]) -> str:
    """Links to small texts that the page holds itself.

    Args:
        files: File name -> content.
        kinds: Last part of a name -> word to show.
    """
    links = [
        f'<a download="{esc(name)}" href="{data_uri(text.encode(), "text/plain")}">'
        f"{esc(kinds.get(name.rpartition('.')[2], name))}</a>"
        for name, text in files.items()
    ]
    return f' <span class="files">{" · ".join(links)}</span>' if links else ""


def page(title: str, header: str, sections: Sequence[Section], footer: str) -> str:
    """The whole page.

    Args:
        title: Plain text.
        header: HTML of the top.
        sections: In order.
        footer: HTML of the end.
    """
    contents = "".join(f'<a href="#{one.anchor}">{esc(one.title)}</a>' for one in sections)
    body = "".join(
        f'<section id="{one.anchor}"><h2>{esc(one.title)}</h2>{one.body}</section>' for one in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<link rel="icon" href="data:,"><title>{esc(title)}</title><style>{CSS}</style></head>'
        f'<body><header>{header}<nav aria-label="Contents">{contents}</nav></header>'
        f"<main>{body}</main><footer>{footer}</footer></body></html>\n"
    )


def _text(cell: Td | str) -> str:
    return cell.text if isinstance(cell, Td) else cell


def _row(row: Sequence[Td | str], n_left: int) -> str:
    cells = [one if isinstance(one, Td) else Td(one) for one in row]
    return "".join(_cell(one, place, n_left) for place, one in enumerate(cells))


def _cell(one: Td, place: int, n_left: int) -> str:
    kinds = " ".join(filter(None, (one.kind, "" if place < n_left else "num")))
    title = f' title="{esc(one.title)}"' if one.title else ""
    span = f' colspan="{one.span}"' if one.span > 1 else ""
    if place == 0:
        return f'<th scope="row"{_class(kinds)}{title}{span}>{esc(one.text)}</th>'
    return f"<td{_class(kinds)}{title}{span}>{esc(one.text)}</td>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
