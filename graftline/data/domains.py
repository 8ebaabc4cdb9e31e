"""Which rows of a table are of the domain whose labels are learned from, and which of the one to work in."""

from collections.abc import Sequence
from typing import Literal

from graftline.data.tables import Row
from graftline.errors import DataRefusedError
from graftline.settings import DataSettings
from graftline.wording import did_you_mean, shown

SHOWN_VALUES = 10

Domain = Literal["source", "target"]


def columns_of_domain(settings: DataSettings) -> dict[str, str]:
    """The column that says to which domain a row belongs, by the setting that names it; none if no column does."""
    return {"target_domain": settings.target_domain_column[0]} if settings.target_domain_column else {}


def of_domain(rows: Sequence[Row], names: Sequence[str], settings: DataSettings, domain: Domain) -> tuple[Row, ...]:
    """The rows of one domain, whose values have these `names`; all of them where no column divides them.

    Of a row that cannot be read nobody knows its domain: it counts with the source.
    Raises: DataRefusedError if none is of the target domain.
    """
    if settings.target_domain_column is None:
        return tuple(rows)
    column, value = settings.target_domain_column
    place = names.index(column)
    inside = [row.fault is None and row.values[place] == value for row in rows]
    if domain == "target" and not any(inside):
        others = {str(row.values[place]) for row in rows if row.fault is None}
        there = ", ".join(map(shown, sorted(others)[:SHOWN_VALUES])) + (", ..." if len(others) > SHOWN_VALUES else "")
        raise DataRefusedError(
            f"no row has {shown(value)} in the column {shown(column)}, expected one of {there};"
            f" correct it{did_you_mean(value, sorted(others), shown)}"
        )
    return tuple(row for row, is_target in zip(rows, inside, strict=True) if is_target == (domain == "target"))
