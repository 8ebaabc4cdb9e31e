"""Rankings of several seeds in one table: means with Student's interval, and how each score orders the fine-tunings."""

import pytest

from benchmarks.scores.ranking import Ranked, over, table, taus


def project(*tuned: float | None) -> list[Ranked]:
    """Base models whose solved heads come to 0.1, 0.2 and so on, and whose LogME says the opposite."""
    return [
        Ranked(f"path:{place}", 1.5, 10, {"head": place / 10, "logme": -place / 10}, value)
        for place, value in enumerate(tuned, 1)
    ]


def test_the_interval_over_seeds_is_students() -> None:
    # The quantile of 2 degrees of freedom is 4.303, from the tables.
    found = over([0.7, 0.8, 0.9])
    assert found.mean == pytest.approx(0.8)
    assert found.half == pytest.approx(4.303 * 0.1 / 3**0.5, abs=1e-4)


def test_one_seed_has_no_interval() -> None:
    assert str(over([0.75])) == "0.750"


def test_base_models_stand_in_the_order_of_their_solved_heads() -> None:
    _, _, best, worst = table([project(0.5, 0.6), project(0.7, 0.8)])
    assert best.startswith("| path:2 | 1.5 | 10 | 0.200 ± 0.000 | -0.200 ± 0.000 | 0.700 ± ")
    assert worst.startswith("| path:1 ")


def test_a_base_model_that_was_not_fine_tuned_with_every_seed_has_no_mean() -> None:
    _, _, best, worst = table([project(0.5, 0.6), project(0.7, None)])
    assert best.endswith("| - |")
    assert "0.600 ± " in worst


def test_scores_are_judged_by_seed() -> None:
    _, _, head, logme = taus([project(0.5, 0.6, 0.7), project(0.5, 0.6, 0.7)])
    assert head == "| head | 1.00 | 1.00 | 1.000 ± 0.000 |"
    assert logme == "| logme | -1.00 | -1.00 | -1.000 ± 0.000 |"


def test_where_all_came_to_the_same_nothing_is_foretold() -> None:
    _, _, head, _ = taus([project(0.5, 0.6), project(0.5, 0.5)])
    assert head == "| head | 1.00 | - | - |"


def test_projects_of_other_base_models_are_not_joined() -> None:
    with pytest.raises(ValueError, match="shorter"):
        table([project(0.5, 0.6), project(0.5)])
