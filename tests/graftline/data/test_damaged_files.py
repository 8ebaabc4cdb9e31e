"""Whatever happens to a file, it is read or refused in words. `python -m tests.hunts.damaged_files` does it longer."""

import pytest

from tests.hunts.damaged_files import READ, REFUSED, damaged, outcome_of, whole_files


@pytest.mark.parametrize("name", whole_files())
def test_a_whole_file_is_read(name: str) -> None:
    assert outcome_of(name, whole_files()[name]).what == READ


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::RuntimeWarning")
@pytest.mark.parametrize("name", whole_files())
def test_a_damaged_file_is_read_or_refused_and_never_another_error(name: str) -> None:
    outcomes = {number: outcome_of(name, damaged(name, number)) for number in range(12)}
    assert {number: one for number, one in outcomes.items() if one.what not in (READ, REFUSED)} == {}


@pytest.mark.parametrize(("name", "number"), [("none.parquet", 380), ("zstd.parquet", 307)])
def test_what_the_hunt_has_found_is_refused(name: str, number: int) -> None:
    assert outcome_of(name, damaged(name, number)).what == REFUSED
