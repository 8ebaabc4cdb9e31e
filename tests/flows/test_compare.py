"""Two versions on the same held-out rows: scores, what is newly right and wrong, and a sentence."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from graftline.answers.predicting import predictor_of
from graftline.errors import SettingsError
from graftline.evaluation.paired_tests import mcnemar
from graftline.flows.cli import app
from graftline.settings import read_settings
from graftline.tasks.data.accepted_rows import raw_inputs, split_targets
from graftline.tasks.registry.named import VersionName, find_named, read_name
from graftline.tasks.registry.versions import DATA_VERSION, champion_of
from graftline.tasks.step_uses import read_uses
from graftline.tasks.steps.compare_versions import notes_on
from graftline.tasks.steps.held_out import split_changes
from graftline.tasks.tracking.server import client
from tests.support.tiny_project import MODEL, Line, connected, run_line, write_project


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[tuple[Line, Line]]:
    """A project with a version that learned little and one that learned more."""
    with pytest.MonkeyPatch.context() as patch:
        root = write_project(tmp_path_factory.mktemp("two") / "project")
        connected(root, empty_store, patch)
        weak = run_line(root, ["adaptation.strategy=feature_extraction"])
        yield weak, run_line(root)


def compared(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["compare", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.full
def test_two_versions_are_compared_row_by_row_and_nothing_is_changed(
    two: tuple[Line, Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    weak, strong = two
    monkeypatch.chdir(weak.workspace.root)
    champion = champion_of(MODEL)
    uses = len(read_uses(weak.workspace))
    found = compared("1", f"{MODEL}/2")
    targets = split_targets(strong.data, "test").numpy()
    raws = raw_inputs(strong.workspace, strong.data, "test")
    right = [predictor_of(line.checkpoint.model).predict(raws).argmax(1) == targets for line in two]
    assert found["newly_right"] == int((right[1] & ~right[0]).sum())
    assert found["newly_wrong"] == int((right[0] & ~right[1]).sum())
    assert found["p"] == pytest.approx(mcnemar(found["newly_right"], found["newly_wrong"]))
    assert found["second"]["scores"]["accuracy"]["value"] == pytest.approx(right[1].mean())
    assert found["rows"] == len(targets)
    facts = f"tiny version 2 is right on {right[1].sum()} of {len(targets)} held-out rows, tiny version 1 on"
    assert found["answer"].startswith(facts)
    assert {part["column"] for part in found["slices"]} == {"input length", "source", "class"}
    assert found["notes"] == []
    assert [use.places for use in read_uses(weak.workspace)[uses:]] == [
        {f"validate_data/{strong.data.folder.path.name}"}
    ]
    assert champion_of(MODEL) == champion

    version = find_named(strong.workspace, VersionName(MODEL, "2"))
    (note,) = notes_on(version, read_settings(Path("params.yaml"), ["data.test_share=0.3"]), strong.data)
    assert "tiny version 2 was trained on another split (data.test_share was 0.25 and is 0.3)" in note
    client().set_model_version_tag(MODEL, "2", DATA_VERSION, "older")
    (note,) = notes_on(find_named(strong.workspace, VersionName(MODEL, "2")), strong.settings, strong.data)
    assert note.startswith("tiny version 2 was trained on data version older")


def test_versions_are_named_by_number_alias_and_model() -> None:
    assert read_name("3", "reviews") == VersionName("reviews", "3")
    assert read_name("champion", "reviews") == VersionName("reviews", "champion")
    assert read_name("tickets/3", "reviews") == read_name("tickets@3") == VersionName("tickets", "3")
    assert read_name("tickets@champion", "reviews") == VersionName("tickets", "champion")
    for wrong in ("", "0", "best", "tickets", "tickets/", "a/b/3", "tickets@best"):
        with pytest.raises(SettingsError, match="names no version, expected a number, champion or challenger"):
            read_name(wrong, "reviews")
    with pytest.raises(SettingsError, match="NAME/3"):
        read_name("3")


def test_a_row_may_have_been_learned_from_where_more_are_held_out_now_or_sides_go_by_another_column() -> None:
    then = {"data.test_share": "0.15", "data.group": "None", "data.input": "text"}
    assert split_changes(then, then) is None
    assert split_changes({**then, "data.test_share": "0.1"}, then) is None
    assert split_changes({**then, "data.test_share": "0.2"}, then) == "data.test_share was 0.15 and is 0.2"
    assert split_changes({**then, "data.group": "user"}, then) == "data.group was None and is user"
    in_folders = {**then, "rows.split_from": "test, train"}
    assert split_changes(in_folders, then) == "rows.split_from was hash and is test, train"
    assert split_changes(then, in_folders) == "rows.split_from was test, train and is hash"
    assert split_changes({**then, "rows.split_from": "hash"}, then) is None
    assert split_changes(then, {}) is None  # a model from elsewhere


def test_a_version_that_is_not_there_ends_with_6(adapted: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(adapted.workspace.root)
    done = CliRunner().invoke(app, ["compare", "1", "9"])
    assert (done.exit_code, "tiny version 9: not in the registry, which has versions 1" in done.stderr) == (6, True)
    assert read_settings(Path("params.yaml")).registry.model == MODEL
