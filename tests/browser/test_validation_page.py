"""In a browser, hostile values on the validation page stay text."""

from collections import Counter
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from graftline.data.classes import class_table
from graftline.data.expectation import Check
from graftline.data.expectations import expectations_for
from graftline.data.single_label import TARGETS
from graftline.data.twins import TwinRow
from graftline.pages.validation_page import SHOWN_ROWS, QuarantinedRow, ValidationPage, render
from graftline.settings import DataSettings

pytestmark = pytest.mark.full

HOSTILE = (
    "<script>window.ran = true</script>",
    '"><img src="http://127.0.0.1:9/x.png" onerror="window.ran = true">',
    "=CMD('calc')",
    "\u202egnp.exe \u200fמרחק",
    "{{ 7 * 7 }} javascript:alert(1)",
    "x" * 5000,
    "\udce9",
)


def page(rows: int) -> str:
    """A page that holds every hostile value in every place that can hold one."""
    settings = DataSettings(path="data/t.csv", slices=[HOSTILE[0]])
    expectations = expectations_for(settings, TARGETS)
    checks = [
        Check(one, number % 7 > 0, number, f"{number} of 900 faulty", HOSTILE if number % 7 == 0 else ())
        for number, one in enumerate(expectations)
    ]
    classes = class_table(HOSTILE, Counter((label, "train") for label in HOSTILE), accepted_rows=len(HOSTILE))
    quarantined = [
        QuarantinedRow(
            number + 2, value, tuple(f"input_clean: {one}" for one in HOSTILE), {value: value, "label": None}
        )
        for number in range(rows)
        for value in [HOSTILE[number % len(HOSTILE)]]
    ]
    return render(
        ValidationPage(
            "refused", HOSTILE[0], HOSTILE[1], True, 900, 900 - rows, rows, checks,
            [dict(zip(classes, row, strict=True)) for row in zip(*classes.values(), strict=True)],
            quarantined, "quarantine.jsonl",
            twins=[TwinRow(1, one, "test", one, 2, one, "train", one, 0.9, one, one, one) for one in HOSTILE],
        )
    )  # fmt: skip


@pytest.mark.parametrize("width", [1280, 390])
def test_hostile_values_stay_text_and_no_request_goes_out(browser: Browser, tmp_path: Path, width: int) -> None:
    file = tmp_path / "validation.html"
    file.write_text(page(rows=8), encoding="utf-8")
    tab = browser.new_page(viewport={"width": width, "height": 900})
    requests: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(file.as_uri())
    tab.screenshot(path=tmp_path / f"validation-{width}.png", full_page=True)
    assert requests == [file.as_uri()]
    assert tab.evaluate("window.ran") is None
    assert tab.locator("script, img, iframe, object, [onerror]").count() == 0
    assert tab.get_by_text(HOSTILE[0], exact=True).count() > 0
    assert tab.get_by_text("{{ 7 * 7 }}").count() > 0
    assert "\u202e" not in tab.content()
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    tab.close()


def test_only_some_rows_are_shown_and_the_rest_is_counted(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "validation.html"
    file.write_text(page(rows=SHOWN_ROWS + 34), encoding="utf-8")
    tab = browser.new_page()
    tab.goto(file.as_uri())
    assert tab.get_by_text("34 more stand in quarantine.jsonl beside this page.").is_visible()
    tab.close()
