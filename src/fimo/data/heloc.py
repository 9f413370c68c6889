"""Home equity lines of credit (HELOC), the table of FICO's Explainable Machine Learning Challenge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fimo.data.tables import Table, check_published, lines_of, read_csv, select_columns, to_float64
from fimo.errors import Unavailable, UserError, short

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Heloc:
    """The challenge's CSV file, its special values replaced as the paper's authors do.

    -9 is no record, -8 no usable record or inquiry, -7 that the condition isn't met (such as no delinquency).

    Attributes:
        file: path below the data folder.
        page: where a person can ask for it.
        inputs: names of the input columns.
        target: name of the column of classes.
        classes: the target's values; in sorted order they are the class numbers 0 and 1.
        rows: how many the published table has, or None to take any number.
        sha256: of the published table's float64 values (inputs and class numbers in that order), or None.
    """

    file: str
    page: str
    inputs: Sequence[str]
    target: str
    classes: Sequence[str]
    rows: int | None = None
    sha256: str | None = None

    def read(self, data_dir: Path) -> Table:
        """The table without the rows that are all -9.

        Raises:
            UserError: where the file is not the published table; `Unavailable` where it is missing.
        """
        path = data_dir / self.file
        if not path.is_file():
            raise Unavailable(
                f"{path} is not there, and FICO gives it only to those who accept its terms: get it from {self.page} "
                "and put it there, or name the folder that has it by paths.data_dir or FIMO_DATA_DIR."
            )
        try:
            sheet = read_csv(path)
        except ValueError as reason:
            message = short(reason)
            raise UserError(f"{path} is not a CSV table ({message}): get it anew from {self.page}.") from reason
        sheet = select_columns(sheet, [*self.inputs, self.target], path)
        if len(unknown := sheet[self.target][~sheet[self.target].isin(list(self.classes))]):
            raise UserError(
                f"{path} must have {' or '.join(self.classes)} in column '{self.target}', found {unknown.iloc[0]!r} in "
                f"row {unknown.index[0] + 2}: get it anew from {self.page}."
            )
        numbered = sheet.assign(**{self.target: sheet[self.target].map(sorted(self.classes).index)})
        table = to_float64(numbered, path)
        check_published(table, path, self.page, self.rows, self.sha256)
        recorded = (table[list(self.inputs)] != -9).any(axis=1)
        inputs = without_special_values(table.loc[recorded, list(self.inputs)])
        target = sheet.loc[recorded, self.target].to_numpy()
        return Table(inputs, target, self.target, names=lines_of(inputs.index))


def without_special_values(raw: pd.DataFrame) -> pd.DataFrame:
    """Real values in place of -7, -8 and -9.

    A column's means and maxima are of its real values, those that are not negative.
    """
    real = raw.where(raw >= 0)
    means, maxima = real.mean(), real.max()
    delinquency, inquiry = "MSinceMostRecentDelq", "MSinceMostRecentInqexcl7days"
    replaced = raw.replace(
        {
            # -7: none in the months that are recorded. -8 stays for the mean.
            delinquency: {-7: maxima[delinquency] + 1},
            # -7: within the last seven days. -8: none in the months that are recorded.
            inquiry: {-7: 0, -8: maxima[inquiry] + 1},
        }
    )
    # 8 and 9 mean "other", which is 7, current and never delinquent.
    replaced["MaxDelq2PublicRecLast12M"] = replaced["MaxDelq2PublicRecLast12M"].clip(upper=7)
    return replaced.mask(replaced.isin([-8, -9]), means, axis=1)
