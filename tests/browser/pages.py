"""Driving Debian's Chromium over Prefect's pages, as a person does."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.support.running_project import PROJECT, Running

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


@contextmanager
def started_browser() -> Iterator[Browser]:
    """Chromium, for as long as the block runs."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        yield started
        started.close()


def sign_in(page: Page, servers: Running) -> None:
    """Click on the newest link that `graftline up` has printed."""
    page.goto(next(servers.links))
    page.wait_for_url(f"{servers.prefect}/dashboard*")


def open_form(page: Page, servers: Running, deployment: str = "adapt", awaited: str = "Strategy") -> None:
    """Walk from the front page to the form, as a person does, until the field `awaited` is there."""
    page.goto(servers.prefect)
    page.get_by_text("Deployments", exact=True).click()
    page.locator("a[href*='/deployments/deployment/']", has_text=deployment).click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").click()
    expect(field(page, awaited)).to_be_visible()


def field(page: Page, title: str) -> Locator:
    """The part of the form with this title; sections hold fields, so the innermost match is the field itself."""
    label = page.locator(".schema-form-property__label", has_text=re.compile(rf"^\s*{title}( \(Optional\))?\s*$"))
    return page.locator(".schema-form-property", has=label).last


def choose(page: Page, title: str, option: str) -> None:
    # By its arrow: a click on the words opens the list and closes it again, on every page of Prefect 3.8.8's first UI.
    field(page, title).locator(".p-select-button__icon").click(force=True)
    page.locator(".p-select-option", has_text=option).click()


def options(page: Page, title: str) -> list[str]:
    """The lines of a dropdown."""
    field(page, title).locator(".p-select-button__icon").click(force=True)
    expect(page.locator(".p-select-option").first).to_be_visible()
    found = page.locator(".p-select-option").all_inner_texts()
    page.keyboard.press("Escape")
    return [one.strip() for one in found]


def fill(page: Page, title: str, value: str) -> None:
    field(page, title).locator("input, textarea").first.fill(value)


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
