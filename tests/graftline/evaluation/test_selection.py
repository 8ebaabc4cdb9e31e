"""A champion that was chosen by its score: what of its lead is the choice's luck."""

import numpy as np
import pytest
from scipy.stats import norm

from graftline.evaluation.bootstrap import Score
from graftline.evaluation.selection import Chosen, corrected_gain
from tests.support.tiers import seldom

ERROR, LEVEL = 0.006, 0.05


@pytest.mark.parametrize("true", seldom([0.012, 0.016, 0.02], 0.016))
def test_given_that_a_gain_was_shown_it_is_corrected_too_low_as_often_as_too_high(true: float) -> None:
    seen = np.random.default_rng(0).normal(true, ERROR, 4000)
    shown = seen[seen > ERROR * norm.isf(LEVEL / 2)]
    corrected = np.array([corrected_gain(gain, ERROR, level=LEVEL) for gain in shown])
    assert np.mean(corrected <= true) == pytest.approx(0.5, abs=0.03)
    assert np.mean(shown <= true) < 0.47  # uncorrected it is too high more often
    assert corrected.mean() < shown.mean()


def test_a_gain_far_beyond_its_bound_needs_no_correction() -> None:
    assert corrected_gain(0.06, ERROR, level=LEVEL) == pytest.approx(0.06, abs=1e-6)


@pytest.mark.parametrize("gain", [-0.01, 0.0, 0.0001, ERROR * norm.isf(LEVEL / 2), ERROR * norm.isf(LEVEL / 2) + 1e-9])
def test_of_a_gain_that_hardly_was_shown_nothing_is_left(gain: float) -> None:
    assert corrected_gain(gain, ERROR, level=LEVEL) == 0.0


def test_without_an_error_a_gain_stays_what_it_is() -> None:
    assert corrected_gain(0.01, 0.0, level=LEVEL) == 0.01


def test_half_of_the_luck_is_the_champions_own() -> None:
    """Simulated: of two models that are equally good, the one chosen for its lead scores too high by half of it."""
    random = np.random.default_rng(1)
    shared, ours, theirs = random.normal(0, 0.004, (3, 100_000))
    chosen = ours - theirs > 0.01
    lead = (ours - theirs)[chosen].mean()
    seen = Chosen(1000, gain=lead, corrected=0.0, others=0, scores=None)
    assert seen.luck == pytest.approx((shared + ours)[chosen].mean(), rel=0.05)


def test_who_was_chosen_by_a_person_has_no_corrected_gain() -> None:
    assert Chosen(1000, 0.01, None, 50, {"accuracy": Score(0.8, 0.7, 0.9)}).luck is None
