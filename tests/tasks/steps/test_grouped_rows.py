"""With `data.group` the groups reach the evaluation, the verdict, the record, the tags and every page."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from pyarrow import parquet

from benchmarks.scores.projects import write_data_pointer
from graftline.evaluation.single_label import SCORES
from graftline.flows.compare import compare
from graftline.settings import read_settings
from graftline.tasks.data.accepted_rows import read_split, split_targets
from graftline.tasks.registry.history import read_history
from graftline.tasks.registry.looks import look_of, looks_before, past_looks
from graftline.tasks.steps.held_out import Scorer, held_out_groups
from graftline.tasks.steps.result import result_of
from tests.support.tiny_project import LABELS, MODEL, Line, connected, run_line, write_project

SIZE = 4


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny project whose rows are of persons, four each."""
    root = write_project(tmp_path_factory.mktemp("grouped") / "project")
    table = root / "data" / "rows.csv"
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    for number, row in enumerate(rows):
        person = f"p{number // SIZE}" if number else "person"
        row.append(person)
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    params["data"]["group"] = "person"
    (root / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    write_data_pointer(root)
    return root


@pytest.fixture(scope="module")
def lines(root: Path, empty_store: Path) -> Iterator[list[Line]]:
    """The first run, and one that is no better."""
    with pytest.MonkeyPatch.context() as patch:
        connected(root, empty_store, patch)
        yield [run_line(root), run_line(root, ["adaptation.seed=1"])]


@pytest.mark.full
def test_accepted_rows_keep_their_group(lines: list[Line]) -> None:
    data = lines[0].data
    table = parquet.read_table(data.folder.path / "accepted.parquet").to_pydict()
    assert table["group"] == [f"p{line // SIZE}" for line in (number - 1 for number in table["line"])]
    groups = held_out_groups(data, "person")
    assert groups == [f"person={group}" for group in read_split(data, "test", ["group"])["group"]]
    assert held_out_groups(data, None) is None


@pytest.mark.full
def test_the_number_of_groups_is_told_wherever_the_verdict_is(lines: list[Line]) -> None:
    line = lines[1]
    groups = len(set(held_out_groups(line.data, "person") or ()))
    assert 10 <= groups < line.evaluation.held_out.rows
    assert line.evaluation.held_out.groups == groups
    compared = line.evaluation.comparison
    assert compared is not None
    assert compared.gains.grouped is not None
    assert compared.gains.grouped.groups == groups
    assert f"exact sign flips of the sums of {groups} groups" in line.decision.reasons[0]
    assert f"they are of {groups} groups" in next(one.sentence for one in line.decision.axes if one.name == "test rows")
    tags = MlflowClient().get_model_version(MODEL, str(line.candidate.version)).tags
    assert tags["graftline.groups"] == str(groups)
    told = result_of(line.done, line.report, 1.0)
    assert told["groups"] == groups
    assert f"held-out rows of {groups} groups" in str(told["summary"])
    assert f"<dt>groups of these rows</dt><dd>{groups}</dd>" in line.report.read_text(encoding="utf-8")
    assert read_history(line.workspace, MODEL)[-1].bound is not None


@pytest.mark.full
def test_the_record_holds_what_each_group_gained_and_names_them_once(lines: list[Line]) -> None:
    line, records = lines[1], read_history(lines[1].workspace, MODEL)
    look, gains = records[-1].look, line.evaluation.row_gains
    assert look is not None
    assert look.of_groups is not None
    assert gains is not None
    assert gains.of_groups is not None
    (read,) = past_looks(looks_before(records, None))
    assert read.gains.of_groups is not None
    assert read.gains.of_groups.gains.tolist() == gains.of_groups.gains.tolist()
    allowed = type("Allowed", (), {"level": 0.01, "spent": 0.0})
    again = look_of(records, gains, allowed, line.evaluation.main_difference)  # type: ignore[arg-type]
    assert again is not None
    assert again.of_groups is not None
    assert (again.of_groups.names, again.of_groups.names_in) == (None, records[-1].number)


@pytest.mark.full
def test_an_evaluation_depends_on_the_column_of_the_groups(lines: list[Line]) -> None:
    manifest = json.loads((lines[0].evaluation.folder.path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["inputs"]["depends_on"]["group"] == "person"


@pytest.mark.full
def test_compare_is_by_group_too(root: Path, lines: list[Line]) -> None:
    first, second = (str(line.candidate.version) for line in lines)
    told = compare(root, read_settings(root / "params.yaml"), first, second, say=lambda _: None)
    groups = len(set(held_out_groups(lines[0].data, "person") or ()))
    assert told["test"] == f"exact sign flips of the sums of {groups} groups"
    assert f"held-out rows of {groups} groups" in str(told["answer"])


@pytest.mark.full
def test_the_intervals_are_those_of_whole_groups(lines: list[Line]) -> None:
    line = lines[0]
    table = parquet.read_table(line.evaluation.folder.path / "predictions.parquet")
    predictions = np.stack([table[f"probability.{label}"].to_numpy() for label in LABELS], axis=1)
    targets = split_targets(line.data, "test").numpy()
    by_group, by_row = (
        Scorer(SCORES, targets, line.settings.evaluation, (), groups).of(predictions)
        for groups in (held_out_groups(line.data, "person"), None)
    )
    assert line.evaluation.scores == by_group != by_row
