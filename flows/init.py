"""`graftline init`: a project of one's own in any folder, made from the data that it is to learn from."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.data.first_look import look_at_table
from graftline.errors import DataRefusedError
from graftline.flows.console import plain_progress
from graftline.flows.lock import described
from graftline.settings import DATA_FOLDER, PARAMS, Settings, parse_settings, read_settings
from graftline.settings.reading import read_yaml
from graftline.tasks.base_models.locking import lock_model
from graftline.tasks.projects.base_model import FOLDER as BASE_MODELS
from graftline.tasks.projects.base_model import bring_base_model
from graftline.tasks.projects.brought_data import (
    BroughtData,
    FoundData,
    bring,
    candidates,
    find_data,
    own_folder,
    stands_in_place,
)
from graftline.tasks.projects.project_files import write_new, write_project_files, write_reviews
from graftline.tasks.projects.proposal import Answers, print_params
from graftline.tasks.projects.questions import Ask, Interview, Wishes, answers_for
from graftline.tasks.projects.seen import seen_in_folders, seen_in_table
from graftline.tasks.projects.version_control import (
    IGNORED_BY_GIT,
    begin_dvc,
    ignore,
    ignored_line,
    repository_of,
    tracked_by_git,
    untrack,
    version_data,
)
from graftline.tasks.workspace import Workspace

COMMITTED = (
    PARAMS, "mlflow/promotion.yaml", "mlflow/server.yaml", "prefect.yaml", "dvc.yaml", ".gitignore", ".dvc",
    ".dvcignore", "base_models.lock", "requirements.lock",
)  # fmt: skip
WITHOUT_GIT = (
    "no git repository here: runs work, but none can be reproduced, and their pages say so; `git init`, then"
    " `graftline init` again, changes that"
)

Say = Callable[[str], None]


@plain_progress()
def init(
    root: Path, wishes: Wishes, *, say: Say, ask: Ask | None = None, demo: bool = False, untrack_data: bool = False
) -> dict[str, JsonValue]:
    """Make a project in `root`: settings, policy, locks, data version. What is there already is kept.

    A plain function, as `lock` is. `ask` asks a person; without it, answers that nobody gave and that the data do not
    tell are an error that names them all. `say` is told of every step.
    Raises: SettingsError; DataRefusedError if git tracks the data, unless `untrack_data`.
    """
    workspace, repository = Workspace(root), repository_of(root)
    if demo:
        settings = _begin_demo(workspace, say)
    elif (root / PARAMS).exists():
        say(f"{PARAMS}: is there already; kept, and completed by what is missing")
        settings = read_settings(root / PARAMS)
    else:
        settings = _begin(workspace, wishes, Interview(ask), say, untrack_data=untrack_data)
    _complete(workspace, settings, repository, say, untrack_data=untrack_data)
    command = _next_command(root, settings, repository)
    return {
        "model": settings.registry.model,
        "params": PARAMS,
        "data": settings.data.path,
        "next": command,
        "summary": f"ready; the next command: {command}",
    }


def _begin_demo(workspace: Workspace, say: Say) -> Settings:
    _refuse_what_git_tracks(workspace.root, DATA_FOLDER, untrack_data=False)
    for line in write_reviews(workspace.root):
        say(line)
    return read_settings(workspace.root / PARAMS)


def _begin(workspace: Workspace, wishes: Wishes, interview: Interview, say: Say, *, untrack_data: bool) -> Settings:
    """Find the answers, bring the data, and write the settings."""
    root = workspace.root
    found = _found_data(root, wishes, interview)
    stays = stands_in_place(root, found) or found.form == "class folders of parts"
    folder = own_folder(root, found) if stays else None
    if folder:
        _refuse_what_git_tracks(root, folder.name, untrack_data=untrack_data)
    # What is written otherwise than Graftline reads it is looked at as it will lie in the project.
    brought = bring(root, found) if found.is_foreign or found.form == "class folders of parts" else None
    answers = _answers(root, found, brought, wishes, interview)
    _say_lock(workspace, answers.uri, say)
    media = answers.input if answers.kind != "text" and brought is None and found.form == "table" else None
    brought = brought or bring(root, found, media=media)
    say(brought.said)
    path = root / brought.path
    seen = (
        seen_in_folders(path, answers.kind)
        if path.is_dir()
        else seen_in_table(path, root / Path(brought.path).parts[0], answers)
    )
    text = print_params(brought.path, answers, seen)
    say(
        write_new(
            root / PARAMS, text, f"written for {seen.rows:,} rows of {answers.kind}, {answers.task}; look into it"
        )
    )
    return parse_settings(read_yaml(root / PARAMS), source=PARAMS)


def _found_data(root: Path, wishes: Wishes, interview: Interview) -> FoundData:
    possible = [path.relative_to(root).as_posix() for path in candidates(root)]
    given = interview.answer(
        "--data", "Which table, or folder of class folders, holds the data?", wishes.data, possible
    )
    if given is None:
        interview.require_answers("init")
    return find_data(root, Path(os.path.normpath(root / Path(str(given)).expanduser())))


def _answers(
    root: Path, found: FoundData, brought: BroughtData | None, wishes: Wishes, interview: Interview
) -> Answers:
    table = root / brought.path if brought else found.source
    look = None if table.is_dir() else look_at_table(table)
    answers = answers_for(root, found.source, look, found.kind, wishes=wishes, interview=interview)
    interview.require_answers(f"init: {found.source}")
    assert answers is not None
    return answers


def _refuse_what_git_tracks(root: Path, folder: str, *, untrack_data: bool) -> None:
    """Raises: DataRefusedError if git tracks files of the folder, whose versions DVC is to keep."""
    count = tracked_by_git(root, folder)
    if count and untrack_data:
        untrack(root, folder)
    elif count:
        raise DataRefusedError(
            f"{folder}/: git tracks {count} of its files, whose versions DVC is to keep; nothing was changed: run"
            f" `git rm -r --cached --quiet -- {shlex.quote(folder)}` (the files stay where they are) and then"
            " `graftline init` again, or let --untrack do it"
        )


def _complete(
    workspace: Workspace, settings: Settings, repository: Path | None, say: Say, *, untrack_data: bool
) -> None:
    """Write what a project needs beside its settings, and give its data a version."""
    root, folder = workspace.root, settings.data.folder
    _refuse_what_git_tracks(root, folder, untrack_data=untrack_data)
    floor = f"{TASKS[settings.data.task].scores.scoring.floors[0]}: 0.8"
    for line in write_project_files(root, kind=settings.data.kind, floor=floor, folder=folder):
        say(line)
    say(begin_dvc(root, repository))
    if not (root / "base_models.lock").exists():
        _say_lock(workspace, settings.base_model.uri, say)
    is_ours = (root / BASE_MODELS).is_dir() and not tracked_by_git(root, BASE_MODELS)
    versioned = [folder, *([BASE_MODELS] if is_ours else [])]
    # Without git, too: it may come later, and DVC writes these lines only where it is.
    if ignored := ignore(root, [*IGNORED_BY_GIT, *(ignored_line(name) for name in versioned)]):
        say(ignored)
    for name in versioned:
        say(version_data(root, name))
    if repository is None:
        say(WITHOUT_GIT)


def _say_lock(workspace: Workspace, uri: str, say: Say) -> None:
    if done := bring_base_model(workspace, uri):
        say(done)
    say(f"base_models.lock: {uri}, {described(lock_model(workspace, uri))}")


def _next_command(root: Path, settings: Settings, repository: Path | None) -> str:
    if repository is None:
        return "graftline adapt"
    names = [*COMMITTED, f"{settings.data.folder}.dvc", f"{BASE_MODELS}.dvc"]
    there = " ".join(shlex.quote(name) for name in names if (root / name).exists())
    return f'git add {there} && git commit -m "Begin with Graftline" && graftline adapt'
