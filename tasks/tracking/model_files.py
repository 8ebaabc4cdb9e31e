"""The files of a registered model by their digests: as they were judged, and whether they still are what lies there."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from graftline.digests import file_sha256
from graftline.errors import RegistryRefusedError
from graftline.tasks.scratch import is_scratch

# MLflow writes it into a model that it hands out, which may be the stored one itself; nothing is loaded from it.
ADDED_BY_MLFLOW = "registered_model_meta"
# Python writes these beside the code that a server loads. No process of ours reads them (serving/from_source.py).
COMPILED, COMPILED_SUFFIX = "__pycache__", ".pyc"
SHOWN_FILES = 20


class ChangedFilesError(RegistryRefusedError):
    """A registered model is not the one that was judged."""


def digests_of(what: str, folder: Path) -> dict[str, str]:
    """SHA-256 of every file of the registered model `what` in a folder, by its path in it.

    Raises: ChangedFilesError where there is a link, or anything else that is neither file nor folder.
    """
    names, odd = _listed(folder)
    if odd:
        raise _refused(what, folder, [f"{_shown(name)} is no plain file" for name in odd])
    return {name: file_sha256(folder / name) for name in names}


def require_files(what: str, folder: Path, expected: Mapping[str, str]) -> None:
    """Whether a folder holds exactly the files that were judged; nothing of it is loaded.

    Raises: ChangedFilesError naming each file that was changed, added or removed, or is a link.
    """
    if faults := faults_in(folder, expected):
        raise _refused(what, folder, faults)


def faults_in(folder: Path, expected: Mapping[str, str]) -> list[str]:
    """Each file that is not as it was judged, and what is wrong with it."""
    names, odd = _listed(folder)
    found = {name: _digest(folder / name) for name in names if name in expected}
    faults = {
        "is no plain file": odd,
        "cannot be read": [name for name, digest in found.items() if digest is None],
        "was changed": [name for name, digest in found.items() if digest not in (None, expected[name])],
        "was added": [name for name in names if name not in expected],
        "is missing": sorted(expected.keys() - {*names, *odd}),
    }
    return [f"{_shown(name)} {fault}" for fault, found in faults.items() for name in found]


def counts(name: str) -> bool:
    """Whether a file of a registered model is one of those that are judged."""
    path = PurePosixPath(name)
    return name != ADDED_BY_MLFLOW and not (path.parent.name == COMPILED and path.suffix == COMPILED_SUFFIX)


def _listed(folder: Path) -> tuple[list[str], list[str]]:
    """The names of all plain files below a folder, and of what is neither file nor folder: links above all."""
    files: list[str] = []
    odd: list[str] = []
    for parent, folders, names in os.walk(folder, followlinks=False):
        for name in [*folders, *names]:
            path = Path(parent) / name
            place, mode = path.relative_to(folder).as_posix(), path.lstat().st_mode
            if stat.S_ISREG(mode):
                files += [place] if counts(place) else []
            elif not stat.S_ISDIR(mode):
                odd.append(place)
    return sorted(files), sorted(odd)


def _digest(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:  # somebody else's, or gone since it was listed
        return None


def _shown(name: str) -> str:
    """A name that whoever can write there may have chosen."""
    return name if name.isprintable() else ascii(name)


def _refused(what: str, folder: Path, faults: list[str]) -> ChangedFilesError:
    there = "them where the registry keeps them" if is_scratch(folder) else str(folder)
    more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
    return ChangedFilesError(
        f"{what}: its files are not those that were judged: {faults[0]}{more}; nothing of it was loaded; find out who"
        f" did that, then restore {there} from a backup, or the registry's address of it, or make another version the"
        " champion",
        faults[:SHOWN_FILES] if more else [],
    )
