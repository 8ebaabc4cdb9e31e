"""One expectation of the data, and how the data met it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

NULL, NOT_NULL = "ExpectColumnValuesToBeNull", "ExpectColumnValuesToNotBeNull"
UNIQUE = "ExpectColumnValuesToBeUnique"
BETWEEN, IN_SET = "ExpectColumnValuesToBeBetween", "ExpectColumnValuesToBeInSet"

Level = Literal["set", "row"]
Asset = Literal["header", "lines", "rows", "classes", "set"]


@dataclass(frozen=True)
class Expectation:
    """One thing that must hold. A fault of a row moves that row to quarantine, a fault of the set refuses the data."""

    name: str
    asset: Asset
    level: Level
    kind: str
    """The Great Expectations class."""
    meaning: str
    column: str | None = None
    bounds: Mapping[str, JsonValue] = field(default_factory=dict)
    """The class's further arguments."""
    source: str | None = None
    """Where a team wrote it; None for what is expected of every table."""
    target: str | None = None
    """The target beside the first one whose classes or numbers it looks at."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that it looks at."""
        pair = [self.bounds[name] for name in ("column_A", "column_B") if name in self.bounds]
        several = self.bounds.get("column_list", pair)
        names = [self.column] if self.column is not None else several if isinstance(several, list) else []
        return tuple(str(name) for name in names)


@dataclass(frozen=True)
class Check:
    """One expectation, and how the data met it."""

    expectation: Expectation
    success: bool
    faulty: int
    seen: str
    examples: tuple[str, ...] = ()

    def as_json(self) -> dict[str, JsonValue]:
        return {
            "name": self.expectation.name,
            "level": self.expectation.level,
            "meaning": self.expectation.meaning,
            "great_expectations": self.expectation.kind,
            "column": self.expectation.column,
            "source": self.expectation.source,
            "success": self.success,
            "faulty": self.faulty,
            "seen": self.seen,
            "examples": list(self.examples),
        }


def of_row(name: str, column: str, kind: str, meaning: str, **bounds: JsonValue) -> Expectation:
    """An expectation of each row by itself; `column` is one of the facts about rows."""
    return Expectation(name, "rows", "row", kind, meaning, column, bounds)
