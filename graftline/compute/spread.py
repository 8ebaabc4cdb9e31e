"""The seam at which work is spread over workers: a function of what all share and of one item each."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Spread(Protocol):
    """Answers come in the order of the items, whoever computes them and whenever they are done.

    The function is a module's own, and its answer depends on nothing but what it is given: where a worker is lost,
    it is called again.
    """

    def __call__(
        self, function: Callable[[Shared, Item], Answer], shared: Shared, items: Iterable[Item]
    ) -> Iterator[Answer]: ...
