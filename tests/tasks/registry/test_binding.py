"""A record binds what stands beside a version by digests, and a change of any of it is named."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from graftline.tasks.registry.binding import AXES, bound_but_pages, bound_files, bound_tags, names_of_files, tag_faults
from graftline.tasks.registry.records import Record
from graftline.tasks.registry.versions import BARRED, REASONS, RIVAL, VERDICT

TAGS = {RIVAL: "3", AXES: "{}", VERDICT: "HOLD", REASONS: "one\ntwo", "someone's": "own"}
RECORD = Record(
    action="verdict", version=1, champion_before=None, champion_after=None, why="one; two", verdict="HOLD",
    reasons=("one", "two"), number=1, when="2026-11-01T00:00:00+00:00", who="ada@host", previous_sha256=None,
    bound=bound_tags(TAGS),
)  # fmt: skip


def faults(changed: Mapping[str, str | None], record: Record = RECORD, *, carried_out: bool = True) -> list[str]:
    """Those of a version whose tags were changed, or removed where there is none."""
    tags = {name: value for name, value in {**TAGS, **changed}.items() if value is not None}
    return list(tag_faults(record, tags, carried_out=carried_out))


def test_unchanged_tags_have_no_faults_and_those_of_others_are_not_looked_at() -> None:
    assert faults({"someone's": "other"}) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [(RIVAL, "4", "was changed"), (RIVAL, None, "was removed"), (BARRED, "a bar", "was added"),
     (AXES, "[]", "was changed"), (VERDICT, "PROMOTE", "was changed"), (REASONS, "one", "was changed")],
)  # fmt: skip
def test_a_changed_tag_is_named(name: str, value: str | None, said: str) -> None:
    assert faults({name: value}) == [f"{name} {said}"]


def test_what_a_kill_left_unwritten_is_no_fault() -> None:
    assert faults({AXES: None, VERDICT: None, REASONS: None}, carried_out=False) == []


def test_a_record_of_an_earlier_release_binds_only_what_it_says() -> None:
    assert faults({RIVAL: "4"}, replace(RECORD, form=2, bound=None)) == []
    assert faults({VERDICT: "PROMOTE"}, replace(RECORD, form=2, bound=None)) == [f"{VERDICT} was changed"]


def test_pages_that_an_answer_makes_anew_are_bound_no_more() -> None:
    bound = bound_tags(TAGS) | bound_files({"policy.json": b"{}", "report.html": b"<p>", "verdict.json": b"{}"})
    assert names_of_files(bound) == ("policy.json", "report.html", "verdict.json")
    assert names_of_files(bound_but_pages(bound)) == ("policy.json",)
    assert (bound_but_pages(None), names_of_files(None)) == (None, ())
