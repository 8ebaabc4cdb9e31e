"""The limit of the distance from home, by its interval."""

import numpy as np
import pytest

from graftline.behaviour.findings import Behaviour, behaviour_of
from graftline.transfer.distances import distances
from graftline.transfer.pairs import Pair
from graftline.verdict.distance_axis import distance
from graftline.verdict.policy import DistanceLimits, Policy


@pytest.fixture(scope="module")
def apart() -> Behaviour:
    random = np.random.default_rng(0)
    home, rows = random.standard_normal((2, 120, 4)).astype(np.float32)
    found = distances(home, rows + 1, seed=0, divisions=19)
    return Behaviour(distances=[Pair("source task", "evaluation.probe", "the rows to learn from", found)])


def test_a_distance_is_too_large_when_its_whole_interval_is(apart: Behaviour) -> None:
    found = apart.distances[0].distances
    for limit, outcome, consequence in (
        (found.a_low - 0.01, "loss", "REJECT"),
        (found.a_distance.value - 0.01, "unknown", "HOLD"),
        (found.a_high, "tie", None),
    ):
        (axis,) = distance(apart, Policy(distance=DistanceLimits(a_distance=limit)))
        assert (axis.outcome, axis.consequence) == (outcome, consequence)
        assert ("expected" in axis.sentence) == (consequence is not None)
        assert axis.parts[0].numbers["a_distance"] == found.a_distance.value


def test_a_behaviour_with_distances_is_what_it_was_once_it_was_written(apart: Behaviour) -> None:
    assert list(behaviour_of(apart.as_json()).distances) == list(apart.distances)
    written = Behaviour().as_json()
    assert isinstance(written, dict)
    assert "distances" not in written
