"""What is expected of an adaptation before it begins, beside what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue, TypeAdapter

from graftline.evaluation.bootstrap import Difference

Standing = Literal["ahead", "behind", "open"]
_IN_WORDS: Mapping[Standing, str] = {
    "ahead": "is expected to beat",
    "behind": "is not expected to beat",
    "open": "may or may not beat",
}


@dataclass(frozen=True)
class Foreseen:
    """The expected standing of the adapted model beside a baseline."""

    rival: str
    """By its name among the baselines."""
    against: str
    """In words."""
    lead: Difference
    """That of the head solved on the untouched base model over the baseline, both on rows that neither learned from."""
    judged_by: str = "the validation rows"
    """Which rows these are, in words."""

    @property
    def expected(self) -> Standing:
        """By the interval of the lead."""
        return standing_of(self.lead)

    @property
    def sentence(self) -> str:
        """For the log."""
        seen = f"{self.lead.value:+.4f}, {self.lead.low:+.4f} to {self.lead.high:+.4f}"
        said = f"the adapted model {_IN_WORDS[self.expected]} {self.against}"
        return f"{said}: a head on the untouched base model leads by {seen} on {self.judged_by}"


def standing_of(lead: Difference) -> Standing:
    """What a lead and its interval say."""
    return "ahead" if lead.low > 0 else "behind" if lead.high < 0 else "open"


def came_true(expected: Standing, came: Standing) -> bool | None:
    """Whether it came as foreseen; None where one of the two is open."""
    return None if "open" in (expected, came) else expected == came


_ADAPTER = TypeAdapter(tuple[Foreseen, ...])


def as_json(foreseen: Sequence[Foreseen]) -> JsonValue:
    """Plain values, as `foreseen_of` reads them."""
    plain: JsonValue = _ADAPTER.dump_python(tuple(foreseen), mode="json")
    return plain


def foreseen_of(plain: JsonValue) -> tuple[Foreseen, ...]:
    """From plain values."""
    return _ADAPTER.validate_python(plain)
