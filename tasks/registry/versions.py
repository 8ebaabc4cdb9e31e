"""Models, versions and aliases in MLflow's registry; who may change them is decided in promotion.py."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from graftline.errors import RegistryRefusedError, SettingsError
from graftline.tasks.registry.records import WITH_RUN, Record
from graftline.tasks.tracking.pages import retitle_run
from graftline.tasks.tracking.server import client, connect, if_there
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"
# The tags that Graftline notes on a version.
RUN_KEY, QUESTION, VERDICT, REASONS, RIVAL, BARRED, CHECKED, WEIGHTS, DATA_VERSION, PRETRAINED = (
    "graftline.run_key",
    "graftline.question",
    "graftline.verdict",
    "graftline.reasons",
    "graftline.compared_with",
    "graftline.barred",
    "graftline.answers_in_a_fresh_process",
    "graftline.weights_sha256",
    "graftline.data_version",
    "graftline.pretrained_base_sha256",
)
# The run, in the registry that a version was brought from, that made it there.
BROUGHT = "graftline.brought_from_run"
# Those that it notes on a model: the record that is about to be written, and the newest one, each by number and digest.
# Whoever removes or adds records in the project folder would have to change the registry as well.
ANNOUNCED, NEWEST = "graftline.announced_record", "graftline.newest_record"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class Registered(Protocol):
    """What MLflow's own class of a version has in common with `StoredVersion`."""

    @property
    def version(self) -> str: ...

    @property
    def run_id(self) -> str | None: ...

    @property
    def creation_timestamp(self) -> int: ...

    @property
    def tags(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Note:
    """A record as the registry knows it."""

    number: int
    sha256: str


@dataclass(frozen=True)
class Notes:
    """Graftline's notes on a model."""

    announced: Note | None
    newest: Note | None


def champion_of(model: str) -> int | None:
    """The version that carries the alias `champion`, if any."""
    return with_alias(model, CHAMPION)


def challenger_of(model: str) -> int | None:
    """The version that carries the alias `challenger`, if any."""
    return with_alias(model, CHALLENGER)


def with_alias(model: str, alias: str) -> int | None:
    """The version that carries an alias, if any."""
    found = if_there(lambda: client().get_model_version_by_alias(model, alias), model)
    return int(found.version) if found else None


def set_champion(model: str, version: int) -> None:
    """Move the alias and read it back. Raises: RegistryRefusedError if someone else moved it meanwhile."""
    client().set_registered_model_alias(model, CHAMPION, str(version))
    if (actual := champion_of(model)) != version:
        raise RegistryRefusedError(
            f"{model}: the champion was set to version {version} but reads back as {shown(actual)};"
            f" see `graftline history {model}` for who moved it"
        )


def make_model(model: str) -> None:
    """Have the registry know this model, if it does not yet."""
    from mlflow.exceptions import MlflowException

    try:
        client().create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def find_version(model: str, run_key: str) -> "ModelVersion | None":
    """The version that a run key made, if it was registered already."""
    return _first_tagged(model, RUN_KEY, run_key)


def find_equal(model: str, question: str) -> "ModelVersion | None":
    """The version, of whatever run, about which this question was asked: an equal model that is to be judged alike."""
    return _first_tagged(model, QUESTION, question)


def versions_of(model: str) -> "dict[int, ModelVersion]":
    """The versions that the registry has, by number."""
    return {int(version.version): version for version in client().search_model_versions(f"name = '{model}'")}


def get_version(model: str, version: int) -> "ModelVersion":
    """Raises: RegistryRefusedError if there is no such model or version."""
    if found := if_there(lambda: client().get_model_version(model, str(version)), model):
        return found
    have = sorted(versions_of(model))
    raise RegistryRefusedError(
        f"{model} version {version}: not in the registry, which has"
        f" {'versions ' + ', '.join(map(str, have)) if have else 'no version of this model'};"
        " name one that is there, or run `graftline adapt` to make one"
    )


def is_of(record: Record, version: Registered) -> bool:
    """Whether a record is about this version, and not about one of the same number in another registry."""
    if record.version != int(version.version):
        return False
    if record.form >= WITH_RUN:
        return record.run_id == judged_run(version)
    # Records of the first form do not name the run, but are younger than the version; they leave out part of a second.
    created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return datetime.fromisoformat(record.when) + timedelta(seconds=1) >= created


def judged_run(version: Registered) -> str | None:
    """The run by which a version was judged. One that was brought from another registry has another run by now.

    Who can write tags can name any run there; the digests of the version's files, which its record holds, tell that.
    """
    return version.tags.get(BROUGHT) or version.run_id or None


def verdict_of(records: Sequence[Record], version: Registered) -> Record | None:
    """The record of the present verdict on a version, if it was judged."""
    judged = (record for record in reversed(records) if record.action in ("verdict", "approval"))
    return next((record for record in judged if is_of(record, version)), None)


def note_verdict(model: str, record: Record) -> None:
    """Put what a record says on its version, for those who read the registry. A version that is gone stays so."""
    version = versions_of(model).get(record.version)
    if version is None or record.verdict is None or not is_of(record, version):
        return
    registry = client()
    registry.set_model_version_tag(model, version.version, REASONS, "\n".join(record.reasons))
    registry.set_model_version_tag(model, version.version, VERDICT, record.verdict)
    retitle_run(version.run_id, record.verdict)


def delete_version(model: str, record: Record) -> None:
    """Remove the version that a record is about from the registry, if it is still there. Its model's files stay."""
    version = versions_of(model).get(record.version)
    if version is not None and is_of(record, version):
        client().delete_model_version(model, version.version)


def announce(model: str, record: Record) -> None:
    """Note which record is about to be written: one that was not announced was added outside of Graftline."""
    _note(model, ANNOUNCED, record)


def note_newest(model: str, record: Record) -> None:
    """Note which record is the newest: it cannot go unseen any more."""
    _note(model, NEWEST, record)


def notes_of(model: str) -> Notes:
    """The notes on a model. Raises: RegistryRefusedError if they were made unreadable."""
    found = if_there(lambda: client().get_registered_model(model), model)
    return notes_in(model, found.tags if found else {})


def notes_in(model: str, tags: Mapping[str, str]) -> Notes:
    """The notes among a model's tags. Raises: as `notes_of`."""
    return Notes(_read_note(model, tags, ANNOUNCED), _read_note(model, tags, NEWEST))


def open_model(workspace: Workspace, model: str) -> None:
    """Connect to the registry that has this model. Raises: SettingsError for a bad name; RegistryRefusedError."""
    if not NAME.fullmatch(model):
        raise SettingsError(f"{model!r}: no name of a model, expected letters, digits, - and _, at most 63")
    connect(workspace)
    if not if_there(lambda: client().get_registered_model(model), model):
        have = sorted(other.name for other in client().search_registered_models())
        raise RegistryRefusedError(
            f"{model}: no such registered model, the registry has {', '.join(have) or 'none'};"
            " correct the name, or run `graftline adapt` to make it"
        )


def shown(version: int | None) -> str:
    """A version in a sentence."""
    return "none" if version is None else f"version {version}"


def _first_tagged(model: str, tag: str, value: str) -> "ModelVersion | None":
    found = client().search_model_versions(f"name = '{model}' and tags.`{tag}` = '{value}'")
    return min(found, key=lambda version: int(version.version)) if found else None


def _note(model: str, tag: str, record: Record) -> None:
    client().set_registered_model_tag(model, tag, f"{record.number} {record.sha256}")


def _read_note(model: str, tags: Mapping[str, str], tag: str) -> Note | None:
    if tag not in tags:
        return None
    number, _, sha256 = tags[tag].partition(" ")
    if not (number.isdecimal() and re.fullmatch(r"[0-9a-f]{64}", sha256)):
        raise RegistryRefusedError(
            f"{model}: the registry's tag {tag} is {tags[tag]!r}, expected a number and a digest: it was edited outside"
            f" of Graftline; compare with the records of its history and restore it"
        )
    return Note(int(number), sha256)
