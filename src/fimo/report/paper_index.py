"""index.html of the paper's figures and tables: all that was made, in one file that needs no network."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template
from urllib.parse import quote

import pandas as pd
from PIL import Image

from fimo.report.tables import readable_cells

# All pictures together; beyond it each is made smaller, down to a width at which its text can still be read.
MOST_BYTES, WIDTHS = 4_500_000, (1600, 1200, 1000, 800, 640)
COLOURS_OF_A_PICTURE = 128
PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header><h1>$title</h1><p class="muted">$subtitle</p></header>
<nav>$links</nav>
<main>$sections</main>
</body>
</html>
""")


@dataclass(frozen=True)
class Entry:
    """A figure or a table.

    Attributes:
        name: of its file, `figure-2`.
        about: what it shows, a line.
        picture: a PNG; None for a table.
        table: its rows; None for a picture.
        notes: what stands under a table.
    """

    name: str
    about: str
    picture: bytes | None = None
    table: pd.DataFrame | None = None
    notes: Sequence[str] = ()


def paper_index(entries: Sequence[Entry], runs: Mapping[str, str], title: str, subtitle: str) -> bytes:
    """The page.

    Args:
        entries: figures and tables, in the order of the page.
        runs: paths of the panels' own reports beside the page, by the run's name.
        title: over the page.
        subtitle: below it.

    Returns:
        The file's content.
    """
    pictures = fitted([item.picture for item in entries if item.picture is not None])
    sections, left = [], iter(pictures)
    for item in entries:
        body = _table(item) if item.picture is None else _picture(next(left), item)
        sections.append(f'<section id="{html.escape(item.name)}"><h2>{html.escape(item.name)}</h2>{body}</section>')
    links = [f'<a href="#{html.escape(item.name)}">{html.escape(item.name)}</a>' for item in entries]
    if runs:
        rows = [f'<li><a href="{quote(path)}">{html.escape(name)}</a></li>' for name, path in runs.items()]
        sections.append(f'<section id="runs"><h2>The runs behind them</h2><ul>{"".join(rows)}</ul></section>')
        links.append('<a href="#runs">runs</a>')
    style = (resources.files("fimo.report") / "paper_index.css").read_text("utf-8")
    texts = {"title": html.escape(title), "subtitle": html.escape(subtitle), "style": style}
    return PAGE.substitute(texts, links=" ".join(links), sections="\n".join(sections)).encode()


def fitted(pictures: Sequence[bytes]) -> list[bytes]:
    """Pictures, all as small as they have to be for the page.

    Args:
        pictures: PNGs.

    Returns:
        PNGs, of the largest width at which all fit together.
    """
    if sum(map(len, pictures)) <= MOST_BYTES:
        return list(pictures)
    for width in WIDTHS:
        smaller = [_resized(picture, width) for picture in pictures]
        if sum(map(len, smaller)) <= MOST_BYTES:
            break
    return smaller


def _resized(picture: bytes, width: int) -> bytes:
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    if image.width > width:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.quantize(COLOURS_OF_A_PICTURE).save(file, "png", optimize=True)
    return file.getvalue()


def _picture(picture: bytes, item: Entry) -> str:
    source = base64.b64encode(picture).decode()
    about = html.escape(item.about)
    return f'<p class="muted">{about}</p><img alt="{about}" src="data:image/png;base64,{source}">'


def _table(item: Entry) -> str:
    notes = "".join(f'<p class="muted">{html.escape(note)}</p>' for note in item.notes)
    about = f'<p class="muted">{html.escape(item.about)}</p>'
    if item.table is None or item.table.empty:
        return about + notes
    cells = readable_cells(item.table)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in cells)
    rows = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in cells.to_numpy()]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'{about}<div class="wide"><table><tr>{head}</tr>{body}</table></div>{notes}'
