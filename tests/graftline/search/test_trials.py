"""What is tried next, what is given up, and which trial is the best: all of it from the trials before and a seed."""

import math
from collections.abc import Sequence
from statistics import median

import pytest

from graftline.search.space import RATE, STRATEGY, Space, space_of
from graftline.search.trials import (
    LEAST_FINISHED,
    LEAST_FOR_IMPORTANCE,
    Proposal,
    State,
    Trial,
    begins_another,
    best_trial,
    importances,
    is_given_up,
    proposed,
    proposed_at_once,
)
from graftline.settings import AdaptationSettings

SPACE = space_of(AdaptationSettings(device="cpu"))
BEST_RATE = 2e-4


def trial(proposal: Proposal, scores: Sequence[float], state: State = "finished", seconds: float = 1.0) -> Trial:
    by_epoch = dict(enumerate(scores, 1))
    losses = {epoch: 1 - score for epoch, score in by_epoch.items()}
    return Trial(proposal.values, proposal.settings, state, by_epoch, losses, "", seconds)


def score_of(settings: AdaptationSettings) -> float:
    """A landscape with its top at one rate of one strategy."""
    top = 0.9 if settings.strategy == "fine_tuning" else 0.7
    return top - 0.1 * abs(math.log10(settings.learning_rate / BEST_RATE))


def searched(space: Space, count: int, *, seed: int = 0, begun: Sequence[Trial] = ()) -> list[Trial]:
    trials = list(begun)
    while len(trials) < count:
        proposal = proposed(space, trials, seed=seed)
        trials.append(trial(proposal, [score_of(proposal.settings)]))
    return trials


def test_the_same_seed_tries_the_same_whether_or_not_it_was_interrupted() -> None:
    whole = searched(SPACE, 14)
    for kept in (1, 2, 7, 13):
        assert searched(SPACE, 14, begun=whole[:kept]) == whole
    assert searched(SPACE, 14, seed=1)[:2] == whole[:2], "what comes first is not drawn"
    assert searched(SPACE, 14, seed=1)[2:] != whole[2:]


def test_what_is_tried_at_once_follows_from_what_was_before_all_of_it_and_differs() -> None:
    begun = searched(SPACE, 9)
    four = proposed_at_once(SPACE, begun, seed=0, count=4)
    assert four[:2] == proposed_at_once(SPACE, begun, seed=0, count=2)
    assert four[:1] == [proposed(SPACE, begun, seed=0)]
    assert len({one.settings for one in four}) == 4
    assert [one.settings for one in proposed_at_once(SPACE, [], seed=0, count=2)] == list(SPACE.begins_with)


def test_what_is_drawn_lies_in_its_range_in_digits_that_a_person_writes_and_differs() -> None:
    trials = searched(SPACE, 20)[2:]
    assert {one.settings.strategy for one in trials} == {"probe_then_fine_tune", "fine_tuning", "lora"}
    for one in trials:
        for name, drawn in SPACE.ranges(one.settings.named_strategy).items():
            assert drawn.low <= float(one.values[name]) <= drawn.high
        assert float(f"{one.settings.learning_rate:.2g}") == one.settings.learning_rate
    assert len({str(one.values) for one in trials}) == len(trials)


def test_later_trials_are_drawn_where_earlier_ones_were_good() -> None:
    trials = searched(SPACE, 40)
    early, late = trials[2:12], trials[-10:]
    assert sum(score_of(one.settings) for one in late) > sum(score_of(one.settings) for one in early)
    best = best_trial(trials)
    assert best is not None
    assert trials[best].settings.strategy == "fine_tuning"


def test_a_trial_is_given_up_below_the_median_of_those_of_its_strategy_at_that_epoch() -> None:
    proposal = Proposal(SPACE.settings_with({STRATEGY: "fine_tuning", RATE: 1e-4}), {})
    other = Proposal(SPACE.settings_with({STRATEGY: "lora"}), {})
    curves = [[0.5, 0.7], [0.6, 0.65], [0.4, 0.8], [0.55, 0.6]]
    before = [trial(proposal, curve) for curve in curves]
    solved = [trial(other, [0.9, 0.9]) for _ in range(5)]
    for scores in ([0.51], [0.53], [0.3, 0.6], [0.3, 0.69], [0.7, 0.1]):
        epochs = dict(enumerate(scores, 1))
        expected = any(
            max(scores[:epoch]) < median(curve[epoch - 1] for curve in curves) for epoch in range(1, len(scores) + 1)
        )
        assert is_given_up(SPACE, [*before, *solved], "fine_tuning", epochs) == expected, scores
    few = before[: LEAST_FINISHED - 1]
    assert not is_given_up(SPACE, [*few, *solved], "fine_tuning", {1: 0.0})


def test_the_best_is_the_highest_then_the_surest_then_the_first_and_never_one_that_was_given_up() -> None:
    proposal = Proposal(SPACE.settings, {})
    trials = [
        trial(proposal, [0.9], "failed"),
        trial(proposal, [0.5, 0.7]),
        trial(proposal, [0.8], "pruned"),
        trial(proposal, [0.7, 0.6]),
    ]
    assert best_trial(trials) == 1
    assert best_trial(trials[:1]) is None


def test_a_trial_that_failed_is_told_as_the_worst_and_the_search_goes_on() -> None:
    trials = searched(SPACE, 10)
    trials[4] = Trial(trials[4].values, trials[4].settings, "failed", {}, {}, "diverged", 1.0)
    assert trials[4].best == (-math.inf, math.inf)
    assert proposed(SPACE, trials, seed=0).values


def test_what_made_the_difference_is_told_once_enough_trials_tell_it() -> None:
    assert importances(SPACE, searched(SPACE, LEAST_FOR_IMPORTANCE)) == {}  # two of them were not drawn
    found = importances(SPACE, searched(SPACE, 24))
    assert sum(found.values()) == pytest.approx(1)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert found[STRATEGY] > found["lora_rank"]


def test_no_trial_begins_that_is_not_expected_to_end_in_time() -> None:
    whole = trial(Proposal(SPACE.settings, {}), [0.5], seconds=100)
    short = trial(Proposal(SPACE.settings, {}), [0.5], "pruned", seconds=1)
    assert begins_another([], spent_seconds=0, limit_seconds=1), "without a trial there is nothing to go by"
    assert begins_another([whole, short], spent_seconds=50, limit_seconds=200)
    assert not begins_another([whole, short], spent_seconds=101, limit_seconds=200)
    assert begins_another([whole], spent_seconds=1e9, limit_seconds=None)
