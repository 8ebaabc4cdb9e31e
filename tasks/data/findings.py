"""The findings in a table: each unmet expectation, and the reasons of each faulty row."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from graftline.data.expectation import Asset, Check, Expectation
from graftline.data.media_files import MOST_SAMPLE_BITS
from graftline.data.row_facts import RowFacts
from graftline.data.row_table import RowTable
from graftline.data.splitting import BY_HASH
from graftline.data.target_kind import TargetKind
from graftline.data.twins import TwinRow
from graftline.settings import DataSettings
from graftline.tasks.data.gx_checks import Validator

# The classes of one target, each with its counts.
Classes = tuple[Mapping[str, str | int | float | None], ...]


@dataclass(frozen=True)
class Findings:
    """All that has been seen so far of one table."""

    expectations: tuple[Expectation, ...] = ()
    checks: tuple[Check, ...] = ()
    names: tuple[str, ...] = ()
    """The names of the rows' values where they come from."""
    rows: RowTable = field(default_factory=lambda: RowTable.of(()))
    facts: RowFacts | None = None
    reasons: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Of faulty rows, by their lines."""
    twins: Mapping[int, TwinRow] = field(default_factory=dict)
    """Accepted held-out rows that are not scored, by their places among the readable rows."""
    classes: Classes = ()
    further_classes: Mapping[str, Classes] = field(default_factory=dict)
    """Those of the targets beside the first one."""
    sample_bits: int = MOST_SAMPLE_BITS
    """How many bits a picture of 16 bits a sample uses, if it does not say so itself."""
    split_from: str = BY_HASH
    """What says on which side of the split a row lies: hash, or the names of folders."""

    @property
    def refused(self) -> bool:
        return any(not check.success for check in self.checks if check.expectation.level == "set")

    @property
    def accepted(self) -> NDArray[np.int64]:
        """Which of the readable rows have no fault."""
        lines = self.facts.rows.lines if self.facts else np.zeros(0, np.int64)
        return np.flatnonzero(~np.isin(lines, list(self.reasons)))

    def add(self, checks: Iterable[Check], reasons: Iterable[tuple[int, str]] = ()) -> "Findings":
        """These findings and more of them."""
        joined = dict(self.reasons)
        for line, reason in reasons:
            joined[line] = (*joined.get(line, ()), reason)
        return replace(self, checks=(*self.checks, *checks), reasons=joined)


@dataclass(frozen=True)
class Judge:
    """Great Expectations, and all that is expected of one set of data."""

    validator: Validator
    settings: DataSettings
    targets: TargetKind
    expectations: tuple[Expectation, ...]

    def of(self, asset: Asset, target: str | None = None) -> list[Expectation]:
        """Those of an asset; of the classes and the set for one target, by default the first one."""
        return [one for one in self.expectations if (one.asset, one.target) == (asset, target)]
