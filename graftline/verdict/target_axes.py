"""The axes of a verdict on several targets: which was shown better, and that none was made worse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from graftline.evaluation.comparison import Comparison
from graftline.evaluation.scoring import HIGHER, Scoring
from graftline.verdict import score_axes
from graftline.verdict.axis import RISK, Axis, Consequence, Part, of_parts
from graftline.verdict.life import Allowance
from graftline.verdict.policy import Policy


@dataclass(frozen=True)
class TargetBeside:
    """The main score of one target of a candidate beside that of another model."""

    target: str
    scoring: Scoring
    rival: Comparison
    allowed: Allowance | None = None
    """What earlier candidates left of its rows' evidence."""


def any_better(targets: Sequence[TargetBeside], policy: Policy, *, among: int) -> Axis:
    """Whether the main score of any target is better than the champion's, each on the rows that have it.

    Each is one `among` so many and has that share of the chance to err, all together the chance of one (Bonferroni);
    where one was shown, the others have larger shares (Holm 1979). What is allowed to each is its first share.
    """
    left, shares = list(targets), among
    judged: dict[str, Axis] = {}
    while left:
        axes = {one.target: _better(one, policy, shares=shares, first=among) for one in left}
        judged |= axes
        shown = [name for name, axis in axes.items() if axis.outcome == "win"]
        if not shown:
            break
        left, shares = [one for one in left if one.target not in shown], shares - len(shown)
    better = [name for name, axis in judged.items() if axis.outcome == "win"]
    # One that was shown worse is judged by its margin.
    parts = [
        Part(name, "win" if name in better else "tie", {**(axis.numbers or {}), "rows_enough": None}, axis.sentence)
        for name, axis in judged.items()
    ]
    first = judged[better[0] if better else targets[0].target]
    consequence: Consequence | None = None if better else "HOLD"
    sentence = "; ".join(f"{name} is {judged[name].sentence}" for name in better)
    sentence = sentence or "; ".join(f"{name}: {axis.sentence}" for name, axis in judged.items())
    counts = [axis.numbers.get("rows_enough") for axis in judged.values() if axis.numbers]
    enough = min((count for count in counts if count is not None), default=None)
    numbers = {**(first.numbers or {}), "rows_enough": enough}
    return Axis("champion", "win" if better else "tie", sentence, consequence, numbers=numbers, parts=parts)


def none_worse(name: str, targets: Sequence[TargetBeside], policy: Policy, *, well: str) -> Axis:
    """Whether the main score of every target was shown to be worse by no more than the margin.

    All of them have to be, so their intervals need no correction for their number (Berger 1982).
    """
    parts = [
        score_axes.no_worse(
            one.target,
            one.scoring.primary,
            HIGHER,
            one.rival,
            policy,
            margin=policy.target_margin,
            power=1 - RISK / len(targets),
        )
        for one in targets
    ]
    return of_parts(name, parts, well)


def interference(alone: Sequence[TargetBeside], left_out: Mapping[str, str], policy: Policy) -> Axis:
    """Whether any target would be better off with a model of its own: the same training for it alone."""
    name = "interference"
    missing = [Part(target, "unknown", {}, f"not compared: {why}") for target, why in left_out.items()]
    if not alone:
        sentence = "; ".join(dict.fromkeys(part.sentence for part in missing)) or "there is one target only"
        return Axis(name, "unknown", sentence, parts=missing, asked=False)
    axis = none_worse(name, alone, policy, well="no target is worse than by the same training for it alone")
    return replace(axis, parts=[*axis.parts, *missing])


def _better(one: TargetBeside, policy: Policy, *, shares: int, first: int) -> Axis:
    """Whether it was shown with one of so many shares of the level; at `first` there were so many."""
    shared = policy.model_copy(update={"significance": policy.significance / shares})
    allowed = one.allowed and replace(one.allowed, level=one.allowed.level * first / shares)
    return score_axes.champion(one.rival, one.scoring, shared, allowed)
