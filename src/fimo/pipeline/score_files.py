"""Scores that were computed elsewhere, read from a file: `method=file method.file.path=scores.nc`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import xarray as xr

from fimo.errors import UserError, short
from fimo.pipeline import formats
from fimo.pipeline.files import digest
from fimo.pipeline.scorers import AXES
from fimo.problem import Problem

AXES_OF_FILES = ({*AXES}, {"step", *AXES})
COLUMNS = (*AXES, "score")


class FileScores:
    """Scores from a NetCDF or CSV file, labelled as the files of a run are.

    A NetCDF file has the variable `score` with the dimensions `test` and `left_out`, possibly `step`, and integer
    coordinates: positions in the test split and the training split. A CSV file has the columns `test`, `left_out` and
    `score`, possibly `step` and `method`, as scores.csv does.

    Args:
        path: of the file; one that ends in `.csv` is CSV.
        label: of the method; None for `name`, or the file's name without its ending.
        name: the method in a CSV file, or the variable in a NetCDF file, where there are several.

    Raises:
        UserError: where the file isn't there.
    """

    version = 1

    def __init__(self, path: str, label: str | None = None, name: str | None = None) -> None:
        self.path, self.name = Path(path), name
        if not self.path.is_file():
            raise UserError(f"path must be a file of scores, NetCDF or CSV, found none at {path}.")
        self.label = label or name or self.path.stem

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return str(digest(self.path))

    def scores(self, problem: Problem) -> xr.DataArray:
        """All scores of the file; whoever asks selects those of the problem.

        Args:
            problem: not used.

        Returns:
            `[test, left_out]` or `[step, test, left_out]`.
        """
        return self.read()

    def read(self) -> xr.DataArray:
        """All scores of the file.

        Returns:
            `[test, left_out]` or `[step, test, left_out]`, in any order of the axes.

        Raises:
            UserError: where the file can't be read, or has no such scores.
        """
        scores = self._csv() if self.path.suffix == ".csv" else self._netcdf()
        for axis in scores.dims:
            if axis not in scores.coords or not pd.api.types.is_integer_dtype(scores[axis].dtype):
                raise UserError(
                    f"{self.path} must label its axis {axis} with integers (positions in the split, steps), found "
                    f"{scores[axis].dtype if axis in scores.coords else 'no labels'}."
                )
        return scores

    def _netcdf(self) -> xr.DataArray:
        try:
            dataset = formats.read_dataset(self.path)
        except Exception as reason:  # h5py's, h5netcdf's and xarray's own errors all come through here
            raise UserError(
                f"{self.path} must be a NetCDF file of version 4, or end in .csv, and can't be read ({short(reason)})."
            ) from reason
        names = [str(name) for name in dataset.data_vars]
        wanted = self.name or ("score" if "score" in names else names[0] if len(names) == 1 else None)
        if wanted not in names:
            raise UserError(
                f"{self.path} must have the variable {wanted or 'score'}, found {', '.join(names) or 'none'}: choose "
                "one by its name (method.file.name)."
            )
        scores = dataset[wanted]
        if set(scores.dims) not in AXES_OF_FILES:
            raise UserError(
                f"{wanted} in {self.path} must have the dimensions test and left_out, and possibly step, found "
                f"{', '.join(map(str, scores.dims)) or 'none'}."
            )
        return scores

    def _csv(self) -> xr.DataArray:
        try:
            table = pd.read_csv(self.path)
        except (ValueError, OSError) as reason:  # pandas' own are ValueErrors
            raise UserError(f"{self.path} can't be read as CSV ({short(reason)}).") from reason
        if missing := [column for column in COLUMNS if column not in table]:
            raise UserError(
                f"{self.path} must have the columns {', '.join(COLUMNS)}, and possibly step and method, found no "
                f"{', '.join(missing)}."
            )
        table = self._of_method(table)
        stepwise = "step" in table and table["step"].notna().any()
        axes = ["step", *AXES] if stepwise else [*AXES]
        for column in axes:
            numbers = pd.to_numeric(table[column], errors="coerce")
            if not (numbers == numbers.round()).all():
                raise UserError(f"{column} in {self.path} must be integers, found {_first_other(table[column])!r}.")
            table = table.assign(**{column: numbers.astype(int)})
        if (twice := table.duplicated(axes)).any():
            row = table.loc[twice, axes].iloc[0]
            where = ", ".join(f"{axis} {row[axis]}" for axis in axes)
            raise UserError(f"{self.path} must have one score for each {' and '.join(axes)}, found two of {where}.")
        return table.set_index(axes)["score"].to_xarray()

    def _of_method(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of the method that is wanted."""
        if "method" not in table:
            return table
        names = [str(name) for name in table["method"].unique()]
        if self.name not in names and (self.name is not None or len(names) != 1):
            wanted = f"the method {self.name!r}" if self.name else "one method"
            raise UserError(
                f"{self.path} must hold {wanted}, found {', '.join(names) or 'none'}: choose one by its name "
                "(method.file.name)."
            )
        return table[table["method"].astype(str) == (self.name or names[0])]


def _first_other(column: pd.Series) -> object:
    """The first entry that is no integer."""
    numbers = pd.to_numeric(column, errors="coerce")
    return column[~(numbers == numbers.round())].iloc[0]
