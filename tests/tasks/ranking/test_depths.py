"""Whether fine-tunings at several depths bear out the advised block, and which settings tune from it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from graftline.evaluation.bootstrap import Score
from graftline.models.outputs import Outputs
from graftline.settings.adaptation import AdaptationSettings
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.ranking.depths import DepthCheck, check_depths, places_to_train
from graftline.tasks.ranking.features import SeenBase
from graftline.tasks.ranking.points import Point, agreements
from graftline.tasks.ranking.scores import DepthScores, ScoredBase
from graftline.tasks.ranking.tuning import Tuning, setting_of
from graftline.transfer.gradients import BlockGradient

COUNT, MARGIN = 4, 0.02
BASE = BaseModel("path:base", "1", "digest", Path("nowhere"), "mit", 1, (), "reused")


def tuning(first: int | None = 2) -> Tuning:
    """Of a base model of four blocks whose solved head is right on 0.7 of the rows, give or take 0.02."""
    head = DepthScores("head", None, Score(0.7, 0.7 - MARGIN, 0.7 + MARGIN), {}, np.zeros((1, 2)))
    seen = SeenBase(BASE, Outputs("single_label", ("a", "b")), {}, {}, 1, 1.0, ())
    gradients = tuple(BlockGradient(f"backbone.layer.{place}", 1.0, 1.0, 1.0) for place in range(COUNT))
    return Tuning(ScoredBase(seen, (head,)), gradients, first, "tune it")


def point(value: float, until: str | None = None, strategy: str = "partial", **others: str) -> Point:
    chosen = "fine_tuning" if until is None and strategy == "partial" else strategy
    settings = {"strategy": chosen, "freeze_until": str(until), **others}
    return Point(BASE.uri, BASE.digest, chosen, value, settings)


def checked(values: Mapping[str | None, float], first: int | None = 2) -> DepthCheck:
    return check_depths(tuning(first), [point(value, until) for until, value in values.items()])


@pytest.mark.parametrize(
    ("values", "verdict", "said"),
    [
        ({}, "unknown", "trained at 1 of 3 depths here, the head alone counted; `graftline rank --depths`"),
        ({"2": 0.8}, "unknown", "trained at 2 of 3 depths here"),
        ({"1": 0.8, None: 0.9}, "unknown", "none of 2 fine-tunings here is of the advised depth"),
        ({"2": 0.80, None: 0.81}, "undecided", "2 fine-tunings came to 0.8000 to 0.8100, within ±0.0200"),
        ({"2": 0.85, None: 0.8}, "best", "the advised depth is the best of 2 that were fine-tuned (0.8500)"),
        ({"2": 0.84, "3": 0.7, None: 0.85}, "not shown worse", "the best of 3, all of it, to 0.8500: not shown worse"),
        ({"2": 0.7, "0.25": 0.85}, "worse", "came to 0.7000, from block 2 on to 0.8500, by more than ±0.0200"),
    ],
)
def test_the_advice_is_held_against_what_fine_tunings_came_to(
    values: Mapping[str | None, float], verdict: str, said: str
) -> None:
    found = checked(values)
    assert found.verdict == verdict
    assert said in found.sentence


def test_a_freeze_point_means_the_same_by_number_name_and_share() -> None:
    assert checked({"layer.1": 0.8, "0.5": 0.9, "3": 0.7, None: 0.6}).came == {0: 0.6, 1: 0.8, 2: 0.9, 3: 0.7}


def test_only_fine_tunings_that_differ_in_their_depth_alone_are_compared() -> None:
    same = [point(0.8, "1", epochs="3"), point(0.9, "2", epochs="3"), point(0.7, epochs="3")]
    others = [
        point(0.1, "3", epochs="1"),
        point(0.2, "3", "probe_then_fine_tune", epochs="3"),
        point(0.3, "3", "lora", epochs="3"),
        point(0.4, "no block", epochs="3"),
        Point("path:other", "of another", "partial", 0.5, {**same[0].settings, "freeze_until": "3"}),
    ]
    assert check_depths(tuning(), [*others, *same]).came == {0: 0.7, 1: 0.8, 2: 0.9}


def test_without_an_advised_block_there_is_nothing_to_hold_against_anything() -> None:
    assert checked({"2": 0.8, "1": 0.7, None: 0.9}, first=None).verdict == "unknown"


def test_depths_of_one_base_model_count_once_for_the_order_of_several() -> None:
    base = tuning().base
    points = [point(0.8, "1"), point(0.7), point(0.9, "2", seed="1")]
    assert agreements([base], points)["head"].points == 2


@pytest.mark.parametrize(
    ("count", "advised", "places"), [(12, 5, [9, 6, 5, 3, 0]), (6, 4, [4, 3, 2, 0]), (2, None, [1, 0])]
)
def test_quarters_of_the_depth_and_the_advised_one_are_trained_each_once(
    count: int, advised: int | None, places: list[int]
) -> None:
    assert places_to_train(count, advised) == places


@pytest.mark.parametrize(
    ("given", "from_third", "everything"),
    [
        ({}, "probe_then_fine_tune", "probe_then_fine_tune"),
        ({"strategy": "fine_tuning"}, "partial", "fine_tuning"),
        ({"strategy": "partial", "freeze_until": 1}, "partial", "fine_tuning"),
        ({"strategy": "lora", "head": "mlp"}, "lora", "lora"),
        ({"strategy": "feature_extraction"}, "probe_then_fine_tune", "probe_then_fine_tune"),
        ({"strategy": "feature_extraction", "head": "mlp"}, "partial", "fine_tuning"),
        ({"strategy": "auto"}, "probe_then_fine_tune", "probe_then_fine_tune"),
    ],
)
def test_the_settings_that_are_named_are_ones_that_are_accepted(
    given: dict[str, str | int], from_third: str, everything: str
) -> None:
    chosen = AdaptationSettings.model_validate(given)
    third, first = setting_of(chosen, 2), setting_of(chosen, 0)
    assert third == {"strategy": from_third, "freeze_until": "2"}
    assert first == {"strategy": everything, "freeze_until": None}
    for setting in (third, first):
        AdaptationSettings.model_validate({**given, **setting})
