"""What wrong answers cost, as the settings name it."""

import math
import re
from dataclasses import dataclass

# "spam > ham: 5"; labels may hold colons, so the last one counts.
COST = re.compile(r"\s*(?P<truth>[^>\s][^>]*?)\s*>\s*(?P<answer>[^>\s][^>]*?)\s*:\s*(?P<cost>[^:\s]+)\s*")


@dataclass(frozen=True)
class Cost:
    """The price of one confusion."""

    truth: str
    answer: str
    cost: float


def cost_of(line: str) -> Cost:
    """The cost in `spam > ham: 5`: of the answer ham for what is spam. Raises: ValueError for anything else."""
    match = COST.fullmatch(line)
    cost = _number(match["cost"]) if match else None
    if match is None or cost is None:
        raise ValueError(
            f"{line!r} names no cost, expected TRUTH > ANSWER: COST with a number of 0 or more, as in spam > ham: 5"
        )
    if match["truth"] == match["answer"] and cost:
        raise ValueError(f"{line!r}: a right answer costs nothing, and what it is worth is the cost of the wrong ones")
    return Cost(match["truth"], match["answer"], cost)


def require_one_cost_each(lines: list[str]) -> list[str]:
    """The lines as they are. Raises: ValueError for what is no cost, and for two of one confusion."""
    known: dict[tuple[str, str], str] = {}
    for line in lines:
        found = cost_of(line)
        if (first := known.setdefault((found.truth, found.answer), line)) is not line:
            raise ValueError(f"{first!r} and {line!r} name one confusion; drop one of them")
    return lines


def _number(text: str) -> float | None:
    try:
        cost = float(text)
    except ValueError:
        return None
    return cost if math.isfinite(cost) and cost >= 0 else None
