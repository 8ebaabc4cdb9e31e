"""`graftline settings`: all, a section, one, or the nearest to a mistyped one."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from graftline.errors import SettingsError
from graftline.flows.cli import app
from graftline.settings.notifications import read_notifications
from graftline.settings.serving import read_serving
from graftline.verdict.policy import read_policy
from graftline.watching.retraining import read_retraining


def told(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["settings", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_all_settings_are_told_with_what_they_take() -> None:
    said = told()
    assert "adaptation.epochs\n    whole number: 1 to 1000 (default 3)\n    Passes over the training rows." in said
    assert "data.path\n    text (must be given)" in said
    assert "policy.floors" not in said


def test_a_section_and_a_single_setting_are_told_alone() -> None:
    section = told("base_model")
    assert section.startswith("base_model.uri\n")
    assert len(section.split("\n\n")) == 1
    assert told("adaptation.epochs").splitlines()[0] == "adaptation.epochs"
    assert "policy.floors.accuracy" in told("policy")


def test_as_json_each_has_its_own_words() -> None:
    (epochs,) = json.loads(told("adaptation.epochs", "--json"))["settings"]
    assert (epochs["key"], epochs["type"], epochs["range"], epochs["default"]) == (
        "adaptation.epochs", "whole number", "1 to 1000", "3",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("adaptation.epoch", "did you mean adaptation.epochs?"), ("epoch", "did you mean adaptation.epochs?"),
     ("adaption", "did you mean adaptation?"), ("seed", "did you mean adaptation.seed or evaluation.seed?"),
     ("floors", "did you mean policy.floors?"), ("xyz", "`graftline settings` shows all")],
)  # fmt: skip
def test_an_unknown_key_ends_with_2_and_the_nearest(typed: str, meant: str) -> None:
    done = CliRunner().invoke(app, ["settings", typed])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"graftline: settings {typed}: there is no such setting or section; ")
    assert meant in done.stderr


@pytest.mark.parametrize(
    ("read", "known"),
    [(read_policy, "policy.floors.accuracy"), (read_serving, "serving.batching"),
     (read_retraining, "retraining.triggers"), (read_notifications, "notifications.verdict")],
)  # fmt: skip
def test_the_command_that_a_faulty_file_is_answered_with_explains_that_file(
    read: Callable[[Path], object], known: str, tmp_path: Path
) -> None:
    file = tmp_path / "faulty.yaml"
    file.write_text("wanted: 1")
    with pytest.raises(SettingsError) as refused:
        read(file)
    (name,) = re.findall(r"`graftline settings (\w+)`", str(refused.value))
    assert known in told(name)
    assert known not in told()
