"""The documentation agrees with the code: its keys, its commands, its table of contents, and what a script writes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from graftline.flows.cli import app
from graftline.settings.compute import Compute
from graftline.settings.description import described, described_settings
from graftline.settings.notifications import Notifications
from graftline.verdict.policy import Policy
from graftline.watching.retraining import RetrainingPolicy
from scripts.write_reference import pages
from tests.support.running_project import PROJECT

DOCS = PROJECT / "docs"
# Written by people; what measurements and the script write agrees with the code by itself.
PAGES = sorted(
    path for path in [*DOCS.rglob("*.md"), PROJECT / "README.md"]
    if "measurements" not in path.parts and path.name not in pages()
)  # fmt: skip
SETTINGS = {setting.key for setting in described_settings()}
SECTIONS = {key.partition(".")[0] for key in SETTINGS if "." in key}
# mlflow/signing.yaml has no page of its own in the reference.
FILES = (Policy, RetrainingPolicy, Notifications, Compute)
OTHER_KEYS = {setting.key for model in FILES for setting in described(model)} | {
    "private_key_file", "trusted_keys", "required_from", "witnesses", "git", "s3",
}  # fmt: skip


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands() -> Iterator[tuple[str, str]]:
    """Every `graftline ...` in a block of a page, with the page's name."""
    for page in PAGES:
        for line in "".join(blocks(page, "sh")).splitlines():
            command = line.partition(" #")[0].strip()
            if command.startswith("graftline "):
                yield page.relative_to(PROJECT).as_posix(), command


@pytest.mark.parametrize("name", pages())
def test_the_reference_says_what_the_code_says(name: str) -> None:
    written = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert written == pages()[name], "stale: run scripts/write_reference.py"


def test_the_table_of_contents_names_every_page_and_no_other() -> None:
    nav = yaml.safe_load((PROJECT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert sorted(named(nav)) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def named(entries: list[dict[str, object]]) -> Iterator[str]:
    for (inside,) in (entry.values() for entry in entries):
        if isinstance(inside, list):
            yield from named(inside)
        else:
            yield str(inside)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_pages_name_only_settings_that_there_are(page: Path) -> None:
    spans = re.findall(r"`([a-z_]+\.[a-z_]+)\b[^`/]*`", page.read_text(encoding="utf-8"))
    assert {span for span in spans if span.partition(".")[0] in SECTIONS and not (PROJECT / span).exists()} <= SETTINGS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_what_pages_show_of_files_has_only_keys_that_there_are(page: Path) -> None:
    for block in blocks(page, "yaml"):
        shown = yaml.safe_load(block)
        for key, value in shown.items() if isinstance(shown, dict) else ():  # a list is no settings file
            inside = [f"{key}.{name}" for name in value] if isinstance(value, dict) else [key]
            assert key in OTHER_KEYS or set(inside) <= SETTINGS | OTHER_KEYS, block


@pytest.mark.parametrize(("page", "command"), list(commands()))
def test_the_commands_of_pages_are_taken_by_the_command_line(page: str, command: str) -> None:
    verb, *arguments = shlex.split(command)[1:]
    if verb.startswith("--"):
        return
    known = typer.main.get_command(app)
    assert isinstance(known, typer.core.TyperGroup)
    known.commands[verb].make_context(verb, arguments)
