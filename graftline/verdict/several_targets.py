"""The verdict on a candidate of several targets as a whole: one version, one alias, one decision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from graftline.evaluation.comparison import Comparison
from graftline.verdict import score_axes, target_axes
from graftline.verdict.axis import Axis
from graftline.verdict.gate import Evaluated, Unscored, Verdict, axes_of, verdict_of
from graftline.verdict.life import Allowance
from graftline.verdict.policy import Policy
from graftline.verdict.target_axes import TargetBeside

# The baseline of interference: the same training of the same base model for one target alone.
SINGLE_TASK = "single_task"
# The axes that each further target has of its own. The others are about the version, or the first target's floors.
OF_EACH = ("other scores", "slices", "baseline", "negative transfer", "robustness", "bias")


@dataclass(frozen=True)
class TargetSeen:
    """One target of a candidate, beside the champion and the baselines on the rows that have it."""

    name: str
    candidate: Evaluated
    champion: Comparison | Unscored | None
    """None also where the champion has no such target."""
    baselines: Mapping[str, Comparison]
    allowed: Allowance | None = None
    """What earlier candidates left of its rows' evidence."""


def decide_several(targets: Sequence[TargetSeen], policy: Policy) -> Verdict:
    """Judge the candidate by all of its targets, the first one first.

    It is promoted where the policy's main target, or any, was shown better than the champion's, none was made worse by
    more than its margin, neither than the champion's nor than that of the same training for it alone, and every target
    stands the axes of one. An axis of a further target has its name in front.
    """
    first = targets[0]
    decisive = next((one for one in targets if one.name == policy.main_target), first)
    axes = axes_of(_without_alone(first), first.champion, _others(first), policy, first.allowed)
    found = [
        _champion(axis, targets, decisive, policy) if axis.name == "champion" else _of_target(first, axis)
        for axis in axes
    ]
    found += [axis for one in targets[1:] for axis in _own_axes(one, policy)]
    found += _no_worse(targets, decisive, policy)
    return verdict_of([*found, _interference(targets, policy)], decisive.champion, policy)


def _champion(of_first: Axis, targets: Sequence[TargetSeen], decisive: TargetSeen, policy: Policy) -> Axis:
    """Whether the champion is beaten where the policy asks for it."""
    if isinstance(targets[0].champion, Unscored):
        return of_first
    beside = _beside(targets)
    if not beside:
        return of_first
    if policy.main_target is None:
        return target_axes.any_better(beside, policy, among=len(targets))
    if isinstance(decisive.champion, Comparison):
        axis = score_axes.champion(decisive.champion, decisive.candidate.scoring, policy, decisive.allowed)
        return replace(axis, sentence=f"{decisive.name}: {axis.sentence}")
    sentence = (
        f"the champion does not answer {decisive.name}, which the policy's main_target asks to be better; name another"
        " target there until a champion has this one"
    )
    return Axis("champion", "unknown", sentence, "HOLD")


def _no_worse(targets: Sequence[TargetSeen], decisive: TargetSeen, policy: Policy) -> list[Axis]:
    """None worse than the champion's, apart from the one that has to be better; where there is a champion at all."""
    beside = [one for one in _beside(targets) if policy.main_target is None or one.target != decisive.name]
    well = "no target is worse than the champion's by its margin"
    return [target_axes.none_worse("targets", beside, policy, well=well)] if beside else []


def _own_axes(one: TargetSeen, policy: Policy) -> list[Axis]:
    # What should move an answer is said of the first target's labels.
    undirected = policy.model_copy(update={"robustness": policy.robustness.model_copy(update={"directed": None})})
    axes = axes_of(_without_alone(one), one.champion, _others(one), undirected, None)
    return [replace(_of_target(one, axis), name=f"{one.name}: {axis.name}") for axis in axes if axis.name in OF_EACH]


def _of_target(one: TargetSeen, axis: Axis) -> Axis:
    """The axis with the target in its sentence, where that is a reason."""
    if axis.name not in OF_EACH or not axis.consequence:
        return axis
    return replace(axis, sentence=f"{one.name}: {axis.sentence}")


def _interference(targets: Sequence[TargetSeen], policy: Policy) -> Axis:
    alone = [
        TargetBeside(one.name, one.candidate.scoring, one.baselines[SINGLE_TASK])
        for one in targets
        if SINGLE_TASK in one.baselines
    ]
    left_out = {
        one.name: one.candidate.left_out[SINGLE_TASK] for one in targets if SINGLE_TASK in one.candidate.left_out
    }
    axis = target_axes.interference(alone, left_out, policy)
    return axis.as_advice() if policy.effects.interference == "advise" else axis


def _beside(targets: Sequence[TargetSeen]) -> list[TargetBeside]:
    return [
        TargetBeside(one.name, one.candidate.scoring, one.champion, one.allowed)
        for one in targets
        if isinstance(one.champion, Comparison)
    ]


def _without_alone(one: TargetSeen) -> Evaluated:
    left_out = {name: why for name, why in one.candidate.left_out.items() if name != SINGLE_TASK}
    return replace(one.candidate, left_out=left_out)


def _others(one: TargetSeen) -> dict[str, Comparison]:
    """The baselines that have to be beaten: a model of its own has not."""
    return {name: rival for name, rival in one.baselines.items() if name != SINGLE_TASK}
