"""The tiers of the tests: what is not `full` is the sample of `make test-fast`; `long` waits for `make test-long`."""

from collections.abc import Iterable
from typing import Any

import pytest


def sampled(values: Iterable[Any], *sample: Any) -> list[Any]:
    """All values as parameters of a test, of which only those of the sample are in the fast tier."""
    return [value if value in sample else pytest.param(value, marks=pytest.mark.full) for value in values]


def seldom(values: Iterable[Any], *sample: Any) -> list[Any]:
    """All values as parameters of a test, of which those that are not of the sample wait for `make test-long`."""
    return [value if value in sample else pytest.param(value, marks=pytest.mark.long) for value in values]
