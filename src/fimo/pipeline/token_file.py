"""`token_losses.csv`: what each token of the test rows adds to their loss, before further training and after it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from fimo.data.base import Data
from fimo.pipeline.artifacts import TOKEN_LOSSES

BEFORE, FULL = "token_loss_before", "token_loss_full"


def token_file(data: Data, seeds: Sequence[xr.Dataset]) -> dict[str, bytes]:
    """The file by its name; nothing for losses that are no mean over tokens.

    Its columns are `test` (the position in the entire test split), `name` where rows have names, `place` of the token
    in its row, `token` (its text), `before` (at the final model) and `after` (the full runs of further training, mean
    over seeds). Losses are in nats.

    Args:
        data: of the run.
        seeds: losses of each finished seed.
    """
    if any(BEFORE not in losses for losses in seeds):  # those of files from before there was this one, too
        return {}
    before = seeds[0][BEFORE].values
    after = np.mean([losses[FULL].values for losses in seeds], axis=0)
    rows, places = np.nonzero(~np.isnan(before))
    test = seeds[0]["test"].values[rows]
    names = {} if data.names.test is None else {"name": [data.names.of("test", int(row)) for row in test]}
    labels = data.test.targets if data.test.targets.dim() == 2 else data.test.targets[:, 0]
    words = {} if data.word is None else {"token": [data.word(int(number)) for number in labels[rows, places]]}
    losses = {"before": before[rows, places], "after": after[rows, places]}
    table = pd.DataFrame({"test": test, **names, "place": places, **words, **losses})
    return {TOKEN_LOSSES: table.to_csv(index=False, float_format="%.6g").encode()}
