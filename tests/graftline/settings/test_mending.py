"""What cannot be mended in some data is refused in one sentence."""

from typing import Any

import pytest

from graftline.errors import SettingsError
from graftline.settings import parse_settings

TREE: dict[str, Any] = {
    "data": {"path": "data/rows.csv", "slices": ["sex"]},
    "base_model": {"uri": "path:base"},
    "registry": {"model": "tiny"},
}
GROUPS, WORDS = {"groups": ["sex"]}, {"counterfactuals": ["gender: he|she"]}


def parsed(data: dict[str, Any], adaptation: dict[str, Any], evaluation: dict[str, Any]) -> None:
    parse_settings(
        {**TREE, "data": TREE["data"] | data, "adaptation": adaptation, "evaluation": evaluation}, source="p.yaml"
    )


@pytest.mark.parametrize(
    ("data", "adaptation", "evaluation", "said"),
    [
        ({}, {"fairness": "reweigh"}, {},
         "adaptation.fairness reweigh: evaluation.groups names no column; name one of data.slices there"),
        ({"task": "regression"}, {"fairness": "reweigh"}, GROUPS,
         "numbers in their place; set it to none, or for texts to counterfactual"),
        ({}, {"fairness": "counterfactual"}, {},
         "adaptation.fairness counterfactual: evaluation.counterfactuals names no words to swap"),
        ({"kind": "image"}, {"fairness": "counterfactual"}, {},
         "adaptation.fairness counterfactual swaps words, which data.kind image has not; set it to none or reweigh"),
        ({}, {}, {"group_thresholds": "equalized_odds"},
         "evaluation.group_thresholds equalized_odds: evaluation.groups names no column"),
        ({"task": "multi_label"}, {}, GROUPS | {"group_thresholds": "equalized_odds"},
         "a threshold parts two labels of a single_label task, and this is data.task multi_label; set it to none"),
        ({"labels": ["a", "b", "c"]}, {}, GROUPS | {"group_thresholds": "demographic_parity"},
         r"and this is data.labels \['a', 'b', 'c'\]; set it to none"),
        ({}, {"fairness": "both"}, {}, "adaptation.fairness"),
        ({}, {}, GROUPS | {"group_thresholds": "equal"}, "evaluation.group_thresholds"),
    ],
)  # fmt: skip
def test_a_way_that_these_data_have_nothing_for_is_refused(
    data: dict[str, Any], adaptation: dict[str, Any], evaluation: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        parsed(data, adaptation, evaluation)


def test_each_way_is_taken_where_its_groups_or_words_are_named() -> None:
    parsed({}, {"fairness": "reweigh"}, GROUPS | {"group_thresholds": "equalized_odds"})
    parsed({"task": "multi_label"}, {"fairness": "reweigh"}, GROUPS)
    parsed({"task": "regression"}, {"fairness": "counterfactual"}, WORDS)
    parsed({"kind": "image"}, {"fairness": "reweigh"}, GROUPS)
