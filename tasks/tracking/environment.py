"""A scratch environment with the versions that a requirements.lock names, for a project that holds no code."""

import os
import subprocess
import sys
import venv
from importlib.machinery import all_suffixes
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from graftline.digests import file_sha256
from graftline.errors import ReproductionError
from graftline.tasks.own_code import all_code_sha256, code_sha256_of_wheel
from graftline.tasks.tracking.requirements import OURS, LockedRequirements, installed_versions, read_requirements

SHOWN_VERSIONS = 8
OTHER_CODE = f"the code of {OURS} (here it differs)"
# What Python prefers to a module's text, or runs in place of one that is not there.
COMPILED = tuple(suffix for suffix in all_suffixes() if suffix != ".py")


def differing_from(locked: LockedRequirements) -> list[str]:
    """All in which this environment differs from the locked one, each with both versions."""
    differing = locked.differing(installed_versions())
    has_other_code = locked.code_sha256 not in (None, all_code_sha256())
    return differing if not has_other_code or _is_of_ours(differing) else [*differing, OTHER_CODE]


def build_environment(lock: Path, folder: Path) -> Path:
    """Make an environment in `folder` with the versions of `lock`. Returns: its Python.

    Where nothing but Graftline differs, all else is that of this environment; otherwise everything is installed. pip
    takes its options (an index, a folder of wheels) from its own environment variables and configuration.
    Raises: ReproductionError that names the versions that differ, if they are not to be had.
    """
    locked = read_requirements(lock)
    differing = differing_from(locked)
    only_ours = all(one == OTHER_CODE or _is_of_ours([one]) for one in differing)
    try:
        _require_python(locked)
        wheel = _fetch_wheel(locked, folder.with_name("wheels"))
        venv.create(folder, with_pip=False, symlinks=True)
        python = folder / "bin" / "python"
        if only_ours:
            _pip("--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
            (packages,) = folder.glob("lib/python*/site-packages")
            # As plain lines: what an editable install put beside the dependencies does not run.
            (packages / "dependencies.pth").write_text(
                "".join(f"{one}\n" for one in _packages_here()), encoding="utf-8"
            )
        else:
            # The file, which pip prefers to whatever an index has under its name.
            _pip("--python", str(python), "install", "--requirement", str(lock), str(wheel))
    except _NotToBeHadError as error:
        shown = ", ".join(differing[:SHOWN_VERSIONS]) + (", ..." if len(differing) > SHOWN_VERSIONS else "")
        raise ReproductionError(
            f"{lock.name}: this environment is not the one that made the version: {len(differing)} differ: {shown}; a"
            f" scratch environment could not be made ({error}); install these versions, or tell pip where they are with"
            " PIP_INDEX_URL or PIP_FIND_LINKS, and run again"
        ) from None
    return python


class _NotToBeHadError(Exception):
    """The environment cannot be made. Its text says why."""


def _packages_here() -> list[str]:
    """The folders that this environment's packages lie in; a virtual environment may see those of another."""
    return [place for place in sys.path if place and any(Path(place).glob("*.dist-info"))]


def _is_of_ours(differing: list[str]) -> bool:
    return any(one.startswith(f"{OURS} ") for one in differing)


def _fetch_wheel(locked: LockedRequirements, folder: Path) -> Path:
    """Graftline's wheel, by version and by the digests that are known: nothing of it has run yet."""
    folder.mkdir(parents=True)
    version = locked.versions.get(OURS)
    if version is None:
        raise _NotToBeHadError(f"it names no version of {OURS}")
    if locked.wheel_sha256 is None and locked.code_sha256 is None:
        raise _NotToBeHadError(f"it names no digest of {OURS}, whose code is to run")
    _pip("download", "--no-deps", "--only-binary", OURS, "--dest", str(folder), f"{OURS}=={version}")
    (wheel,) = folder.glob("*.whl")
    if locked.wheel_sha256 not in (None, sha256 := file_sha256(wheel)):
        raise _NotToBeHadError(f"{wheel.name} has sha256 {sha256}, expected {locked.wheel_sha256}")
    if locked.code_sha256 is not None:
        _require_code(wheel, locked.code_sha256)
    return wheel


def _require_code(wheel: Path, expected: str) -> None:
    """The same version may be built from other code, and another's package may have our name.

    Raises: _NotToBeHadError if the wheel's modules are not those that are expected, or if it brings anything else that
    Python would run.
    """
    try:
        with ZipFile(wheel) as packed:
            names = packed.namelist()
        found = code_sha256_of_wheel(wheel)
    except BadZipFile as error:
        raise _NotToBeHadError(f"{wheel.name} is no wheel ({error})") from None
    described = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info/"
    other = [name for name in names if not name.startswith((f"{OURS}/", described)) or name.endswith(COMPILED)]
    if other:
        raise _NotToBeHadError(f"{wheel.name} holds {other[0]!a}, expected nothing but modules in {OURS}/")
    if found != expected:
        raise _NotToBeHadError(f"{wheel.name} has code of sha256 {found}, expected {expected}")


def _require_python(locked: LockedRequirements) -> None:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if locked.python not in (None, here):
        raise _NotToBeHadError(f"it was written with Python {locked.python}, here {here} runs; run with that one")


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, env=_without_path(), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        said = [line for line in lines if line.startswith("ERROR")] or lines
        raise _NotToBeHadError(f"pip: {said[-1]}")


def _without_path() -> dict[str, str]:
    """The surroundings without modules of this process's own."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
