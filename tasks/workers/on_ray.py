"""Work on a Ray cluster: answers in order, lost workers replaced, and nothing left running when the run is stopped."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from graftline.errors import GraftlineError, NoRoomError, SettingsError, Stopped
from graftline.settings.compute import COMPUTE, Compute
from graftline.tasks.step_uses import note_use
from graftline.tasks.stopping import hear, look, looking
from graftline.tasks.workers.fanout import Answer, Item, Needs, Shared
from graftline.tasks.workers.piece import Done, Expected, do_stored, like_this_machine
from graftline.tasks.workers.ray_cluster import connected, require_cluster

# So often it is asked whether the run is to stop.
LOOK_SECONDS = 0.5
# Pieces that are begun for each that can run at once: so no worker waits for this process, and memory stays flat.
AHEAD = 2
# No further piece begins while those under way hold so many bytes: images and sounds bring their files.
MOST_BYTES = 1 << 30
GIGABYTE = 10**9

Value = TypeVar("Value")

logger = logging.getLogger("graftline.workers")


@dataclass
class _Piece(Generic[Value]):
    """A piece of work under way."""

    number: int
    item: Any
    """In Ray's store on this machine, where it outlives every worker; let go when it is done."""
    size: int
    """In bytes."""
    ref: Any
    tries: int = 1
    done: Done[Value] | None = None


class RayWorkers:
    """The workers of a cluster. Open it before use; the cluster is connected to at the first piece of work.

    Ray's own API rather than Prefect's task runner for it: that one runs Prefect's engine on each worker, which then
    needs Prefect's server, where ours are plain functions, also of verbs that know no Prefect. Ray's own retries are
    off: those after a lack of memory have no bound.
    """

    many = True

    def __init__(self, compute: Compute) -> None:
        self._compute, self._session = compute, ExitStack()
        self._connection: Any = None

    def __enter__(self) -> Self:
        require_cluster(self._compute)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._disconnect()

    def map(
        self, function: Callable[[Shared, Item], Answer], shared: Shared, items: Iterable[Item], needs: Needs
    ) -> Iterator[Answer]:
        """Raises: what the function raises; SettingsError where no machine is large enough, or one does not fit this.

        GraftlineError if a piece of work loses its worker too often; NoRoomError if that is for lack of memory.
        """
        with like_this_machine(needs.project, device="cuda" if needs.gpus else "cpu") as expected:
            yield from self._in_order(self._beginner(expected, function, self.ray.put(shared), needs), items, needs)

    @property
    def tries(self) -> int:
        """How often work is begun that loses its worker."""
        return self._compute.tries

    def asked(self, needs: Needs) -> dict[str, int]:
        """What a piece of work or a process takes of a machine, by Ray's names; memory in bytes."""
        memory = int((self._compute.memory_gigabytes or 0) * GIGABYTE)
        return {"CPU": needs.processors, "GPU": needs.gpus, "memory": memory}

    def _in_order(self, begin: Callable[[Any], Any], items: Iterable[Item], needs: Needs) -> Iterator[Any]:
        waiting = enumerate(items)
        under_way: deque[_Piece[Any]] = deque()
        try:
            while True:
                # Asked each time: machines come and go.
                ahead = AHEAD * max(1, int(self._processors(needs)) // needs.processors)
                while _is_room(under_way, ahead) and (following := next(waiting, None)) is not None:
                    under_way.append(self._begun(*following, begin))
                if not under_way:
                    return
                if (done := under_way[0].done) is not None:
                    under_way.popleft()
                    yield said_here(done)
                    continue
                self._collect(under_way, begin)
        except Stopped:
            hear()  # nothing interrupts what follows
            raise
        finally:
            if under_way:
                self._disconnect()

    def _begun(self, number: int, item: Item, begin: Callable[[Any], Any]) -> _Piece[Any]:
        from ray import cloudpickle

        content = cloudpickle.dumps(item)
        stored = self.ray.put(content)
        return _Piece(number, stored, len(content), begin(stored))

    @property
    def ray(self) -> Any:
        """Ray, connected to the cluster."""
        if self._connection is None:
            self._connection = self._session.enter_context(connected(self._compute))
        return self._connection

    def _disconnect(self) -> None:
        """End all that is under way: Ray ends it with the connection, and the next work begins another one.

        To cancel pieces one by one is not safe: one that ends at that moment takes this process with it, without a word
        (Ray 2.60; of the same kind as its pull request 54798).
        """
        self._connection = None
        self._session.close()

    def _beginner(
        self, expected: Expected, function: Callable[[Shared, Item], Answer], shared: Any, needs: Needs
    ) -> Callable[[Any], Any]:
        """What begins a piece of work with what was stored of it: on a worker that has what it needs, and once."""
        asked = self.asked(needs)
        piece = self.ray.remote(do_stored).options(
            num_cpus=asked["CPU"],
            num_gpus=asked["GPU"],
            memory=asked["memory"] or None,
            max_retries=0,
            name=function.__name__,
        )
        # In a list Ray hands on what is shared as a reference: each worker reads it once, not once per piece.
        return lambda stored: piece.remote(expected, function, [shared], stored)

    def _processors(self, needs: Needs) -> float:
        """Of the cluster. Raises: SettingsError if no machine of it is large enough."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        for name, resource, said_by in (
            ("processors", "CPU", needs.said_by),
            ("GPUs", "GPU", "adaptation.device"),
            ("bytes of memory", "memory", "memory_gigabytes"),
        ):
            needed = self.asked(needs)[resource]
            largest = max((node.get(resource, 0.0) for node in nodes), default=0.0)
            # Of processors a cluster that grows may have none yet.
            if largest < needed and (largest > 0 or resource != "CPU"):
                raise SettingsError(
                    f"{COMPUTE}: a piece of work needs {needed:,.0f} {name}, and the largest machine of the Ray cluster"
                    f" has {largest:,.0f}; set {said_by} to what it has, or add larger machines"
                )
        return float(sum(node.get("CPU", 0.0) for node in nodes))

    def _collect(self, under_way: "deque[_Piece[Answer]]", begin: Callable[[Any], Any]) -> None:
        """Wait a moment, keep what is done, and begin again what was lost."""
        from ray.exceptions import RayError, RayTaskError

        open_pieces = {piece.ref: piece for piece in under_way if piece.done is None}
        with looking():  # an exception out of a signal's handler would come out of Ray as another one
            ready, _ = self.ray.wait(list(open_pieces), timeout=LOOK_SECONDS)
        look()
        for ref in ready:
            piece = open_pieces[ref]
            try:
                with looking():
                    piece.done = cast("Done[Answer]", self.ray.get(ref))
            except RayTaskError as error:
                if isinstance(error.cause, RayError):  # what the pieces share did not reach the worker
                    self._begin_again(piece, begin, error.cause)
                    continue
                raise (error.cause if isinstance(error.cause, BaseException) else error) from None
            except RayError as error:
                self._begin_again(piece, begin, error)
            else:
                piece.item, piece.size = None, 0
                # At once, and not when its turn comes: until then another run might take what it made for garbage.
                for place in piece.done.uses:
                    note_use(place)

    def _begin_again(self, piece: _Piece[Answer], begin: Callable[[Any], Any], error: Exception) -> None:
        from ray.exceptions import OutOfMemoryError

        why = type(error).__name__
        if piece.tries >= self._compute.tries:
            made = NoRoomError if isinstance(error, OutOfMemoryError) else GraftlineError
            raise made(
                f"the Ray cluster lost the worker of piece {piece.number + 1} of the work {piece.tries} times ({why});"
                f" see whether its machines have memory enough (memory_gigabytes in {COMPUTE} keeps room for each"
                " piece), then start the same again, which goes on where it stopped"
            ) from None
        logger.warning("piece %d of the work lost its worker (%s); it begins again elsewhere", piece.number + 1, why)
        piece.tries += 1
        piece.ref = begin(piece.item)


def _is_room(under_way: "deque[_Piece[Any]]", ahead: float) -> bool:
    """Whether one more piece may begin."""
    return len(under_way) < ahead and sum(piece.size for piece in under_way) < MOST_BYTES


def said_here(done: Done[Value]) -> Value:
    """The value, after what was said on the worker was said here."""
    for name, level, message in done.said:
        logging.getLogger(name).log(level, "%s", message)
    return done.value
