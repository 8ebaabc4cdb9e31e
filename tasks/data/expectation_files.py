"""The expectations that a team keeps beside its settings, and their digest."""

from collections.abc import Callable, Mapping

from pydantic import JsonValue

from graftline.data.expectation import Expectation
from graftline.data.team_columns import are_numbers
from graftline.data.team_expectations import from_suite, from_yaml
from graftline.digests import file_sha256, json_sha256
from graftline.errors import SettingsError
from graftline.tasks.workspace import Workspace

FILES: Mapping[str, Callable[[str, str], tuple[Expectation, ...]]] = {
    "expectations.yaml": from_yaml,
    "gx_suite.json": from_suite,
}
MOST_BYTES = 2_000_000


def expectation_files_sha256(workspace: Workspace) -> str | None:
    """The digest of the files as they lie there; None where there is none."""
    found: dict[str, JsonValue] = {
        name: file_sha256(workspace.root / name) for name in FILES if (workspace.root / name).is_file()
    }
    return json_sha256(found) if found else None


def read_expectation_files(workspace: Workspace) -> tuple[Expectation, ...]:
    """What a team expects beside us. Raises: SettingsError naming the file, the entry, and what was expected there."""
    found: list[Expectation] = []
    for name, read in FILES.items():
        path = workspace.root / name
        if path.is_file():
            found += read(_text(path.read_bytes(), name), name)
    names = [one.name for one in found]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(f"{' and '.join(FILES)}: {doubled[0]!r} stands in both, expected it once; take one away")
    return (*are_numbers(found), *found)


def _text(content: bytes, name: str) -> str:
    if len(content) > MOST_BYTES:
        raise SettingsError(f"{name}: has {len(content):,} bytes, expected at most {MOST_BYTES:,}; shorten it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{name}: byte {error.start + 1:,} is not UTF-8; save it as UTF-8") from None
