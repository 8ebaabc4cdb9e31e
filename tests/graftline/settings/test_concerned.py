"""A form of text settings shows nothing about pictures, unless somebody has set it."""

from typing import Any

import pytest

from graftline.settings import Kind, Settings, Task, unconcerned
from graftline.settings.concerned import KINDS, TASKS


def settings_of(kind: Kind, task: Task = "single_label", **adaptation: Any) -> Settings:
    return Settings.model_validate(
        {
            "data": {"path": "data/rows.csv", "kind": kind, "task": task},
            "base_model": {"uri": "path:base"},
            "adaptation": {"device": "cpu", **adaptation},
            "registry": {"model": "m"},
        }
    )


@pytest.mark.parametrize(
    ("kind", "strange", "own"),
    [
        ("text", "data.min_side", "adaptation.max_tokens"),
        ("image", "adaptation.max_tokens", "adaptation.augmentation"),
        ("audio", "data.max_pixels", "data.silence_level"),
    ],
)
def test_settings_of_other_kinds_mean_nothing(kind: Kind, strange: str, own: str) -> None:
    found = unconcerned(settings_of(kind))
    assert strange in found
    assert own not in found


def test_settings_about_labels_mean_nothing_where_numbers_are_predicted() -> None:
    assert "adaptation.label_smoothing" in unconcerned(settings_of("text", "regression"))
    assert "data.label_separator" not in unconcerned(settings_of("text", "multi_label"))


def test_what_somebody_has_set_is_not_passed_over() -> None:
    assert "adaptation.max_seconds" not in unconcerned(settings_of("text", max_seconds=5))


def test_every_name_is_that_of_a_setting() -> None:
    tree = settings_of("text").model_dump()
    assert [name for name in (*KINDS, *TASKS) if name.partition(".")[2] not in tree[name.partition(".")[0]]] == []
