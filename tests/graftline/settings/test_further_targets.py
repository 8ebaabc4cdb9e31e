"""Targets beside the first one: how the settings name them, what is refused, and that without them nothing changes."""

from typing import Any

import pytest
from pydantic import JsonValue

from graftline.errors import SettingsError
from graftline.settings import DataSettings, FurtherTarget, Settings, parse_settings, unconcerned
from graftline.settings.by_value import by_value
from graftline.settings.further_targets import further_target_of


def settings_of(data: dict[str, JsonValue], **adaptation: JsonValue) -> Settings:
    tree: dict[str, Any] = {
        "data": {"path": "data/rows.csv", **data},
        "base_model": {"uri": "path:base"},
        "adaptation": {"device": "cpu", **adaptation},
        "registry": {"model": "m"},
    }
    return parse_settings(tree, "params.yaml")


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("rating: regression", FurtherTarget("rating", "regression", ())),
        ("  part of:speech :  multi_label ", FurtherTarget("part of:speech", "multi_label", ())),
        ("section: single_label: net | web", FurtherTarget("section", "single_label", ("net", "web"))),
    ],
)
def test_a_line_names_a_column_with_its_task_and_labels(line: str, target: FurtherTarget) -> None:
    assert further_target_of(line) == target


@pytest.mark.parametrize(
    "given", [["a: regression", "b: multi_label"], [{"a": "regression"}, {"b": "multi_label"}],
              {"a": "regression", "b": "multi_label"}],
)  # fmt: skip
def test_lines_that_yaml_reads_as_pairs_are_the_same(given: Any) -> None:
    assert settings_of({"targets": given}).data.targets == ["a: regression", "b: multi_label"]


@pytest.mark.parametrize("line", ["rating", "rating: numbers", ": regression", "a: single_label: net||web", ""])
def test_a_line_without_a_column_or_a_task_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"names no column and its task, expected something like rating: regression"):
        further_target_of(line)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"targets": ["label: regression"]}, r"'label' is named by data\.target, too, expected a column of its own"),
        ({"targets": ["text: regression"]}, r"'text' is named by data\.input, too"),
        ({"targets": ["a: regression"], "slices": ["a"]}, r"'a' is named by data\.slices, too"),
        ({"targets": ["a: regression", "a: multi_label"]}, r"'a' is named by data\.targets, too"),
        ({"targets": ["a: regression: b"]}, r"targets: 'a': task regression with labels: its targets are numbers"),
        ({"targets": ["a: multi_label: b,c"], "label_separator": ","}, r"targets: 'a': labels: 'b,c' holds label_sep"),
        ({"targets": [f"a{place}: regression" for place in range(17)]}, r"targets: 17 columns, expected 16 or fewer"),
    ],
)
def test_columns_that_cannot_be_targets_are_refused(data: dict[str, JsonValue], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        settings_of(data)


def test_one_loss_is_not_balanced() -> None:
    with pytest.raises(SettingsError, match=r"data\.target is the only target, so there is one loss and nothing to"):
        settings_of({}, task_balance="uncertainty")
    assert settings_of({"targets": ["a: regression"]}, task_balance="uncertainty")


@pytest.mark.parametrize(
    "chosen",
    [
        {"strategy": "contrastive"},
        {"strategy": "auto"},
        {"pretraining_epochs": 1},
        {"domain": "self_training"},
        {"teacher": "models:/m@champion"},
    ],
)
def test_what_is_for_one_target_is_refused_for_several(chosen: dict[str, JsonValue]) -> None:
    (named,) = (f"{name} {value}" for name, value in chosen.items())
    with pytest.raises(SettingsError, match=rf"{named} is for one target, and data\.targets names more"):
        settings_of({"targets": ["a: regression"], "target_domain": "data/there.csv"}, **chosen)


def test_labelled_rows_of_another_domain_have_one_target() -> None:
    tree: dict[str, Any] = {
        "data": {"path": "data/rows.csv", "targets": ["a: regression"], "target_domain": "data/there.csv"},
        "base_model": {"uri": "path:base"},
        "evaluation": {"target_rows": "data/labelled.csv"},
        "registry": {"model": "m"},
    }
    with pytest.raises(SettingsError, match=r"target_rows have labels of one target, and data\.targets names more"):
        parse_settings(tree, "params.yaml")


def test_rows_are_mended_for_one_target_only() -> None:
    with pytest.raises(SettingsError, match=r"is about the rows of one target, and data\.targets names more"):
        settings_of({"targets": ["a: regression"], "slices": ["sex"]}, fairness="reweigh")


def test_settings_about_labels_are_for_all_targets() -> None:
    numbers: dict[str, JsonValue] = {"task": "regression", "target": "rating"}
    with pytest.raises(SettingsError, match=r"are about labels, which data\.task regression has not"):
        settings_of(numbers, class_weights="balanced")
    both: dict[str, JsonValue] = {**numbers, "targets": ["label: single_label"]}
    assert "adaptation.class_weights" not in unconcerned(settings_of(both))
    assert settings_of(both, class_weights="balanced")
    assert "adaptation.task_balance" not in unconcerned(settings_of(both))
    assert "adaptation.task_balance" in unconcerned(settings_of({}))


def test_each_target_can_be_looked_at_as_if_it_were_the_only_one() -> None:
    data = DataSettings(path="data/a.csv", label_aliases={"1.0": "1"}, labels=["1"], targets=["b: single_label: x|y"])
    assert data.target_names == ("label", "b")
    alone = data.of_target("b")
    assert (alone.target, alone.task, alone.labels, alone.label_aliases) == ("b", "single_label", ["x", "y"], {})
    assert alone.targets == []
    assert alone.path == data.path


def test_without_more_targets_no_key_knows_of_them() -> None:
    assert by_value(DataSettings(path="data/a.csv", targets=[]), "data") == {"path": "data/a.csv"}
