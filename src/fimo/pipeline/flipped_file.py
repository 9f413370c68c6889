"""`flipped.csv`: which training labels were made wrong, in a results folder of a run with `data.flip`."""

from __future__ import annotations

import pandas as pd

from fimo.data.base import Data
from fimo.data.flips import class_name
from fimo.pipeline.artifacts import FLIPPED


def flipped_file(data: Data) -> dict[str, bytes]:
    """The file by its name; nothing where no label was made wrong.

    Its columns are `train` (the position in the entire training split), `name` where rows have names, `label` (as the
    data have it) and `flipped_to`.

    Args:
        data: of the run.
    """
    if data.flips is None:
        return {}
    rows = data.flips.rows.tolist()
    names = {} if data.names.train is None else {"name": [data.names.of("train", row) for row in rows]}
    labels = {
        column: [class_name(number, data.classes) for number in numbers.tolist()]
        for column, numbers in (("label", data.flips.labels), ("flipped_to", data.flips.flipped_to))
    }
    return {FLIPPED: pd.DataFrame({"train": rows, **names, **labels}).to_csv(index=False).encode()}
