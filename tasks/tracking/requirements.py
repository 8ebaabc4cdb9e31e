"""requirements.lock of a project that holds no code: the exact versions of all that Graftline needs."""

import importlib.metadata
import json
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from graftline.errors import SettingsError
from graftline.tasks.own_code import all_code_sha256

LOCK = "requirements.lock"
OURS = "graftline"
LINE = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;#]+)")
PYTHON = re.compile(r"^#.* with Python (?P<minor>3\.\d+)", re.MULTILINE)
DIGESTS = re.compile(r"(?P<kind>wheel|code) sha256:(?P<digest>[0-9a-f]{64})")


@dataclass(frozen=True)
class LockedRequirements:
    """What a requirements.lock names."""

    versions: Mapping[str, str]
    """Of each distribution, by its canonical name."""
    wheel_sha256: str | None = None
    """The digest of Graftline's wheel, where it was known."""
    code_sha256: str | None = None
    """The digest of all modules of Graftline."""
    python: str | None = None
    """The minor version of Python that it was written with, where it says so."""

    def differing(self, other: Mapping[str, str]) -> list[str]:
        """The distributions of which `other` has another version or none, each with both versions."""
        return [
            f"{name} {version} (here {other.get(name, 'not installed')})"
            for name, version in self.versions.items()
            if other.get(name) != version
        ]


def installed_libraries() -> dict[str, str]:
    """The versions of all that is installed here, under the names that they give themselves.

    Of a name that is on the path twice the first counts, as it does for imports.
    """
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(name, distribution.version)
    return found


def installed_versions() -> dict[str, str]:
    """The same by canonical name, without the mark of a local build."""
    found: dict[str, str] = {}
    for name, version in installed_libraries().items():
        found.setdefault(canonicalize_name(name), public_version(version))
    return found


def needed_versions() -> dict[str, str]:
    """The versions of Graftline and all that it needs here, direct or not."""
    found: dict[str, str] = {}
    looked_at: set[tuple[str, frozenset[str]]] = set()
    open_ends = [Requirement(OURS)]
    while open_ends:
        requirement = open_ends.pop()
        name = canonicalize_name(requirement.name)
        wanted = (str(name), frozenset(requirement.extras))
        if wanted in looked_at:
            continue
        looked_at.add(wanted)
        try:
            distribution = importlib.metadata.distribution(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            continue  # what the environment does without is not needed to make the same one
        found[name] = public_version(distribution.version)
        open_ends += _requirements_of(distribution, requirement.extras)
    return dict(sorted(found.items()))


def print_requirements() -> str:
    """The text of a requirements.lock for what is installed here, which pip can install."""
    versions = needed_versions()
    if OURS not in versions:
        raise SettingsError("graftline is not installed here as a package, expected that; run `pip install graftline`")
    wheel = _wheel_sha256()
    digests = [*([f"wheel sha256:{wheel}"] if wheel else []), f"code sha256:{all_code_sha256()}"]
    lines = [f"{name}=={version}" for name, version in versions.items() if name != OURS]
    return (
        "# All that made this project's models, written by `graftline init` with Python"
        f" {platform.python_version()}. `pip install -r {LOCK}`\n"
        "# makes the same environment elsewhere, and `graftline reproduce` does so by itself. After an upgrade remove\n"
        "# the file, run `graftline init` again, and commit.\n"
        f"{OURS}=={versions[OURS]}  # {', '.join(digests)}\n" + "\n".join(lines) + "\n"
    )


def read_requirements(path: Path) -> LockedRequirements:
    """What a requirements.lock names; lines that pin nothing are passed over."""
    versions: dict[str, str] = {}
    digests: dict[str, str] = {}
    text = path.read_text(encoding="utf-8")
    for line in text.splitlines():
        if pinned := LINE.match(line):
            name = canonicalize_name(pinned["name"])
            versions[name] = public_version(pinned["version"])
            if name == OURS:
                digests = {found["kind"]: found["digest"] for found in DIGESTS.finditer(line)}
    python = PYTHON.search(text)
    return LockedRequirements(versions, digests.get("wheel"), digests.get("code"), python and python["minor"])


def _requirements_of(distribution: importlib.metadata.Distribution, extras: set[str]) -> Iterator[Requirement]:
    environment = {name: str(value) for name, value in default_environment().items()}
    for line in distribution.requires or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras)):
            yield requirement


def public_version(version: str) -> str:
    """A version without what a local build adds: torch 2.13.0+cpu is on no index."""
    return version.partition("+")[0]


def _wheel_sha256() -> str | None:
    """The digest of the wheel that Graftline was installed from, where pip has noted it."""
    noted = importlib.metadata.distribution(OURS).read_text("direct_url.json")
    archive = json.loads(noted).get("archive_info", {}) if noted else {}
    digest = archive.get("hashes", {}).get("sha256")
    return str(digest) if digest else None
