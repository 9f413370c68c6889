"""The page over all figures and tables: escaped, within its size, links to the runs' own pages."""

import io
import re

import numpy as np
import pandas as pd
from PIL import Image

from fimo.report.paper_index import Entry, fitted, paper_index


def picture(width, height, seed=0):
    """Noise, which no compression makes smaller."""
    file, noise = io.BytesIO(), np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "png")
    return file.getvalue()


def test_everything_is_there_and_text():
    table = pd.DataFrame({"data set": ["<script>alert(1)</script>"], "auc": [0.5]})
    entries = [
        Entry("figure-2", 'curves of "<b>"', picture(30, 20)),
        Entry("table-2", "rows", table=table, notes=["&"]),
    ]
    page = paper_index(entries, {"energy & <x>": "runs/energy #1/report.html"}, "title <i>", "size laptop").decode()
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "<b>" not in page
    assert page.count("<section") == 3 and 'id="figure-2"' in page and 'href="#table-2"' in page
    assert 'href="runs/energy%20%231/report.html"' in page and "energy &amp; &lt;x&gt;" in page
    assert len(re.findall(r'src="data:image/png;base64,[A-Za-z0-9+/=]+"', page)) == 1
    assert "0.500" in page and not re.search(r'(src|href)="https?:', page)


def test_large_pictures_are_made_smaller_all_alike(monkeypatch):
    monkeypatch.setattr("fimo.report.paper_index.MOST_BYTES", 150_000)
    monkeypatch.setattr("fimo.report.paper_index.WIDTHS", (240, 160, 120))
    many = [picture(240, 180, seed) for seed in range(4)]
    assert sum(map(len, many)) > 150_000 > sum(map(len, many[:1]))
    smaller = fitted(many)
    assert sum(map(len, smaller)) <= 150_000
    assert len({Image.open(io.BytesIO(one)).width for one in smaller}) == 1
    assert fitted(many[:1]) == many[:1]
