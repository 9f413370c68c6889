"""A table with columns of every kind, written as people write tables."""

import io
import zipfile

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

ROWS = 40
RANDOM = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "size": np.round(RANDOM.normal(size=ROWS), 3),
        "count": RANDOM.integers(0, 9, ROWS),
        "kind": np.array(["a", "b", "c"])[np.arange(ROWS) % 3],
        "label": np.array(["no", "yes"])[RANDOM.integers(0, 2, ROWS)],
    }
)
TRAIN, TEST = train_test_split(np.arange(ROWS), test_size=0.2, random_state=0)
TARGET, CLASSES = "data.source.target=label", "data.task=classification"


def write(path, content):
    if callable(content):
        content(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def text(table=TABLE, **options):
    return table.to_csv(index=False, **options)


def jsonl(table=TABLE):
    return table.to_json(orient="records", lines=True)


def parquet(table=TABLE, **options):
    return lambda path: table.to_parquet(path, **options)


def with_column(name="extra", values=None, **changes):
    return TABLE.assign(**{name: values}, **changes)


def zipped(**files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, inside in files.items():
            archive.writestr(name, inside)
    return content.getvalue()


DAYS = pd.date_range("2020-08-07", periods=ROWS)
