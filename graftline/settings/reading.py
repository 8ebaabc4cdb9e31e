"""Reading the settings file, and what is said of a faulty one."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, JsonValue, ValidationError

from graftline.errors import SettingsError
from graftline.settings.adaptation import AdaptationSettings
from graftline.settings.description import described_settings
from graftline.settings.faults import Origin, refusal
from graftline.settings.tree import Settings
from graftline.wording import nearest

# The settings file of a project.
PARAMS = "params.yaml"

Form = TypeVar("Form", bound=BaseModel)


def read_settings(path: Path, assignments: list[str] | None = None) -> Settings:
    """Read a settings file and apply `section.key=value` assignments, whose values are read as YAML.

    Raises: SettingsError naming the file, the key, what stands there and what is expected.
    """
    return _checked(read_tree(path, assignments), Origin(str(path), path, tuple(assignments or ())))


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
    if faults := [fault for assignment in assignments or [] if (fault := _assign(tree, assignment))]:
        raise SettingsError(faults[0]) if len(faults) == 1 else SettingsError("--set: assignments are wrong", faults)
    return tree


def read_yaml(path: Path) -> JsonValue:
    """The value in a file of YAML. Raises: FileNotFoundError; SettingsError if it is not readable as that."""
    try:
        value: JsonValue = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not readable as YAML ({' '.join(str(error).split())}); mend the file") from None
    return value


def read_section(path: Path, form: type[Form], *, such_as: str, verb: str) -> Form:
    """The settings in a file of their own; without the file the defaults.

    `such_as` is a key of theirs, and `verb` what `graftline settings` calls them.
    Raises: SettingsError naming the file, the key, what stands there and what is expected.
    """
    try:
        tree = read_yaml(path)
    except FileNotFoundError:
        return form()
    if not isinstance(tree, dict | None):
        raise SettingsError(f"{path}: holds {type(tree).__name__}, expected keys such as {such_as}:; mend the file")
    try:
        return form.model_validate(tree or {})
    except ValidationError as error:
        raise refusal(error, form, Origin(str(path), path), verb=verb) from None


def parse_settings(tree: JsonValue, source: str) -> Settings:
    """Check a tree of plain values. Raises: SettingsError naming every faulty key."""
    return _checked(tree, Origin(source))


def _checked(tree: JsonValue, origin: Origin) -> Settings:
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise refusal(error, Settings, origin) from None


def _assign(tree: dict[str, JsonValue], assignment: str) -> str | None:
    """Put the value into the tree, or say what is wrong with the assignment."""
    name, equals, value = assignment.partition("=")
    *sections, key = name.split(".")
    belongs = sections or name in {setting.key for setting in described_settings()}
    if not equals or not belongs or not all((*sections, key)):
        return f"--set {assignment}: expected section.key=value, for example {_example(key, value)}"
    branch = tree
    for section in sections:
        child = branch.setdefault(section, {})
        if not isinstance(child, dict):
            return f"--set {assignment}: {section} is a single value and has no key {key}"
        branch = child
    try:
        branch[key] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        return f"--set {assignment}: {' '.join(str(error).split())}; quote the value"
    return None


def _example(key: str, value: str) -> str:
    """The assignment that was probably meant by a key without its section."""
    keys = {setting.key.rpartition(".")[2]: setting.key for setting in described_settings()}
    meant = nearest(key, keys)
    return f"{keys[meant]}={value}" if meant and value else "adaptation.epochs=5"
