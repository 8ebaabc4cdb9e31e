"""The rows of the target domain: read and checked as the data are, without labels, and apart from what is held out."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from pyarrow import parquet

from graftline.digests import file_sha256
from graftline.errors import DataRefusedError, SettingsError
from graftline.settings import DataSettings, Settings, parse_settings
from graftline.tasks.data.accepted_rows import ValidatedData, read_split
from graftline.tasks.data.files import DataVersion, rows_sha256, table_path
from graftline.tasks.steps.target_domain import TargetDomain, target_domain
from graftline.tasks.steps.tracked_run import RunInputs, tracked_run
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace
from graftline.verdict.policy import Policy
from tests.support.tiny_media_files import write_tiny_images
from tests.support.tiny_project import Line

TARGET = "target.csv"
TINY = {"min_rows_per_class": 5, "test_share": 0.25, "max_quarantined": 0.5}
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def sentences(count: int, subject: str) -> list[str]:
    """So many that no two of them are near duplicates."""
    return [
        f"{subject} number {NUMBERS[place // 10 % 10]} and {NUMBERS[place % 10]} was "
        f"{'good' if place % 2 else 'bad'} at {NUMBERS[::-1][place % 10]} of {NUMBERS[::-1][place // 10 % 10]} houses"
        for place in range(count)
    ]


def write(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])


def validated(root: Path, **settings: Any) -> tuple[DataSettings, ValidatedData]:
    data = DataSettings.model_validate({"path": "data/rows.csv", **TINY, **settings})
    table = table_path(Workspace(root), data)
    version = DataVersion("v" * 32, False, (), rows_sha256(root / "data", table, data.kind), table)
    return data, validate_data.fn(Workspace(root), data, version)


def domain_of(root: Path, **settings: Any) -> tuple[ValidatedData, TargetDomain]:
    data, rows = validated(root, **settings)
    found = target_domain.fn(Workspace(root), data, rows)
    assert found is not None
    assert found.rows.read == found.rows.accepted + found.rows.quarantined
    assert found.rows.accepted == found.learned + found.kept_out + found.rows.split_rows["test"]
    return rows, found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of films with labels, and of shops without."""
    root = tmp_path_factory.mktemp("films")
    films = [(text, "good" if "good" in text else "bad", "film") for text in sentences(60, "the film")]
    write(root / "data" / "rows.csv", ("text", "label", "kind"), films)
    return root


def test_rows_without_labels_are_counted_and_what_is_faulty_or_nearly_held_out_is_kept_out(project: Path) -> None:
    _, data = validated(project)
    held, learned = (read_split(data, side, ["input"])["input"] for side in ("test", "train"))
    shops = sentences(20, "a shop")
    rows = [*shops, held[0].upper(), f"{held[1]}!", learned[0], " "]
    write(project / "data" / TARGET, ("text",), [(text,) for text in rows])
    _, found = domain_of(project, target_domain=f"data/{TARGET}")
    assert (found.rows.read, found.rows.quarantined, found.kept_out) == (24, 1, 2)
    assert list(found.inputs(Workspace(project))) == [*shops, learned[0]]
    faulty = json.loads((found.validated.path / "quarantine.jsonl").read_text())
    assert (faulty["line"], faulty["reasons"]) == (25, ["input_not_blank: 0"])
    twins = (found.rows.folder.path / "twins.jsonl").read_text().splitlines()
    assert [json.loads(line)["line"] for line in twins] == [22, 23]
    _, again = domain_of(project, target_domain=f"data/{TARGET}")
    assert (again.rows.folder.outcome, again.rows.sha256) == ("reused", found.rows.sha256)


def test_a_column_divides_the_rows_and_no_label_of_the_target_domain_is_read(project: Path, tmp_path: Path) -> None:
    _, alone = validated(project)
    films = [(text, "good" if "good" in text else "bad", "film") for text in sentences(60, "the film")]
    shops = [(text, "" if place % 3 else "good", "shop") for place, text in enumerate(sentences(40, "a shop"))]
    write(tmp_path / "data" / "rows.csv", ("text", "label", "kind"), [*films, *shops])
    rows, found = domain_of(tmp_path, target_domain="kind=shop")
    assert (rows.read, found.rows.read, found.rows.quarantined) == (60, 40, 0)
    assert rows.sha256 == alone.sha256
    learned = found.inputs(Workspace(tmp_path))
    assert set(learned) < set(sentences(40, "a shop"))
    assert 0 < found.rows.split_rows["test"] == 40 - len(learned) - found.kept_out
    assert set(parquet.read_table(found.rows.folder.path / "accepted.parquet")["target"].to_pylist()) == {None}


@pytest.mark.full
def test_a_folder_of_pictures_needs_no_class_folders(tmp_path: Path) -> None:
    write_tiny_images(tmp_path / "data" / "photos", 60)
    write_tiny_images(tmp_path / "others", 12, seed=5)
    (tmp_path / "data" / "others").mkdir()
    for number, path in enumerate(sorted(path for path in (tmp_path / "others").rglob("*") if path.is_file())):
        path.rename(tmp_path / "data" / "others" / f"{number}{path.suffix}")
    (tmp_path / "data" / "others" / "notes.txt").write_text("none")
    _, found = domain_of(tmp_path, path="data/photos", kind="image", target_domain="data/others", max_twins=1)
    assert (found.rows.read, found.rows.quarantined, found.learned + found.kept_out) == (13, 1, 12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("../target.csv", r"data\.target_domain: .*expected a path below the project folder .* or column=value"),
        ("kind=", r"data\.target_domain: 'kind=' .*names no column and its value, expected something like shop=books"),
    ],
)
def test_what_names_no_rows_is_refused_with_the_settings(adapted: Line, given: str, message: str) -> None:
    tree = adapted.settings.model_dump(mode="json")
    with pytest.raises(SettingsError, match=message):
        parse_settings({**tree, "data": {**tree["data"], "target_domain": given}}, source="params.yaml")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("data/none.csv", r"data\.target_domain: .*there is no such table"),
        ("shop=books", r"the table has the column 'shop' that data\.target_domain names; columns: 'text', 'label', "),
        (
            "kind=shop",
            r"data\.target_domain: no row has 'shop' in the column 'kind', expected one of 'film'; correct it",
        ),
    ],
)
def test_rows_that_are_not_there_are_refused_in_a_sentence(project: Path, given: str, message: str) -> None:
    with pytest.raises(DataRefusedError, match=message):
        domain_of(project, target_domain=given)


def test_a_table_needs_the_input_under_its_name_and_some_row_that_is_not_held_out(project: Path) -> None:
    write(project / "data" / TARGET, ("texts",), [("a shop",)])
    with pytest.raises(DataRefusedError, match=r"no column 'text', expected one of 'texts'; call it there as data\."):
        domain_of(project, target_domain=f"data/{TARGET}")
    held = read_split(validated(project)[1], "test", ["input"])["input"]
    write(project / "data" / TARGET, ("text",), [(held[0],)])
    with pytest.raises(DataRefusedError, match=r"leaves no row to learn from \(1 read, 1 accepted, .*; add some"):
        domain_of(project, target_domain=f"data/{TARGET}")


def test_a_run_with_a_target_domain_is_another_and_records_its_digest(adapted: Line, tmp_path: Path) -> None:
    root, plain = adapted.workspace.root, adapted.settings.model_dump()
    write(root / TARGET, ("text",), [(text,) for text in sentences(20, "a shop")])
    settings = Settings.model_validate({**plain, "data": {**plain["data"], "target_domain": TARGET}})
    domain = target_domain.fn(adapted.workspace, settings.data, adapted.data)
    inputs = RunInputs(settings, Policy(), adapted.data, adapted.base, None, domain)
    try:
        assert inputs.key != RunInputs(adapted.settings, Policy(), adapted.data, adapted.base).key
        with tracked_run(adapted.workspace, inputs) as run:
            recorded = Path(MlflowClient().download_artifacts(run.run_id, "provenance.json", str(tmp_path)))
        assert json.loads(recorded.read_text())["target_domain_sha256"] == file_sha256(root / TARGET)
        assert "validation.html" in MlflowClient().list_artifacts(run.run_id, "target_domain")[0].path
    finally:
        (root / TARGET).unlink()
