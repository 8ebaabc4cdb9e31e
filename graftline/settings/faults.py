"""The faults of a file of settings, each in words: where it stands, what was expected, what was probably meant."""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from graftline.errors import SettingsError
from graftline.settings.description import SettingDescription, described
from graftline.wording import did_you_mean, nearest, shortened

SHOWN_CHARACTERS = 80
# What pydantic calls the place of a pair's key.
KEY = "[key]"
ARTICLES = {"whole number": "a ", "number": "a ", "list": "a "}
# The keys that lead to a value; a number is a place in a list.
Place = tuple[int | str, ...]


@dataclass(frozen=True)
class Origin:
    """Where the values came from: a file or a form, and assignments on the command line."""

    name: str
    file: Path | None = None
    assignments: Sequence[str] = ()

    def of(self, place: Place, *, unknown: bool) -> str:
        """The assignment or the line that a value came from, and its key where that does not say it."""
        for assignment in reversed(self.assignments):
            path = assigned_to(assignment)
            if path == place or (unknown and path[: len(place)] == place):
                return f"--set {assignment}"
            if path == place[: len(path)]:
                return f"--set {assignment}: {key_of(place)}"
        line = self._line_of(place)
        where = self.name if line is None else f"{self.name}, line {line}"
        inside = [f"--set {one}" for one in self.assignments if place == assigned_to(one)[: len(place)]]
        if inside:
            where += f" with {' '.join(inside)}"
        return f"{where}: {key_of(place)}" if place else where

    def written(self, place: Place) -> str | None:
        """What stands there for a single value, before YAML makes something of it; None of a form's."""
        for assignment in reversed(self.assignments):
            path = assigned_to(assignment)
            if path == place[: len(path)]:
                return _scalar_at(yaml.compose(assignment.partition("=")[2]), place[len(path) :])
        return None if self.file is None else _scalar_at(yaml.compose(self.file.read_text(encoding="utf-8")), place)

    def _line_of(self, place: Place) -> int | None:
        """Counted from 1; of a key that is missing that of its section."""
        node = None if self.file is None else yaml.compose(self.file.read_text(encoding="utf-8"))
        line = None
        for part in place:
            if isinstance(node, yaml.MappingNode):
                pairs = [pair for pair in node.value if pair[0].value == str(part)]
                if not pairs:
                    break
                line, node = pairs[-1][0].start_mark.line + 1, pairs[-1][1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                node = node.value[part]
                line = node.start_mark.line + 1
        return line


def assigned_to(assignment: str) -> Place:
    """The keys of `section.key=value`."""
    return tuple(assignment.partition("=")[0].split("."))


def _scalar_at(node: yaml.Node | None, place: Place) -> str | None:
    for part in place:
        if isinstance(node, yaml.MappingNode):
            node = next((inside for key, inside in node.value if key.value == str(part)), None)
        else:
            node = node.value[part] if isinstance(node, yaml.SequenceNode) and isinstance(part, int) else None
    return str(node.value) if isinstance(node, yaml.ScalarNode) else None


def refusal(error: ValidationError, model: type[BaseModel], origin: Origin, *, verb: str = "") -> SettingsError:
    """The error that says all faults of values that are to become a `model`, each in its own line.

    `verb` is what `graftline settings` calls the model.
    """
    wording = _Wording(model, {setting.key: setting for setting in described(model)}, origin, verb)
    # What is missing often stands there under a mistyped name: causes first.
    faults = sorted(error.errors(), key=lambda fault: not _is_unknown(fault))
    said = [f"{origin.of(_place(fault), unknown=_is_unknown(fault))}: {wording.of(fault)}" for fault in faults]
    if len(said) == 1:
        return SettingsError(said[0])
    return SettingsError(f"{origin.name}: {len(said)} settings are wrong", said)


@dataclass(frozen=True)
class _Wording:
    """What is said of the values of a model."""

    model: type[BaseModel]
    settings: Mapping[str, SettingDescription]
    origin: Origin
    verb: str

    def of(self, fault: ErrorDetails) -> str:
        place = _place(fault)
        setting = self._setting_at(place)
        if _is_unknown(fault):
            return self._unknown(place, holds_keys=isinstance(fault["input"], dict))
        if setting is None and fault["type"] == "value_error":
            return _own_words(fault)
        if setting is None:
            return self._no_section(fault, place)
        if fault["type"] == "missing":
            return f"must be given: {setting.meaning.partition('. ')[0].rstrip('.')}"
        shown = _shown(fault)
        if fault["type"] == "value_error" and setting.type != "choice":
            words = _own_words(fault)
            return words if words.startswith(shown) else f"{shown}: {words}"
        if fault["type"] == "string_type" and (written := _written_at(place, self.origin)):
            read_as = _yaml_kind(fault["input"])
            return f"{written}: YAML reads it as {read_as}, expected text; {self._quoted(place, written)}"
        stands = "" if place in map(assigned_to, self.origin.assignments) else f"{shown}: "
        return f"{stands}expected {_expected(setting)}{_meant(setting, fault['input'])}"

    def _setting_at(self, place: Place) -> SettingDescription | None:
        """The setting that a place is or lies in, as keys of pairs do."""
        outward = (self.settings.get(key_of(place[:end])) for end in range(len(place), 0, -1))
        return next((setting for setting in outward if setting is not None), None)

    def _quoted(self, place: Place, written: str) -> str:
        assigned = any(assigned_to(one) == place[: len(assigned_to(one))] for one in self.origin.assignments)
        shell = f" inside others that the shell takes: '...\"{written}\"...'" if assigned else f": '{written}'"
        return f"write it in quotes{shell}"

    def _unknown(self, place: Place, *, holds_keys: bool) -> str:
        *section, name = map(str, place)
        siblings = list(_names_in(self.model, section))
        elsewhere = {key.rpartition(".")[2]: key for key in self.settings}
        kind = "section" if holds_keys and not section and name not in elsewhere else "setting"
        meant = elsewhere.get(name) or nearest(name, siblings) or elsewhere.get(nearest(name, elsewhere) or "")
        listed = ".".join(filter(None, [self.verb, *section]))
        hint = f"did you mean {meant}?" if meant else f"`graftline settings {listed}".rstrip() + "` lists what there is"
        return f"there is no {kind} {name}; {hint}"

    def _no_section(self, fault: ErrorDetails, place: Place) -> str:
        names = ", ".join(list(_names_in(self.model, list(map(str, place))))[:3])
        if fault["type"] == "missing":
            return f"the section must be given, with {names}"
        return f"{_shown(fault)}: expected a section with keys such as {names}"


def _written_at(place: Place, origin: Origin) -> str | None:
    return str(place[-2]) if place[-1] == KEY else origin.written(place)


def key_of(place: Place) -> str:
    """adaptation.epochs; a place in a list belongs to the list, and a key of a pair is the pair."""
    return ".".join(str(part) for part in place if isinstance(part, str) and part != KEY)


def _place(fault: ErrorDetails) -> Place:
    return tuple(fault["loc"])


def _is_unknown(fault: ErrorDetails) -> bool:
    return fault["type"] == "extra_forbidden"


def _shown(fault: ErrorDetails) -> str:
    return shortened(repr(fault["input"]), SHOWN_CHARACTERS)


def _yaml_kind(value: object) -> str:
    if value is None:
        return "nothing"
    kinds = {bool: "true or false", int: "a number", float: "a number", datetime.date: "a date"}
    return next((words for kind, words in kinds.items() if isinstance(value, kind)), type(value).__name__)


def _own_words(fault: ErrorDetails) -> str:
    return fault["msg"].removeprefix("Value error, ")


def _expected(setting: SettingDescription) -> str:
    if "choice" in setting.type:
        return f"one of {setting.range.replace(' | ', ', ')}"
    article = next((word for start, word in ARTICLES.items() if setting.type.startswith(start)), "")
    joint = " that " if setting.range.startswith("matches") else ", "
    return f"{article}{setting.type}{joint if setting.range else ''}{setting.range}"


def _meant(setting: SettingDescription, value: object) -> str:
    return did_you_mean(str(value), setting.range.split(" | ")) if "choice" in setting.type else ""


def _names_in(model: type[BaseModel], section: Sequence[str]) -> Iterator[str]:
    for name in section:
        inside = model.model_fields[name].annotation if name in model.model_fields else None
        if not (isinstance(inside, type) and issubclass(inside, BaseModel)):
            return
        model = inside
    yield from model.model_fields
