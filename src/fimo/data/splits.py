"""Which rows of one table, file or folder are for training, and which for the test."""

from __future__ import annotations

import numpy as np

from fimo.errors import UserError, short

# Settings of a split at random, and the values that they have where nobody gives them.
USUAL: dict[str, object] = {"test_size": 0.2, "random_state": 0, "stratify": False}


# Seeds of scikit-learn have 32 bits.
LARGEST_STATE = 2**32 - 1


def require_no_draw(data: object) -> None:
    """Refuse settings of a split at random, for data that come with a test split.

    Args:
        data: a kind of data, with the settings that it has of these.

    Raises:
        UserError: naming the setting.
    """
    for key, usual in USUAL.items():
        if (value := getattr(data, key, usual)) != usual:
            raise UserError(
                f"data.{key} must be {str(usual).lower()}, as it is by itself, where the data come with a test split "
                f"(data.source.test_file, data.source.split_column, a folder test) and none is drawn, found "
                f"{str(value).lower()}: leave it out, or what names the test split."
            )


def random_split(
    rows: int, test_size: float, random_state: int, classes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A split at random, as scikit-learn's `train_test_split` draws it.

    Args:
        rows: how many there are.
        test_size: share of the rows that are test examples.
        random_state: of the draw.
        classes: `[row]`; both splits get each class in the same share (data.stratify). None draws without a look at
            classes.

    Returns:
        Numbers of the training rows and of the test rows, in the order in which they were drawn.

    Raises:
        UserError: where a split would have no row, or a class is in too few rows for both splits.
    """
    from sklearn.model_selection import train_test_split

    if not 0 <= random_state <= LARGEST_STATE:
        raise UserError(
            f"data.random_state must be a whole number from 0 to {LARGEST_STATE}, found {random_state}: choose another."
        )
    if classes is not None:
        values, counts = np.unique(classes, return_counts=True)
        if counts.min() < 2:
            raise UserError(
                f"data.stratify puts each class into both splits, but {values[counts.argmin()]!s} occurs once: remove "
                "this row, or leave data.stratify=false."
            )
    try:
        return train_test_split(np.arange(rows), test_size=test_size, random_state=random_state, stratify=classes)
    except ValueError as reason:
        more = "" if classes is None else f" with data.stratify ({short(reason)})"
        raise UserError(
            f"data.test_size={test_size} of {rows} rows leaves none for training or none for the test{more}: choose "
            "another share, or bring more rows."
        ) from reason
