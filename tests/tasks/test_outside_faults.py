"""What a full disk, a full memory and damaged databases are told as, each one made for real where that can be."""

import errno
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy
import torch
from safetensors.torch import save_file

from graftline.errors import DataRefusedError, GraftlineError, NoRoomError, ServerAwayError
from graftline.tasks.outside_faults import require_database, told_in_a_sentence
from graftline.tasks.state.folder import Folder
from graftline.tasks.state.shared import STATE

SMALL_BYTES = 8192
MUCH_BYTES = 1 << 20


@contextmanager
def small_files() -> Iterator[None]:
    """As `ulimit -f` does it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def told(work: Callable[[], object]) -> GraftlineError:
    with pytest.raises(GraftlineError) as caught, told_in_a_sentence():
        work()
    assert "it goes on where it stopped" in caught.value.sentence
    return caught.value


def by_python(path: Path) -> None:
    path.write_bytes(bytes(MUCH_BYTES))


def by_torch(path: Path) -> None:
    torch.save(torch.zeros(MUCH_BYTES), path)


def by_safetensors(path: Path) -> None:
    save_file({"weights": torch.zeros(MUCH_BYTES)}, path)


def by_numpy(path: Path) -> None:
    np.save(path, np.zeros(MUCH_BYTES))


def by_arrow(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file:
        file.write(bytes(MUCH_BYTES))


def by_sqlite(path: Path) -> None:
    with sqlalchemy.create_engine(f"sqlite:///{path}").begin() as database:
        database.execute(sqlalchemy.text("create table t (x)"))
        database.execute(sqlalchemy.text("insert into t values (zeroblob(1000000))"))


@pytest.mark.parametrize("write", [by_python, by_torch, by_safetensors, by_numpy, by_arrow, by_sqlite])
def test_a_limit_on_files_is_no_room_whichever_library_writes(write: Callable[[Path], None], tmp_path: Path) -> None:
    with small_files():
        error = told(lambda: write(tmp_path / "file"))
    assert isinstance(error, NoRoomError)
    assert error.exit_code == 8


def on_a_full_disk() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")


def too_many_files() -> None:
    raise OSError(errno.EMFILE, "Too many open files", "data/1.png")


def all_memory() -> None:
    torch.empty(1 << 50)


def all_memory_of_numpy() -> None:
    np.ones(1 << 50)


@pytest.mark.parametrize(
    ("work", "said"),
    [(on_a_full_disk, "the disk is full"), (too_many_files, "too many files are open"),
     (all_memory, "the memory is full"), (all_memory_of_numpy, "the memory is full")],
)  # fmt: skip
def test_what_has_no_room_is_said(work: Callable[[], object], said: str) -> None:
    error = told(work)
    assert isinstance(error, NoRoomError)
    assert said in error.sentence


@pytest.mark.parametrize("content", [b"no database at all" * 1000, b"SQLite format 3\0" + bytes(4080)])
def test_a_damaged_database_is_named_with_the_way_on(content: bytes, tmp_path: Path) -> None:
    (path := tmp_path / "mlflow.db").write_bytes(content)
    database = sqlalchemy.create_engine(f"sqlite:///{path}")

    def ask() -> None:
        with database.connect() as connection:
            connection.execute(sqlalchemy.text("select * from sqlite_master"))

    assert "a database cannot be used" in told(ask).sentence


def test_a_database_that_a_server_would_begin_with_is_looked_at_first(tmp_path: Path) -> None:
    path = tmp_path / "prefect" / "prefect.db"
    require_database(path)  # there is none yet
    with sqlite3.connect(path) as database:
        database.executescript("create table t (x); insert into t values (zeroblob(100000))")
    require_database(path)
    with small_files():
        assert isinstance(told(lambda: require_database(path)), NoRoomError)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"?" * 4096)
    assert f"{path}: this database is damaged" in told(lambda: require_database(path)).sentence
    assert [file.name for file in path.parent.iterdir()] == ["prefect.db"]


def test_a_database_in_use_is_no_damaged_one(tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
    holder.execute("begin exclusive")
    with pytest.raises(sqlite3.OperationalError, match="locked"), told_in_a_sentence():
        sqlite3.connect(tmp_path / "mlflow.db", timeout=0).execute("create table t (x)")


@pytest.mark.parametrize("below", ["state", "above/state"])
def test_a_state_that_cannot_be_made_is_named_and_other_folders_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    (tmp_path / "file").touch()
    state = tmp_path / "file" / below
    monkeypatch.setenv(STATE, str(state))
    assert f"{STATE}={state}: cannot be used" in told(lambda: Folder(state / "x").write_once("n", b"")).sentence
    with pytest.raises(FileNotFoundError), told_in_a_sentence():
        (tmp_path / "another").read_bytes()


def test_our_own_sentence_and_what_nobody_foresaw_stay_as_they_are() -> None:
    with pytest.raises(DataRefusedError, match="no rows"), told_in_a_sentence():
        raise DataRefusedError("no rows")
    with pytest.raises(ZeroDivisionError), told_in_a_sentence():
        raise ZeroDivisionError


def test_of_several_faults_ours_is_told_that_a_server_could_not_hear() -> None:
    def work() -> None:
        try:
            raise ServerAwayError("MLflow is away")
        except ServerAwayError:
            raise ConnectionResetError  # noqa: B904 - as an orchestrator does that cannot write it down

    with pytest.raises(ServerAwayError, match="MLflow is away"), told_in_a_sentence():
        work()
