"""The looks that a history holds: which of them count for the next one, and by which a version was chosen."""

from dataclasses import replace

import numpy as np
import pytest

from graftline.evaluation.bootstrap import Difference
from graftline.evaluation.row_gains import RowGains, row_gains
from graftline.tasks.registry.carrying_out import entry_of
from graftline.tasks.registry.history import next_record
from graftline.tasks.registry.looks import allowance_of, choice_of, look_of, looks_before, past_looks, together
from graftline.tasks.registry.records import Entry, Record, parse_record
from graftline.verdict.policy import Policy

ROWS = 200
SHOWN = Difference(0.02, 0.01, 0.03, 0.01)


def gains(seed: int) -> RowGains:
    drawn = np.random.default_rng(seed).integers(-1, 2, ROWS).astype(float)
    return row_gains([f"row {number}" for number in range(ROWS)], drawn)


def judged(
    records: list[Record], version: int, *, run: str | None = None, due: str | None = None, verdict: str = "HOLD"
) -> list[Record]:
    """One verdict more, with a look at the same rows."""
    seen = gains(len(records))
    allowed = allowance_of(Policy(), seen, looks_before(records, None))
    entry = Entry(
        action="verdict", version=version, champion_before=1, champion_after=1, why="", verdict=verdict,
        run_id=run or f"run {version}", due=due, look=look_of(records, seen, allowed, SHOWN),
    )  # fmt: skip
    return [*records, next_record(records, entry)]


def test_a_version_of_another_registry_with_the_same_number_spent_its_look_all_the_same() -> None:
    records = judged(judged(judged([], 2, run="lost"), 3), 2, run="new")
    assert [record.look and record.look.names_in for record in records] == [None, 1, 1]
    before = looks_before(records, records[-1])
    assert [record.number for record in before] == [1, 2]
    assert allowance_of(Policy(), gains(9), before) == allowance_of(Policy(), gains(9), looks_before(records[:2], None))


@pytest.mark.parametrize("number", [1, 2])
def test_a_verdict_that_was_answered_later_had_the_looks_before_it_and_none_since(number: int) -> None:
    records = judged(judged(judged([], 2), 3), 4)
    answer = replace(entry_of(records[number - 1]), action="approval", verdict="PROMOTE")
    records = [*records, next_record(records, answer)]
    before = looks_before(records, records[-1])
    assert [one.number for one in before] == [*range(1, number)]
    assert allowance_of(Policy(), gains(9), before) == allowance_of(Policy(), gains(9), records[: number - 1])
    assert [one.number for one in looks_before(records, None)] == [1, 2, 3]


def test_the_names_of_the_rows_are_found_wherever_the_history_has_them() -> None:
    records = judged(judged([], 2), 3)
    assert choice_of(records, 3, "run 3") is not None
    assert choice_of(records, 3, "another registry's") is None


@pytest.mark.parametrize(("verdict", "due", "by_verdict"), [
    ("PROMOTE", None, True), ("HOLD", "2026-11-30T00:00:00+00:00", True), ("HOLD", None, False),
])  # fmt: skip
def test_what_a_person_approved_was_chosen_by_the_verdict_and_what_one_overrode_was_not(
    verdict: str, due: str | None, by_verdict: bool
) -> None:
    choice = choice_of(judged([], 2, verdict=verdict, due=due), 2, "run 2")
    assert choice is not None
    assert choice.by_verdict == by_verdict


def test_a_candidate_that_differs_only_on_rows_that_are_not_kept_has_looked_too() -> None:
    alike = row_gains([f"row {number}" for number in range(20_000)], np.zeros(20_000))
    allowed = allowance_of(Policy(), alike, [])
    assert look_of([], alike, allowed, SHOWN) is not None
    assert look_of([], alike, allowed, Difference(0.0, 0.0, 0.0, 1.0)) is None


def test_each_target_has_a_life_of_its_own_and_a_share_of_the_chance() -> None:
    seen = {None: gains(0), "rating": gains(1)}
    allowed = {name: allowance_of(Policy(), one, [], name, among=2) for name, one in seen.items()}
    looks = [look_of([], one, allowed[name], SHOWN, name) for name, one in seen.items()]
    look = together(looks)
    assert look is not None
    assert [one.target for one in (look, *look.further)] == [None, "rating"]
    entry = Entry(action="verdict", version=2, champion_before=1, champion_after=1, why="", look=look)
    (record,) = records = [next_record([], entry)]
    assert parse_record(record.content) == record
    assert [len(past_looks(records, name)) for name in (None, "rating", "other")] == [1, 1, 0]
    after = allowance_of(Policy(), gains(2), records, "rating", among=2)
    whole = allowance_of(Policy(), gains(2), [])
    assert after is not None
    assert whole is not None
    assert after.looks == 1.0
    assert after.level < whole.level


def test_a_look_at_one_target_is_written_as_before_there_were_several() -> None:
    (record,) = judged([], 2)
    look = record.plain()["look"]
    assert isinstance(look, dict)
    assert set(look) == {
        "level", "spent", "looks_before", "rows", "names", "names_in", "gains", "gain", "error", "of_groups",
    }  # fmt: skip
