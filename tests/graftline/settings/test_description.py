"""Every setting is described from its own field: type, range, default, meaning."""

import pytest
import yaml

from graftline.settings.adaptation import AdaptationSettings
from graftline.settings.description import EMPTY, REQUIRED, SettingDescription, described, described_settings
from graftline.verdict.policy import Policy


def named(key: str) -> SettingDescription:
    (found,) = (setting for setting in described_settings() if setting.key == key)
    return found


def test_a_number_has_its_bounds_and_its_default() -> None:
    epochs = named("adaptation.epochs")
    assert (epochs.type, epochs.range, epochs.default) == ("whole number", "1 to 1000", "3")
    assert epochs.meaning.startswith("Passes over the training rows.")
    assert named("data.test_share").range == "above 0, below 0.5"


def test_a_choice_names_what_may_be_chosen() -> None:
    assert named("data.kind").range == "text | image | audio"
    assert named("adaptation.precision").range == "float32 | bfloat16 | auto"
    assert (named("adaptation.device").type, named("adaptation.device").default) == ("choice", "auto")


def test_what_has_no_default_says_so() -> None:
    assert named("data.path").default == REQUIRED
    assert named("registry.model").range.startswith("matches ^[A-Za-z0-9]")
    assert [named(key).default for key in ("data.id", "data.labels", "adaptation.freeze_until")] == [EMPTY] * 3


def test_every_setting_means_something_in_one_line() -> None:
    for setting in [*described_settings(), *described(Policy)]:
        assert setting.meaning, setting.key
        assert "\n" not in setting.meaning


@pytest.mark.parametrize("name", AdaptationSettings.model_fields)
def test_a_default_is_written_as_the_file_takes_it(name: str) -> None:
    written = named(f"adaptation.{name}").default
    default = AdaptationSettings.model_fields[name].default
    assert yaml.safe_load("" if written == EMPTY else written) == default


def test_the_policy_is_described_by_the_same_function() -> None:
    policy = {setting.key: setting for setting in described(Policy, "policy")}
    assert policy["policy.floors.accuracy"].range == "0 to 1"
    assert policy["policy.effects.bias"].range == "block | advise"
    assert policy["policy.limits.p95_milliseconds"] == SettingDescription(
        "policy.limits.p95_milliseconds", "number", "above 0", EMPTY,
        "95th percentile of the time for one request, in milliseconds.",
    )  # fmt: skip
    assert (policy["policy.baselines"].type, policy["policy.baselines"].default) == (
        "list of choices",
        "[tfidf, frozen_head]",
    )
