"""What a search may try: around the settings as they are, for the strategies that suit them."""

import pytest

from graftline.errors import SettingsError
from graftline.search.space import (
    DECAY,
    FROZEN,
    HEAD_RATE,
    RANK,
    RATE,
    RATE_OF_FEW,
    changed,
    space_of,
    strategies_named,
)
from graftline.settings import AdaptationSettings, Strategy

USUAL = AdaptationSettings(device="cpu")


@pytest.mark.parametrize(
    ("strategy", "drawn"),
    [
        ("probe_then_fine_tune", {RATE, DECAY, FROZEN}),
        ("fine_tuning", {RATE, DECAY, HEAD_RATE}),
        ("lora", {RATE_OF_FEW, HEAD_RATE, FROZEN, RANK}),
        ("partial", {RATE, DECAY, HEAD_RATE, FROZEN}),
    ],
)
def test_of_each_strategy_that_is_drawn_which_changes_its_result(strategy: Strategy, drawn: set[str]) -> None:
    assert set(space_of(USUAL, [strategy]).ranges(strategy)) == drawn


def test_rates_are_tried_around_those_of_the_settings_and_above_them_where_few_weights_learn() -> None:
    space = space_of(USUAL.model_copy(update={"learning_rate": 3e-4}))
    around, above = space.ranges("fine_tuning")[RATE], space.ranges("lora")[RATE_OF_FEW]
    assert (around.low, around.high) == pytest.approx((6e-5, 1.5e-3))
    assert (above.low, above.high) == pytest.approx((3e-4, 1.5e-2))
    assert space_of(USUAL.model_copy(update={"learning_rate": 0.5})).ranges("lora")[RATE_OF_FEW].high == 1.0


def test_partial_is_never_drawn_without_a_freeze_point_and_none_means_nothing_is_frozen() -> None:
    space = space_of(USUAL, ["partial", "lora"])
    assert space.ranges("partial")[FROZEN].low > 0
    assert space.settings_with({"strategy": "lora", FROZEN: 0.0}).freeze_until is None
    assert space.settings_with({"strategy": "lora", FROZEN: 0.5}).freeze_until == "0.5"


def test_first_come_the_settings_as_they_are_and_the_solved_head_alone() -> None:
    first = space_of(USUAL).begins_with
    assert [one.strategy for one in first] == [USUAL.strategy, "feature_extraction"]
    assert first[0] == USUAL
    solved = AdaptationSettings(device="cpu", strategy="feature_extraction")
    assert space_of(solved).begins_with == (solved,)


def test_settings_inside_of_the_space_are_what_would_have_been_drawn_and_others_are_nothing() -> None:
    space = space_of(USUAL)
    values = space.values_of(USUAL)
    assert values == {"strategy": "probe_then_fine_tune", RATE: 5e-5, DECAY: 1.0, FROZEN: 0.0}
    assert space.settings_with(values) == USUAL
    for outside in ({"freeze_until": "encoder.layer.3"}, {"layer_decay": 0.75}, {"strategy": "norm_only"}):
        assert space.values_of(USUAL.model_copy(update=outside)) == {}


def test_what_was_found_is_told_as_the_settings_that_differ() -> None:
    found = space_of(USUAL).settings_with({"strategy": "lora", RATE_OF_FEW: 4e-4, RANK: 16, FROZEN: 0.0})
    assert changed(USUAL, found) == {"strategy": "lora", "learning_rate": 4e-4, "lora_rank": 16}


def test_a_range_test_does_not_undo_what_is_drawn() -> None:
    space = space_of(USUAL.model_copy(update={"find_learning_rate": True}))
    assert not space.settings_with({"strategy": "fine_tuning", RATE: 1e-4}).find_learning_rate


def test_strategies_that_do_not_suit_the_other_settings_are_left_out_or_refused_where_they_are_named() -> None:
    deep = USUAL.model_copy(update={"strategy": "fine_tuning", "head": "mlp"})
    assert space_of(deep).strategies == ("fine_tuning", "lora")
    with pytest.raises(SettingsError, match=r"probe_then_fine_tune does not suit the other settings: .* head linear"):
        space_of(deep, ["probe_then_fine_tune"])
    several = USUAL.model_copy(update={"runs": 2})
    assert [one.strategy for one in space_of(several).begins_with] == [USUAL.strategy]


def test_strategies_are_named_in_a_text_and_a_faulty_one_is_refused_with_the_one_that_was_meant() -> None:
    assert strategies_named(" lora, partial,") == ["partial", "lora"]
    assert strategies_named("") == []
    with pytest.raises(
        SettingsError, match=r"--strategies: 'lara' is none of feature_extraction, .*; did you mean 'lora'"
    ):
        strategies_named("lara")
    with pytest.raises(SettingsError, match="feature_extraction has a solved head and nothing to search for"):
        space_of(USUAL, ["feature_extraction"])
