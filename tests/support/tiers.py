"""The two tiers of the tests: what is not marked `full` is their sample, which `make test-fast` runs."""

from collections.abc import Iterable
from typing import Any

import pytest


def sampled(values: Iterable[Any], *sample: Any) -> list[Any]:
    """All values as parameters of a test, of which only those of the sample are in the fast tier."""
    return [value if value in sample else pytest.param(value, marks=pytest.mark.full) for value in values]
