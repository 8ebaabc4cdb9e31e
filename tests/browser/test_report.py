"""In a browser the report fits every window and paper, in both schemes, and hostile values stay text."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from graftline.pages.report import render_report
from tests.browser.test_validation_page import HOSTILE
from tests.graftline.pages.test_report import HOSTILE as HOSTILE_TEXT
from tests.graftline.pages.test_report import report_of

pytestmark = pytest.mark.full


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (1920, "light")])
@pytest.mark.parametrize("text", [HOSTILE_TEXT, HOSTILE[5]], ids=["hostile", "long"])
def test_hostile_values_stay_text_and_the_page_fits(
    browser: Browser, tmp_path: Path, text: str, width: int, scheme: str
) -> None:
    file = tmp_path / "report.html"
    file.write_text(render_report(report_of(text)), encoding="utf-8")
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    requests: list[str] = []
    tab.on("request", lambda request: None if request.url.startswith("data:") else requests.append(request.url))
    tab.goto(file.as_uri())
    assert requests == [file.as_uri()]
    assert tab.locator("script, iframe, object, [onerror]").count() == 0
    assert "\u202e" not in tab.content()
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    tab.close()


def test_on_paper_all_that_is_folded_can_be_read(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(render_report(report_of("text")), encoding="utf-8")
    tab = browser.new_page(color_scheme="dark")
    tab.goto(file.as_uri())
    folded = tab.locator("details.folded th", has_text="bias")
    assert not folded.is_visible()
    tab.emulate_media(media="print")
    assert folded.is_visible()
    assert tab.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    tab.close()
