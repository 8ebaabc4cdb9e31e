"""Defaults of the adaptation that depend on the kind of input: what was measured to be the best to begin with."""

from collections.abc import Mapping

from pydantic import JsonValue

from graftline.settings.data import Kind

# From docs/measurements/defaults.md, where each kind's lines are ranked. What a kind does not name has the default of
# its field in adaptation.py; so far no line was shown to do better than these.
BY_KIND: Mapping[Kind, Mapping[str, JsonValue]] = {
    "text": {},
    "image": {},
    "audio": {},
}


def with_defaults_of_the_kind(adaptation: Mapping[str, JsonValue], kind: object) -> dict[str, JsonValue]:
    """The values of a section as a user wrote them, with those of the kind that he did not.

    They belong to the strategy that they were measured with, so whoever names a strategy gets none of them.
    """
    if "strategy" in adaptation:
        return dict(adaptation)
    return {**next((defaults for known, defaults in BY_KIND.items() if known == kind), {}), **adaptation}
