"""A target is a label, several labels or a number, and what is none of these is named."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from graftline.data import multi_label, regression, single_label
from graftline.data.splitting import Split
from graftline.settings import DataSettings

SEVERAL = DataSettings(path="t.csv", task="multi_label", labels=["cat", "dog", "red"])
NUMBER = DataSettings(path="t.csv", task="regression")


@given(st.sets(st.sampled_from(["a", "b", "c d", "ü"])), st.sampled_from(["|", ";", ", "]))
def test_any_set_of_labels_survives_being_written_down(labels: set[str], separator: str) -> None:
    settings = DataSettings(path="t.csv", task="multi_label", label_separator=separator)
    written = separator.join(labels) or separator
    canonical = multi_label.canonical(written, settings)
    assert set(multi_label.labels(canonical, settings)) == labels
    assert multi_label.malformed(written, settings) is None
    assert multi_label.canonical(canonical, settings) == canonical


def test_the_order_of_labels_makes_no_other_target() -> None:
    assert multi_label.canonical("red|cat", SEVERAL) == multi_label.canonical("cat|red", SEVERAL) == "cat|red"


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("cat||dog", "an empty label in 'cat||dog'"),
        ("cat|", "an empty label"),
        ("cat|cat", "the label 'cat' twice"),
        ("cat|dog", None),
        ("|", None),
    ],
)
def test_a_list_of_labels_that_is_none_is_named(target: str, fault: str | None) -> None:
    found = multi_label.malformed(target, SEVERAL)
    assert found is None if fault is None else found is not None and found.startswith(fault)


def test_a_label_that_was_not_declared_is_named() -> None:
    several = multi_label.TARGETS
    assert several.unknown("cat|dgo|red", SEVERAL) == "dgo"
    assert several.unknown("|", SEVERAL) is None
    assert several.unknown("cat|dgo", SEVERAL.model_copy(update={"labels": []})) is None
    assert single_label.TARGETS.unknown("cat|dog", SEVERAL) == "cat|dog"
    assert regression.TARGETS.unknown("0.5", NUMBER) is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_is_a_target(number: float) -> None:
    assert regression.malformed(repr(number), NUMBER) is None


@pytest.mark.parametrize("target", ["1", "-1.", ".5", "+2e-3", "007"])
def test_every_usual_way_to_write_a_number_is_a_target(target: str) -> None:
    assert regression.malformed(target, NUMBER) is None


@pytest.mark.parametrize(
    "target", ["nan", "inf", "1e999", "1,5", "1_0", " 1", "1 ", "١", "five", "0x1", ".", "e5", "1\n"]
)
def test_what_is_no_finite_number_is_named(target: str) -> None:
    assert regression.malformed(target, NUMBER) == f"{target!a} is no finite number, expected one such as 0.5 or -3e2"


def test_the_spread_of_equal_or_no_numbers_is_nothing() -> None:
    test: list[tuple[str, Split]] = [("1", "test"), ("1.0", "test")]
    train: list[tuple[str, Split]] = [("-1", "train"), ("3", "train"), ("0", "train")]
    assert regression.spreads([*train, *test]) == {"train_spread": 4, "validation_spread": 0, "test_spread": 0}
    assert math.isfinite(regression.spreads([("-1e300", "test"), ("1e300", "test")])["test_spread"])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"task": "regression", "labels": ["a"]}, "leave labels empty"),
        ({"task": "multi_label", "labels": ["a", "b|c"]}, r"'b\|c' holds label_separator '\|'"),
        ({"min_seconds": 5, "max_seconds": 2}, "min_seconds 5 lies above max_seconds 2"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        DataSettings.model_validate({"path": "t.csv", **settings})
