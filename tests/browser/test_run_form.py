"""A person starts runs from Prefect's page, reads verdicts and the history there, and rejects or approves models.

At the end one of the servers of `graftline up` dies; tests/flows/test_up.py has its other ends.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Response, Route, expect
from typer.testing import CliRunner

from benchmarks.scores.projects import write_data_pointer
from graftline.flows.cli import app
from graftline.settings import Settings
from tests.browser.pages import (
    RUN_SECONDS,
    asked_of_other_hosts,
    choose,
    fill,
    open_form,
    options,
    screenshot,
    sign_in,
    whole_page_screenshot,
)
from tests.support.running_project import (
    Running,
    child_that_says,
    graftline_up,
    marked_processes,
    state_of,
    wait_until,
)
from tests.support.tiny_project import (
    PROJECT_POLICY,
    ROWS,
    copy_with_tiny_parts,
    forget_servers,
    write_policy,
    write_rows,
)

MODEL = "reviews"
# Prefect's server answers 500 where two of its own writers met in its SQLite file; nothing is changed then.
ATTEMPTS = 3
BROKEN = ("Failed", "Crashed", "Cancelled")
HOSTILE = "<img src=x onerror=alert(1)> {{ 7 * 7 }}"

# Runs that are started twice: minutes on a busy machine.
pytestmark = [pytest.mark.full, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    project = copy_with_tiny_parts(tmp_path_factory.mktemp("browser") / "project")
    write_rows(project, ROWS)
    write_data_pointer(project)
    write_policy(project, **PROJECT_POLICY, approval_within_hours=1)
    with graftline_up(project) as running:
        yield running


@pytest.fixture
def page(page: Page, servers: Running) -> Page:
    """A page of a browser that was signed in by one click."""
    sign_in(page, servers)
    return page


def test_a_person_changes_settings_reads_the_verdict_and_rejects_the_model(servers: Running, page: Page) -> None:
    outside = asked_of_other_hosts(page)
    open_form(page, servers)
    choose(page, "Strategy", "probe_then_fine_tune")
    fill(page, "Learning Rate", "0.004")
    whole_page_screenshot(page, "1_form")
    submit(page, servers)
    screenshot(page, "2_running")
    wait_for(page, servers, "Suspended")
    expect(page.locator(".page-heading-flow-run")).to_contain_text("reviews v1 HOLD, waits for approval")
    screenshot(page, "3_suspended")
    assert decided(servers) == (None, [("verdict", "HOLD")])

    page.get_by_text("Parameters", exact=True).click()
    expect(page.get_by_text('"strategy": "probe_then_fine_tune"')).to_be_visible()
    expect(page.get_by_text(re.compile('"learning_rate": 0.004'))).to_be_visible()
    answer(page, "reject", f"it was trained on last year's rows {HOSTILE}", "Grace", "4_reject")
    wait_for(page, servers, "Completed")
    assert decided(servers) == (None, [("verdict", "HOLD"), ("approval", "REJECT")])
    page.get_by_text("Artifacts", exact=True).first.click()
    screenshot(page, "5_artifacts")
    open_verdict(page, servers, "reviews version 1: REJECT")
    expect(page.get_by_text("rejected by Grace: it was trained on last year's rows").first).to_be_visible()
    screenshot(page, "6_verdict")

    open_form(page, servers, "override", "Version")
    assert options(page, "Version") == ["1 REJECT (challenger)"], "the run before put it there"
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("'reason' is a required property")).to_be_visible()

    open_form(page, servers, "history", "Name")
    submit(page, servers)  # with the project's model, which stands there already
    wait_for(page, servers, "Completed")
    page.get_by_text("Artifacts", exact=True).first.click()
    page.locator("a[href*='/artifacts/']", has_text="history").first.click()
    expect(page.get_by_text(HOSTILE).first).to_be_visible()
    assert page.locator("img[src='x']").count() == 0
    screenshot(page, "7_history")
    assert outside == []


@pytest.mark.long
def test_a_person_retrains_and_approves_the_model(servers: Running, page: Page) -> None:
    open_form(page, servers, "retrain")
    whole_page_screenshot(page, "run_form")
    fill(page, "Epochs", "13")  # another setting: another version
    fill(page, "Note", "one more epoch")
    submit(page, servers)
    wait_for(page, servers, "Suspended")
    answer(page, "approve", HOSTILE, "Ada", "8_approve")
    wait_for(page, servers, "Completed")
    shown = history(servers)
    newest = shown["records"][-1]
    assert (newest["action"], newest["verdict"], newest["version"]) == ("approval", "PROMOTE", shown["champion"])
    expect(page.locator(".page-heading-flow-run")).to_contain_text(f"reviews v{shown['champion']} PROMOTE")
    screenshot(page, "9_completed")
    assert newest["answer"]["decision"] == "approve"
    assert (newest["answer"]["name"], newest["answer"]["reason"]) == ("Ada", HOSTILE)
    assert newest["answer"]["when"] <= newest["when"]
    assert history(servers, "--verify")["records"] == len(shown["records"])


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
    created = press_submit(page)
    assert Settings.model_validate(created.json()["parameters"]["settings"]).data.id is None


def test_a_link_that_was_used_signs_no_other_browser_in_and_says_so(
    servers: Running, browser: Browser, page: Page
) -> None:
    used = next(servers.links)
    page.goto(used)
    page.wait_for_url(f"{servers.prefect}/dashboard*")
    stranger = browser.new_page()
    stranger.goto(used)
    expect(stranger.get_by_role("status")).to_contain_text("This link was used already")
    screenshot(stranger, "used_link")
    assert stranger.evaluate("localStorage.length") == 0
    stranger.close()
    page.goto(used)  # in the first browser it only leads on
    page.wait_for_url(f"{servers.prefect}/dashboard*")


def test_a_server_that_dies_ends_the_rest_with_a_sentence(servers: Running) -> None:
    """The last one here, for nobody can use the servers any more; starting others would take half a minute."""
    second = subprocess.run(
        servers.process.args, cwd=servers.project, capture_output=True, text=True, timeout=60, check=False
    )
    assert second.returncode == 2, "its ports are taken"
    os.kill(child_that_says(servers.mark, "mlflow server"), signal.SIGKILL)
    said, _ = servers.process.communicate(timeout=60)
    assert servers.process.returncode == 1
    assert "the MLflow server: ended by itself with exit code -9" in said
    assert marked_processes(servers.mark) == []


def start_much_later(route: Route) -> None:
    """Let the server take the run, without having to wait for it."""
    request = json.loads(route.request.post_data or "{}")
    request["state"]["state_details"]["scheduled_time"] = "2099-01-01T00:00:00Z"
    route.continue_(post_data=json.dumps(request))


def plain(label: str) -> str:
    return label.removesuffix("(Optional)").strip()


def submit(page: Page, servers: Running) -> None:
    """Start the run of the form and go to its page."""
    page.goto(f"{servers.prefect}/runs/flow-run/{press_submit(page).json()['id']}")


def press_submit(page: Page) -> Response:
    """Send the form, pressing as often as a person would. Returns: the server's answer."""
    for _ in range(ATTEMPTS):
        with page.expect_response(re.compile("create_flow_run")) as created:
            page.get_by_role("button", name="Submit").click()
        if created.value.ok:
            return created.value
    pytest.fail(f"Prefect refused the form {ATTEMPTS} times: {created.value.status} {created.value.text()}")


def open_verdict(page: Page, servers: Running, heading: str) -> None:
    """Go to the verdict of the run under this heading: before a person answered it told another one."""
    expect(page.get_by_role("link", name="verdict").first).to_be_visible()
    told = []
    for address in [link.get_attribute("href") for link in page.get_by_role("link", name="verdict").all()]:
        page.goto(f"{servers.prefect}{address}")
        told.append(page.get_by_role("heading", name="reviews version").first.inner_text())
        if told[-1] == heading:
            return
    pytest.fail(f"the run's verdicts are {told}")


def wait_for(page: Page, servers: Running, state: str) -> None:
    """Look away until the run has come to a state: its page draws a graph all the time, which takes half a core."""
    address = page.url
    run = urlsplit(address).path.rpartition("/")[2]
    page.goto("about:blank")
    wait_until(lambda: state_of(servers, run) in (state, *BROKEN), RUN_SECONDS)
    page.goto(address)
    expect(page.locator(".page-heading-flow-run")).to_contain_text(state)


def answer(page: Page, decision: str, reason: str, name: str, picture: str) -> None:
    """Fill in the form and send it, as often as a person would."""
    for _ in range(ATTEMPTS):
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_text("may become champion until")).to_be_visible()
        choose(page, "Decision", decision)
        fill(page, "Reason", reason)
        fill(page, "Name", name)
        screenshot(page, picture)
        with page.expect_response(re.compile("/resume$")) as answered:
            page.get_by_role("dialog").get_by_role("button", name=re.compile("Resume|Submit")).click()
        if answered.value.ok:
            return
        page.reload()
    pytest.fail(f"Prefect refused the answer {ATTEMPTS} times: {answered.value.status} {answered.value.text()}")


def history(servers: Running, *options: str) -> dict[str, Any]:
    """As on the command line of the same project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(servers.project)
        forget_servers(patch)
        done = CliRunner().invoke(app, ["history", MODEL, "--json", *options])
    assert done.exit_code == 0, done.output
    shown: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return shown


def decided(servers: Running) -> tuple[int | None, list[tuple[str, str]]]:
    """The champion, and what stands in the history."""
    shown = history(servers)
    return shown["champion"], [(record["action"], record["verdict"]) for record in shown["records"]]
