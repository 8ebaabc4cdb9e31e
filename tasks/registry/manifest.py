"""Whether the files of a registered version are those that its record holds; asked before any code of it runs."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from graftline.errors import RegistryRefusedError
from graftline.tasks.registry.history import place_of, read_history
from graftline.tasks.registry.noted import note_faults
from graftline.tasks.registry.ownership import has_no_say
from graftline.tasks.registry.records import Record
from graftline.tasks.registry.signing import read_signing
from graftline.tasks.registry.versions import Notes, Registered, is_of, judged_run, notes_of, versions_of
from graftline.tasks.tracking.model_files import ChangedFilesError, require_files
from graftline.tasks.tracking.server import model_folder
from graftline.tasks.workspace import Workspace
from graftline.wording import ERROR_CHARACTERS, shortened

logger = logging.getLogger("graftline.registry")

# A decision takes a second, reading a moment.
TRIES = 20


@contextmanager
def as_judged(workspace: Workspace, model: str, number: int) -> Iterator[Path]:
    """The files of a version, compared with its record; of one that has none, as they are.

    Raises: ChangedFilesError naming what differs; RegistryRefusedError as `judged_files`.
    """
    files = judged_files(workspace, model, number)
    with opened(workspace, model, number) as folder:
        _compare(model, number, folder, files)
        yield folder


def require_as_judged(workspace: Workspace, model: str, number: int) -> None:
    """Raises: as `as_judged`. A version without such a record is not looked at."""
    files = judged_files(workspace, model, number)
    if files is not None:
        with opened(workspace, model, number) as folder:
            _compare(model, number, folder, files)


def judged_files(workspace: Workspace, model: str, number: int) -> Mapping[str, str] | None:
    """SHA-256 of every file of a version when it was judged; None if it was not, or by an earlier release.

    Raises: RegistryRefusedError if the history was changed, or a record's signature does not count.
    """
    versions = versions_of(model)
    if number not in versions:
        return None
    records, notes = _read_at_once(workspace, model)
    if faults := note_faults(records, notes, versions):
        if not has_no_say(workspace, model):
            raise RegistryRefusedError(
                f"{model}: {'; '.join(str(fault) for fault in faults)}, so it is not known which files were judged;"
                f" restore {place_of(workspace, model)} from a backup, or bring it from where it is decided"
            )
        logger.warning(
            "%s version %d: its history lies in another folder, so its files are compared with nothing", model, number
        )
        return None
    _require_signatures(workspace, model, records)
    return files_of(records, versions[number])


def _read_at_once(workspace: Workspace, model: str) -> tuple[list[Record], Notes]:
    """The records and what the registry notes of them, of one moment.

    No lock is taken: whoever moves the champion holds it. A decision that comes between the two changes the notes.
    """
    notes, faults, records = notes_of(model), list[RegistryRefusedError](), list[Record]()
    for _ in range(TRIES):
        before, faults = notes, []
        try:
            records = read_history(workspace, model)
        except RegistryRefusedError as error:
            faults = [error]
        notes = notes_of(model)
        if notes == before:
            break
    if faults:
        raise faults[0]
    return records, notes


def files_of(records: Sequence[Record], version: Registered) -> Mapping[str, str] | None:
    """The same, by records that were checked.

    Raises: ChangedFilesError if they hold another run's version of this number: then the registry is not what it was.
    """
    number = int(version.version)
    known = [record for record in reversed(records) if record.version == number and record.files is not None]
    if found := next((record for record in known if is_of(record, version)), None):
        return found.files
    if known and not any(is_of(record, version) for record in records):
        raise ChangedFilesError(
            f"{known[0].model} version {number}: was judged as version of run {known[0].run_id}, but the registry says"
            f" that it is of run {judged_run(version)}: the registry was replaced or edited; nothing of it was"
            " loaded; restore the registry from a backup"
        )
    return None


def _compare(model: str, number: int, folder: Path, files: Mapping[str, str] | None) -> None:
    if files is not None:
        require_files(f"{model} version {number}", folder, files)


@contextmanager
def opened(workspace: Workspace, model: str, number: int) -> Iterator[Path]:
    """The files of a version as they are. Raises: ChangedFilesError if they cannot be had."""
    from mlflow.exceptions import MlflowException

    with ExitStack() as stack:
        try:
            folder = stack.enter_context(model_folder(workspace, f"models:/{model}/{number}"))
        except (MlflowException, OSError) as error:
            said = shortened(" ".join(str(error).split()), ERROR_CHARACTERS)
            raise ChangedFilesError(
                f"{model} version {number}: its files cannot be read ({said}); restore them from a backup"
            ) from None
        yield folder


def _require_signatures(workspace: Workspace, model: str, records: list[Record]) -> None:
    signing = read_signing(workspace)
    for place, record in enumerate(records):
        if fault := signing.fault(model, record, records[:place]):
            raise RegistryRefusedError(
                f"{model}: record {record.number} {fault}; what it says of a version's files does not count; see"
                f" `graftline history {model} --verify`"
            )
