"""A part of step 3: rows learned from, weighed or with swapped words, against differences between groups."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

from pydantic import JsonValue

from graftline.data.swapped_texts import swapped_texts
from graftline.errors import SettingsError
from graftline.settings import Settings
from graftline.settings.words import swap_of
from graftline.tasks.data.accepted_rows import ValidatedData, read_split

if TYPE_CHECKING:
    from graftline.frozen.rows import InputRows

logger = logging.getLogger("graftline.fine_tune")


@dataclass(frozen=True)
class Mending:
    """A way against differences between groups, and all that the settings say about it."""

    fairness: Literal["reweigh", "counterfactual"]
    columns: tuple[str, ...] = ()
    """Whose values say to which group a row belongs."""
    swaps: tuple[str, ...] = ()
    similarity: float = 1.0
    """From which on a text with swapped words is nearly a held-out one."""

    def as_json(self) -> JsonValue:
        return cast("JsonValue", asdict(self))


@dataclass(frozen=True)
class MendedRows:
    """The rows of an adaptation by side, and in words what was done to them."""

    rows: "dict[str, InputRows]"
    said: str


def mending_of(settings: Settings) -> Mending | None:
    """What the settings ask for, if anything."""
    evaluation, fairness = settings.evaluation, settings.adaptation.fairness
    if fairness == "reweigh":
        return Mending(fairness, columns=tuple(evaluation.groups))
    if fairness == "counterfactual":
        similarity = settings.data.near_duplicate_similarity
        return Mending(fairness, swaps=tuple(evaluation.counterfactuals), similarity=similarity)
    return None


def mended(data: ValidatedData, mending: Mending, rows: "Mapping[str, InputRows]") -> MendedRows:
    """The rows with weights, or with more of them to learn from; those of the held-out sides are never more.

    Raises: SettingsError if the rows have nothing that could be mended.
    """
    made = _reweighed(data, mending, rows) if mending.fairness == "reweigh" else _with_swapped(data, mending, rows)
    logger.info("fairness: %s", made.said)
    return made


def _reweighed(data: ValidatedData, mending: Mending, rows: "Mapping[str, InputRows]") -> MendedRows:
    """All sides have weights: a solved head learns from the validation rows, too, once they have chosen its penalty."""
    from graftline.training.reweighing import balancing_weights

    groups = {side: _groups(data, side, mending.columns) for side in rows}
    names, named = set(groups["train"]), ", ".join(mending.columns)
    if len(names) < 2:
        raise SettingsError(
            f"adaptation.fairness reweigh: all {len(groups['train']):,} rows to learn from have {named}"
            f" {min(names)!r}, so there is no other group to be like; name another column in evaluation.groups"
        )
    weighed = {
        side: replace(of_side, weights=balancing_weights(groups[side], of_side.targets))
        for side, of_side in rows.items()
    }
    weights = weighed["train"].weights
    assert weights is not None
    return MendedRows(
        weighed,
        f"reweigh: {len(groups['train']):,} rows of {len(names)} groups by {named} count between"
        f" {float(weights.min()):.2f} and {float(weights.max()):.2f} times, the more the rarer their group and"
        " label are together",
    )


def _groups(data: ValidatedData, side: str, columns: Sequence[str]) -> list[str]:
    """The group of each row: its values in all columns together."""
    values = read_split(data, side, [f"slice.{name}" for name in columns])
    return [" | ".join(of_row) for of_row in zip(*values.values(), strict=True)]


def _with_swapped(data: ValidatedData, mending: Mending, rows: "Mapping[str, InputRows]") -> MendedRows:
    from graftline.frozen.rows import InputRows, joined

    train = rows["train"]
    texts = {side: read_split(data, side, ["input"])["input"] for side in ("train", "validation", "test")}
    added = swapped_texts(
        texts["train"],
        [*texts["validation"], *texts["test"]],
        [swap_of(swap) for swap in mending.swaps],
        similarity=mending.similarity,
    )
    left_out = (
        f"{added.holding:,} hold such words, {added.there:,} have their counterpart among the rows already,"
        f" {added.twins:,} would nearly be a held-out row"
    )
    if not added.texts:
        raise SettingsError(
            f"adaptation.fairness counterfactual: of {len(train.encoded):,} rows to learn from none can be added with"
            f" the words of evaluation.counterfactuals swapped ({left_out}); name words that they hold"
        )
    encoded = train.preprocessor.encode(list(added.texts))
    swapped = InputRows(train.preprocessor, encoded, train.targets[list(added.places)])
    return MendedRows(
        {**rows, "train": joined([train, swapped])},
        f"counterfactual: to {len(train.encoded):,} rows {len(added.texts):,} were added with words swapped, with the"
        f" label of the row that they come from ({left_out})",
    )
