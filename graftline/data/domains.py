"""Which rows of a table are of the domain whose labels are learned from, and which of the one to work in."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from graftline.data.row_table import RowTable
from graftline.errors import DataRefusedError
from graftline.settings import DataSettings
from graftline.wording import did_you_mean, shown

SHOWN_VALUES = 10

Domain = Literal["source", "target"]


def columns_of_domain(settings: DataSettings) -> dict[str, str]:
    """The column that says to which domain a row belongs, by the setting that names it; none if no column does."""
    return {"target_domain": settings.target_domain_column[0]} if settings.target_domain_column else {}


def of_domain(rows: RowTable, names: Sequence[str], settings: DataSettings, domain: Domain) -> RowTable:
    """The rows of one domain, whose values have these `names`; all of them where no column divides them.

    Of a row that cannot be read nobody knows its domain: it counts with the source.
    Raises: DataRefusedError if none is of the target domain.
    """
    if settings.target_domain_column is None:
        return rows
    column, value = settings.target_domain_column
    of_rows = rows.values[names.index(column)] if rows.values else ()
    inside = np.fromiter((one == value for one in of_rows), np.bool_, len(rows))
    if domain == "target" and not inside.any():
        others = set(map(str, rows.readable.values[names.index(column)])) if rows.values else set()
        there = ", ".join(map(shown, sorted(others)[:SHOWN_VALUES])) + (", ..." if len(others) > SHOWN_VALUES else "")
        raise DataRefusedError(
            f"no row has {shown(value)} in the column {shown(column)}, expected one of {there};"
            f" correct it{did_you_mean(value, sorted(others), shown)}"
        )
    return rows.where(inside == (domain == "target"))
