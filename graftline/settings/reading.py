"""Reading the settings file, and what is said of a faulty one."""

from pathlib import Path

import yaml
from pydantic import JsonValue, ValidationError

from graftline.errors import SettingsError
from graftline.settings.adaptation import AdaptationSettings
from graftline.settings.tree import Settings
from graftline.wording import shortened

SHOWN_CHARACTERS = 80


def read_settings(path: Path, assignments: list[str] | None = None) -> Settings:
    """Read a settings file and apply `section.key=value` assignments, whose values are read as YAML.

    Raises: SettingsError naming the file, the key, what stands there and what is expected.
    """
    return parse_settings(read_tree(path, assignments), source=str(path))


def settled_by_the_machine(path: Path) -> list[str]:
    """The settings of the adaptation that stand as `auto` in the file: whatever machine runs it decides."""
    written = read_tree(path).get("adaptation")
    given = written if isinstance(written, dict) else {}
    fields = AdaptationSettings.model_fields
    return [name for name, field in fields.items() if given.get(name, field.default) == "auto"]


def read_tree(path: Path, assignments: list[str] | None = None) -> dict[str, JsonValue]:
    """The values in a settings file, unchecked, with the assignments. Raises: SettingsError if it cannot be read."""
    try:
        tree = read_yaml(path)
    except FileNotFoundError:
        raise SettingsError(
            f"{path}: there is no such settings file; run in the project folder or name a file with --params"
        ) from None
    if not isinstance(tree, dict):
        raise SettingsError(f"{path}: holds {type(tree).__name__}, expected sections such as data: and registry:")
    for assignment in assignments or []:
        _assign(tree, assignment)
    return tree


def read_yaml(path: Path) -> JsonValue:
    """The value in a file of YAML. Raises: FileNotFoundError; SettingsError if it is not readable as that."""
    try:
        value: JsonValue = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not readable as YAML ({' '.join(str(error).split())}); mend the file") from None
    return value


def parse_settings(tree: JsonValue, source: str) -> Settings:
    """Check a tree of plain values. Raises: SettingsError naming every faulty key."""
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        faults = faults_of(error, "settings")
        raise SettingsError(f"{source}: {faults}; mend it there or with --set section.key=value") from None


def faults_of(error: ValidationError, whole: str) -> str:
    """Every faulty key with what stands there and what is expected; a fault between keys is that of the `whole`."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or whole}: {_shown(fault['input'])}: {fault['msg']}"
        for fault in error.errors()
    )


def _assign(tree: dict[str, JsonValue], assignment: str) -> None:
    name, equals, value = assignment.partition("=")
    *sections, key = name.split(".")
    if not equals or not sections or not all((*sections, key)):
        raise SettingsError(f"--set {assignment}: expected section.key=value, for example adaptation.epochs=5")
    branch = tree
    for section in sections:
        child = branch.setdefault(section, {})
        if not isinstance(child, dict):
            raise SettingsError(f"--set {assignment}: {section} is a single value and has no key {key}")
        branch = child
    try:
        branch[key] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SettingsError(f"--set {assignment}: {' '.join(str(error).split())}; quote the value") from None


def _shown(value: object) -> str:
    return shortened(repr(value), SHOWN_CHARACTERS)
