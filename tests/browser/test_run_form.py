"""A person starts a run from Prefect's page, and reads its verdict there."""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from graftline.settings import Settings
from tests.browser.pages import (
    RUN_SECONDS,
    asked_of_other_hosts,
    choose,
    fill,
    open_form,
    screenshot,
    whole_page_screenshot,
)
from tests.running_project import Running, graftline_up
from tests.tiny_project import ROWS, copy_with_tiny_parts, write_data_pointer, write_rows

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    project = copy_with_tiny_parts(tmp_path_factory.mktemp("browser") / "project")
    write_rows(project, ROWS)
    write_data_pointer(project)
    with graftline_up(project) as running:
        yield running


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
        plain(one.locator(".schema-form-property__label").first.inner_text())
        for one in page.locator(".schema-form-property").all()
        if one.locator(".schema-form-property__description").count() == 0
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


def plain(label: str) -> str:
    return label.removesuffix("(Optional)").strip()
