"""Who does the parallel work of a run: this process, one thing after the other, or a cluster's workers."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from graftline.compute.spread import Spread
from graftline.compute.threads import thread_count
from graftline.errors import SettingsError
from graftline.settings.adaptation import AdaptationSettings
from graftline.settings.compute import COMPUTE, read_compute
from graftline.tasks.stopping import look
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.training.plan import Train

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class FolderNotSeenError(SettingsError):
    """A worker does not see the project folder, which its work needs."""


@dataclass(frozen=True)
class Needs:
    """What each piece of work takes of a machine."""

    processors: int = 1
    gpus: int = 0
    project: Workspace | None = None
    """The project folder, if it reads or writes there: then all machines must see it."""
    said_by: str = "adaptation.threads"
    """What says how many processors."""

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
    """As one piece among others has them: it trains alone, with a number of threads, which this machine may decide."""
    return settings.model_copy(update={"threads": thread_count(settings.threads), "workers": 1})


def spread_for(settings: AdaptationSettings) -> Spread | None:
    """What computes the frozen part over shards of rows; None: it runs in this process.

    The model goes to the workers as it is, and so do texts and the bytes of images and sounds.
    """
    those, needs = workers(), Needs.of(settings, None)
    if not those.many:
        return None
    return lambda function, shared, items: those.map(function, shared, items, needs)


def train_for(workspace: Workspace, settings: AdaptationSettings) -> "Train":
    """Who trains: this process, or as many of a cluster together as the settings say.

    Raises: SettingsError if there is no cluster for them.
    """
    from graftline.training.loop import train

    if settings.workers == 1:
        return train
    from graftline.tasks.workers.gang import TrainedTogether
    from graftline.tasks.workers.on_ray import RayWorkers

    those = workers()
    if not isinstance(those, RayWorkers):
        raise SettingsError(
            f"adaptation.workers {settings.workers}: several processes train together on a Ray cluster, and"
            f" {COMPUTE} names none; set engine: ray there (without an address on this machine alone), or"
            " adaptation.workers to 1"
        )
    return TrainedTogether(those, workspace, settings.workers, Needs.of(settings, workspace), settings.device)


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
