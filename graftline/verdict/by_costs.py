"""The verdict where the policy has costs decide: what answers cost takes the place of the task's main score."""

from collections.abc import Mapping
from dataclasses import replace

from graftline.errors import SettingsError
from graftline.evaluation.comparison import Comparison
from graftline.evaluation.costs import priced_scoring
from graftline.settings import Settings
from graftline.verdict import gate
from graftline.verdict.gate import Evaluated, Unscored, Verdict
from graftline.verdict.life import Allowance
from graftline.verdict.policy import POLICY, Policy


def require_costs(policy: Policy, settings: Settings) -> None:
    """Raises: SettingsError where costs are to decide, and the settings name none, or more than they decide about."""
    if policy.main_score == "task":
        return
    if not settings.evaluation.costs:
        raise SettingsError(
            f"{POLICY}: main_score costs without evaluation.costs: name there what a wrong answer costs, as in"
            " spam > ham: 5, or set main_score to task"
        )
    more = {"data.targets": settings.data.targets, "evaluation.target_rows": settings.evaluation.target_rows}
    for name in (name for name, value in more.items() if value):
        raise SettingsError(
            f"{POLICY}: main_score costs with {name}: costs decide about one target on its held-out rows; leave"
            f" {name} empty, or set main_score to task"
        )


def decide(
    candidate: Evaluated,
    champion: Comparison | Unscored | None,
    priced: Comparison | None,
    *,
    baselines: Mapping[str, tuple[Comparison, Comparison]],
    policy: Policy,
    allowed: Allowance | None = None,
) -> Verdict:
    """Judge a candidate as `gate.decide` does, by what its answers cost.

    Of the champion and of each baseline the comparison of all scores, and that of the costs (`priced`). There is one
    test against the champion, on costs, with the level that the life of the rows leaves: so the yearly promise is the
    same. The task's main score becomes one of the others, which must be no worse by their margins; slices are judged
    by it as ever.
    """
    rival = champion
    if isinstance(champion, Comparison) and priced is not None:
        rival = _together(champion, priced)
    return gate.decide(
        replace(candidate, scoring=priced_scoring(candidate.scoring)),
        rival,
        baselines={name: _together(*pair) for name, pair in baselines.items()},
        policy=policy,
        allowed=allowed,
    )


def _together(seen: Comparison, priced: Comparison) -> Comparison:
    return replace(
        seen,
        scores={**seen.scores, **priced.scores},
        differences={**seen.differences, **priced.differences},
        gains=priced.gains,
    )
