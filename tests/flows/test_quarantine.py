"""What validation put aside is listed, mended by a person, and admitted as the next version; no row gets lost."""

import csv
import json
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from benchmarks.scores.projects import write_data_pointer
from graftline.data.row_names import normalised
from graftline.data.splitting import split_of
from graftline.errors import DataRefusedError, SettingsError
from graftline.flows.cli import app
from graftline.flows.new_rows import Consent
from graftline.flows.quarantine import admit_mended, list_quarantine, mend
from graftline.settings import Settings, read_settings
from graftline.tasks.data.accepted_rows import ACCEPTED
from graftline.tasks.data.files import DataVersion
from graftline.tasks.data.origins import said_of
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace
from tests.support.tiny_media_files import tiny_image, write_tiny_images
from tests.support.tiny_project import connected, rows_as_csv, run_line
from tests.support.tiny_project import write_project as write_tiny_project

YES, DRY_RUN = Consent("yes"), Consent("dry run")
FAULTY = [
    'r900,"a quote is open here,bad,s1',
    "r901,good lovely film with a new word,goood,s0",
    "r902,the same words twice,good,s0",
    "r903,the same words twice,bad,s0",
    "r904,,good,s2",
]
DATA = {
    "path": "data/rows.csv", "id": "id", "labels": ["bad", "good"], "slices": ["source"], "test_share": 0.25,
    "min_rows_per_class": 5, "max_quarantined": 0.1,
}  # fmt: skip


def write_project(root: Path, data: dict[str, Any]) -> Path:
    """Settings and a version for the data that lie in `root`."""
    params = {"data": data, "base_model": {"uri": "path:base"}, "registry": {"model": "tiny"}}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    write_data_pointer(root)
    return root


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("quarantine")
    (root / "data").mkdir()
    (root / "data" / "rows.csv").write_text(rows_as_csv(120) + "\n".join(FAULTY) + "\n")
    write_project(root, DATA)
    validated(root)
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "project"))


def settings_of(root: Path) -> Settings:
    return read_settings(root / "params.yaml")


def validated(root: Path) -> tuple[DataVersion, Path]:
    """The version of the data, and the folder of its validation."""
    workspace, settings = Workspace(root), settings_of(root)
    version = data_version.fn(workspace, settings.data)
    return version, validate_data.fn(workspace, settings.data, version).folder.path


def sides(folder: Path) -> dict[str, tuple[str, str]]:
    from pyarrow import parquet

    rows = parquet.read_table(folder / ACCEPTED).to_pylist()
    return {row["row_id"]: (row["split"], row["target"]) for row in rows}


def mended(root: Path, changes: dict[int, dict[str, str]], name: str = "mend.csv") -> Path:
    """The table that `mend` writes, with these cells changed, by line."""
    path = root / name
    mend(root, settings_of(root), path, of=None, reason=None)
    rows = list(csv.DictReader(path.open(newline="")))
    for row in rows:
        row |= changes.get(int(row["graftline_line"]), {})
    write_csv(path, rows)
    return path


def write_csv(path: Path, rows: Sequence[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def admit(root: Path, path: Path, consent: Consent = YES) -> dict[str, Any]:
    said: list[str] = []
    return {**admit_mended(root, settings_of(root), path, consent, said.append), "said": said}


def lines_of(root: Path) -> list[str]:
    return (root / "data" / "rows.csv").read_text().splitlines(keepends=True)


def reasons(rows: Iterable[dict[str, Any]]) -> dict[int, list[str]]:
    return {row["line"]: [reason.partition(":")[0] for reason in row["reasons"]] for row in rows}


def test_the_list_names_each_row_with_its_reasons(root: Path) -> None:
    listed: Any = list_quarantine(root, settings_of(root), of=None, reason=None)
    assert reasons(listed["rows"]) == {
        122: ["target_known"], 123: ["row_readable"], 124: ["target_known"], 125: ["no_conflict"],
        126: ["no_conflict"], 127: ["input_present"],
    }  # fmt: skip
    assert listed["quarantined"] == 6
    assert "122   r120" in listed["summary"]
    some: Any = list_quarantine(root, settings_of(root), of=listed["validation"][:5], reason="no_conflict")
    assert reasons(some["rows"]).keys() == {125, 126}
    with pytest.raises(SettingsError, match="--of zz: no validations begin so; the newest are "):
        list_quarantine(root, settings_of(root), of="zz", reason=None)


def test_mended_rows_take_the_places_of_the_faulty_ones_and_no_other_row_changes(root: Path) -> None:
    before, (old_version, old_folder) = lines_of(root), validated(root)
    path = mended(
        root,
        {
            122: {"label": "bad"},
            123: {"id": "r900", "text": "a quote is open here", "label": "bad", "source": "s1"},
            124: {"label": "goood"},
            126: {"graftline_do": "remove"},
        },
    )
    done = admit(root, path)
    assert done["counts"] == {"read": 6, "admitted": 3, "unchanged": 3, "refused": 0}
    after = lines_of(root)
    assert after[:121] == before[:121]
    assert after[121].endswith(",bad,s0\n")
    assert after[122:] == ["r900,a quote is open here,bad,s1\n", before[123], before[124], before[126]]
    assert done["diff"]["accepted_with_them"] == 1  # the other one of the conflict
    version, folder = validated(root)
    assert (version.version, done["before"]) == (done["version"], old_version.version)
    old, new = sides(old_folder), sides(folder)
    assert {row_id: new[row_id] for row_id in old} == old
    assert new.keys() - old.keys() == {"r120", "r900", "r902"}
    assert said_of(Workspace(root), "data", version.version) == (
        f"quarantine: 2 changed, 1 removed since {old_version.version};"
        " rows that validation had put aside, corrected by hand"
    )


def test_a_row_that_would_be_quarantined_again_is_refused_by_name_and_the_others_are_admitted(root: Path) -> None:
    changes = {122: {"label": "worse"}, 124: {"label": "good"}, 127: {"text": "words of its own", "graftline_do": "x"}}
    done = admit(root, mended(root, changes))
    assert done["counts"] == {"read": 6, "admitted": 1, "unchanged": 3, "refused": 2}
    refused = {row["place"]: row["why"] for row in done["refused"]}
    assert refused["line 122"].startswith("target_known: 'worse'")
    assert refused["line 127"] == "graftline_do 'x', expected remove or nothing"
    assert done["left_in_quarantine"] == 5
    assert any(line.startswith("refused    line 122: target_known") for line in done["said"])


def test_if_no_row_can_be_admitted_nothing_changes(root: Path) -> None:
    before = (root / "data.dvc").read_text()
    with pytest.raises(DataRefusedError, match="no row can be admitted; nothing was changed") as refused:
        admit(root, mended(root, {122: {"label": "worse"}}))
    assert refused.value.causes == ("line 122: target_known: 'worse'",)
    assert admit(root, mended(root, {}, "as_it_is.csv"))["written"] is False
    assert (root / "data.dvc").read_text() == before


def test_a_dry_run_shows_the_diff_and_changes_nothing(root: Path) -> None:
    before = lines_of(root)
    done = admit(root, mended(root, {122: {"label": "bad"}}), DRY_RUN)
    assert done["written"] is False
    assert done["diff"]["rows"]["accepted"] == {"before": 120, "after": 121}
    assert done["diff"]["classes"]["bad"]["after"]["rows"] == 61
    assert lines_of(root) == before
    assert not (root / "data_origins.jsonl").exists()


def test_a_person_is_asked_and_may_say_no(root: Path) -> None:
    asked: list[str] = []

    def no(question: str, proposed: str | None, among: Sequence[str]) -> str:
        asked.append(question)
        return "no"

    path = mended(root, {122: {"label": "bad"}})
    assert admit(root, path, Consent("ask", no))["written"] is False
    assert asked == ["Make this the next version of data/?"]
    with pytest.raises(SettingsError, match="there is nobody to ask"):
        admit(root, path, Consent("ask"))


def test_a_table_of_another_version_is_refused(root: Path) -> None:
    path = mended(root, {122: {"label": "bad"}})
    admit(root, path)
    with pytest.raises(DataRefusedError, match=r"was written for version '\w{12}' of the data, which are at"):
        admit(root, path)
    with pytest.raises(DataRefusedError, match=r"validate them first with `graftline adapt`"):
        mend(root, settings_of(root), root / "new.csv", of=None, reason=None)


def test_a_mended_row_that_nearly_is_a_held_out_one_is_refused(root: Path) -> None:
    _, folder = validated(root)
    held_out = [name for name, (side, target) in sides(folder).items() if side == "test" and target == "good"]
    rows = csv.DictReader((root / "data" / "rows.csv").open(newline=""))
    texts = [row["text"] for row in rows if row["id"] in held_out]
    # The side follows from the text, mark and all: some lie where a model would learn from them.
    near = next(
        text + mark
        for text in texts
        for mark in ("!", ".", "?")
        if split_of(normalised(text + mark), test_share=0.25, validation_share=0.15) == "train"
    )
    with pytest.raises(DataRefusedError, match="no row can be admitted") as refused:
        admit(root, mended(root, {122: {"text": near, "label": "good"}}))
    assert re.fullmatch(
        r"line 122: it is 1\.00 the same as the test row in line \d+:"
        r" as a train row it would give away what that is to show",
        refused.value.causes[0],
    )


def test_a_table_in_the_data_or_over_another_file_is_not_written(root: Path) -> None:
    for target, why in ((root / "params.yaml", "is there already"), (root / "data" / "m.csv", "lies in data/")):
        with pytest.raises(SettingsError, match=why):
            mend(root, settings_of(root), target, of=None, reason=None)


def test_of_refused_data_the_rows_can_be_mended_too(root: Path) -> None:
    write_project(root, {**DATA, "max_quarantined": 0.01})
    shutil.rmtree(root / "artifacts")
    with pytest.raises(DataRefusedError, match="quarantined_share"):
        validated(root)
    listed = list_quarantine(root, settings_of(root), of=None, reason=None)
    assert (listed["refused"], listed["quarantined"]) == (True, 6)
    changes = {line: {"graftline_do": "remove"} for line in (123, 124, 125)}
    done = admit(root, mended(root, {122: {"label": "bad"}, **changes}))
    assert done["counts"]["admitted"] == 4
    assert done["diff"]["still_refused"] == []
    validated(root)


def test_a_damaged_picture_is_replaced_and_a_misplaced_one_moved(tmp_path: Path) -> None:
    root = tmp_path
    write_tiny_images(root / "data" / "photos", 60)
    bad = root / "data" / "photos" / "disc" / "broken.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    stray = root / "data" / "photos" / "stray.png"
    tiny_image("stripes", 7).save(stray)
    (root / "data" / "photos" / "disc" / ".hidden").write_bytes(b"x")
    write_project(root, {"path": "data/photos", "kind": "image", "min_rows_per_class": 5, "max_quarantined": 0.1})
    _, old_folder = validated(root)
    tiny_image("disc", 11).save(root / "whole.png")
    path = root / "mend.csv"
    mend(root, settings_of(root), path, of=None, reason=None)
    rows = {row["file"]: row for row in csv.DictReader(path.open(newline=""))}
    rows["photos/disc/broken.png"]["graftline_new_file"] = "whole.png"
    rows["photos/stray.png"]["file"] = "photos/stripes/stray.png"
    rows["photos/disc/.hidden"]["graftline_do"] = "remove"
    write_csv(path, list(rows.values()))
    assert admit(root, path)["counts"] == {"read": 3, "admitted": 3, "unchanged": 0, "refused": 0}
    assert bad.read_bytes() == (root / "whole.png").read_bytes()
    assert (root / "data" / "photos" / "stripes" / "stray.png").is_file()
    assert not stray.exists()
    _, folder = validated(root)
    old, new = sides(old_folder), sides(folder)
    assert {name: new[name] for name in old} == old
    assert len(new) == len(old) + 2


def test_a_picture_may_not_take_the_place_of_another(tmp_path: Path) -> None:
    root = tmp_path
    write_tiny_images(root / "data" / "photos", 60)
    (root / "data" / "photos" / "disc" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    write_project(root, {"path": "data/photos", "kind": "image", "min_rows_per_class": 5, "max_quarantined": 0.1})
    validated(root)
    there = next(path for path in (root / "data" / "photos" / "stripes").iterdir())
    line = 1 + sorted(path.relative_to(root / "data").as_posix() for path in (root / "data").rglob("*.*")).index(
        "photos/disc/broken.png"
    )
    tiny_image("disc", 11).save(root / "whole.png")
    for number, name in enumerate([there.relative_to(root / "data").as_posix(), "../out.png", "photos/disc/.x.png"]):
        changes = {line: {"file": name, "graftline_new_file": "whole.png"}}
        with pytest.raises(DataRefusedError, match="no row can be admitted") as refused:
            admit(root, mended(root, changes, f"{number}.csv"))
        assert name in refused.value.causes[0]


def test_a_new_file_is_taken_from_beside_the_table_or_the_project_and_from_nowhere_else(tmp_path: Path) -> None:
    root = tmp_path / "project"
    write_tiny_images(root / "data" / "photos", 60)
    (root / "data" / "photos" / "disc" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    write_project(root, {"path": "data/photos", "kind": "image", "min_rows_per_class": 5, "max_quarantined": 0.1})
    validated(root)
    tiny_image("disc", 11).save(tmp_path / "elsewhere.png")
    (root / "link.png").symlink_to(tmp_path / "elsewhere.png")
    mend(root, settings_of(root), root / "mend.csv", of=None, reason=None)
    (row,) = csv.DictReader((root / "mend.csv").open(newline=""))
    for name in (str(tmp_path / "elsewhere.png"), "../elsewhere.png", "link.png"):
        write_csv(root / "mend.csv", [row | {"graftline_new_file": name}])
        with pytest.raises(DataRefusedError, match="no row can be admitted") as refused:
            admit(root, root / "mend.csv")
        assert "graftline_new_file" in refused.value.causes[0]


def test_no_cell_of_the_table_is_a_formula_and_all_come_back_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    texts = ["=HYPERLINK(1)", "+1 film", "-@x", "@SUM(1)", "'=quoted", "'single", "-0.5", "\tgap"]
    rows = [f'x{number},"{text}",goood,s0' for number, text in enumerate(texts)]
    (tmp_path / "data" / "rows.csv").write_text(rows_as_csv(120) + "\n".join(rows) + "\n")
    write_project(tmp_path, DATA)
    validated(tmp_path)
    path = tmp_path / "mend.csv"
    mend(tmp_path, settings_of(tmp_path), path, of=None, reason=None)
    told = list(csv.DictReader(path.open(newline="")))
    assert [cell for row in told for cell in row.values() if cell[:1] in tuple("=+@\t") or cell[:2] == "-@"] == []
    assert admit(tmp_path, path)["counts"]["unchanged"] == len(told)
    write_csv(path, [row | {"label": "good"} for row in told if row["graftline_id"].startswith("x")])
    assert admit(tmp_path, path)["counts"]["admitted"] == len(texts)
    written = [row["text"] for row in csv.DictReader((tmp_path / "data" / "rows.csv").open(newline=""))]
    assert written[-len(texts) :] == texts


def test_the_command_line_says_the_counts_and_the_next_commands(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    path = mended(root, {122: {"label": "bad"}})
    runner = CliRunner()
    assert runner.invoke(app, ["quarantine", "admit", str(path), "--json"]).exit_code == 2
    assert runner.invoke(app, ["quarantine", "mend"]).exit_code == 2
    done = runner.invoke(app, ["quarantine", "admit", str(path), "--yes", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["counts"] == {"read": 6, "admitted": 1, "unchanged": 5, "refused": 0}
    assert told["next"] == 'git add data.dvc data_origins.jsonl && git commit -m "New rows" && dvc push'


@pytest.mark.full
def test_a_run_on_the_next_version_keeps_every_side_and_says_where_the_rows_came_from(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    root = write_tiny_project(tmp_path / "project")
    connected(root, empty_store, monkeypatch)
    first = run_line(root)
    done = admit(root, mended(root, {202: {"label": "bad"}}))
    second = run_line(root)
    assert second.data.data.version == done["version"] != first.data.data.version
    assert second.data.accepted == first.data.accepted + 1
    old, new = sides(first.data.folder.path), sides(second.data.folder.path)
    assert {name: new[name] for name in old} == old
    tags = [MlflowClient().get_run(line.run.run_id).data.tags for line in (first, second)]
    assert "graftline.data_origin" not in tags[0]
    assert tags[1]["graftline.data_origin"].startswith(f"quarantine: 1 changed since {first.data.data.version}; ")
