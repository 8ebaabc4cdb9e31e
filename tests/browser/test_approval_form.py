"""A person approves or rejects a promotion on Prefect's page, and the answer stands in the history."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import (
    RUN_SECONDS,
    asked_of_other_hosts,
    choose,
    fill,
    open_form,
    screenshot,
)
from tests.running_project import Running, graftline_up
from tests.tiny_project import (
    PROJECT_POLICY,
    ROWS,
    copy_with_tiny_parts,
    graftline,
    write_data_pointer,
    write_policy,
    write_rows,
)

MODEL = "reviews"
HOSTILE = "<img src=x onerror=alert(1)> {{ 7 * 7 }}"

# Two runs, each of them started twice: minutes on a busy machine.
pytestmark = [pytest.mark.full, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    project = copy_with_tiny_parts(tmp_path_factory.mktemp("approval") / "project")
    write_rows(project, ROWS)
    write_data_pointer(project)
    write_policy(project, **PROJECT_POLICY, approval_within_hours=1)
    with graftline_up(project) as running:
        yield running


def test_a_person_rejects_one_model_and_approves_the_next(servers: Running, page: Page) -> None:
    outside = asked_of_other_hosts(page)
    run_until_suspended(page, servers, epochs=12)
    screenshot(page, "approval_1_suspended")
    assert (champion(servers), actions(servers)) == (None, [("verdict", "HOLD")])

    answer(page, "reject", "it was trained on last year's rows", "Grace", "approval_2_reject")
    expect(page.locator(".page-heading-flow-run")).to_contain_text("Completed", timeout=RUN_SECONDS * 1000)
    assert (champion(servers), actions(servers)) == (None, [("verdict", "HOLD"), ("approval", "REJECT")])

    run_until_suspended(page, servers, epochs=13)
    answer(page, "approve", HOSTILE, "Ada", "approval_3_approve")
    expect(page.locator(".page-heading-flow-run")).to_contain_text("Completed", timeout=RUN_SECONDS * 1000)
    page.get_by_text("Artifacts", exact=True).first.click()
    screenshot(page, "approval_4_completed")
    newest = records(servers)[-1]
    assert (champion(servers), newest["action"], newest["verdict"], newest["version"]) == (2, "approval", "PROMOTE", 2)
    assert newest["answer"]["decision"] == "approve"
    assert (newest["answer"]["name"], newest["answer"]["reason"]) == ("Ada", HOSTILE)
    assert newest["answer"]["when"] <= newest["when"]
    done = cli(servers, "history", MODEL, "--verify", "--json")
    assert (done.returncode, json.loads(done.stdout)["records"]) == (0, 4), done.stderr
    assert outside == []


def run_until_suspended(page: Page, servers: Running, *, epochs: int) -> None:
    open_form(page, servers)
    fill(page, "Epochs", str(epochs))  # other settings: another version
    with page.expect_response(re.compile("create_flow_run")) as created:
        page.get_by_role("button", name="Submit").click()
    page.goto(f"{servers.prefect}/runs/flow-run/{created.value.json()['id']}")
    expect(page.locator(".page-heading-flow-run")).to_contain_text("Suspended", timeout=RUN_SECONDS * 1000)


def answer(page: Page, decision: str, reason: str, name: str, picture: str) -> None:
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("may become champion until")).to_be_visible()
    choose(page, "Decision", decision)
    fill(page, "Reason", reason)
    fill(page, "Name", name)
    screenshot(page, picture)
    page.get_by_role("dialog").get_by_role("button", name=re.compile("Resume|Submit")).click()


def cli(servers: Running, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return graftline(servers.project, *arguments)


def records(servers: Running) -> list[dict[str, Any]]:
    shown = json.loads(cli(servers, "history", MODEL, "--json").stdout.splitlines()[-1])
    found: list[dict[str, Any]] = shown["records"]
    return found


def actions(servers: Running) -> list[tuple[str, str]]:
    return [(record["action"], record["verdict"]) for record in records(servers)]


def champion(servers: Running) -> int | None:
    shown = json.loads(cli(servers, "history", MODEL, "--json").stdout.splitlines()[-1])
    found: int | None = shown["champion"]
    return found
