import numpy as np
import pytest

from graftline.watching.estimates import confidence_floor, estimated_score


def held_out(rows: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    confidence = random.uniform(0.5, 1, rows)
    return confidence, (random.random(rows) < confidence).astype(float)


def test_as_many_held_out_rows_lie_above_the_floor_as_are_right() -> None:
    confidence, right = held_out(500, np.random.default_rng(0))
    assert (confidence >= confidence_floor(confidence, right)).mean() == pytest.approx(right.mean())


def test_the_stated_error_is_that_which_is_made_on_rows_of_the_same_kind() -> None:
    random, errors, stated = np.random.default_rng(1), [], []
    for _ in range(100):
        confidence, right = held_out(600, random)
        now, truth = held_out(200, random)
        found = estimated_score(now, confidence, right, random)
        errors.append(found.value - truth.mean())
        stated.append(found.error)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.mean(stated), rel=0.25)


def test_less_confidence_is_a_lower_estimate() -> None:
    random = np.random.default_rng(2)
    confidence, right = held_out(500, random)
    unsure, sure = (estimated_score(confidence + move, confidence, right, random).value for move in (-0.1, 0.0))
    assert unsure < sure


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_a_model_that_is_always_or_never_right_is_estimated_so(right: float) -> None:
    confidence = np.linspace(0.5, 1, 50)
    found = estimated_score(confidence, confidence, np.full(50, right), np.random.default_rng(0))
    assert found.value == right
