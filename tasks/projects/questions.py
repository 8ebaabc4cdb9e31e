"""The questions that a project begins with: answered by options, by the data, or by a person in a terminal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

from graftline.data.first_look import Look, media_column, possible_inputs, possible_targets, task_of
from graftline.errors import SettingsError
from graftline.pages.text import spelt_out
from graftline.settings import Kind, Task
from graftline.tasks.projects.base_model import proposed_base_model, where_to_get_one
from graftline.tasks.projects.proposal import Answers, model_name

# The question, the proposed answer, and what else is possible, if that is known.
Ask = Callable[[str, str | None, Sequence[str]], str]


@dataclass(frozen=True)
class Wishes:
    """What the user has said; the rest is to be found out."""

    data: str | None = None
    input: str | None = None
    target: str | None = None
    kind: str | None = None
    task: str | None = None
    base_model: str | None = None
    model: str | None = None


@dataclass
class Interview:
    """Collects the answers: asks a person, or notes what nobody could answer."""

    ask: Ask | None
    missing: list[str] = field(default_factory=list)

    def answer(self, option: str, question: str, given: str | None, possible: Sequence[str]) -> str | None:
        """The answer: as given, else the only possible one, which a person may change."""
        if given is not None:
            return given
        plain = possible[0] if len(possible) == 1 else None
        if self.ask:
            return self.ask(question, plain or (possible[0] if possible else None), possible)
        if plain is None:
            choice = f"one of {', '.join(spelt_out(one) for one in possible)}"
            self.missing.append(f"{option} ({choice if possible else question})")
        return plain

    def require_answers(self, where: str) -> None:
        """Raises: SettingsError that names every option that is missing."""
        if self.missing:
            raise SettingsError(
                f"{where}: cannot tell from the data: {'; '.join(self.missing)}; give"
                f" {'this option' if len(self.missing) == 1 else 'these options'}, or run in a terminal"
            )


def answers_for(
    root: Path, source: Path, look: Look | None, files: Kind | None, *, wishes: Wishes, interview: Interview
) -> Answers | None:
    """All answers about the data at `source`: a table with this look, or class folders of this kind of files.

    None if some are missing, which the interview has noted. Raises: SettingsError for an answer that cannot be.
    """
    media = media_column(look) if look else None
    kind = _kind(
        interview.answer("--kind", "What is an input?", wishes.kind, [files or (media[1] if media else "text")])
    )
    columns = _columns(look, kind, media[0] if media else None, wishes, interview) if look else (None, None)
    if look and None in columns:
        task: Task | None = None
    elif look:
        found, separator = task_of(look.columns[str(columns[1])])
        task = _task(interview.answer("--task", "What is the answer?", wishes.task, [found]))
    else:
        task = _task(wishes.task or "single_label")
    model = interview.answer(
        "--model", "Under which name shall its versions be registered?", wishes.model, [model_name(source)]
    )
    proposed = proposed_base_model(root, kind)
    question = f"no base model for data.kind {kind} is at hand: {where_to_get_one(kind)}"
    uri = interview.answer("--base-model", question, wishes.base_model, [proposed] if proposed else [])
    if interview.missing or task is None or uri is None or model is None:
        return None
    return Answers(kind, task, uri, model, *columns, separator if look and task == "multi_label" else "|")


def _columns(
    look: Look, kind: Kind, media: str | None, wishes: Wishes, interview: Interview
) -> tuple[str | None, str | None]:
    """The columns of inputs and targets."""
    for option, column in (("--input", wishes.input), ("--target", wishes.target)):
        if column is not None and column not in look.columns:
            raise SettingsError(
                f"{option} {column}: the table has no such column, expected one of"
                f" {', '.join(spelt_out(name) for name in look.columns)}"
            )
    possible = [media] if kind != "text" and media else possible_inputs(look, wishes.target)
    if kind == "text" and wishes.target is None and wishes.input is None and len(possible) > 1:
        # What is plainly the target is no input.
        targets = possible_targets(look, None)
        possible = possible_inputs(look, targets[0]) if len(targets) == 1 else possible
    chosen = interview.answer("--input", "Which column does the model read?", wishes.input, possible)
    target = interview.answer(
        "--target", "Which column shall it learn to predict?", wishes.target, possible_targets(look, chosen)
    )
    return chosen, target


def _kind(answer: str | None) -> Kind:
    return cast("Kind", _known("--kind", answer, get_args(Kind)))


def _task(answer: str | None) -> Task:
    return cast("Task", _known("--task", answer, get_args(Task)))


def _known(option: str, answer: str | None, known: Sequence[str]) -> str:
    if answer is None or answer not in known:
        raise SettingsError(f"{option} {answer}: expected one of {', '.join(known)}")
    return answer
