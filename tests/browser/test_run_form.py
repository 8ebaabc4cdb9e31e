"""A person starts a run from Prefect's page, and reads its verdict there."""

import json
import os
import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, Route, expect, sync_playwright

from graftline.settings import Settings
from tests.running_project import PROJECT, Running, graftline_up
from tests.tiny_project import ROWS, copy_with_tiny_parts, write_data_pointer, write_rows

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
# No sandbox in a container; and nothing that talks to the outside by itself.
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENSHOTS = PROJECT / "artifacts" / "screenshots"
RUN_SECONDS = 300
# Pages fade in.
FADE_MILLISECONDS = 700

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    project = copy_with_tiny_parts(tmp_path_factory.mktemp("browser") / "project")
    write_rows(project, ROWS)
    write_data_pointer(project)
    with graftline_up(project) as running:
        yield running


@pytest.fixture
def page(servers: Running) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(30_000)
        yield page
        browser.close()


def test_a_person_changes_the_strategy_and_the_learning_rate_and_reads_the_verdict(
    servers: Running, page: Page
) -> None:
    outside = asked_of_other_hosts(page)
    open_form(page, servers)
    choose(page, "Strategy", "feature_extraction")
    fill(page, "Epochs", "1")
    fill(page, "Learning Rate", "0.0001")
    whole_page_screenshot(page, "1_form")
    page.get_by_role("button", name="Submit").click()

    page.locator("a[href*='/runs/flow-run/']").first.click()
    page.wait_for_url(re.compile("/runs/flow-run/"))
    screenshot(page, "2_running")
    expect(page.locator(".page-heading-flow-run")).to_contain_text("Completed", timeout=RUN_SECONDS * 1000)
    screenshot(page, "3_completed")

    page.get_by_text("Parameters", exact=True).click()
    expect(page.get_by_text('"strategy": "feature_extraction"')).to_be_visible()
    expect(page.get_by_text(re.compile('"learning_rate": 0.0001'))).to_be_visible()
    page.get_by_text("Artifacts", exact=True).first.click()
    screenshot(page, "4_artifacts")
    page.get_by_role("link", name="verdict").first.click()
    expect(page.get_by_text(re.compile("PROMOTE|HOLD|REJECT")).first).to_be_visible()
    screenshot(page, "5_verdict")
    assert outside == []


def test_the_form_is_made_of_dropdowns_numbers_and_explained_short_texts(servers: Running, page: Page) -> None:
    open_form(page, servers)
    labels = page.locator(".schema-form-property__label").all_inner_texts()
    assert {"Data", "Base Model", "Adaptation", "Evaluation", "Registry"} <= {plain(label) for label in labels}
    assert page.locator(".cm-editor, .p-code-input, .schema-form-property-any-of").count() == 0, "a box of raw JSON"
    without_words = [
        plain(field.locator(".schema-form-property__label").first.inner_text())
        for field in page.locator(".schema-form-property").all()
        if field.locator(".schema-form-property__description").count() == 0
    ]
    assert without_words == []


def test_an_emptied_text_is_accepted_as_an_empty_setting(servers: Running, page: Page) -> None:
    open_form(page, servers)
    fill(page, "Id", "something")
    fill(page, "Id", "")
    page.route(re.compile("create_flow_run"), start_much_later)
    with page.expect_response(re.compile("create_flow_run")) as created:
        page.get_by_role("button", name="Submit").click()
    assert created.value.ok, created.value.text()
    assert Settings.model_validate(created.value.json()["parameters"]["settings"]).data.id is None


def start_much_later(route: Route) -> None:
    """Let the server take the run, without having to wait for it."""
    request = json.loads(route.request.post_data or "{}")
    request["state"]["state_details"]["scheduled_time"] = "2099-01-01T00:00:00Z"
    route.continue_(post_data=json.dumps(request))


def open_form(page: Page, servers: Running) -> None:
    """Walk from the front page to the form, as a person does."""
    page.goto(servers.prefect)
    page.get_by_text("Deployments", exact=True).click()
    page.locator("a[href*='/deployments/deployment/']", has_text="adapt").click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").click()
    expect(field(page, "Strategy")).to_be_visible()


def field(page: Page, title: str) -> Locator:
    """The part of the form with this title; sections hold fields, so the innermost match is the field itself."""
    label = page.locator(".schema-form-property__label", has_text=re.compile(rf"^\s*{title}( \(Optional\))?\s*$"))
    return page.locator(".schema-form-property", has=label).last


def choose(page: Page, title: str, option: str) -> None:
    # By its arrow: a click on the words opens the list and closes it again, on every page of Prefect 3.8.8's first UI.
    field(page, title).locator(".p-select-button__icon").click(force=True)
    page.locator(".p-select-option", has_text=option).click()


def fill(page: Page, title: str, value: str) -> None:
    field(page, title).locator("input, textarea").first.fill(value)


def plain(label: str) -> str:
    return label.removesuffix("(Optional)").strip()


def asked_of_other_hosts(page: Page) -> list[str]:
    """Fills with every address beyond this machine that the page asks for."""
    asked: list[str] = []
    own = ("http://127.0.0.1:", "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(own) else asked.append(request.url))
    return asked


def screenshot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(FADE_MILLISECONDS)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def whole_page_screenshot(page: Page, name: str) -> None:
    """The page scrolls inside itself, so a full-page screenshot needs a window as high as its content."""
    height = page.evaluate("Math.max(...[...document.querySelectorAll('*')].map(e => e.scrollHeight))")
    page.set_viewport_size({"width": 1280, "height": int(height) + 100})
    screenshot(page, name)
    page.set_viewport_size({"width": 1280, "height": 1000})
