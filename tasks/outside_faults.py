"""What fails outside of the program, as a sentence: no room on the disk or in the memory, servers, databases."""

import errno
import os
import re
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from graftline.errors import GraftlineError, NoRoomError, ServerAwayError, SettingsError
from graftline.tasks.patience import chain_of, is_lost_connection
from graftline.tasks.state.shared import STATE
from graftline.wording import ERROR_CHARACTERS, shortened

# What the system calls it, and what libraries say where they keep its own error to themselves.
FULL_DISK = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota of the disk is used up",
             errno.EFBIG: "a file may not become that large (`ulimit -f`, or the file system)"}  # fmt: skip
FULL_DISK_WORDS = re.compile(
    r"no space left on device|disk quota exceeded|database or disk is full|file too large|\(os error (28|122|27)\)"
    r"|\d+ requested and \d+ written|PytorchStreamWriter failed writing|inline_container.*unexpected pos",
    re.IGNORECASE,
)
FULL_MEMORY_WORDS = re.compile(
    r"out of memory|can(not|'t) allocate memory|unable to allocate|failed to (re)?allocate|std::bad_alloc",
    re.IGNORECASE,
)
TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
# Of a folder that is not mounted, or is somebody else's.
NO_PLACE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS)
# Of the disk itself, and of one that may only be read.
BROKEN_DISK = (errno.EIO, errno.EROFS, errno.ESTALE)
# What SQLite says where a file may not become larger, and of a broken disk.
DATABASE_FAULT = "disk I/O error"
NO_DATABASE = re.compile(
    r"database disk image is malformed|file is not a database|malformed database schema|disk I/O error"
    r"|attempt to write a readonly database|unable to open database file",
    re.IGNORECASE,
)
DATABASES = ("sqlite3", "sqlalchemy", "mlflow", "diskcache")
NO_TEMPORARY_SERVER = "connect to ephemeral Prefect API server"
# More than an empty database of Prefect's, and than a page of any.
TRIAL_BYTES = 2 << 20


@contextmanager
def told_in_a_sentence() -> Iterator[None]:
    """Raises: GraftlineError for what fails outside of the program; any other error as it is."""
    try:
        yield
    except GraftlineError:
        raise
    except Exception as error:  # of whatever library: its chain says what the system refused
        if (told := understood(error)) is None:
            raise
        raise told from error


def understood(error: Exception) -> GraftlineError | None:
    """The sentence for an error that comes from outside of the program, if it does.

    One of ours is told that an orchestrator could not write down, because its server is away, too.
    """
    ours = [one for one in chain_of(error) if isinstance(one, ServerAwayError | NoRoomError)]
    if ours:
        return ours[0]
    for tell in (_no_room, _no_memory, _no_state, _broken_disk, _no_database, _lost_server):
        for one in chain_of(error):
            if (told := tell(one)) is not None:
                return told
    return None


def require_database(path: Path) -> None:
    """Look whether a SQLite file, if there is one, can be read, and whether there is room beside it.

    Raises: NoRoomError; GraftlineError if it is damaged.
    """
    with told_in_a_sentence():
        path.parent.mkdir(parents=True, exist_ok=True)
        _try_to_write_in(path.parent)
        if path.exists() and (fault := _fault_of(path)):
            raise GraftlineError(
                f"{path}: this database is damaged ({fault}); bring it back from a copy, or put it aside to begin"
                f" another, then {_AGAIN}"
            )


def _try_to_write_in(folder: Path) -> None:
    with TemporaryFile(dir=folder, buffering=0) as trial:
        try:
            trial.write(bytes(TRIAL_BYTES))  # where it may not become that large, as far as it may
            trial.write(b"0")
        except OSError as error:
            error.filename = str(folder)
            raise


def _fault_of(path: Path) -> str | None:
    with closing(sqlite3.connect(path, timeout=1)) as database:
        try:
            (found,) = database.execute("pragma quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            return str(error) if NO_DATABASE.search(str(error)) else None  # such as one that is in use
    return None if found == "ok" else shortened(" ".join(str(found).split()), ERROR_CHARACTERS)


def _no_room(error: BaseException) -> NoRoomError | None:
    number = error.errno if isinstance(error, OSError) else None
    if number in TOO_MANY_FILES:
        return NoRoomError(f"{_where(error)}too many files are open (`ulimit -n`); raise the limit, then {_AGAIN}")
    if number in FULL_DISK:
        return NoRoomError(f"{_where(error)}{FULL_DISK[number]}; make room, then {_AGAIN}")
    limited = DATABASE_FAULT in str(error) and resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
    if limited or FULL_DISK_WORDS.search(str(error)):
        return NoRoomError(f"the disk is full, or a file would be larger than allowed ({_said(error)}); make room,"
                           f" then {_AGAIN}")  # fmt: skip
    return None


def _no_memory(error: BaseException) -> NoRoomError | None:
    full = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if not full and not FULL_MEMORY_WORDS.search(str(error)):
        return None
    said = f" ({_said(error)})" if str(error) else ""
    return NoRoomError(
        f"the memory is full{said}; end other programs, or lower adaptation.batch_size, or choose a smaller base model"
        f" or adaptation.strategy=feature_extraction, then {_AGAIN}"
    )


def _no_state(error: BaseException) -> SettingsError | None:
    """Of the folder that a team shares: it, what lies in it, or a folder above it that cannot be made."""
    address = os.environ.get(STATE, "")
    if not isinstance(error, OSError) or error.errno not in NO_PLACE or not Path(address).is_absolute():
        return None
    state, place = Path(address), Path(str(error.filename))
    if not place.is_relative_to(state) and not state.is_relative_to(place):
        return None
    return SettingsError(
        f"{STATE}={address}: cannot be used ({place}: {error.strerror}), expected a folder that this account may write;"
        f" mount it, or let it be written to, then {_AGAIN}; or unset {STATE} to keep all in the project folder"
    )


def _broken_disk(error: BaseException) -> GraftlineError | None:
    if not isinstance(error, OSError) or error.errno not in BROKEN_DISK:
        return None
    return GraftlineError(f"{_where(error)}{error.strerror}; mend the disk, or let it be written to, then {_AGAIN}")


def _no_database(error: BaseException) -> GraftlineError | None:
    if type(error).__module__.partition(".")[0] not in DATABASES or not NO_DATABASE.search(str(error)):
        return None
    return GraftlineError(
        f"a database cannot be used ({_said(error)}), such as MLflow's mlflow/mlflow.db, DVC's in .dvc/tmp, or"
        f" Prefect's ~/.prefect/prefect.db; bring it back from a copy, or put it aside to begin another, then {_AGAIN}"
    )


def _lost_server(error: BaseException) -> ServerAwayError | None:
    if NO_TEMPORARY_SERVER in str(error):
        return ServerAwayError(
            "Prefect's temporary server did not start; see what it says above, or start one with `graftline up` and"
            f" set PREFECT_API_URL, then {_AGAIN}"
        )
    if not is_lost_connection(error):
        return None
    return ServerAwayError(
        f"a server does not answer any more ({_said(error)}); see that MLflow's and Prefect's run, as `graftline check`"
        f" says, then {_AGAIN}"
    )


def _where(error: BaseException) -> str:
    return f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""


def _said(error: BaseException) -> str:
    return shortened(" ".join(f"{type(error).__name__}: {error}".split()), ERROR_CHARACTERS)


_AGAIN = "start the same again: it goes on where it stopped"
