"""Labels that came later become rows: each has one fate, none stands beside a held-out one, old rows keep a side."""

import base64
import csv
import hashlib
import io
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from graftline.data.splitting import split_of
from graftline.errors import DataRefusedError, SettingsError
from graftline.flows.feedback import admit_feedback, list_feedback
from graftline.flows.new_rows import Consent
from graftline.tasks.data.origins import origins_file
from tests.flows.test_quarantine import DATA, settings_of, sides, validated, write_csv, write_project
from tests.support.tiny_media_files import tiny_image, write_tiny_images
from tests.support.tiny_project import rows_as_csv

YES = Consent("yes")
SERVED_TYPES = pa.schema(
    [
        ("id", pa.string()), ("time", pa.timestamp("us", "UTC")), ("version", pa.int32()), ("run_id", pa.string()),
        ("digest", pa.string()), ("input", pa.string()), ("facts", pa.map_(pa.string(), pa.float64())),
        ("features", pa.list_(pa.float32())), ("answer", pa.string()), ("probabilities", pa.list_(pa.float32())),
        ("confidence", pa.float32()), ("milliseconds", pa.float32()),
    ]
)  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("feedback")
    (root / "data").mkdir()
    (root / "data" / "rows.csv").write_text(rows_as_csv(120))
    write_project(root, DATA)
    validated(root)
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "project"))


def serve(root: Path, *rows: tuple[str, str | bytes | None, str], day: str = "2026-11-02") -> None:
    """A file of the log with these rows: id, input and answer; an input of None was kept as a digest only."""
    told = []
    for number, (row_id, given, answer) in enumerate(rows):
        content = given if isinstance(given, bytes) else f"{given or row_id}".encode()
        kept = base64.b64encode(given).decode() if isinstance(given, bytes) else given
        time = datetime(2026, 11, 2, 12, number % 60, tzinfo=UTC)
        told.append({"id": row_id, "time": time, "version": 3, "run_id": "r", "answer": answer, "input": kept,
                     "digest": hashlib.sha256(content).hexdigest(), "facts": []})  # fmt: skip
    folder = root / "artifacts" / "served" / "tiny" / day
    folder.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(told, SERVED_TYPES), folder / f"{len(list(folder.iterdir()))}.parquet")


def label(root: Path, *rows: dict[str, str]) -> None:
    (root / "feedback").mkdir(exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    write_csv(root / "feedback" / "labels.csv", [{name: row.get(name, "") for name in names} for row in rows])


def listed(root: Path, **options: bool) -> dict[str, Any]:
    return list_feedback(root, settings_of(root), **{"newest_wins": False, **options})


def admit(root: Path, consent: Consent = YES, **options: bool) -> dict[str, Any]:
    chosen = {"newest_wins": False, "at_random": False, **options}
    done: dict[str, Any] = admit_feedback(root, settings_of(root), consent, lambda _: None, **chosen)
    assert done["counts"]["read"] == sum(done["fates"].values()) == len(done["rows"])
    assert done["counts"]["admitted"] + done["counts"]["left_out"] == done["counts"]["read"]
    return done


def fates(told: dict[str, Any]) -> dict[str, str]:
    return {row["id"]: row["fate"] for row in told["rows"]}


def text_on(side: str, number: int = 0) -> str:
    """A text whose place in the split is on that side."""
    texts = (
        f"a served text {word} about {word * 2} and {word * 3}" for word in map(str, range(10**6, 2 * 10**6, 7919))
    )
    mine = [text for text in texts if split_of(text, test_share=0.25, validation_share=0.15) == side]
    return mine[number]


def held_out_text(root: Path) -> tuple[str, str]:
    split = sides(validated(root)[1])
    rows = csv.DictReader((root / "data" / "rows.csv").open(newline=""))
    return next((row["text"], row["label"]) for row in rows if split.get(row["id"], ("",))[0] == "test")


def test_each_label_has_one_fate(root: Path) -> None:
    known, target = held_out_text(root)
    other = "good" if target == "bad" else "bad"
    serve(
        root,
        *[(name, text_on("train", number), "good") for number, name in enumerate("abcde")],
        ("two", "one input", "good"), ("two", "another input", "good"),
        ("digest", None, "good"), ("known", known, target), ("contradicts", known, target),
        ("known digest", known, target),
    )  # fmt: skip
    label(
        root,
        {"id": "a", "label": "good"},
        {"id": "a", "label": "good"},
        {"id": "b", "label": "bad"},
        {"id": "c", "label": "bad"},
        {"id": "c", "label": "good"},
        {"id": "nobody", "label": "good"},
        {"id": "two", "label": "good"},
        {"id": "digest", "label": "bad"},
        {"id": "known", "label": target},
        {"id": "", "label": "good"},
    )
    told = listed(root)
    assert told["fates"] == {
        "ready": 2, "unreadable": 1, "repeated": 1, "conflicting": 2, "unknown id": 1, "ambiguous id": 1,
        "no input": 1, "known": 1,
    }  # fmt: skip
    assert (told["served"], told["disagreeing"]) == (7, 3)
    assert fates(told)["c"] == "conflicting"
    label(root, {"id": "contradicts", "label": other})
    assert fates(listed(root)) == {"contradicts": "contradicts the data"}


def test_of_two_labels_the_newest_counts_only_if_that_is_said(root: Path) -> None:
    serve(root, ("a", text_on("train"), "good"), ("b", text_on("train"), "good"))
    label(
        root,
        {"id": "a", "label": "good", "time": "2026-11-03 10:00"},
        {"id": "b", "label": "bad", "time": "2026-11-04T10:00:00+01:00"},
    )
    assert fates(listed(root)) == {"a": "conflicting", "b": "conflicting"}  # one input under two ids
    assert fates(listed(root, newest_wins=True)) == {"a": "superseded", "b": "ready"}
    label(root, {"id": "a", "label": "good", "time": "soon"}, {"id": "b", "label": "bad", "time": "2026-11-04"})
    assert fates(listed(root, newest_wins=True)) == {"a": "conflicting", "b": "conflicting"}


def test_labelled_inputs_become_rows_and_old_rows_keep_their_sides(root: Path) -> None:
    _, old_folder = validated(root)
    before = (root / "data" / "rows.csv").read_bytes()
    texts = [text_on("train", number) for number in range(3)]
    serve(root, *[(f"q{number}", text, "good") for number, text in enumerate(texts)])
    label(
        root, *[{"id": f"q{number}", "label": "bad", "source": "s1", "by": "anna", "more": "x"} for number in range(3)]
    )
    done = admit(root)
    assert done["counts"] == {"read": 3, "admitted": 3, "left_out": 0}
    after = (root / "data" / "rows.csv").read_bytes()
    assert after.startswith(before)
    names = [f"feedback-{hashlib.sha256(text.encode()).hexdigest()[:16]}" for text in texts]
    added = "".join(f"{name},{text},bad,s1\n" for name, text in zip(names, texts, strict=True))
    assert after[len(before) :].decode() == added
    old, new = sides(old_folder), sides(validated(root)[1])
    assert {name: new[name] for name in old} == old
    assert {name: new[name] for name in names} == dict.fromkeys(names, ("train", "bad"))
    assert fates(listed(root)) == dict.fromkeys(["q0", "q1", "q2"], "known")
    assert '"by": "anna", "feedback": "q0"' not in before.decode()
    origin = origins_file(root, "data").read_text()
    assert all(
        part in origin for part in ('"by": "anna"', '"feedback": "q0"', '"model_version": 3', '"answer": "good"')
    )
    assert texts[0] not in origin


def test_an_input_that_is_or_nearly_is_held_out_never_becomes_a_row(root: Path) -> None:
    _, old_folder = validated(root)
    text, target = held_out_text(root)
    variants = [text + mark for mark in ("!", "...", ";")]
    serve(
        root, *[(f"v{number}", near, target) for number, near in enumerate(variants)], ("new", text_on("train"), target)
    )
    label(
        root,
        *[{"id": f"v{number}", "label": target} for number in range(len(variants))],
        {"id": "new", "label": target},
    )
    done = admit(root, at_random=True)
    assert Counter(fates(done).values()) == {"near a held-out row": len(variants), "ready": 1}
    old, new = sides(old_folder), sides(validated(root)[1])
    assert {name: new[name] for name in old} == old


@pytest.mark.parametrize("at_random", [False, True])
def test_only_labels_drawn_at_random_may_be_held_out(root: Path, at_random: bool) -> None:
    serve(root, ("train", text_on("train"), "good"), ("test", text_on("test"), "good"),
          ("validation", text_on("validation"), "good"))  # fmt: skip
    label(root, *[{"id": side, "label": "bad"} for side in ("train", "test", "validation")])
    done = admit(root, at_random=at_random)
    held = "ready" if at_random else "held out"
    assert fates(done) == {"train": "ready", "test": held, "validation": held}
    counts = Counter(side for side, _ in sides(validated(root)[1]).values())
    assert done["diff"]["sides"]["test"]["after"] == counts["test"]
    assert done["diff"]["sides"]["test"]["after"] - done["diff"]["sides"]["test"]["before"] == at_random


def test_what_validation_would_quarantine_is_refused_by_name(root: Path) -> None:
    serve(root, ("a", text_on("train"), "good"), ("b", text_on("train", 1), "good"), ("c", "\u202e turned", "good"))
    label(root, {"id": "a", "label": "goood"}, {"id": "b", "label": "bad"}, {"id": "c", "label": "bad"})
    done = admit(root)
    assert fates(done) == {"a": "refused by validation", "b": "ready", "c": "refused by validation"}
    why = {row["id"]: row["why"] for row in done["rows"]}
    assert why["a"].startswith("target_known: 'goood'; did you mean 'good'?")
    assert why["c"].startswith("input_clean: ")


def test_a_row_whose_logged_input_is_not_that_of_its_digest_is_left_out(root: Path) -> None:
    serve(root, ("a", text_on("train"), "good"))
    (path,) = (root / "artifacts" / "served").rglob("*.parquet")
    table = parquet.read_table(path)
    parquet.write_table(table.set_column(5, "input", pa.array(["another text"])), path)
    (path.parent / "cut.parquet").write_bytes(path.read_bytes()[:200])
    label(root, {"id": "a", "label": "bad"})
    told = listed(root)
    assert fates(told) == {"a": "damaged input"}
    assert [Path(name).name for name in told["unreadable_logs"]] == ["cut.parquet"]


def test_without_feedback_or_its_columns_a_sentence_says_so(root: Path) -> None:
    with pytest.raises(SettingsError, match="feedback: holds no table; expected labels that came later"):
        listed(root)
    label(root, {"id": "a", "answer": "good"})
    with pytest.raises(DataRefusedError, match="has no column label, only 'id', 'answer'; expected id and label"):
        listed(root)


def test_a_numbered_table_goes_on_counting(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    text = rows_as_csv(120).replace("\nr", "\n")
    (tmp_path / "data" / "rows.csv").write_text(text)
    write_project(tmp_path, DATA)
    serve(tmp_path, ("a", text_on("train"), "good"), ("b", text_on("train", 1), "good"))
    label(tmp_path, {"id": "a", "label": "bad"}, {"id": "b", "label": "good"})
    admit(tmp_path)
    assert [line.split(",")[0] for line in (tmp_path / "data" / "rows.csv").read_text().splitlines()[-2:]] == [
        "121", "122",
    ]  # fmt: skip


def test_served_pictures_come_to_lie_in_the_folders_of_their_classes(tmp_path: Path) -> None:
    write_tiny_images(tmp_path / "data" / "photos", 60)
    write_project(tmp_path, {"path": "data/photos", "kind": "image", "min_rows_per_class": 5, "max_quarantined": 0.1})
    pictures = []
    for seed in range(6):
        file = io.BytesIO()
        tiny_image("disc", 1000 + seed).save(file, "PNG")
        pictures.append(file.getvalue())
    serve(tmp_path, *[(f"p{number}", picture, "stripes") for number, picture in enumerate(pictures)])
    label(tmp_path, *[{"id": f"p{number}", "label": "disc"} for number in range(6)])
    done = admit(tmp_path)
    admitted = [number for number in range(6) if fates(done)[f"p{number}"] == "ready"]
    assert 0 < len(admitted) == done["counts"]["admitted"]
    for number in admitted:
        name = hashlib.sha256(pictures[number]).hexdigest()[:16]
        assert (tmp_path / "data" / "photos" / "disc" / f"{name}.png").read_bytes() == pictures[number]
    assert set(fates(done).values()) <= {"ready", "held out", "near a held-out row"}
