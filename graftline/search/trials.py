"""Trials of a search: what is tried next, when one is given up, which is best, and what made the difference.

Everything follows from the trials before and a seed, so a search that was killed goes on as if it had not been.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from graftline.search.space import STRATEGY, Range, Space, Value, Values, rounded
from graftline.settings.adaptation import AdaptationSettings, Strategy

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial as Draw

State = Literal["finished", "pruned", "failed"]

# So many are drawn at random before the others follow from them. Optuna's 10 are half of a usual search.
RANDOM_TRIALS = 6
# Trials of a strategy that must have gone through all epochs before one is given up for being below their median.
LEAST_FINISHED = 3
# Fewer say nothing of what made the difference.
LEAST_FOR_IMPORTANCE = 8


@dataclass(frozen=True)
class Proposal:
    """What is tried next."""

    settings: AdaptationSettings
    values: Values
    """As they were drawn; none of what lies outside of the space."""


@dataclass(frozen=True)
class Trial:
    """One way to adapt, and what came of it."""

    values: Values
    settings: AdaptationSettings
    state: State
    scores: Mapping[int, float]
    """The primary score on the validation rows, by epoch."""
    losses: Mapping[int, float]
    why: str
    """The reason of one that failed; otherwise empty."""
    seconds: float

    @property
    def best(self) -> tuple[float, float]:
        """The score and the loss of its best epoch. Of one that failed before its first: minus and plus infinity."""
        epoch = min(self.scores, key=lambda one: (-self.scores[one], self.losses[one]), default=None)
        return (-math.inf, math.inf) if epoch is None else (self.scores[epoch], self.losses[epoch])


def proposed(space: Space, before: Sequence[Trial], *, seed: int, beside: Sequence[Proposal] = ()) -> Proposal:
    """What to try after these trials: first what the space begins with, then what Optuna's TPE draws.

    TPE (Bergstra et al. 2011) draws where good trials were dense and bad ones were not. What is tried at once, `beside`
    it, counts as bad ("constant liar", Ginsbourger et al. 2010), so that not all of them are alike.
    """
    place = len(before) + len(beside)
    if place < len(space.begins_with):
        settings = space.begins_with[place]
        return Proposal(settings, space.values_of(settings))
    draw = _study(space, before, seed, beside).ask()
    strategy: Strategy = draw.suggest_categorical(STRATEGY, space.strategies)  # type: ignore[assignment]
    values: dict[str, Value] = {STRATEGY: strategy}
    values |= {name: _drawn(draw, name, one) for name, one in space.ranges(strategy).items()}
    return Proposal(space.settings_with(values), values)


def proposed_at_once(space: Space, before: Sequence[Trial], *, seed: int, count: int) -> list[Proposal]:
    """The next so many, none of which waits for another."""
    proposals: list[Proposal] = []
    for _ in range(count):
        proposals.append(proposed(space, before, seed=seed, beside=proposals))
    return proposals


def is_given_up(space: Space, before: Sequence[Trial], strategy: Strategy, scores: Mapping[int, float]) -> bool:
    """Whether a trial with these scores, by epoch, does worse than half of those of its strategy before it.

    Optuna's median rule: its best score so far is below the median of theirs at that epoch. Not of all trials: where a
    head begins solved, the first epoch is far ahead of one that begins at random, and says nothing of the last.
    """
    alike = [trial for trial in before if trial.settings.named_strategy == strategy]
    trial = _study(space, alike, seed=0).ask()
    for epoch, score in sorted(scores.items()):
        trial.report(score, epoch)
        if trial.should_prune():
            return True
    return False


def best_trial(trials: Sequence[Trial]) -> int | None:
    """The place of the one with the highest score, then the lowest loss, then the first; None if all failed."""
    places = [place for place, trial in enumerate(trials) if trial.state == "finished"]
    return min(places, key=lambda place: (-trials[place].best[0], trials[place].best[1], place), default=None)


def importances(space: Space, trials: Sequence[Trial]) -> dict[str, float]:
    """The share of each drawn value in what tells the best trials from the others, the largest first; sums to 1.

    Conditional PED-ANOVA (arXiv 2304.10255, 2601.20800), which Optuna has. Empty where too few trials finished.
    """
    drawn = [trial for trial in trials if trial.values and trial.state == "finished"]
    if len(drawn) < LEAST_FOR_IMPORTANCE:
        return {}
    from optuna.importance import get_param_importances

    return {name: float(share) for name, share in get_param_importances(_study(space, drawn, seed=0)).items()}


def begins_another(trials: Sequence[Trial], *, spent_seconds: float, limit_seconds: float | None) -> bool:
    """Whether one more trial is expected to end in time, by the mean of those that went through all epochs."""
    whole = [trial.seconds for trial in trials if trial.state == "finished"]
    if limit_seconds is None or not trials:
        return True
    return spent_seconds + (sum(whole) / len(whole) if whole else 0.0) < limit_seconds


def _study(space: Space, trials: Sequence[Trial], seed: int, beside: Sequence[Proposal] = ()) -> "Study":
    """Optuna's study of these trials, as if it had just run them; its next draw depends on nothing else.

    Those `beside` it run still.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    own_seed = int(np.random.SeedSequence([seed, len(trials) + len(beside)]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(seed=own_seed, n_startup_trials=RANDOM_TRIALS, constant_liar=bool(beside))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=LEAST_FINISHED, n_min_trials=LEAST_FINISHED)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    study.add_trials([_as_optuna_has_it(space, trial) for trial in trials])
    for one in beside:
        of = _distributions(space, one.values, one.settings)
        study.add_trial(create_trial(state=TrialState.RUNNING, params=dict(one.values), distributions=of))
    return study


def _distributions(space: Space, values: Values, settings: AdaptationSettings) -> "dict[str, BaseDistribution]":
    """From which the values were drawn; none of what lies outside of the space."""
    from optuna.distributions import CategoricalDistribution

    if not values:
        return {}
    ranges = space.ranges(settings.named_strategy)
    return {STRATEGY: CategoricalDistribution(space.strategies)} | {
        name: _distribution(one) for name, one in ranges.items()
    }


def _as_optuna_has_it(space: Space, trial: Trial) -> "FrozenTrial":
    """One that failed counts as given up before its first epoch: the worst there is, so its likes are avoided."""
    from optuna.trial import TrialState, create_trial

    return create_trial(
        state=TrialState.COMPLETE if trial.state == "finished" else TrialState.PRUNED,
        value=trial.best[0] if trial.state == "finished" else None,
        params=dict(trial.values),
        distributions=_distributions(space, trial.values, trial.settings),
        intermediate_values={} if trial.state == "failed" else dict(trial.scores),
    )


def _distribution(one: Range) -> "BaseDistribution":
    from optuna.distributions import FloatDistribution, IntDistribution

    if one.way == "whole":
        return IntDistribution(int(one.low), int(one.high), log=True)
    return FloatDistribution(one.low, one.high, log=one.way == "log", step=one.step)


def _drawn(draw: "Draw", name: str, one: Range) -> Value:
    if one.way == "whole":
        return draw.suggest_int(name, int(one.low), int(one.high), log=True)
    return rounded(draw.suggest_float(name, one.low, one.high, log=one.way == "log", step=one.step))
