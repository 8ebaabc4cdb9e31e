"""The promotion policy: one file, every key explained, no word that is not understood."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from graftline.answers.tasks import TASKS
from graftline.errors import SettingsError
from graftline.settings import Task
from graftline.settings.by_value import by_value
from graftline.verdict.policy import POLICY, Effects, Floors, Policy, read_policy
from tests.support.running_project import PROJECT


def read(tmp_path: Path, text: str) -> Policy:
    (tmp_path / "promotion.yaml").write_text(text, encoding="utf-8")
    return read_policy(tmp_path / "promotion.yaml")


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert read_policy(tmp_path / "promotion.yaml") == Policy()


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}"])
def test_an_empty_file_is_the_defaults(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == Policy()


def test_this_projects_own_policy_is_the_default_with_the_floor_of_its_data() -> None:
    assert read_policy(PROJECT / POLICY) == Policy(floors=Floors(accuracy=0.75))


def test_training_from_scratch_is_asked_for_only_where_a_policy_says_so(tmp_path: Path) -> None:
    assert Policy().baselines == ("tfidf", "frozen_head")
    assert "scratch" in read(tmp_path, "baselines: [tfidf, frozen_head, scratch]").baselines


def test_the_default_that_was_changed_makes_other_keys_than_the_first_one() -> None:
    """What was decided under the default of earlier releases is not taken for decided under this one."""
    assert by_value(Policy(), "policy") == {"baselines": ["tfidf", "frozen_head"]}
    assert by_value(Policy(baselines=("tfidf", "frozen_head", "scratch")), "policy") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "wanted: 0.02",
            r"promotion\.yaml, line 1: wanted: there is no setting wanted; `graftline settings policy` lists",
        ),
        ("floors: {acuracy: 0.7}", r"floors\.acuracy: there is no setting acuracy; did you mean accuracy\?"),
        ("significance: 0.5", r"significance: 0\.5: expected a number, above 0, at most 0\.2"),
        ("wanted_difference: 0", r"wanted_difference: 0: expected a number, above 0"),
        ("significance: .nan", r"significance: nan: expected a number"),
        ("effects: {slices: ignore}", r"effects\.slices: 'ignore': expected one of block, advise"),
        (
            "effects: {champion: advise}",
            r"effects\.champion: there is no setting champion; `graftline settings policy\.effects`",
        ),
        (
            "baselines: [scrach]",
            r"baselines: 'scrach': expected one of tfidf, frozen_head, scratch; did you mean scratch\?",
        ),
        ("approval_within_hours: -1", r"approval_within_hours: -1: expected a number, above 0"),
        ("negative_transfer: {scratch: 0.01}", r"scratch 0\.01 without scratch among the baselines.*add it there"),
        ("- floors", r"holds list, expected keys such as floors:"),
        ("floors: [", r"not readable as YAML"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        read(tmp_path, text)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "name", "expected"),
    [("regression", "accuracy", "r2"), ("multi_label", "accuracy", "macro_f1"), ("single_label", "r2", "accuracy or")],
)
def test_a_floor_under_a_score_that_the_task_has_not_is_refused(task: Task, name: str, expected: str) -> None:
    policy = Policy(floors=Floors.model_validate({name: 0.5}))
    with pytest.raises(SettingsError, match=rf"floors\.{name} 0\.5: data\.task {task} has no such score, .*{expected}"):
        policy.require_fit(task, TASKS[task].scores.scoring)
    Policy().require_fit(task, TASKS[task].scores.scoring)


def test_the_digest_names_what_the_policy_says_not_how_it_is_written(tmp_path: Path) -> None:
    assert read(tmp_path, "significance: 0.05\nfloors: {}\n").sha256 == Policy().sha256
    assert Policy(effects=Effects(slices="advise")).sha256 != Policy().sha256


def explained(model: type[BaseModel]) -> list[str]:
    """The keys without a word of explanation."""
    missing = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            missing += [f"{name}.{key}" for key in explained(kind)] + ([] if kind.__doc__ else [name])
        elif not field.description:
            missing.append(name)
    return missing


def test_every_key_is_explained() -> None:
    assert explained(Policy) == []
