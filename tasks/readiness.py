"""All that a run needs, before it begins: what is missing is named at once, each with the command that brings it."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from graftline.data.tables import read_header, read_rows
from graftline.errors import BaseModelRefusedError, DataRefusedError, GraftlineError, SettingsError
from graftline.settings import PARAMS, Settings, read_settings
from graftline.tasks.base_models.locking import locked_model
from graftline.tasks.base_models.ranked import with_ranked
from graftline.tasks.base_models.sources import installed_package, parse_uri
from graftline.tasks.base_models.store import LOCK_FILE
from graftline.tasks.data.dvc_folder import dvc_folder, objects_folder
from graftline.tasks.data.dvc_pointers import how_to_version
from graftline.tasks.room import require_room
from graftline.tasks.workspace import Workspace
from graftline.verdict.policy import POLICY, Policy, read_policy
from graftline.wording import did_you_mean, shown

# In the order in which they are told, and in which their exit codes count.
Kind = Literal["policy", "data", "base model"]
ERRORS: dict[Kind, type[GraftlineError]] = {
    "policy": SettingsError,
    "data": DataRefusedError,
    "base model": BaseModelRefusedError,
}
SHOWN_COLUMNS = 20
# A table that is sorted by label may show its second one late; what comes after so many rows the run finds out.
MOST_ROWS = 100_000


@dataclass(frozen=True)
class Missing:
    """A thing that a run cannot do without, and how to get it, in one sentence."""

    kind: Kind
    sentence: str


def ready_settings(root: Path, params: Path, assignments: list[str] | None = None) -> Settings:
    """The settings of a project that has all that a run needs.

    Raises: SettingsError if they are wrong; what `require_all` raises.
    """
    settings = with_ranked(Workspace(root), settings_or_init(root, params, assignments))
    require_all(root, settings)
    return settings


def policy_for(workspace: Workspace, settings: Settings) -> Policy:
    """The policy of a project. Raises: SettingsError if it is wrong, or not for these data."""
    from graftline.answers.tasks import TASKS  # and torch
    from graftline.verdict.by_costs import require_costs

    policy = read_policy(workspace.policy)
    policy.require_fit(settings.data.task, TASKS[settings.data.task].scores.scoring)
    policy.require_target(settings.data.target_names)
    require_costs(policy, settings)
    return policy


def settings_or_init(root: Path, params: Path, assignments: list[str] | None = None) -> Settings:
    """The settings of a project. Raises: SettingsError if they are wrong, or there are none: how to make some."""
    if not params.is_file():
        raise SettingsError(_no_settings(root, params))
    return read_settings(params, assignments)


def require_all(root: Path, settings: Settings) -> None:
    """Raises: the error of the first kind that something is missing of, naming all that is missing; NoRoomError."""
    missing = missing_things(root, settings)
    if not missing:
        require_room(root, settings.adaptation, locked_model(Workspace(root), settings.base_model.uri).bytes)
        return
    error, sentences = ERRORS[missing[0].kind], [one.sentence for one in missing]
    if len(sentences) == 1:
        raise error(sentences[0])
    raise error(f"{len(sentences)} things stand in the way of a run", sentences)


def missing_things(root: Path, settings: Settings) -> list[Missing]:
    """Everything that a run in `root` would be refused for, as far as it can be told within a second."""
    workspace = Workspace(root)
    return [
        *_missing_of_policy(workspace),
        *_missing_of_data(workspace, settings),
        *_missing_of_base_model(workspace, settings.base_model.uri),
        *_missing_of_teacher(workspace, settings.adaptation.teacher),
    ]


def _no_settings(root: Path, params: Path) -> str:
    begun = [name for name in (PARAMS, LOCK_FILE, POLICY) if (root / name).exists()]
    if not begun and params.name == PARAMS:
        return f"{root}: there is no project in this folder; `graftline init` makes one of your table or your files"
    return (
        f"{params}: there is no such settings file; run in the project folder, name a file with --params, or write one"
        " with `graftline init`"
    )


def _missing_of_policy(workspace: Workspace) -> Iterator[Missing]:
    try:
        read_policy(workspace.policy)
    except SettingsError as error:
        yield from (Missing("policy", said) for said in error.causes or [error.sentence])


def _missing_of_data(workspace: Workspace, settings: Settings) -> Iterator[Missing]:
    root, data = workspace.root, settings.data
    pointer, table = root / f"{data.folder}.dvc", root / data.path
    if not data.allow_modified:
        if not dvc_folder(root).is_dir():
            yield Missing(
                "data", f"{root}: there is no DVC repository, which keeps the data's versions; {_begin(root)}"
            )
        if not pointer.is_file():
            yield Missing(
                "data",
                f"{pointer.name}: there is no such file, so the data has no version;"
                f" {how_to_version(root, data.folder, table)} (or, for a trial: --set data.allow_modified=true)",
            )
    # With a version, the run itself brings a table that is not there.
    if not table.exists() and not pointer.is_file():
        yield Missing("data", f"{data.path}: there is no such table or folder{_file_alike(root, table)}")
    columns = list(_missing_in_table(table, settings)) if table.is_file() else []
    # A table that is not the version's own gives way to that, which may have the columns.
    stays = data.allow_modified or not pointer.is_file()
    if columns and (stays or _is_of_its_version(root, pointer, table)):
        yield from columns


def _begin(root: Path) -> str:
    above = next((place for place in (root, *root.parents) if (place / ".git").exists()), None)
    if above is None:
        return "begin one with `git init` and `dvc init` (without git: `dvc init --no-scm`)"
    return f"begin one with `dvc init{'' if above == root else ' --subdir'}`"


def _file_alike(root: Path, table: Path) -> str:
    beside = sorted(table.parent.iterdir()) if table.parent.is_dir() else []
    meant = did_you_mean(str(table.relative_to(root)), [str(path.relative_to(root)) for path in beside], shown)
    return meant or "; put it there, or correct data.path"


def _missing_in_table(table: Path, settings: Settings) -> Iterator[Missing]:
    data = settings.data
    try:
        header = read_header(table)
    except GraftlineError as error:
        yield Missing("data", error.sentence)
        return
    roles = {"input": data.input, "target": data.target, "id": data.id, "group": data.group}
    named = [
        *((f"data.{role}", column) for role, column in roles.items()),
        *(("data.slices", name) for name in data.slices),
        *(("data.targets", target.name) for target in data.further),
    ]
    for setting, column in named:
        if column and column not in header:
            there = ", ".join(shown(name) for name in list(header)[:SHOWN_COLUMNS])
            yield Missing(
                "data",
                f"{setting}: {data.path} has no column {shown(column)}, only {there}"
                f"{did_you_mean(column, header, shown) or '; correct the setting'}",
            )
    if data.task == "single_label" and data.target in header and (label := _only_label(table, data.target)) is not None:
        yield Missing(
            "data", f"data.target: every row of {data.path} has the label {shown(label)}, expected at least two"
        )


def _only_label(table: Path, target: str) -> str | None:
    """The label of all rows, if they have but one; no more rows are read than it takes to meet a second."""
    labels: set[str] = set()
    for number, row in enumerate(read_rows(table, [target])):
        labels |= {row.values[0]} if row.values[0] else set()
        if len(labels) > 1 or number >= MOST_ROWS:
            return None
    return next(iter(labels), None)


def _is_of_its_version(root: Path, pointer: Path, table: Path) -> bool:
    """Whether the table is known to be the one that the .dvc file names."""
    try:
        (out,) = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"]
        listing = objects_folder(root) / out["md5"][:2] / out["md5"][2:]
        versions = {entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_bytes())}
        name = table.relative_to(root / out["path"]).as_posix()
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return False  # what is wrong there the run says
    with table.open("rb") as file:
        return versions.get(name) == hashlib.file_digest(file, "md5").hexdigest()


def _missing_of_base_model(workspace: Workspace, uri: str) -> Iterator[Missing]:
    stored = False
    try:
        stored = (workspace.artifacts / "base_models" / locked_model(workspace, uri).digest).is_dir()
        locked = True
    except GraftlineError as error:
        locked = False
        not_locked = Missing("base model", error.sentence)
    if not stored:
        yield from _missing_of_source(workspace, uri)
    if not locked:
        yield not_locked


def _missing_of_teacher(workspace: Workspace, uri: str | None) -> Iterator[Missing]:
    """What it is comes from the registry, which is asked where the lock does not say it."""
    try:
        if uri is not None:
            locked_model(workspace, uri, setting="adaptation.teacher")
    except GraftlineError as error:
        yield Missing("base model", error.sentence)


def _missing_of_source(workspace: Workspace, uri: str) -> Iterator[Missing]:
    """The package or the folder that a base model is read from; no server is asked."""
    scheme, parts = parse_uri(uri)
    folder = workspace.root / parts.get("folder", "")
    if scheme == "package":
        try:
            folder = installed_package(uri, parts["name"])[0] / parts["folder"]
        except BaseModelRefusedError as error:
            yield Missing("base model", error.sentence)
            return
    if not folder.is_dir():
        yield Missing(
            "base model", f"{uri}: there is no folder {folder}; correct base_model.uri or put the model there"
        )
