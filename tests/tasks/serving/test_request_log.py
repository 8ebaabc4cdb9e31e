"""What was served is kept, row by row: who asks for it finds all of it, as much of each input as was agreed."""

import hashlib
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graftline.errors import DataRefusedError
from graftline.models.media import Medium
from graftline.settings.serving import ServedLog
from graftline.tasks.serving import request_log
from graftline.tasks.serving.request_log import SCHEMA, Answers, RequestLog, read_served, served_folder
from graftline.tasks.workspace import Workspace
from tests.support.running_project import wait_until
from tests.support.tiny_media import tiny_images, tiny_sounds

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
EVER = datetime.min.replace(tzinfo=UTC) + timedelta(days=2), datetime.max.replace(tzinfo=UTC) - timedelta(days=2)
ANSWER = {"label": "good", "probabilities": {"bad": 0.25, "good": 0.75}}


def answers(*ids: str, inputs: Any = None, record: Any = None, **more: Any) -> Answers:
    given: dict[str, Any] = {
        "ids": ids, "inputs": inputs or [f"text {one}" for one in ids], "kind": "text",
        "records": [record or ANSWER] * len(ids), "vectors": np.ones((len(ids), 3), np.float32), "version": 7,
        "run_id": "r", "time": NOON, "milliseconds": 1.5,
    }  # fmt: skip
    return Answers(**{**given, **more})


def kept(workspace: Workspace, *offered: Answers, **settings: Any) -> list[dict[str, Any]]:
    log = RequestLog(served_folder(workspace, "m"), ServedLog(**settings))
    for one in offered:
        assert log.offer(one)
    log.close()
    rows: list[dict[str, Any]] = read_served(workspace, "m", *EVER).to_pylist()
    return rows


@pytest.fixture
def here(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_a_row_holds_the_answer_and_what_is_known_of_its_input(here: Workspace) -> None:
    (row,) = kept(here, answers("a", inputs=["Gut, 7!"]))
    assert row["digest"] == hashlib.sha256(b"Gut, 7!").hexdigest()
    assert dict(row["facts"])["characters"] == 7
    assert (row["id"], row["version"], row["run_id"], row["time"], row["answer"]) == ("a", 7, "r", NOON, "good")
    assert (row["probabilities"], row["confidence"], row["features"]) == ([0.25, 0.75], 0.75, [1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("keeps", "there"),
    [("digest", set()), ("facts", {"facts"}), ("features", {"facts", "features"}),
     ("input", {"facts", "features", "input"})],
)  # fmt: skip
def test_no_more_of_an_input_is_kept_than_was_agreed(here: Workspace, keeps: str, there: set[str]) -> None:
    (row,) = kept(here, answers("a"), keeps=keeps)
    assert {name for name in ("facts", "features", "input") if row[name]} == there


def test_several_labels_are_a_list_and_a_number_is_a_text(here: Workspace) -> None:
    several = {"labels": ["x", "ü"], "probabilities": {"x": 0.9, "ü": 0.8, "z": 0.1}}
    first, second = kept(here, answers("a", record=several), answers("b", record={"value": 0.1}))
    assert (first["answer"], second["answer"]) == ('["x", "ü"]', "0.1")
    assert (second["probabilities"], second["confidence"]) == (None, None)


@pytest.mark.parametrize(("kind", "fact"), [("image", "width"), ("audio", "seconds")])
def test_pictures_and_sounds_are_known_by_their_bytes(here: Workspace, kind: str, fact: str) -> None:
    content = (tiny_images(1) if kind == "image" else tiny_sounds(1))[0][0]
    (row,) = kept(here, answers("a", inputs=[Medium("input 0", content)], kind=kind))
    assert row["digest"] == hashlib.sha256(content).hexdigest()
    assert dict(row["facts"])["bytes"] == len(content)
    assert dict(row["facts"])[fact] > 0


def test_half_of_a_surrogate_pair_is_kept_too(here: Workspace) -> None:
    (row,) = kept(here, answers("a", inputs=["\ud800"]), keeps="input")
    assert row["input"] == "?"


def test_rows_lie_in_the_folder_of_their_day_of_utc(here: Workspace) -> None:
    late, early = NOON.replace(hour=23, minute=59), NOON + timedelta(days=1)
    kept(here, answers("a", time=early), answers("b", time=late))
    days = sorted(path.name for path in served_folder(here, "m").iterdir())
    assert days == ["2026-11-29", "2026-11-30"]
    assert read_served(here, "m", late, early)["id"].to_pylist() == ["b"]
    assert read_served(here, "m", late, early + timedelta(seconds=1))["id"].to_pylist() == ["b", "a"]


def test_nothing_served_is_an_empty_table(here: Workspace) -> None:
    assert read_served(here, "m", *EVER).equals(SCHEMA.empty_table())


def test_rows_are_written_when_their_time_is_up(here: Workspace) -> None:
    log = RequestLog(served_folder(here, "m"), ServedLog(flush_seconds=0.05))
    try:
        log.offer(answers("a"))
        wait_until(lambda: len(read_served(here, "m", *EVER)) == 1)
    finally:
        log.close()


def test_many_rows_are_written_before_their_time(here: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "FLUSH_ROWS", 2)
    log = RequestLog(served_folder(here, "m"), ServedLog(flush_seconds=3600))
    try:
        log.offer(answers("a", "b"))
        wait_until(lambda: len(read_served(here, "m", *EVER)) == 2)
    finally:
        log.close()


def test_a_file_that_is_being_written_is_not_read(here: Workspace) -> None:
    kept(here, answers("a"))
    folder = served_folder(here, "m") / NOON.date().isoformat()
    (folder / ".x.parquet.1.partial").write_bytes(b"PAR1")
    (folder / ".y.parquet").write_bytes(b"PAR1")
    assert len(read_served(here, "m", *EVER)) == 1


@pytest.mark.parametrize("damage", ["cut", "other columns"])
def test_a_damaged_file_is_named(here: Workspace, damage: str) -> None:
    kept(here, answers("a"))
    (file,) = served_folder(here, "m").rglob("*.parquet")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-9])
    else:
        pq.write_table(pa.table({"id": ["a"]}), file)
    with pytest.raises(DataRefusedError, match=file.name):
        read_served(here, "m", *EVER)


def test_days_that_are_too_old_go(here: Workspace) -> None:
    old, today = datetime.now(UTC) - timedelta(days=3), datetime.now(UTC)
    kept(here, answers("a", time=old), answers("b", time=today))
    foreign = served_folder(here, "m") / "notes"
    foreign.mkdir()
    rows = kept(here, answers("c", time=today), keep_days=2)
    assert [row["id"] for row in rows] == ["b", "c"]
    assert foreign.exists()


def test_more_than_there_is_room_for_is_not_taken(here: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    busy, go_on = threading.Event(), threading.Event()

    def slowly(*_: object) -> list[dict[str, Any]]:
        busy.set()
        go_on.wait(60)
        return []

    monkeypatch.setattr(request_log, "rows_of", slowly)
    monkeypatch.setattr(request_log, "MOST_WAITING_BYTES", 5_000)
    log = RequestLog(served_folder(here, "m"), ServedLog())
    assert log.offer(answers("first"))
    busy.wait(60)
    taken = [log.offer(answers(str(number))) for number in range(10)]
    go_on.set()
    log.close()
    assert taken[0]
    assert not taken[-1]


def test_a_disk_that_refuses_rows_gets_them_later(
    here: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(request_log, "RETRY_SECONDS", 0.05)
    folder = served_folder(here, "m")
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way")
    log = RequestLog(folder, ServedLog(flush_seconds=0.01))
    try:
        log.offer(answers("a", "b"))
        wait_until(lambda: "cannot be written" in caplog.text)
        folder.unlink()
        wait_until(lambda: log.logged == 2)
    finally:
        log.close()
    assert log.lost == 0
    assert len(read_served(here, "m", *EVER)) == 2


@pytest.mark.parametrize("odd", [{"value": None}, {"said": "nothing known"}, {"label": "\ud800"}])
def test_an_answer_that_no_row_can_hold_costs_no_other_row(
    here: Workspace, caplog: pytest.LogCaptureFixture, odd: dict[str, Any]
) -> None:
    told: list[int] = []
    log = RequestLog(served_folder(here, "m"), ServedLog(), lost=told.append)
    for one in (answers("a"), answers("odd", "too", record=odd), answers("b")):
        assert log.offer(one)
    log.close()
    assert read_served(here, "m", *EVER)["id"].to_pylist() == ["a", "b"]
    assert (log.logged, log.lost, told) == (2, 2, [2])
    assert "cannot be logged" in caplog.text


def test_rows_that_could_not_be_written_in_the_end_are_counted(here: Workspace) -> None:
    folder = served_folder(here, "m")
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way")
    log = RequestLog(folder, ServedLog())
    log.offer(answers("a", "b"))
    log.close()
    assert (log.logged, log.lost) == (0, 2)
