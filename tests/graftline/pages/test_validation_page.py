"""The validation page says in words first what was not met, then the rules that were."""

import re

from graftline.data.expectation import Check
from graftline.data.expectations import expectations_for
from graftline.data.single_label import TARGETS
from graftline.pages.validation_page import QuarantinedRow, ValidationPage, render
from graftline.settings import DataSettings

EXPECTATIONS = expectations_for(DataSettings(path="data/t.csv"), TARGETS)
FAILED = ("id_unique", "quarantined_share")
MEANING = "no two rows have the same id"


def page() -> str:
    checks = [Check(one, one.name not in FAILED, 2 * (one.name in FAILED), "2 of 9 faulty") for one in EXPECTATIONS]
    rows = [QuarantinedRow(3, "r1", ("id_unique: 'r1'", "no longer known: x"), {"text": "t"})]
    return render(ValidationPage("refused", "data/t.csv", "v1", False, 9, 8, 1, checks, [], rows, "quarantine.jsonl"))


def test_what_was_not_met_stands_first_and_what_was_met_is_folded() -> None:
    html = page()
    not_met, folded = html.index("What was not met"), html.index("<details")
    assert not_met < html.index("data.max_quarantined") < html.index(MEANING) < folded, "what costs the data, then rows"
    assert html.index("every row can be read") > folded
    assert f"{len(EXPECTATIONS) - 2} expectations were met" in html


def test_class_names_are_only_in_titles() -> None:
    shown = re.sub(r'title="[^"]*"', "", page())
    assert "Expect" in page()
    assert not re.search(r"Expect[A-Z]", shown)
    assert "id_unique" not in shown


def test_a_row_that_was_set_aside_says_what_was_expected_of_it() -> None:
    assert f'&#39;r1&#39;<div class="name">expected: {MEANING}</div>' in page()
    assert "<li>no longer known: x</li>" in page()
