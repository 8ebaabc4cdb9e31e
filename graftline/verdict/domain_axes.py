"""The axis of the target domain: whether a model is fit for where it will work, on the labelled rows of there."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from graftline.evaluation.comparison import Comparison
from graftline.evaluation.groups import LEAST_GROUPS
from graftline.evaluation.paired_tests import margin_p_values, rows_for_gains
from graftline.evaluation.scoring import Scoring
from graftline.verdict import score_axes
from graftline.verdict.axis import POWER, Axis, Consequence, Outcome, Part, worst
from graftline.verdict.life import Allowance
from graftline.verdict.policy import Policy

NAME, PLAIN = "target domain", "plain_training"


@dataclass(frozen=True)
class InTargetDomain:
    """What the labelled rows of the target domain say of a candidate."""

    champion: Comparison | None = None
    rivals: Mapping[str, Comparison] = field(default_factory=dict)
    """Baselines; under `PLAIN` the same training without a way into the domain, if the candidate went one."""
    obstacle: str | None = None
    """Why the champion could not be scored there, if so."""


def target_domain(seen: InTargetDomain | None, scoring: Scoring, policy: Policy, allowed: Allowance | None) -> Axis:
    """Whether a model is fit for the target domain: beside its baselines, plain training and the champion.

    It must not be worse than a baseline, and better than plain training if it went a way into the domain. The champion
    it must beat by the rule of the axis champion, with what earlier looks at these rows left, where the policy wants
    the improvement there; otherwise it has to be shown that it loses no more than `slice_margin`.
    """
    if seen is None:
        nothing = "the policy wants the improvement in the target domain, but the settings name no rows of it"
        return Axis(NAME, "unknown", f"{nothing}; set evaluation.target_rows", "HOLD")
    judged = [_beside_baseline(key, rival, scoring) for key, rival in seen.rivals.items()]
    numbers = None
    if seen.obstacle:
        judged.append((Part("champion", "unknown", {}, seen.obstacle), "HOLD"))
    elif seen.champion is not None and policy.improvement == "target_domain":
        axis = score_axes.champion(seen.champion, scoring, policy, allowed)
        numbers = axis.numbers
        judged.append((Part("champion", axis.outcome, axis.numbers or {}, axis.sentence), axis.consequence))
    elif seen.champion is not None:
        judged.append(_no_worse("champion", seen.champion, policy))
    parts = [part for part, _ in judged]
    failed = [(part, consequence) for part, consequence in judged if consequence]
    consequences = {consequence for _, consequence in failed}
    sentence = "; ".join(part.sentence for part, _ in failed or judged) or "nothing was compared there"
    leads: Consequence | None = "REJECT" if "REJECT" in consequences else "HOLD" if consequences else None
    return Axis(NAME, worst(parts), f"in the target domain {sentence}", leads, numbers=numbers, parts=parts)


def no_worse_than_champion(rival: Comparison, policy: Policy) -> Axis:
    """The axis champion where the policy wants the improvement elsewhere: it loses no more than `slice_margin`."""
    part, consequence = _no_worse("champion", rival, policy)
    return Axis("champion", part.outcome, part.sentence, consequence, numbers=part.numbers)


Judged = tuple[Part, Consequence | None]


def _beside_baseline(key: str, rival: Comparison, scoring: Scoring) -> Judged:
    seen = rival.differences[scoring.primary]
    outcome: Outcome = "win" if seen.low > 0 else "loss" if seen.high < 0 else "tie"
    words = {"win": "better than", "tie": "not shown to be better than", "loss": "worse than"}[outcome]
    reached = rival.scores[scoring.primary].value
    sentence = f"{words} {rival.against} ({reached:.4f}): {score_axes.with_interval(scoring.primary, seen)}"
    consequence: Consequence | None = "REJECT" if outcome == "loss" else None
    if key == PLAIN and outcome != "win":
        consequence = consequence or "HOLD"
        sentence += "; keep plain training (adaptation.domain: none)"
    numbers = {"difference": seen.value, "low": seen.low, "high": seen.high, "theirs": reached}
    return Part(key, outcome, numbers, sentence), consequence


def _no_worse(name: str, rival: Comparison, policy: Policy) -> Judged:
    seen, margin, level = rival.gains, policy.slice_margin, policy.significance / 2
    if seen.grouped is not None and seen.grouped.groups < LEAST_GROUPS:
        few = f"too few groups to judge, expected {LEAST_GROUPS} or more"
        return Part(name, "unknown", {"rows": seen.rows}, few), "HOLD"
    within, beyond = margin_p_values(seen, margin=margin)
    outcome: Outcome = "tie" if within <= level else "loss" if beyond <= level else "unknown"
    words = {"tie": f"no worse than by {margin:g}", "loss": f"worse by more than {margin:g}"}
    said = words.get(outcome, f"may be worse by more than {margin:g}")
    sentence = f"{said} beside {rival.against}: {seen.mean:+.4f} on {seen.rows:,} rows"
    numbers = {"rows": seen.rows, "difference": seen.mean, "margin": margin, "p": within}
    if outcome == "unknown":
        enough = rows_for_gains(seen, distance=margin, level=policy.significance, power=POWER)
        # Not among the `rows_enough` of the verdict, which are held-out rows of the data.
        numbers["target_rows_enough"] = enough
        sentence += f"; if nothing is lost, about {enough:,} such rows show it four times out of five"
    consequences: dict[Outcome, Consequence] = {"loss": "REJECT", "unknown": "HOLD"}
    return Part(name, outcome, numbers, sentence), consequences.get(outcome)
