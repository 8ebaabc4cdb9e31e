"""Part of step 4: what the answers for the held-out rows cost, where the settings say what a wrong one does."""

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from graftline.pages.report import Table
from graftline.settings.costs import cost_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graftline.evaluation.bootstrap import Difference, Score
    from graftline.evaluation.comparison import Comparison
    from graftline.evaluation.metrics import Floats
    from graftline.evaluation.row_gains import RowGains
    from graftline.tasks.steps.held_out import Scorer

Numbers = dict[str, float]


def answer_costs(
    scores: "Scorer",
    labels: "Sequence[str]",
    row_ids: "Sequence[str]",
    candidate: "Floats",
    champion: "tuple[str, Floats | None]",
    baselines: "Mapping[str, tuple[str, Floats]]",
) -> dict[str, JsonValue]:
    """The mean cost of a row with its interval, and all that a verdict on costs needs, on the same rows.

    Of the champion and of each baseline the name for a reader and the predictions; baselines answer at least cost.
    """
    from graftline.evaluation.bootstrap import differences
    from graftline.evaluation.bootstrap import scores as with_intervals
    from graftline.evaluation.costs import answered_at_least_cost, cost_matrix, cost_metrics, priced

    matrix = cost_matrix([cost_of(line) for line in scores.settings.costs], labels)
    asked = scores.resampling(partial(cost_metrics, matrix=matrix))
    by_costs = replace(scores, task_scores=priced(scores.task_scores, matrix), slices=())
    found: dict[str, JsonValue] = {
        "scores": _as_json(with_intervals(candidate, scores.targets, **asked)),
        "baselines": {
            name: by_costs.compare(candidate, answered_at_least_cost(said, matrix), against)
            for name, (against, said) in baselines.items()
        },
    }
    against, theirs = champion
    if theirs is not None:
        found["differences"] = _as_json(differences(candidate, theirs, scores.targets, **asked))
        found["comparison"] = by_costs.compare(candidate, theirs, against)
        found["row_gains"] = by_costs.row_gains(row_ids, candidate, theirs)
    return found


def _as_json(found: "Mapping[str, Score]") -> JsonValue:
    return {name: cast("JsonValue", one.as_json()) for name, one in found.items()}


@dataclass(frozen=True)
class Costs:
    """What a verdict on costs stands on; of the champion nothing where there is none."""

    comparison: "Comparison | None"
    row_gains: "RowGains | None"
    baselines: "Mapping[str, Comparison]"

    @property
    def main_difference(self) -> "Difference | None":
        """By how much the answers cost less than the champion's."""
        from graftline.evaluation.costs import SPARED

        return None if self.comparison is None else self.comparison.differences[SPARED]


def costs_compared(found: "Mapping[str, JsonValue]") -> Costs:
    """From what `answer_costs` found."""
    from graftline.evaluation.comparison import comparison_of
    from graftline.evaluation.row_gains import row_gains_of

    return Costs(
        comparison_of(found["comparison"]) if "comparison" in found else None,
        row_gains_of(found["row_gains"]) if "row_gains" in found else None,
        {name: comparison_of(one) for name, one in cast("dict[str, JsonValue]", found["baselines"]).items()},
    )


def cost_differences(found: "Mapping[str, JsonValue] | None") -> "dict[str, Difference] | None":
    """What the answers cost more than the champion's; None where nothing says it."""
    from graftline.evaluation.bootstrap import Difference

    if found is None or "differences" not in found:
        return None
    return {name: Difference(**one) for name, one in cast("dict[str, Numbers]", found["differences"]).items()}


def costs_table(found: "Mapping[str, JsonValue]") -> Table:
    """For the report."""
    from graftline.evaluation.costs import GIVEN, LEAST, LIKELIEST, SAVED

    scores = cast("dict[str, Numbers]", found["scores"])
    against = cast("dict[str, Numbers]", found.get("differences", {}))
    saved = scores[SAVED]
    lead = (
        "the mean cost of an answer by evaluation.costs, where a wrong one that has no price costs 1; to answer what"
        f" can be expected to cost least, instead of the likeliest label, saves {_with_interval(saved)}"
    )
    named = (("as it is served", GIVEN), ("the likeliest label", LIKELIEST), ("that of the least expected cost", LEAST))
    rows = [(what, _with_interval(scores[name]), _against(against.get(name))) for what, name in named]
    return Table("Costs", lead, ("answer", "mean cost (95 % interval)", "more than the champion's"), rows)


def _with_interval(score: Numbers, sign: str = "") -> str:
    return f"{score['value']:{sign}.4f} ({score['low']:{sign}.4f} – {score['high']:{sign}.4f})"


def _against(difference: Numbers | None) -> str:
    return "not compared" if difference is None else f"{_with_interval(difference, '+')}, p {difference['p']:.3g}"
