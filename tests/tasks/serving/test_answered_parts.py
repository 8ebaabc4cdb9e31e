"""A prediction that is killed anywhere goes on where it stopped, and ends with the bytes of one that was not."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from graftline.data.written_tables import Cell
from graftline.errors import SettingsError
from graftline.models.outputs import Outputs
from graftline.tasks.serving import answered_parts, predicting
from graftline.tasks.serving.answering import RegisteredModel
from graftline.tasks.serving.predicting import Predicted, Trained, predict_table

ROWS, CHUNK, CHUNKS = 47, 4, 2
LAST = 5
"""The part that is not full."""


class Lengths:
    """Stands in for the process of a model, which takes seconds to begin: it tells how long a text is."""

    asked = 0

    def __init__(self, die: Callable[[int], bool] = lambda _: False) -> None:
        self._die = die

    def ask(self, inputs: Sequence[str]) -> list[dict[str, Any]]:
        if self._die(self.asked):
            os.kill(os.getpid(), signal.SIGKILL)
        self.asked += len(inputs)
        return [{"value": len(one) / 7} for one in inputs]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(predicting.CHUNK_ROWS, "text", CHUNK)
    monkeypatch.setattr(predicting, "PART_CHUNKS", CHUNKS)


def write_source(path: Path, texts: Sequence[str] = ()) -> Path:
    every = texts or [("x" * (row % 9)) + ("\udcff" if row == 5 else "") + '",\n' * (row % 2) for row in range(ROWS)]
    lines = "".join(f'{row},"{text.replace(chr(34), chr(34) * 2)}"\n' for row, text in enumerate(every))
    path.write_bytes(f"id,text\n{lines}".encode("utf-8", "surrogateescape"))
    return path


def predict(source: Path, target: Path, lengths: Lengths, said: list[str] | None = None) -> Predicted:
    @contextmanager
    def answering(*_: object, **__: object) -> Iterator[Lengths]:
        yield lengths

    folder = source.parent / "model"
    folder.mkdir(exist_ok=True)
    model = RegisteredModel("tiny version 1", folder, "text", Outputs("regression", ()))
    tell = [] if said is None else said
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predicting, "answering", answering)
        return predict_table(model, Trained("text", "|"), source, target, data=source.parent, say=tell.append)


def in_process_that_dies(run: Callable[[], object]) -> None:
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def killed_behind(asked: int, source: Path, target: Path) -> None:
    in_process_that_dies(lambda: predict(source, target, Lengths(lambda done: done >= asked)))
    assert not target.exists()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_kills_in_several_parts_leave_the_bytes_of_a_run_without_one(tmp_path: Path, suffix: str) -> None:
    source, target = write_source(tmp_path / "in.csv"), tmp_path / f"out{suffix}"
    predict(source, tmp_path / f"whole{suffix}", Lengths())
    for asked in (CHUNK, 2 * CHUNK, 3 * CHUNK):
        killed_behind(asked, source, target)
    finished = len(list((tmp_path / f".out{suffix}.parts").glob("0*.json")))
    lengths, said = Lengths(), list[str]()
    done = predict(source, target, lengths, said)
    assert target.read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
    # Row 5 is no UTF-8, and every 18th and the first are empty.
    assert (done.read, done.answered, done.refused) == (ROWS, ROWS - 4, 4)
    assert 0 < done.kept == finished * CHUNK * CHUNKS < ROWS
    assert said == [f"predict: going on behind {done.kept} rows that were answered before"]
    assert lengths.asked < ROWS - done.kept
    assert not list(tmp_path.glob(".*"))


def test_long_texts_are_asked_a_few_at_a_time_and_give_the_same_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Noted(Lengths):
        most = 0

        def ask(self, inputs: Sequence[str]) -> list[dict[str, Any]]:
            self.most = max(self.most, sum(map(len, inputs)))
            return super().ask(inputs)

    source, plain, bounded = write_source(tmp_path / "rows.csv"), tmp_path / "plain.csv", tmp_path / "bounded.csv"
    usual, few, said = Noted(), Noted(), list[str]()
    predict(source, plain, usual)
    monkeypatch.setattr(predicting, "CHUNK_CHARACTERS", 8)
    monkeypatch.setattr(predicting, "PART_CHARACTERS", 40)
    killed_behind(ROWS // 2, source, bounded)
    predict(source, bounded, few, said)
    assert "going on behind" in said[0]
    # A text counts twice, once as it was read, and no text has more than 12 characters.
    assert few.most <= 8 // 2 + 12 < usual.most
    assert bounded.read_bytes() == plain.read_bytes()


def test_a_kill_while_the_table_is_put_together_asks_for_nothing_again(tmp_path: Path) -> None:
    source, target = write_source(tmp_path / "in.csv"), tmp_path / "out.csv"
    predict(source, tmp_path / "whole.csv", Lengths())

    def die(self: answered_parts.AnsweredParts, number: int) -> list[list[Cell]]:
        if number == LAST:
            os.kill(os.getpid(), signal.SIGKILL)
        return of_part(self, number)

    of_part = answered_parts.AnsweredParts._rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answered_parts.AnsweredParts, "_rows", die)
        in_process_that_dies(lambda: predict(source, target, Lengths()))
    lengths = Lengths()
    assert predict(source, target, lengths).kept == ROWS
    assert lengths.asked == 0
    assert target.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not list(tmp_path.glob(".*"))


def flip_a_row(folder: Path) -> None:
    part = folder / "00000001.jsonl"
    part.write_bytes(part.read_bytes().replace(b"8", b"9"))


def cut_a_note(folder: Path) -> None:
    (folder / "00000001.json").write_text('{"read": 8')


@pytest.mark.parametrize("damage", [flip_a_row, cut_a_note])
def test_a_damaged_part_is_answered_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    source, target = write_source(tmp_path / "in.csv"), tmp_path / "out.csv"
    predict(source, tmp_path / "whole.csv", Lengths())
    killed_behind(3 * CHUNK * CHUNKS, source, target)
    damage(tmp_path / ".out.csv.parts")
    assert predict(source, target, Lengths()).kept == CHUNK * CHUNKS
    assert target.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_another_row_or_another_model_begins_anew(tmp_path: Path) -> None:
    texts = [f"text {row}" for row in range(ROWS)]
    source, target = write_source(tmp_path / "in.csv", texts), tmp_path / "out.csv"
    killed_behind(2 * CHUNK * CHUNKS, source, target)
    said = list[str]()
    write_source(source, ["a longer text", *texts[1:]])
    assert predict(source, target, Lengths(), said).kept == 0
    assert said == ["predict: what is read was changed since the last run ended early: beginning anew"]
    assert target.read_text().splitlines()[1].startswith("0,a longer text,")
    target.unlink()
    killed_behind(2 * CHUNK * CHUNKS, source, target)
    (tmp_path / "model" / "__pycache__").mkdir()
    (tmp_path / "model" / "__pycache__" / "served_model.pyc").write_text("which a server left there")
    parts = tmp_path / ".out.csv.parts"
    kept = len(list(parts.glob("0*.json")))
    killed_behind(CHUNK * CHUNKS, source, target)
    assert len(list(parts.glob("0*.json"))) > kept
    (tmp_path / "model" / "weights").write_text("others")
    said.clear()
    assert predict(source, target, Lengths(), said).kept == 0
    assert said == ["predict: the model or what it computes with is another one than in the last run: beginning anew"]


def test_what_another_one_left_where_parts_would_be_is_refused_and_stays(tmp_path: Path) -> None:
    source, folder = write_source(tmp_path / "in.csv"), tmp_path / ".out.csv.parts"
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "0001.json").write_text("{}")
    for put in (lambda: folder.symlink_to(theirs), lambda: folder.write_text("a file"), lambda: theirs.rename(folder)):
        put()
        with pytest.raises(SettingsError, match=r"\.out\.csv\.parts: is not a folder that `graftline predict` made"):
            predict(source, tmp_path / "out.csv", Lengths())
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
    assert (folder / "0001.json").read_text() == "{}"


def test_a_second_process_at_the_same_table_is_refused(tmp_path: Path) -> None:
    source, target = write_source(tmp_path / "in.csv"), tmp_path / "out.csv"
    killed_behind(2 * CHUNK * CHUNKS, source, target)
    with (
        FileLock(tmp_path / ".out.csv.parts" / answered_parts.LOCK),
        pytest.raises(SettingsError, match=r"out\.csv: is being made by another `graftline predict`; wait for it"),
    ):
        predict(source, target, Lengths())
    assert predict(source, target, Lengths()).kept > 0


def test_a_table_without_rows_and_an_early_error_leave_no_parts(tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"text": "one"}) + "\n")
    with pytest.raises(SettingsError, match="there is no folder"):
        predict(source, tmp_path / "nowhere" / "out.csv", Lengths())
    (tmp_path / "in.csv").write_text("text\n")
    assert predict(tmp_path / "in.csv", target, Lengths()).read == 0
    assert target.read_bytes() == b""
    with pytest.raises(ZeroDivisionError):
        predict(source, target, Lengths(lambda _: bool(1 / 0)))
    assert not list(tmp_path.glob(".*"))
