"""Axes of a verdict beside the scores: how a model behaves where nobody scores it."""

from collections.abc import Mapping

from graftline.axes import Axis, Outcome, Part, of_parts

# What may become of a hostile request; anything else is a fault, in words.
REFUSED, ANSWERED = "refused", "answered"


def hostile_requests(outcomes: Mapping[str, str] | None) -> Axis:
    """Whether everything that a server may be sent by mistake or malice was refused or answered, and it lives on."""
    name = "hostile requests"
    if outcomes is None:
        return Axis(name, "unknown", "none were sent")
    parts = []
    for request, became in outcomes.items():
        outcome: Outcome = "win" if became in (REFUSED, ANSWERED) else "loss"
        parts.append(Part(request, outcome, {}, became))
    refused = sum(became == REFUSED for became in outcomes.values())
    well = f"{refused} of {len(parts)} were refused, the others answered"
    return of_parts(name, parts, well)
