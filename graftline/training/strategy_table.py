"""The strategies as a table for the documentation."""

from graftline.frozen.freezing import FREEZES
from graftline.settings.adaptation import FREEZE_UNTIL
from graftline.training.strategies import METHODS

COLUMNS = ("strategy", "frozen", "learns", "`freeze_until`", "begins with", "for")


def markdown_rows() -> list[str]:
    """The table of all strategies, its heading first."""
    cells = [COLUMNS, ("---",) * len(COLUMNS)]
    for strategy, method in METHODS.items():
        freezing, rule = FREEZES[strategy], FREEZE_UNTIL[strategy]
        until = "-" if rule == "refused" else rule
        cells.append((strategy, freezing.frozen, freezing.learns, until, f"a {method.head} head", method.suits))
    return [f"| {' | '.join(row)} |" for row in cells]
