"""Who does the parallel work of a run: this process, one thing after the other, or a cluster's workers."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, TypeVar

from graftline.compute.spread import Spread
from graftline.compute.threads import thread_count
from graftline.settings import Kind
from graftline.settings.adaptation import AdaptationSettings
from graftline.settings.compute import COMPUTE, read_compute
from graftline.tasks.stopping import look
from graftline.tasks.workspace import Workspace

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Needs:
    """What each piece of work takes of a machine."""

    processors: int = 1
    gpus: int = 0
    project: Workspace | None = None
    """The project folder, if it reads or writes there: then all machines must see it."""

    @classmethod
    def of(cls, settings: AdaptationSettings, project: Workspace | None) -> "Needs":
        """Those of work with a model."""
        return cls(thread_count(settings.threads), int(settings.device.startswith("cuda")), project)


class Workers(Protocol):
    """Those who do the work."""

    many: bool
    """Whether it is worth to have several pieces under way."""

    def map(
        self, function: Callable[[Shared, Item], Answer], shared: Shared, items: Iterable[Item], needs: Needs
    ) -> Iterator[Answer]:
        """What the function makes of what all share and of each item; the answers come in the order of the items.

        The function is a module's own, and its answer depends on nothing but what it is given: it is called again
        where a worker is lost. Raises: what the function raises.
        """
        ...


class ThisProcess:
    """Works in order, each item when its answer is asked for."""

    many = False

    def map(
        self, function: Callable[[Shared, Item], Answer], shared: Shared, items: Iterable[Item], needs: Needs
    ) -> Iterator[Answer]:
        del needs  # it has what it has
        for item in items:
            look()
            yield function(shared, item)


_workers: ContextVar[Workers] = ContextVar("workers", default=ThisProcess())  # noqa: B039 - it holds nothing


def workers() -> Workers:
    """Those of the block of `fanned_out`; outside of one, and on a worker, this process alone."""
    return _workers.get()


def settled(settings: AdaptationSettings) -> AdaptationSettings:
    """With the number of threads that this machine decides, where the settings leave it to the machine."""
    return settings.model_copy(update={"threads": thread_count(settings.threads)})


def spread_for(workspace: Workspace, settings: AdaptationSettings, kind: Kind) -> Spread | None:
    """What computes the frozen part over shards of rows; None: it runs in this process.

    The model goes to the workers as it is, and so do texts; images and sounds are read there, from the project folder.
    """
    those, needs = workers(), Needs.of(settings, None if kind == "text" else workspace)
    if not those.many:
        return None
    return lambda function, shared, items: those.map(function, shared, items, needs)


@contextmanager
def fanned_out(workspace: Workspace) -> Iterator[None]:
    """Inside, what can be done at once is done where `mlflow/compute.yaml` says.

    A cluster is connected to, or begun, when the first piece of work comes: a run that has nothing to do needs none.
    Raises: SettingsError if the file is wrong or Ray is not installed; ServerAwayError if no cluster is at its address.
    """
    compute = read_compute(workspace.root / COMPUTE)
    if compute.engine == "local" or workers().many:  # or in a verb that another one calls
        yield
        return
    from graftline.tasks.workers.on_ray import RayWorkers

    with RayWorkers(compute) as those:
        token = _workers.set(those)
        try:
            yield
        finally:
            _workers.reset(token)
