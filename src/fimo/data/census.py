"""ACSIncome: people of the American Community Survey and their income, by the folktables library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from folktables import ACSDataSource, ACSIncome, state_list
from folktables.acs import adult_filter

# The Census Bureau's numbers of states, which folktables has in no public place: `state_list` has their names alone.
from folktables.load_acs import _STATE_CODES as CODES

from fimo.data.download import fetch
from fimo.data.tables import Table, lines_of
from fimo.errors import UserError

# What the Census Bureau has called RELP, with codes of its own, since 2019; folktables' definition has the old name.
RENAMED = {"RELSHIPP": "RELP"}
HORIZONS = ("1-Year", "5-Year")
FIRST_YEAR = 2014


@dataclass(frozen=True)
class Income:
    """ACSIncome of some states: rows, columns and target as folktables defines them; categories are codes.

    Files are read by folktables from `folder/year/horizon`, where its own downloads lie too. It checks no download, so
    a missing file is downloaded here, and only a complete and right one gets its name.

    Attributes:
        folder: below the data folder.
        states: two letters each.
        year: of the survey, 2014 or later.
        horizon: `1-Year` or `5-Year`.
        categorical: columns that become a feature for each code in the table.
        url: of a state's archive, with `{year}`, `{horizon}` and `{state}` to be filled in.
        page: where a person can get it.
    """

    folder: str
    states: Sequence[str]
    year: int
    horizon: str
    categorical: Sequence[str]
    url: str
    page: str

    def read(self, data_dir: Path) -> Table:
        """The people whom folktables' filter keeps, state after state.

        Raises:
            UserError: where a file holds something else; `Unavailable` where it is missing and can't be downloaded.
        """
        files = self.files(data_dir)
        source = ACSDataSource(str(self.year), self.horizon, "person", root_dir=str(data_dir / self.folder))
        people, names = [], []
        for state, path in zip(self.states, files, strict=True):
            try:
                sheet = source.get_data(states=[state])
            except (ValueError, StopIteration) as reason:  # no text, no table, rows of different lengths, no line
                raise UserError(_unreadable(path, reason)) from reason
            people.append(_workers(sheet, state, path))
            names.append(lines_of(people[-1].index, f"{state} line"))
        values, over, _ = ACSIncome.df_to_numpy(pd.concat(people, ignore_index=True))
        inputs = pd.DataFrame(values, columns=ACSIncome.features)
        if unknown := [name for name in self.categorical if name not in inputs]:
            raise UserError(f"data.source.categorical must name columns of {list(inputs)}, found '{unknown[0]}'.")
        categories = {name: np.unique(inputs[name]) for name in self.categorical}
        others = {"state": np.repeat(list(self.states), [len(part) for part in names])}
        target = over.astype("int64"), "income above 50,000"
        return Table(inputs, *target, categories, others, names=np.concatenate(names))

    def files(self, data_dir: Path) -> list[Path]:
        """Each state's file, downloaded where it is missing.

        Raises:
            UserError: for states, years and horizons that the Census Bureau does not have; `Unavailable` where a file
                is missing and can't be downloaded.
        """
        self._check()
        folder, paths = data_dir / self.folder / str(self.year) / self.horizon, []
        for state in self.states:
            # The Census Bureau's names changed in 2017.
            old, new = f"ss{self.year % 100:02}p{state.lower()}.csv", f"psam_p{CODES[state]}.csv"
            url = self.url.format(year=self.year, horizon=self.horizon, state=state.lower())
            name = old if self.year < 2017 else new
            paths.append(fetch(folder / name, url, self.page, partial(_check_file, state), zipped=True))
        return paths

    def _check(self) -> None:
        wrong = [state for state in self.states if state not in state_list]
        if wrong or not self.states or len(set(self.states)) < len(self.states):
            value = repr(wrong[0]) if wrong else list(self.states)
            raise UserError(
                f"data.source.states must name states by two letters, each once, as [MA,NY], found {value}."
            )
        if type(self.year) is not int or self.year < FIRST_YEAR:
            raise UserError(f"data.source.year must be a year from {FIRST_YEAR}, found {self.year!r}.")
        if self.horizon not in HORIZONS:
            raise UserError(f"data.source.horizon must be {' or '.join(HORIZONS)}, found {self.horizon!r}.")


def _check_file(state: str, path: Path) -> None:
    """Refuse a file that is not the state's."""
    try:
        people = pd.read_csv(path, skipinitialspace=True, usecols=lambda name: name in _columns() or name in RENAMED)
    except ValueError as reason:
        raise UserError(_unreadable(path, reason)) from reason
    _workers(people, state, path)


def _columns() -> list[str]:
    """The columns that are read: inputs, target, weight, state."""
    return [*ACSIncome.features, ACSIncome.target, "PWGTP", "ST"]


def _unreadable(path: Path, reason: Exception) -> str:
    return f"{path} is not a table of people ({' '.join(str(reason).split()) or 'it is empty'}): get it anew"


def _workers(people: pd.DataFrame, state: str, path: Path) -> pd.DataFrame:
    """The rows and columns that ACSIncome is made of.

    Raises:
        UserError: where a column or a value is missing, or the people are another state's.
    """
    if "RELP" not in people:
        people = people.rename(columns=RENAMED)
    wanted = [name for name in _columns() if name != "ST"]
    if missing := [name for name in wanted if name not in people]:
        raise UserError(f"{path} lacks the columns {missing} of a person file: get it anew.")
    if people.empty:
        raise UserError(f"{path} has no people in it: get it anew.")
    if text := [name for name in wanted if not pd.api.types.is_numeric_dtype(people[name])]:
        raise UserError(f"{path} has text in column '{text[0]}', which must hold numbers: get it anew.")
    if "ST" in people and (people["ST"] != int(CODES[state])).any():
        raise UserError(f"{path} must hold people of {state} (ST {CODES[state]}), found another state's: get it anew.")
    kept = adult_filter(people[wanted])
    if kept.empty:
        raise UserError(f"{path} has no people with work and income: get it anew.")
    if (gaps := kept[ACSIncome.features].isna().any(axis=1)).any():
        raise UserError(
            f"{path} lacks values of {gaps.sum()} people, the first in line {gaps.idxmax() + 2}: get it anew"
        )
    return kept
