from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from graftline.errors import SettingsError
from graftline.watching.retraining import Candidate, Event, RetrainingPolicy, decide, expected_hours, read_retraining

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DRIFT = Event("input_drift", NOW - timedelta(hours=1), "facts on 2026-05-31")
POLICY = RetrainingPolicy(triggers=("input_drift", "new_data_version"))


def ago(hours: float = 0, *, days: float = 0, took: float | None = 1.0, waits: bool = False) -> Candidate:
    return Candidate(NOW - timedelta(days=days, hours=hours), took, waits)


def test_an_event_that_the_policy_names_starts_a_candidate_and_says_why() -> None:
    choice = decide(POLICY, [DRIFT], [ago(days=30)], NOW)
    assert choice.start
    assert choice.reasons == ("input_drift: facts on 2026-05-31",)


def test_one_that_it_does_not_name_starts_none() -> None:
    choice = decide(RetrainingPolicy(), [DRIFT], [], NOW)
    assert not choice.start
    assert "does not start on input_drift" in choice.reasons[0]


def test_an_event_is_answered_by_the_first_candidate_after_it() -> None:
    assert not decide(POLICY, [DRIFT], [ago(hours=0.5)], NOW + timedelta(days=40)).start


def test_what_is_still_to_come_starts_nothing() -> None:
    later = Event("input_drift", NOW + timedelta(days=1), "tomorrow")
    assert not decide(POLICY, [later], [], NOW).start


@pytest.mark.parametrize(
    ("past", "bar"),
    [
        ([ago(days=3)], "least_days 7"),
        ([ago(days=8, took=None)], "most_waiting 1"),
        ([ago(days=8, waits=True)], "most_waiting 1"),
    ],
)
def test_what_stands_in_the_way_is_said(past: list[Candidate], bar: str) -> None:
    choice = decide(POLICY, [DRIFT], past, NOW)
    assert not choice.start
    assert choice.reasons[0].startswith(bar)


def test_the_hours_of_a_week_are_not_exceeded() -> None:
    often = POLICY.model_copy(update={"least_days": 0, "hours_a_week": 10.0})
    twice = [ago(days=2, took=4.0), ago(days=1, took=4.0)]
    assert decide(often, [DRIFT], twice, NOW).reasons[0].startswith("hours_a_week")
    assert decide(often, [DRIFT], [ago(days=9, took=4.0), ago(days=1, took=4.0)], NOW).start


def test_the_hours_of_a_candidate_under_way_are_counted_too() -> None:
    often = POLICY.model_copy(update={"least_days": 0, "hours_a_week": 10.0, "most_waiting": 9})
    one_of_four_hours = ago(days=8, took=4.0)
    two_under_way = [ago(hours=2, took=None), ago(hours=1, took=None)]
    just_now = [replace(DRIFT, when=NOW)]
    choice = decide(often, just_now, [one_of_four_hours, *two_under_way], NOW)
    assert choice.reasons[0].startswith("hours_a_week 10: 8.0 spent")
    assert decide(often, just_now, [one_of_four_hours, two_under_way[0]], NOW).start
    assert not decide(often, just_now, [one_of_four_hours, ago(hours=7, took=None)], NOW).start


def test_a_schedule_comes_so_many_days_after_the_last_candidate() -> None:
    monthly = RetrainingPolicy(triggers=("schedule",), schedule_days=30)
    assert decide(monthly, [], [ago(days=30)], NOW).start
    assert not decide(monthly, [], [ago(days=29)], NOW).start
    assert decide(monthly, [], [], NOW).start


def test_the_next_candidate_is_expected_to_take_the_median_of_the_past_ones() -> None:
    assert expected_hours([ago(took=1.0), ago(took=50.0), ago(took=2.0), ago(took=None)]) == 2.0
    assert expected_hours([]) is None


def test_without_a_file_the_default_holds_and_a_faulty_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "retraining.yaml"
    assert read_retraining(file) == RetrainingPolicy()
    file.write_text("# nothing\n")
    assert read_retraining(file) == RetrainingPolicy()
    file.write_text("triggers: [input_drfit]\nleast_day: 3\n")
    with pytest.raises(SettingsError, match="least_day"):
        read_retraining(file)
