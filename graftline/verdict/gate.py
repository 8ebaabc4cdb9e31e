"""The verdict on a candidate: one pure function of numbers and policy."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from pydantic import JsonValue

from graftline.behaviour.findings import Behaviour
from graftline.evaluation.bootstrap import Difference, Score
from graftline.evaluation.comparison import Comparison
from graftline.evaluation.groups import LEAST_GROUPS
from graftline.evaluation.scoring import Scoring
from graftline.verdict import behaviour_axes, cost_axis, distance_axis, domain_axes, score_axes
from graftline.verdict.axis import Axis
from graftline.verdict.domain_axes import InTargetDomain
from graftline.verdict.life import Allowance
from graftline.verdict.policy import Policy

VerdictName = Literal["PROMOTE", "HOLD", "REJECT"]

# With fewer groups than these a test has to expect that their spread was mismeasured (Cameron and Miller 2015).
MANY_GROUPS = 30
# The worth of the base model: baselines that learn from the same rows, without transfer or without adaptation.
WITHOUT_TRANSFER = ("scratch", "frozen_head")
# The model whose answers the candidate learned beside the labels: to be no worse is all that is asked.
TEACHER = "teacher"


@dataclass(frozen=True)
class Evaluated:
    """All that is known of a candidate."""

    scoring: Scoring
    scores: Mapping[str, Score]
    unfair: Sequence[str] = ()
    """Why the held-out rows are no fair test, such as a changed split."""
    dropped: Sequence[str] = ()
    """The champion's targets that it does not answer."""
    barred: str | None = None
    """Why the candidate may not be promoted whatever its numbers, such as modified data."""
    serving: Mapping[str, float] | None = None
    """Measured numbers by the names of the policy's limits."""
    hostile: Mapping[str, str] | None = None
    """The outcome of each hostile request."""
    behaviour: Behaviour | None = None
    """How it takes changed inputs and treats groups, what it forgot, and how far its rows are from home."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Baselines that there is no comparison with, and why."""
    costs: Mapping[str, Difference] | None = None
    """What answers cost more than the champion's, by how they are chosen."""
    groups: int | None = None
    """How many groups the held-out rows are of, where rows of one group are not independent."""
    target: InTargetDomain | None = None
    """What the labelled rows of the target domain say of it, where there are some."""
    beside_teacher: Mapping[str, float] | None = None
    """The share of answers that are its teacher's, and how many times as fast and as small it is."""


@dataclass(frozen=True)
class Unscored:
    """A champion that could not be scored."""

    why: str


@dataclass(frozen=True)
class Verdict:
    """The decision about a candidate, and why."""

    verdict: VerdictName
    reasons: tuple[str, ...]
    axes: tuple[Axis, ...]

    @property
    def rows_enough(self) -> int | None:
        """How many held-out rows let a candidate that is better by the wanted difference be promoted, four times out
        of five; none where there is nothing to compute it from."""
        return max((rows for axis in self.axes if axis.blocks for rows in _rows_enough(axis)), default=None)

    def as_json(self) -> JsonValue:
        """Plain values."""
        plain: dict[str, JsonValue] = asdict(self)
        return {**plain, "rows_enough": self.rows_enough}


def decide(
    candidate: Evaluated,
    champion: Comparison | Unscored | None,
    *,
    baselines: Mapping[str, Comparison],
    policy: Policy,
    allowed: Allowance | None = None,
) -> Verdict:
    """Judge a candidate beside the champion, if there is one, and the baselines, all on the same rows.

    An axis that is lost rejects it, one that is open holds it, unless the policy has that axis only advise. The first
    model has no champion to beat. Baselines named `scratch` and `frozen_head` are those of negative transfer, all
    others cost nothing. One that is left out makes its axis unknown, which has no consequence. What earlier candidates
    left of the rows' evidence is `allowed`: of those of the target domain, where the policy wants the improvement
    there.
    """
    return verdict_of(axes_of(candidate, champion, baselines, policy, allowed), champion, policy)


def verdict_of(axes: Sequence[Axis], champion: Comparison | Unscored | None, policy: Policy) -> Verdict:
    """What follows from all axes; `champion` is the comparison that has to be won, if there is one."""
    table = tuple(axes)
    rejected = tuple(axis.sentence for axis in table if axis.consequence == "REJECT")
    held = tuple(axis.sentence for axis in table if axis.consequence == "HOLD")
    if rejected:
        return Verdict("REJECT", rejected, table)
    if held:
        verdict = Verdict("HOLD", held, table)
        return Verdict("HOLD", (*held, *_advice(verdict, champion, policy)), table)
    if champion is None:
        return Verdict("PROMOTE", ("the first model, and it reaches every floor",), table)
    shown = "champion" if policy.improvement == "held_out" else domain_axes.NAME
    return Verdict("PROMOTE", tuple(axis.sentence for axis in table if axis.name == shown), table)


def axes_of(
    candidate: Evaluated,
    champion: Comparison | Unscored | None,
    baselines: Mapping[str, Comparison],
    policy: Policy,
    allowed: Allowance | None,
) -> list[Axis]:
    """Every side of a candidate for one target."""
    scoring, effects = candidate.scoring, policy.effects
    learned = {name: rival for name, rival in baselines.items() if name in WITHOUT_TRANSFER}
    free = {name: rival for name, rival in baselines.items() if name not in (*WITHOUT_TRANSFER, TEACHER)}
    if policy.improvement == "target_domain" and candidate.target:  # transfer has to be worth it there
        learned = {name: rival for name, rival in candidate.target.rivals.items() if name in WITHOUT_TRANSFER}
    unlearned = {name: why for name, why in candidate.left_out.items() if name in WITHOUT_TRANSFER}
    left_out = {name: why for name, why in candidate.left_out.items() if name not in WITHOUT_TRANSFER}
    advising = {name.replace("_", " ") for name, effect in effects.model_dump().items() if effect == "advise"}
    found = [
        score_axes.floors(candidate.scores, scoring, policy),
        *_against_the_champion(candidate, champion, policy, allowed),
        *(
            [domain_axes.target_domain(candidate.target, scoring, policy, allowed)]
            if candidate.target or policy.improvement == "target_domain"
            else []
        ),
        score_axes.better_than(
            "baseline", free, scoring, policy, margins={}, left_out=left_out, nothing="no baseline was given"
        ),
        score_axes.better_than(
            "negative transfer",
            learned,
            scoring,
            policy,
            margins=policy.negative_transfer.model_dump(),
            left_out=unlearned,
            nothing="not compared with training from scratch nor with a frozen base model",
        ),
        *_beside_the_teacher(candidate, baselines, policy),
        score_axes.serving(candidate.serving, policy),
        behaviour_axes.hostile_requests(candidate.hostile),
        behaviour_axes.robustness(candidate.behaviour, policy),
        behaviour_axes.bias(candidate.behaviour, policy),
        behaviour_axes.retention(candidate.behaviour, policy),
        *distance_axis.distance(candidate.behaviour, policy),
        *cost_axis.costs(candidate.costs, policy, has_champion=isinstance(champion, Comparison)),
        *_dropped(candidate.dropped),
        _held_back("test rows", [*candidate.unfair, *_too_few(candidate.groups)], _well(candidate.groups)),
        _held_back("data version", [candidate.barred] if candidate.barred else [], "the data are as versioned"),
    ]
    return [axis.as_advice() if axis.name in advising else axis for axis in found]


def _against_the_champion(
    candidate: Evaluated, champion: Comparison | Unscored | None, policy: Policy, allowed: Allowance | None
) -> list[Axis]:
    if champion is None:
        return [Axis("champion", "unknown", "there is no champion to compare with", asked=False)]
    if isinstance(champion, Unscored):
        return [Axis("champion", "unknown", champion.why, "HOLD")]
    judged = sum(score_axes.is_judged(part, policy) for part in champion.slices)
    tests = len(candidate.scoring.better) - 1 + judged
    return [
        score_axes.champion(champion, candidate.scoring, policy, allowed)
        if policy.improvement == "held_out"
        else domain_axes.no_worse_than_champion(champion, policy),
        score_axes.other_scores(champion, candidate.scoring, policy, tests=tests),
        score_axes.slices(champion, policy, tests=tests),
    ]


def _beside_the_teacher(candidate: Evaluated, baselines: Mapping[str, Comparison], policy: Policy) -> list[Axis]:
    """An axis of those only that had one."""
    rival, beside = baselines.get(TEACHER), candidate.beside_teacher or {}
    return [] if rival is None else [score_axes.teacher(rival, beside, candidate.scoring, policy)]


def _held_back(name: str, why: Sequence[str], well: str) -> Axis:
    return Axis(name, "loss", "; ".join(why), "HOLD") if why else Axis(name, "win", well)


def _dropped(targets: Sequence[str]) -> list[Axis]:
    """Whoever asks the alias for these would get none any more."""
    if not targets:
        return []
    why = (
        f"the champion answers {', '.join(targets)}, too, which this version does not: name what is missing in"
        " data.targets, or have a person override this verdict"
    )
    return [Axis("dropped targets", "loss", why, "HOLD")]


def _too_few(groups: int | None) -> list[str]:
    if groups is None or groups >= LEAST_GROUPS:
        return []
    few = "only one group" if groups == 1 else f"only {groups} groups"
    return [
        f"more groups needed: the held-out rows are of {few} (data.group), which do not tell how much others differ;"
        f" expected {LEAST_GROUPS} or more: add some, or enlarge data.test_share"
    ]


def _well(groups: int | None) -> str:
    fair = "nothing was chosen by the held-out rows"
    if groups is None:
        return fair
    few = f", which is few: only large differences can be shown by fewer than {MANY_GROUPS}"
    return f"{fair}; they are of {groups:,} groups{few if groups < MANY_GROUPS else ''}"


def _rows_enough(axis: Axis) -> list[int]:
    """The counts of held-out rows that the axis and its parts name."""
    every = (axis.numbers or {}, *(part.numbers for part in axis.parts))
    return [int(rows) for numbers in every if (rows := numbers.get("rows_enough")) is not None]


def _advice(held: Verdict, champion: Comparison | Unscored | None, policy: Policy) -> list[str]:
    """How many rows would be enough, where more rows help."""
    open_axes = [
        axis
        for axis in held.axes
        # Some axes are open for want of something else than held-out rows.
        if axis.consequence == "HOLD" and axis.outcome in ("tie", "unknown") and _rows_enough(axis)
    ]
    enough = held.rows_enough
    if not isinstance(champion, Comparison) or not open_axes or enough is None:
        return []
    rows, these = champion.gains.rows, f"{champion.gains.rows:,}"
    more = f"{enough:,} held-out rows"
    if grouped := champion.gains.grouped:
        these = f"{rows:,} of {grouped.groups:,} groups"
        more += f" of {-(-enough * grouped.groups // rows):,} groups such as these"
    if enough <= rows:
        return [
            f"{rows:,} held-out rows are enough to show a difference of {policy.wanted_difference:g}, so this"
            " candidate's is probably smaller: a better one helps, more rows do not"
        ]
    return [
        f"{more} would be enough to show a difference of {policy.wanted_difference:g} four times out of five, these are"
        f" {these}"
    ]
