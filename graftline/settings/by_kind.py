"""Defaults of the adaptation that depend on the kind of input: what was measured to be the best to begin with."""

from collections.abc import Mapping

from pydantic import JsonValue

from graftline.settings.data import Kind

# From docs/measurements/defaults.md, where each kind's lines are ranked. What a kind does not name has the default of
# its field in adaptation.py.
BY_KIND: Mapping[Kind, Mapping[str, JsonValue]] = {
    "text": {},
    "image": {"strategy": "feature_extraction"},
    "audio": {},
}
# What says nothing about how to train: where it runs, and what of the input is read.
BESIDE_TRAINING = frozenset(
    {
        "device", "precision", "runtime", "threads", "workers", "seed", "compile", "max_tokens", "max_seconds",
        "block_pattern", "feature_precision", "feature_gigabytes", "head_penalty",
    }
)  # fmt: skip


def with_defaults_of_the_kind(adaptation: Mapping[str, JsonValue], kind: object) -> dict[str, JsonValue]:
    """The values of a section as a user wrote them, with those of the kind beside them.

    They were measured together, so whoever writes anything about the training gets none of them.
    """
    defaults = next((defaults for known, defaults in BY_KIND.items() if known == kind), {})
    return {**defaults, **adaptation} if BESIDE_TRAINING.issuperset(adaptation) else dict(adaptation)
