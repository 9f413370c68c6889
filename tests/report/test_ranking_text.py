"""ranking.md, of scores made up."""

import numpy as np
import xarray as xr

from fimo.ranking import ranks_of
from fimo.report.influential import Examples
from fimo.report.ranking import ranking_markdown


def ranking(scores, own):
    """Of one test example: all rows, from the highest score to the lowest."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    return xr.Dataset(
        {
            "row": (("test", "rank"), order[None]),
            "score": (("test", "rank"), np.asarray(scores)[order][None]),
            "self_influence": ("train", np.asarray(own)),
        },
        {"test": [7], "train": range(len(scores)), "rank": ranks_of(len(scores), len(scores))},
    )


def text(scores, own, losses=None):
    examples = Examples(lambda split, row: f"{split} {row}", lambda split, row: None)
    return ranking_markdown({"CG": ranking(scores, own)}, examples, predicted={7: "It says so."}, losses=losses)


def test_a_row_that_neither_helps_nor_harms_is_at_no_end():
    assert "| CG | 1: 2 | 2: -1 |" in text([0.0, 2.0, -1.0, 0.0], [1.0, 2, 3, 4])
    assert "| CG | 1: 2, 0: 1 | – |" in text([1.0, 2.0, 0.0], [1.0, 2, 3])
    assert "> test 7\n\nIt says so.\n\n| by" in text([1.0, 2.0], [1.0, 2])


def test_self_influence_that_is_the_same_everywhere_is_no_order():
    assert "| CG | 2: 3e-09" in text([0.0, 2.0, -1.0], [1e-9, 2e-9, 3e-9])
    assert "self-influence" not in text([0.0, 2.0, -1.0], [0.25, 0.25, 0.25])
    assert "| the row's own loss | 1: 5, 0: 2 |" in text([0.0, 2.0], [0.25, 0.5], {0: 2.0, 1: 5.0})
