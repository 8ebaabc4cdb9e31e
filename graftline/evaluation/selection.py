"""The luck of a model that was chosen by its score: on the rows that it was chosen by it looks better than it is."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue, TypeAdapter
from scipy.optimize import brentq
from scipy.stats import norm

from graftline.evaluation.bootstrap import Score

# Fewer rows tell nothing of a score.
LEAST_ROWS = 30
# Of a gain that all but missed its bound nothing is left: the search ends here, in standard errors.
FARTHEST = 30.0


@dataclass(frozen=True)
class Chosen:
    """A champion that some of the held-out rows made one: the winner's curse, and its score without it."""

    rows: int
    """By how many rows it was chosen."""
    gain: float
    """By how much its main score was better than that of the champion before it, on those."""
    corrected: float | None
    """That gain without the luck of the choice; none where a person chose it over the verdict."""
    others: int
    """Held-out rows that it was not chosen by."""
    scores: Mapping[str, Score] | None
    """Its scores on these, if they are enough."""

    @property
    def luck(self) -> float | None:
        """By how much its main score is too high on the rows that it was chosen by.

        Half of what the gain is too large: two models' scores vary as much as each other, so the difference was luck
        of the one as much as bad luck of the other.
        """
        return None if self.corrected is None else (self.gain - self.corrected) / 2


_ADAPTER = TypeAdapter(Chosen)


def chosen_of(plain: JsonValue) -> Chosen:
    """From plain values."""
    return _ADAPTER.validate_python(plain)


def corrected_gain(gain: float, error: float, *, level: float) -> float:
    """A gain that was seen because a two-sided test at `level` showed it, without the luck of that.

    As often too small as too large given that it was shown (the median-unbiased estimate after selection: Fithian, Sun
    and Taylor 2014), and never below nothing. `error`: its standard error.
    """
    if error <= 0 or gain <= 0:
        return max(0.0, gain)
    seen, bound = gain / error, float(norm.isf(level / 2))
    if seen <= bound:  # shown by an exact test, which the normal law follows only nearly
        return 0.0

    def surplus(true: float) -> float:
        return float(norm.logsf(seen - true) - norm.logsf(bound - true) - np.log(0.5))

    if surplus(-FARTHEST) >= 0:
        return 0.0
    return max(0.0, error * float(brentq(surplus, -FARTHEST, seen)))
