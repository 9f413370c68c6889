"""The examples of a page: each is described once, and each picture stored once."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from fimo.descriptions import Cell, Description, Group, Picture, Sentence, TableRow

if TYPE_CHECKING:
    from fimo.report.page.page import Page

# Longest sides of pictures in pixels that are tried one after the other, until all pictures fit into so many bytes.
SIDES, PICTURES_BYTES = (128, 96, 64, 48, 32), 1_500_000
# Columns of a table's row that are kept, those that differ most from the mean: a page is no copy of a wide table.
MOST_CELLS = 40


class PageExamples:
    """Examples by split and number, in the order in which views name them.

    Attributes:
        page: whose examples they are.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.places: dict[str, dict[int, int]] = {"train": {}, "test": {}}
        self._pictures: list[np.ndarray] = []
        self._described: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}

    def add(self, split: str, numbers: Iterable[int]) -> list[int]:
        """Places of some examples among those of their split, which are described where they are new.

        Args:
            split: `train` or `test`.
            numbers: of the examples in it.
        """
        places, described = self.places[split], self._described[split]
        for number in map(int, numbers):
            if number not in places:
                places[number] = len(described)
                example = self._example(self.page.describe(split, number))
                described.append({"label": self.page.label(split, number), **self._known(split, number), **example})
        return [places[int(number)] for number in numbers]

    def payload(self) -> dict[str, Any]:
        """The examples of both splits, and their pictures as data URIs."""
        return {**self._described, "pictures": _data_uris(self._pictures)}

    def _known(self, split: str, number: int) -> dict[str, Any]:
        """Its number, what the final model says of it, and the right label where its own was made wrong."""
        sentence = self.page.predicted.get(split, {}).get(number)
        right = self.page.flipped.get(number) if split == "train" else None
        known = {"number": number, "predicted": sentence, "right": right}
        return {name: value for name, value in known.items() if value is not None}

    def _example(self, description: Description) -> dict[str, Any]:
        if isinstance(description, TableRow):
            kept = sorted(description.cells, key=_distance, reverse=True)[:MOST_CELLS]
            return {
                "targets": [list(target) for target in description.targets],
                "cells": [[cell.column, cell.text, _rounded(cell.deviation), _rounded(cell.share)] for cell in kept],
                "columns": len(description.cells),
            }
        if isinstance(description, Sentence):
            tokens = [[[t.start, t.end, t.text, int(t.known)] for t in of] for of in description.tokens]
            return {"texts": list(description.texts), "tokens": tokens, "class": description.label}
        if isinstance(description, Picture):
            self._pictures.append(description.pixels)
            return {"picture": len(self._pictures) - 1, "class": description.label}
        if isinstance(description, Group):
            members = [{"label": label, **self._example(of)} for label, of in description.first]
            return {"size": description.size, "members": members}
        return {"text": description}


def _distance(cell: Cell) -> float:
    return abs(cell.deviation or 0.0)


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(f"{value:.3g}")


def _data_uris(pictures: list[np.ndarray]) -> list[str]:
    """Pictures as PNG files in data URIs, made smaller where they would take too much of the page."""
    uris: list[str] = []
    for side in SIDES:
        uris = [f"data:image/png;base64,{base64.b64encode(_png(pixels, side)).decode()}" for pixels in pictures]
        if sum(map(len, uris)) <= PICTURES_BYTES:
            break
    return uris


def _png(pixels: np.ndarray, side: int) -> bytes:
    """A picture `[height, width, channel]`, uint8, as a PNG file whose longer side has at most `side` pixels."""
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "png", optimize=True)
    return buffer.getvalue()
