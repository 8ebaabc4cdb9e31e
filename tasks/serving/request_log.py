"""What was served, one row per answered input: Parquet files by day, written in the background, and their reader."""

import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from graftline.errors import DataRefusedError
from graftline.files import write_atomically
from graftline.settings.serving import MEBIBYTE, ServedLog
from graftline.tasks.serving.served_rows import SCHEMA, Answers, rows_of, table_of
from graftline.tasks.serving.shared_log import SERVED, SUFFIX, Sender, bring, days_elsewhere
from graftline.tasks.workspace import Workspace

__all__ = ["SCHEMA", "Answers", "RequestLog", "read_served", "served_days", "served_folder"]

# As many rows, or as much of their inputs, are written before their time is up.
FLUSH_ROWS, FLUSH_BYTES = 5_000, 32 * MEBIBYTE
# Of what waits for the writer, a row counted with what Python adds to it.
MOST_WAITING_BYTES = 64 * MEBIBYTE
ROW_BYTES = 1024
# A disk that refused rows is tried again after so long.
RETRY_SECONDS = 5.0

logger = logging.getLogger("graftline.serving")


def served_folder(workspace: Workspace, model: str) -> Path:
    """Where the rows of a model lie, a folder per day of UTC."""
    return workspace.artifacts / SERVED / model


def served_days(workspace: Workspace, model: str) -> list[date]:
    """The days of which there is a log, here or in a team's state."""
    folder = served_folder(workspace, model)
    return sorted({day for day, _ in _days(folder)} | days_elsewhere(model))


def read_served(workspace: Workspace, model: str, since: datetime, until: datetime) -> pa.Table:
    """The rows from `since` on and before `until`, both with a time zone, in the order of their time.

    Its columns are those of `SCHEMA`. Those that other machines served come from a team's state.
    Rows that a server still holds in memory are not among them.
    Raises: DataRefusedError naming a file that holds something else.
    """
    first, last = since.astimezone(UTC).date(), until.astimezone(UTC).date()
    bring(served_folder(workspace, model), first, last)
    tables = [SCHEMA.empty_table()]
    for day, folder in _days(served_folder(workspace, model)):
        if first <= day <= last:
            tables += [_between(table, since, until) for table in map(_read, _files(folder)) if table is not None]
    return pa.concat_tables(tables).sort_by([("time", "ascending"), ("id", "ascending")])


def _days(folder: Path) -> Iterator[tuple[date, Path]]:
    for place in sorted(folder.iterdir()) if folder.is_dir() else []:
        with suppress(ValueError):  # a folder of somebody else's
            yield date.fromisoformat(place.name), place


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob(f"*{SUFFIX}") if not file.name.startswith("."))


def _read(file: Path) -> pa.Table | None:
    try:
        return pq.ParquetFile(file).read().select(SCHEMA.names).cast(SCHEMA)
    except FileNotFoundError:  # its day was removed meanwhile
        return None
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise DataRefusedError(
            f"{file}: holds no served rows ({error}); put it elsewhere, or restore it from a backup"
        ) from None


def _between(table: pa.Table, since: datetime, until: datetime) -> pa.Table:
    first, end = (pa.scalar(moment.astimezone(UTC), table["time"].type) for moment in (since, until))
    return table.filter(pc.and_(pc.greater_equal(table["time"], first), pc.less(table["time"], end)))


@dataclass
class _Buffer:
    """Rows that are ready to be written, by day."""

    days: dict[date, list[pa.Table]] = field(default_factory=dict)
    rows: int = 0
    bytes: int = 0
    due: float = float("inf")
    """When they are to be written, in seconds of the monotonic clock."""

    def add(self, day: date, table: pa.Table, seconds: float) -> None:
        self.days.setdefault(day, []).append(table)
        self.bytes += table.nbytes
        self.rows += len(table)
        self.due = min(self.due, time.monotonic() + (0 if self.full else seconds))

    @property
    def full(self) -> bool:
        return self.rows >= FLUSH_ROWS or self.bytes >= FLUSH_BYTES


class RequestLog:
    """The writer. Whoever answers hands it rows, which a thread of its own looks at and writes."""

    def __init__(
        self,
        folder: Path,
        settings: ServedLog,
        *,
        wrote: Callable[[int], None] = lambda _: None,
        lost: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`wrote` is told of each file how many rows it has, `lost` how many rows come into none."""
        self.logged = 0
        self.lost = 0
        """Rows that were answered and not logged: there was no room for them."""
        self._folder, self._settings, self._wrote, self._lost = folder, settings, wrote, lost
        self._waiting: deque[tuple[int, Answers]] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._swept: date | None = None
        self._sender = Sender(folder)
        self._thread = threading.Thread(target=self._run, name="request log", daemon=True)
        self._thread.start()

    def offer(self, answers: Answers) -> bool:
        """Take the rows if there is room for them; never waits."""
        size = len(answers.ids) * ROW_BYTES + answers.bytes
        with self._changed:
            if self._waiting and self._waiting_bytes + size > MOST_WAITING_BYTES:
                return False
            self._waiting.append((size, answers))
            self._waiting_bytes += size
            self._changed.notify()
        return True

    def lose(self, rows: int) -> None:
        """Count rows that are in no file, and say so."""
        with self._changed:
            self.lost += rows
        self._lost(rows)
        logger.warning(
            "%d rows were answered and not logged, %d so far: see whether %s can be written to",
            rows, self.lost, self._folder,
        )  # fmt: skip

    def close(self) -> None:
        """Write all that was taken; nothing may be offered any more."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._sender.close()

    def _run(self) -> None:
        buffer = _Buffer()
        while True:
            taken, closing = self._next(buffer)
            for answers in taken:
                self._add(answers, buffer)
            if buffer.rows and (closing or time.monotonic() >= buffer.due):
                self._flush(buffer)
            if closing:
                if buffer.rows:
                    self.lose(buffer.rows)
                return

    def _next(self, buffer: _Buffer) -> tuple[list[Answers], bool]:
        """What waits, and whether that is all; nothing as long as the disk refuses what was taken before."""
        with self._changed:
            if not self._closing and (buffer.full or not self._waiting):
                self._changed.wait(None if not buffer.rows else max(0.0, buffer.due - time.monotonic()))
            if buffer.full and not self._closing:
                return [], False
            taken = [answers for _, answers in self._waiting]
            self._waiting.clear()
            self._waiting_bytes = 0
            return taken, self._closing

    def _add(self, answers: Answers, buffer: _Buffer) -> None:
        try:
            table = table_of(rows_of(answers, self._settings.keeps))
        except Exception as error:  # noqa: BLE001 - of whatever model: the rows of all others are written
            logger.warning("what version %d answered cannot be logged (%r)", answers.version, error)
            self.lose(len(answers.ids))
            return
        buffer.add(answers.time.date(), table, self._settings.flush_seconds)

    def _flush(self, buffer: _Buffer) -> None:
        try:
            for day, tables in sorted(buffer.days.items()):
                rows = pa.concat_tables(tables)
                self._write(day, rows)
                del buffer.days[day]
                buffer.rows -= len(rows)
            self._remove_old_days()
        except OSError as error:
            buffer.due = time.monotonic() + RETRY_SECONDS
            logger.warning("%s: served rows cannot be written (%s); trying again", self._folder, error.strerror)
            return
        buffer.bytes, buffer.due = 0, float("inf")

    def _write(self, day: date, rows: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink, compression="zstd")
        # By time and then by chance: several servers may write into one folder.
        name = f"{datetime.now(UTC):%H%M%S}-{uuid4().hex[:12]}{SUFFIX}"
        file = self._folder / day.isoformat() / name
        write_atomically(file, sink.getvalue().to_pybytes())
        self._sender.send(file)
        self.logged += len(rows)
        self._wrote(len(rows))

    def _remove_old_days(self) -> None:
        today = datetime.now(UTC).date()
        if self._settings.keep_days is None or self._swept == today:
            return
        self._swept = today
        for day, folder in _days(self._folder):
            if day < today - timedelta(days=self._settings.keep_days):
                shutil.rmtree(folder, ignore_errors=True)
        self._sender.forget(today - timedelta(days=self._settings.keep_days))
