"""A registered model that answers on the workers of a cluster: its files go there once, and it stays loaded."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftline.errors import RegistryRefusedError
from graftline.tasks.children import removed_with_us
from graftline.tasks.scratch import temporary_folder
from graftline.tasks.serving.answering import Answering, RegisteredModel, answering
from graftline.tasks.tracking.model_files import digests_of, require_files
from graftline.tasks.workers.fanout import Needs, workers


@dataclass(frozen=True)
class _Sent:
    """A registered model on its way to other machines, where its folder is another one."""

    model: RegisteredModel
    threads: int
    files: Mapping[str, NDArray[np.uint8]]
    """The bytes of each, by its path in the folder."""
    digests: Mapping[str, str]


def answers_there(
    model: RegisteredModel, questions: Iterable[list[str]], *, threads: int
) -> Iterator[list[dict[str, Any]]]:
    """The answers to some inputs at a time, in their order, as `Answering.ask` has them, by the workers.

    Workers need nothing in common with this machine but what is installed: the model's files go there in Ray's store.
    Raises: as `Answering.ask`; ChangedFilesError if other bytes arrive; as `Workers.map`.
    """
    digests = digests_of(model.what, model.folder)
    sent = _Sent(model, threads, {name: _content(model.folder / name) for name in digests}, digests)
    return workers().map(_answer, sent, questions, Needs(threads, said_by="--threads"))


def _content(path: Path) -> NDArray[np.uint8]:
    """The bytes of a file, which need not all be in memory."""
    return np.asarray(np.memmap(path, np.uint8, "r")) if path.stat().st_size else np.empty(0, np.uint8)


_loaded: list[tuple[_Sent, Answering, ExitStack]] = []


def _answer(sent: _Sent, inputs: list[str]) -> list[dict[str, Any]]:
    """On a worker: the model that is loaded there answers, or is loaded first."""
    try:
        return _ask(sent, inputs)
    except RegistryRefusedError:  # its process is gone, as if killed for want of memory: what ends twice is no accident
        return _ask(sent, inputs)


def _ask(sent: _Sent, inputs: list[str]) -> list[dict[str, Any]]:
    if not _loaded or _loaded[0][0] is not sent:
        _let_go()
        stack = ExitStack()
        _loaded.append((sent, stack.enter_context(_unpacked(sent)), stack))
    try:
        return _loaded[0][1].ask(inputs)
    except BaseException:  # it ended, or is in the middle of an answer
        _let_go()
        raise


def _let_go() -> None:
    for _, _, stack in _loaded:
        stack.close()
    _loaded.clear()


@contextmanager
def _unpacked(sent: _Sent) -> Iterator[Answering]:
    # A worker is ended without a word, long before another would find what it left.
    with temporary_folder() as folder, removed_with_us(folder, folder.with_suffix(".lock")):
        for name, content in sent.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            content.tofile(path)
        require_files(sent.model.what, folder, sent.digests)
        with answering(replace(sent.model, folder=folder), threads=sent.threads) as asked:
            yield asked
