"""Part of step 4: what the answers for the held-out rows cost, where the settings say what a wrong one does."""

from functools import partial
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from graftline.pages.report import Table
from graftline.settings.costs import cost_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graftline.evaluation.bootstrap import Difference
    from graftline.evaluation.metrics import Floats
    from graftline.tasks.steps.held_out import Scorer

Numbers = dict[str, float]


def answer_costs(
    scores: "Scorer", labels: "Sequence[str]", candidate: "Floats", champion: "Floats | None"
) -> dict[str, JsonValue]:
    """The mean cost of a row with its interval, and what it is more than the champion's on the same rows."""
    from graftline.evaluation.bootstrap import differences
    from graftline.evaluation.bootstrap import scores as with_intervals
    from graftline.evaluation.costs import cost_matrix, cost_metrics

    matrix = cost_matrix([cost_of(line) for line in scores.settings.costs], labels)
    asked = scores.resampling(partial(cost_metrics, matrix=matrix))
    found: dict[str, JsonValue] = {
        "scores": {
            name: cast("JsonValue", one.as_json())
            for name, one in with_intervals(candidate, scores.targets, **asked).items()
        }
    }
    if champion is not None:
        compared = differences(candidate, champion, scores.targets, **asked)
        found["differences"] = {name: cast("JsonValue", one.as_json()) for name, one in compared.items()}
    return found


def cost_differences(found: "Mapping[str, JsonValue] | None") -> "dict[str, Difference] | None":
    """What the answers cost more than the champion's; None where nothing says it."""
    from graftline.evaluation.bootstrap import Difference

    if found is None or "differences" not in found:
        return None
    return {name: Difference(**one) for name, one in cast("dict[str, Numbers]", found["differences"]).items()}


def costs_table(found: "Mapping[str, JsonValue]") -> Table:
    """For the report."""
    from graftline.evaluation.costs import LEAST, LIKELIEST, SAVED

    scores = cast("dict[str, Numbers]", found["scores"])
    against = cast("dict[str, Numbers]", found.get("differences", {}))
    saved = scores[SAVED]
    lead = (
        "the mean cost of an answer by evaluation.costs, where a wrong one that has no price costs 1; to answer what"
        f" can be expected to cost least, instead of the likeliest label, saves {_with_interval(saved)}"
    )
    named = (("the likeliest label, as it is served", LIKELIEST), ("the label of the least expected cost", LEAST))
    rows = [(what, _with_interval(scores[name]), _against(against.get(name))) for what, name in named]
    return Table("Costs", lead, ("answer", "mean cost (95 % interval)", "more than the champion's"), rows)


def _with_interval(score: Numbers, sign: str = "") -> str:
    return f"{score['value']:{sign}.4f} ({score['low']:{sign}.4f} – {score['high']:{sign}.4f})"


def _against(difference: Numbers | None) -> str:
    return "not compared" if difference is None else f"{_with_interval(difference, '+')}, p {difference['p']:.3g}"
