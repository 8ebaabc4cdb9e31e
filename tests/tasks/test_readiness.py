"""What a run would be refused for is told at once, each with the command that mends it, before anything starts."""

import shutil
from pathlib import Path

import pytest

from graftline.errors import BaseModelRefusedError, DataRefusedError, SettingsError
from graftline.settings import Settings, read_settings
from graftline.tasks.readiness import missing_things, ready_settings, require_all
from tests.support.tiny_project import write_policy, write_project


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("readiness") / "project")


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "project"
    shutil.copytree(written, copy)
    return copy


def settings_of(root: Path, *assignments: str) -> Settings:
    return read_settings(root / "params.yaml", list(assignments))


def said_of(root: Path, *assignments: str) -> list[str]:
    return [missing.sentence for missing in missing_things(root, settings_of(root, *assignments))]


def test_of_a_whole_project_nothing_is_missing(root: Path) -> None:
    assert said_of(root) == []
    assert ready_settings(root, root / "params.yaml") == settings_of(root)


def test_everything_is_named_at_once_and_the_first_kind_gives_the_error(root: Path) -> None:
    for name in (".dvc", ".git", "data", "base"):
        shutil.rmtree(root / name)
    for name in ("data.dvc", "base_models.lock"):
        (root / name).unlink()
    write_policy(root, floor=1)
    with pytest.raises(SettingsError) as caught:
        require_all(root, settings_of(root))
    assert caught.value.sentence == "6 things stand in the way of a run"
    told = [
        "floor: there is no setting floor; did you mean floors?", "begin one with `git init` and `dvc init`",
        "make one with `dvc add data`", "data/rows.csv: there is no such table or folder",
        f"there is no folder {root / 'base'}", "run `graftline lock`",
    ]  # fmt: skip
    assert [part in cause for part, cause in zip(told, caught.value.causes, strict=True)] == [True] * 6


def test_an_empty_folder_is_told_one_thing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no project in this folder; `graftline init` makes one") as caught:
        ready_settings(tmp_path, tmp_path / "params.yaml")
    assert caught.value.causes == ()


def test_a_project_without_the_file_is_told_how_to_name_another(root: Path) -> None:
    with pytest.raises(SettingsError, match=r"parms\.yaml: there is no such settings file; .*--params"):
        ready_settings(root, root / "parms.yaml")


def test_a_column_under_another_name_is_named_with_the_nearest(root: Path) -> None:
    (said,) = said_of(root, "data.input=txt")
    there = "only 'id', 'text', 'label', 'source'"
    assert said == f"data.input: data/rows.csv has no column 'txt', {there}; did you mean 'text'?"


def test_names_of_columns_are_no_commands_to_a_terminal(root: Path) -> None:
    table = root / "data" / "rows.csv"
    table.write_text(table.read_text().replace("text", "te\x1b[2J\u202ext", 1), encoding="utf-8")
    (said,) = said_of(root, "data.allow_modified=true")
    assert said.endswith(r"only 'id', 'te\x1b[2J\u202ext', 'label', 'source'; correct the setting")


def test_one_label_alone_is_seen_before_a_run(root: Path) -> None:
    table = root / "data" / "rows.csv"
    table.write_text(table.read_text().replace(",good,", ",bad,").replace(",baad,", ",bad,"))
    (said,) = said_of(root, "data.allow_modified=true")
    assert said == "data.target: every row of data/rows.csv has the label 'bad', expected at least two"


def test_a_mistyped_table_without_a_version_is_told_the_nearest(root: Path) -> None:
    (root / "data.dvc").unlink()
    (said,) = said_of(root, "data.path=data/row.csv", "data.allow_modified=true")
    assert said == "data/row.csv: there is no such table or folder; did you mean 'data/rows.csv'?"


def test_what_has_a_version_may_be_absent_because_the_run_brings_it(root: Path) -> None:
    shutil.rmtree(root / "data")
    assert said_of(root) == []


@pytest.mark.parametrize(("folder", "command"), [("", "`dvc init`"), ("a", "`dvc init --subdir`")])
def test_dvc_begins_where_git_is_or_in_a_subfolder_of_it(root: Path, folder: str, command: str) -> None:
    shutil.rmtree(root / ".dvc")
    settings = settings_of(root)
    (root / folder).mkdir(exist_ok=True)
    assert any(f"begin one with {command}" in one.sentence for one in missing_things(root / folder, settings))


def test_a_table_that_cannot_be_read_is_a_fault_of_the_data(root: Path) -> None:
    (root / "data" / "rows.csv").write_bytes(b"")
    assert said_of(root) == []  # the version that data.dvc names takes its place
    (root / "data.dvc").unlink()
    with pytest.raises(DataRefusedError, match="the file is empty"):
        require_all(root, settings_of(root, "data.allow_modified=true"))


def test_a_package_that_is_not_installed_is_named_with_its_command_beside_the_lock(root: Path) -> None:
    with pytest.raises(BaseModelRefusedError) as caught:
        require_all(root, settings_of(root, "base_model.uri=package:not_here/model"))
    assert ["pip install not_here" in caught.value.causes[0], "graftline lock" in caught.value.causes[1]] == [True] * 2
