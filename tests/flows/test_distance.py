"""`graftline distance` on a tiny project: what is compared with what, what is said, and what is refused."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.scores.projects import git, write_data_pointer
from graftline.flows.cli import app
from graftline.tasks.registry.named import VersionName, find_named
from graftline.tasks.watching.held_out import HeldOutRows
from graftline.tasks.watching.reference import reference_of
from tests.support.served_log import serve_days
from tests.support.tiny_project import LABELS, MODEL, Line, write_project

SLICES = [f"source=s{number}" for number in range(3)]


def measured(*arguments: str, code: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["distance", *arguments, "--json"])
    assert done.exit_code == code, done.output
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def rows_of_other_words(rows: int) -> str:
    """Texts of words that the base model does not know."""
    drawn = random.Random(7)
    lines = []
    for number in range(rows):
        words = ["".join(drawn.choices(ascii_lowercase, k=6)) for _ in range(drawn.randint(4, 10))]
        lines.append(f"{number},{' '.join(words)},{LABELS[number % 2]},s0")
    return "\n".join(["id,text,label,source", *lines, ""])


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose commit before the last had other rows, and with rows of a source task."""
    root = write_project(tmp_path_factory.mktemp("distant") / "project")
    present = (root / "data" / "rows.csv").read_text()
    (root / "data" / "rows.csv").write_text(rows_of_other_words(120))
    write_data_pointer(root)
    git(root, "commit", "--quiet", "--all", "--message", "other rows")
    git(root, "tag", "others")
    (root / "data" / "rows.csv").write_text(present)
    write_data_pointer(root)
    git(root, "commit", "--quiet", "--all", "--message", "the present rows")
    (root / "probe.csv").write_text(rows_of_other_words(150))
    return root


@pytest.fixture
def project(once: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(once)
    return once


def test_slices_a_source_task_and_another_version_are_each_measured_and_shown(project: Path) -> None:
    found = measured("--since", "others", "--set", "evaluation.probe=probe.csv")
    pairs = {pair["target"]: pair for pair in found["pairs"]}
    assert [pair["about"] for pair in found["pairs"]] == ["source task", "slice", "slice", "slice", "data version"]
    assert set(SLICES) < pairs.keys()
    far = [pair for pair in found["pairs"] if pair["about"] in ("source task", "data version")]
    for pair in far:
        assert pair["differ"]
        assert pair["mmd"]["p"] == pair["a_distance"]["p"] == pair["frechet"]["p"] == 0.005
        assert pair["told_apart"] > 0.9
        assert "differs from" in pair["advice"]
    assert sum(pairs[name]["differ"] for name in SLICES) < 3  # which row has which source was dealt out in turn
    page = Path(found["page"]).read_text()
    for pair in found["pairs"]:
        assert pair["target"] in page
        assert pair["advice"] in found["summary"]


def test_a_second_time_gives_the_same(project: Path) -> None:
    assert measured() == measured()


def test_slices_of_too_few_rows_are_named_and_not_measured(project: Path, tmp_path: Path) -> None:
    root = tmp_path / "few"
    shutil.copytree(project, root, symlinks=True)
    table = root / "data" / "rows.csv"
    lines = table.read_text().splitlines()
    few = [line.rpartition(",")[0] + ",rare" if number % 20 == 1 else line for number, line in enumerate(lines)]
    table.write_text("\n".join([*few, ""]))
    write_data_pointer(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        found = measured()
    (said,) = found["too_few"]
    assert said.startswith("too few rows to compare: ")
    assert said.endswith(" of source=rare, expected 20 or more")
    assert "source=rare" not in [pair["target"] for pair in found["pairs"]]


def test_nothing_to_compare_with_is_refused_in_a_sentence(project: Path) -> None:
    error = measured("--set", "data.slices=[]", code=2)["error"]
    assert error.startswith("there is nothing to compare the rows with: evaluation.probe, data.target_domain")


@pytest.mark.parametrize(
    ("commit", "said"),
    [
        ("nowhere", "--since nowhere: names no commit of this repository, expected one with another version"),
        ("--all", "--since --all: names no commit"),
        ("HEAD", "--since HEAD: its data are version"),
    ],
)
def test_a_commit_without_another_version_of_the_data_is_refused(project: Path, commit: str, said: str) -> None:
    error = measured("--since", commit, code=2)["error"]
    assert said in error
    assert "`git log --oneline -- data.dvc`" in error


def test_a_commit_that_names_no_version_is_refused(project: Path, tmp_path: Path) -> None:
    root = tmp_path / "unnamed"
    shutil.copytree(project, root, symlinks=True)
    git(root, "rm", "--quiet", "--cached", "data.dvc")
    git(root, "commit", "--quiet", "--message", "no version")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        error = measured("--since", "HEAD", code=5)["error"]
    assert "holds no data.dvc, which names a version of data/" in error


@pytest.fixture
def served(adapted: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    monkeypatch.chdir(adapted.workspace.root)
    yield adapted
    shutil.rmtree(adapted.workspace.root / "artifacts" / "served", ignore_errors=True)


def test_what_was_served_is_compared_with_the_held_out_rows(served: Line) -> None:
    error = measured("--served", code=3)["error"]
    assert error.startswith(f"{MODEL}: nothing was logged, expected files in artifacts/served/{MODEL}/DAY")
    version = find_named(served.workspace, VersionName(MODEL, "champion"))
    reference = reference_of(served.workspace, served.settings, HeldOutRows(served.workspace, served.data), version)
    serve_days(served.workspace, reference, 2)
    *_, alike = measured("--served")["pairs"]
    assert (alike["about"], alike["source"]) == ("served rows", "its held-out rows")
    assert not alike["differ"]
    serve_days(served.workspace, reference, 2, moved=2.0)
    *_, moved = measured("--served")["pairs"]
    assert moved["differ"]
    assert "have some labelled (`graftline feedback`)" in moved["advice"]


def test_served_rows_without_what_the_head_read_cannot_be_compared(served: Line) -> None:
    version = find_named(served.workspace, VersionName(MODEL, "champion"))
    reference = reference_of(served.workspace, served.settings, HeldOutRows(served.workspace, served.data), version)
    serve_days(served.workspace, reference, 1, rows=10)
    error = measured("--served", code=3)["error"]
    assert "what its head read is known of 10 served and" in error
    assert "serve with log.keeps features or input in mlflow/serving.yaml" in error
