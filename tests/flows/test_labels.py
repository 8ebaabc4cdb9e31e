"""Labels that look wrong are listed, corrected in the next version of the data, or remembered to stand."""

import csv
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from benchmarks.scores.projects import write_data_pointer
from graftline.errors import SettingsError
from graftline.flows.cli import app
from graftline.flows.labels import accept_labels, list_labels, reject_labels
from graftline.flows.new_rows import Consent
from graftline.settings import Settings, read_settings
from graftline.tasks.base_models.locking import lock_model
from graftline.tasks.rows.doubted_labels import LabelledRow, labelled_rows
from graftline.tasks.rows.labels_page import held_out_in_words
from graftline.tasks.rows.standing_labels import standing_file
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace
from tests.support.tiny_media import write_tiny_image_model
from tests.support.tiny_media_files import write_tiny_images
from tests.support.tiny_models import BAD, FILLERS, GOOD, write_tiny_model
from tests.support.tiny_project import connected, run_line
from tests.support.tiny_project import write_project as write_tiny_project

YES, DRY_RUN = Consent("yes"), Consent("dry run")
# So many rows, of which each row with a number in the middle of that many has the other label.
ROWS, EACH = 240, 15
OTHER = {"good": "bad", "bad": "good"}


def wrong_names() -> set[str]:
    return {f"r{number}" for number in range(EACH // 2, ROWS, EACH)}


def write_project(root: Path) -> Path:
    """A table whose words decide about the label, but for some rows that have the other one."""
    drawn, rows = random.Random(0), []
    for number in range(ROWS):
        label = ("bad", "good")[number % 2]
        words = drawn.choices(GOOD if number % 2 else BAD, k=5)
        written = OTHER[label] if f"r{number}" in wrong_names() else label
        rows.append({"id": f"r{number}", "text": " ".join(words), "label": written})
    (root / "data").mkdir(parents=True)
    with (root / "data" / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_tiny_model(root / "base")
    write_settings(root, labels=["bad", "good"])
    return root


def write_settings(root: Path, **data: Any) -> None:
    params = {
        "data": {"path": "data/rows.csv", "id": "id", "test_share": 0.25, "min_rows_per_class": 5, **data},
        "base_model": {"uri": "path:base"},
        "adaptation": {"max_tokens": 32, "threads": 1, "device": "cpu"},
        "registry": {"model": "tiny"},
    }
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    lock_model(Workspace(root), "path:base")
    write_data_pointer(root)


@pytest.fixture(scope="module")
def listed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_project(tmp_path_factory.mktemp("labels") / "project")
    list_labels(root, settings_of(root))
    return root


@pytest.fixture
def root(listed_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(listed_once, tmp_path / "project"))


def settings_of(root: Path) -> Settings:
    return read_settings(root / "params.yaml")


def test_a_run_tells_what_was_found_of_the_held_out_labels_once_somebody_has_looked(root: Path) -> None:
    workspace, settings = Workspace(root), settings_of(root)
    data = validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data))
    base = fetch_model.fn(workspace, settings.base_model.uri)
    said = held_out_in_words(workspace, settings, data, base)
    assert said is not None
    assert said.startswith(f"Of {data.split_rows['test']} held-out labels ")
    assert said in listed(root)["summary"]
    shutil.rmtree(root / "artifacts" / "doubted_labels")
    assert held_out_in_words(workspace, settings, data, base) is None


def listed(root: Path) -> dict[str, Any]:
    return list_labels(root, settings_of(root))


def accept(root: Path, *names: str, label: str | None = None, consent: Consent = YES) -> dict[str, Any]:
    said: list[str] = []
    return {**accept_labels(root, settings_of(root), names, label, consent, said.append), "said": said}


def doubted(root: Path, side: str | None = None) -> list[str]:
    """The listed rows that have a wrong label indeed."""
    rows = [row for row in listed(root)["labels"] if side in (None, row["side"])]
    return [row["row"] for row in rows if row["row"] in wrong_names()]


def rows_of(root: Path) -> Sequence[LabelledRow]:
    workspace, settings = Workspace(root), settings_of(root)
    return labelled_rows(validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data)))


def labels_of(root: Path) -> dict[str, str]:
    with (root / "data" / "rows.csv").open(newline="") as file:
        return {row["id"]: row["label"] for row in csv.DictReader(file)}


def test_rows_with_a_wrong_label_are_listed_first_with_the_likely_one(root: Path) -> None:
    told = listed(root)
    names = [row["row"] for row in told["labels"]]
    assert set(names[:5]) <= wrong_names()
    assert len(wrong_names() & set(names)) > 0.6 * len(wrong_names())
    first = told["labels"][0]
    assert first["likely"] == OTHER[first["label"]]
    assert first["label_probability"] < 0.5 < first["likely_probability"]
    assert told["planted"]["found"] > 0.5 * told["planted"]["rows"] > 0


def test_the_held_out_rows_set_a_ceiling_with_bounds(root: Path) -> None:
    told = listed(root)
    held_out, ceiling = told["held_out"], told["ceiling"]
    on_test = [row for row in told["labels"] if row["side"] == "test"]
    assert held_out["doubted"] == len(on_test) > 0
    assert ceiling["value"] == pytest.approx(1 - len(on_test) / held_out["rows"])
    assert 0 < ceiling["low"] < ceiling["value"] < ceiling["high"] == 1
    assert "Nobody has looked at a doubt yet" in told["summary"]
    assert f"Of {held_out['rows']} held-out labels {len(on_test)} look wrong" in told["summary"]


def test_the_estimate_goes_by_what_people_said_of_the_doubts(root: Path) -> None:
    first, *others = doubted(root)
    reject_labels(root, settings_of(root), [first])
    accept(root, *others[:4])
    told = listed(root)
    assert told["looked_at"] == {"doubts": 5, "wrong": 4}
    assert "Of 5 doubts that people looked at 4 were right" in told["summary"]


def test_the_page_shows_each_row_as_text_alone(root: Path) -> None:
    path, name = root / "data" / "rows.csv", doubted(root)[0]
    path.write_text(path.read_text().replace(f"\n{name},", "\n<script>alert(1)</script>,"))
    write_data_pointer(root)
    page = Path(listed(root)["page"]).read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page


def test_accepted_rows_get_their_likely_label_in_the_next_version_and_no_other_row_changes(root: Path) -> None:
    before, chosen = labels_of(root), doubted(root)[:3]
    told = accept(root, *chosen)
    assert told["written"]
    assert told["counts"]["changed"] == 3
    assert "git add data.dvc data_origins.jsonl data_labels.jsonl" in told["next"]
    after = labels_of(root)
    assert {name for name in after if after[name] != before[name]} == set(chosen)
    settings = settings_of(root)
    version = data_version.fn(Workspace(root), settings.data)
    assert version.version == told["version"]
    assert validate_data.fn(Workspace(root), settings.data, version).accepted == ROWS
    origin = json.loads((root / "data_origins.jsonl").read_text())
    assert origin["command"] == "labels"
    assert {row["row"]: (row["label_before"], row["label"]) for row in origin["each"]} == {
        name: (before[name], after[name]) for name in chosen
    }
    assert not {row["row"] for row in listed(root)["labels"]} & set(chosen)


def test_a_dry_run_changes_nothing(root: Path) -> None:
    before = {path: path.read_bytes() for path in (root / "data.dvc", root / "data" / "rows.csv")}
    told = accept(root, doubted(root)[0], consent=DRY_RUN)
    assert not told["written"]
    assert before == {path: path.read_bytes() for path in before}
    assert not standing_file(root, "data").exists()


def test_a_rejected_row_is_not_listed_again_until_its_label_is_another_one(root: Path) -> None:
    first, second = doubted(root)[:2]
    told = reject_labels(root, settings_of(root), [first, second])
    assert told["noted"] == 2
    assert reject_labels(root, settings_of(root), [first])["noted"] == 0
    now = listed(root)
    assert not {first, second} & {row["row"] for row in now["labels"]}
    assert now["standing"] == 2
    path = standing_file(root, "data")
    assert not any(word in path.read_text() for word in ("awful", "lovely"))
    labels = labels_of(root)
    other = path.read_text().replace(f'"label": "{labels[first]}"', f'"label": "{OTHER[labels[first]]}"', 1)
    path.write_text(f"<<<<<<< ours\n{other}")
    assert first in {row["row"] for row in listed(root)["labels"]}


def test_a_label_that_a_person_chose_is_not_doubted_again(root: Path) -> None:
    right = next(name for name in labels_of(root) if name not in wrong_names())
    accept(root, right, label=OTHER[labels_of(root)[right]])
    now = listed(root)
    assert right not in {row["row"] for row in now["labels"]}
    assert now["standing"] == 1


def test_rows_of_one_input_change_together(root: Path) -> None:
    path = root / "data" / "rows.csv"
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join([*lines, next(line for line in lines if line.startswith("r12,")).replace("r12,", "r900,")])
    )
    write_data_pointer(root)
    assert accept(root, "r12", label=OTHER[labels_of(root)["r12"]])["counts"]["changed"] == 2
    assert labels_of(root)["r900"] == labels_of(root)["r12"]


def test_what_cannot_be_is_refused_in_a_sentence(root: Path) -> None:
    right = next(name for name in labels_of(root) if name not in wrong_names())
    with pytest.raises(SettingsError, match=r"1 of 2 names are of no accepted row \('r1200'\); .*did you mean "):
        accept(root, "r12", "r1200")
    with pytest.raises(SettingsError, match=f"the label of '{right}' is not doubted"):
        accept(root, right)
    with pytest.raises(
        SettingsError, match=r"--label 'goood': 'goood' is no label of these data, .*did you mean 'good'"
    ):
        accept(root, right, label="goood")


def test_numbers_have_no_likely_one(root: Path) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["data"] |= {"task": "regression", "labels": []}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(SettingsError, match="`graftline labels` does not apply to numbers"):
        listed(root)


@pytest.mark.full
def test_a_picture_with_a_wrong_label_moves_into_the_folder_of_its_own(tmp_path: Path) -> None:
    root, photos = tmp_path, tmp_path / "data" / "photos"
    write_tiny_images(photos, 80)
    moved = next(photos.joinpath("disc").iterdir())
    moved.rename(photos / "stripes" / moved.name)
    write_tiny_image_model(root / "base", "resnet")
    params = {
        "data": {"path": "data/photos", "kind": "image", "min_rows_per_class": 5},
        "base_model": {"uri": "path:base"},
        "adaptation": {"threads": 1, "device": "cpu"},
        "registry": {"model": "tiny"},
    }
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    lock_model(Workspace(root), "path:base")
    write_data_pointer(root)
    told = listed(root)
    assert not told["labels"] or 'src="data:image/jpeg;base64,' in Path(told["page"]).read_text()
    name = next(row.row for row in rows_of(root) if row.holds == f"photos/stripes/{moved.name}")
    assert accept(root, name, label="disc")["counts"]["changed"] == 1
    assert moved.is_file()
    assert not (photos / "stripes" / moved.name).exists()


def test_of_several_labels_the_one_that_is_wrong_is_changed(tmp_path: Path) -> None:
    root, drawn = tmp_path, random.Random(0)
    lines = ["id,text,label"]
    for number in range(200):
        said = [label for label, words in (("bad", BAD), ("good", GOOD)) if drawn.random() < 0.5]
        words = [word for label in said for word in drawn.choices({"bad": BAD, "good": GOOD}[label], k=4)]
        given = [label for label in OTHER if (label in said) != (label == "good" and number % 20 == 7)]
        lines.append(f"r{number},{' '.join(words or drawn.choices(FILLERS, k=4))},{'|'.join(sorted(given)) or '|'}")
    (root / "data").mkdir()
    (root / "data" / "rows.csv").write_text("\n".join(lines) + "\n")
    write_tiny_model(root / "base")
    write_settings(root, task="multi_label", labels=["bad", "good"])
    told = listed(root)
    names = [row["row"] for row in told["labels"] if int(row["row"][1:]) % 20 == 7]
    assert len(names) >= 5
    first = next(row for row in told["labels"] if row["row"] in names)
    before = labels_of(root)
    assert accept(root, first["row"])["counts"]["changed"] == 1
    assert labels_of(root) == {**before, first["row"]: first["likely"]}
    assert set(first["label"].split("|")) ^ set(first["likely"].split("|")) >= {"good"}


@pytest.mark.full
def test_the_next_run_learns_from_the_corrected_labels(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tiny_project(tmp_path / "project")
    connected(root, empty_store, monkeypatch)
    first = run_line(root)
    row, other = next((row, OTHER[label]) for row, label in labels_of(root).items() if label in OTHER)
    monkeypatch.chdir(root)
    told = CliRunner().invoke(app, ["labels", "accept", row, "--label", other, "--yes", "--json"])
    assert told.exit_code == 0, told.output
    done = json.loads(told.stdout.splitlines()[-1])
    second = run_line(root)
    assert second.data.data.version == done["version"] != first.data.data.version
    assert {one.row: one.target for one in labelled_rows(second.data)}[row] == other
    assert {one.row: one.side for one in labelled_rows(first.data)} == {
        one.row: one.side for one in labelled_rows(second.data)
    }
    checked = CliRunner().invoke(app, ["check", "--json"])
    assert checked.exit_code == 0, checked.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["labels", "accept"], "labels accept: expected one ROW or more behind it"),
        (["labels", "list", "r1"], "labels list: expected no ROW"),
        (["labels", "reject", "r1", "--label", "good"], "expected no --label"),
    ],
)
def test_a_call_that_says_too_much_or_too_little_is_refused(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert said in result.output
