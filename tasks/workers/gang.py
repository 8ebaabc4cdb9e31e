"""One training by several processes of a Ray cluster, which begin together, and again from the last checkpoint.

Ray's placement groups with torch.distributed rather than Ray Train: checkpoints, validation, averaging, stopping and
what is told on the way are those of a training by one process, and none of them is written twice.
"""

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftline.errors import GraftlineError, SettingsError, Stopped
from graftline.settings.compute import COMPUTE
from graftline.tasks.scratch import scratch_folder
from graftline.tasks.step_uses import note_use
from graftline.tasks.stopping import hear, look, looking
from graftline.tasks.workers.fanout import Needs
from graftline.tasks.workers.on_ray import LOOK_SECONDS, RayWorkers, said_here
from graftline.tasks.workers.piece import Done, Expected, do_piece, like_this_machine
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor

    from graftline.training.plan import Training
    from graftline.training.progress import Epoch, Listener

# A step and a checkpoint take less: who is asked to stop writes one first.
STOP_SECONDS = 20.0
# Where one fails the others lose it, and may say so first.
FAILED_SECONDS = 10.0
# So long a machine that was lost may take to come back, and so often it is told that a training waits for room.
ROOM_SECONDS, TELL_SECONDS = 120.0, 60.0
# Names of what a training tells of itself, as `Listener` has them.
Told = tuple[str, tuple[Any, ...]]

logger = logging.getLogger("graftline.workers")


@dataclass(frozen=True)
class Place:
    """Where a process stands in the training."""

    rank: int
    count: int
    meeting: Path
    """A file that all of them see, which was not there before."""
    folder: Path
    """Of the checkpoints."""
    epochs_before: int
    threads: int
    device: str


class Member:
    """A process of the training, on a worker; the first one tells how it goes while it trains."""

    def __init__(self) -> None:
        self._told: list[Told] = []
        self._stopping = threading.Event()

    def train(self, expected: Expected, shared: list[Any], place: Place) -> "Done[Any]":
        """The epochs and the weights that learned, from the first one; None from the others."""
        return do_piece(expected, self._trained, shared, place)

    def told(self, before: int) -> list[Told]:
        """What was told since the first `before` things were."""
        return self._told[before:]

    def stop(self) -> None:
        """End after the step that is under way, with a checkpoint."""
        self._stopping.set()

    def _trained(self, training: "Training", place: Place) -> Any:
        import torch

        from graftline.compute.device import CPU, prepare
        from graftline.compute.threads import use_threads
        from graftline.frozen.freezing import learned
        from graftline.training.loop import train
        from graftline.training.progress import Listener
        from graftline.training.together import joined

        os.environ.update(_known_to_the_cluster())
        use_threads(place.threads)
        prepare(torch.device(place.device))
        tells = {name: self._teller(name) for name in ("progress", "finished_epoch", "say", "passed", "saved")}
        listener = Listener(**tells) if place.rank == 0 else Listener()
        with joined(place.rank, place.count, place.meeting, device=place.device) as together:
            mine = replace(training, listener=listener, together=together)
            mine.model.to(place.device)
            epochs = train(mine, place.folder, epochs_before=place.epochs_before)
        if place.rank:
            return None
        return epochs, {name: tensor.to(CPU) for name, tensor in learned(mine.model, mine.point).items()}

    def _teller(self, name: str) -> Callable[..., None]:
        def tell(*told: Any) -> None:
            if name == "progress" and self._stopping.is_set():  # nowhere else is a checkpoint written for it
                raise Stopped(0)
            self._told.append((name, told))

        return tell


@dataclass
class TrainedTogether:
    """Trains with `count` processes of the cluster, as `train` of graftline.training.loop does with this one."""

    workers: RayWorkers
    workspace: Workspace
    count: int
    needs: Needs
    device: str

    def __call__(self, training: "Training", folder: Path, *, epochs_before: int = 0) -> "list[Epoch]":
        """Raises: what the training raises; GraftlineError if processes of it are lost too often; SettingsError."""
        from graftline.training.progress import Listener

        device = "cuda" if self.needs.gpus else "cpu"
        with (
            like_this_machine(self.workspace, device=device) as expected,
            scratch_folder(self.workspace) as meetings,
        ):
            shared = self.workers.ray.put(replace(training, listener=Listener()))
            told = replace(training, listener=_once_each(training.listener))
            for tries in range(1, self.workers.tries + 1):
                place = Place(
                    0, self.count, meetings.resolve() / uuid.uuid4().hex, folder.resolve(), epochs_before,
                    self.needs.processors, self.device,
                )  # fmt: skip
                try:
                    epochs, weights = self._once(expected, shared, place, told, again=tries > 1)
                except _LostError as lost:
                    logger.warning("the training lost a process (%s); it goes on from its last checkpoint", lost)
                    if tries == self.workers.tries:
                        raise GraftlineError(
                            f"the Ray cluster lost processes of the training {tries} times ({lost}); see whether its"
                            f" machines have memory enough (memory_gigabytes in {COMPUTE} keeps room for each), then"
                            " start the same again, which goes on from the last checkpoint"
                        ) from None
                    continue
                for epoch in epochs:  # those too that were finished by a first process that was lost
                    told.listener.finished_epoch(epoch)
                training.model.load_state_dict(weights, strict=False)
                training.model.eval()
                return epochs
        raise AssertionError("there is at least one try")

    def _once(
        self, expected: Expected, shared: Any, place: Place, training: "Training", *, again: bool
    ) -> "tuple[list[Epoch], Mapping[str, Tensor]]":
        """What the first process answers. Raises: _LostError if one is lost; what one of them raises."""
        with self._members(again=again) as members:
            refs = [
                member.train.remote(expected, [shared], replace(place, rank=rank))
                for rank, member in enumerate(members)
            ]
            try:
                self._wait(members, refs, training)
            except Stopped:
                hear()  # nothing interrupts what follows
                members[0].stop.remote()
                self.workers.ray.wait(refs[:1], timeout=STOP_SECONDS)
                raise
            first: Done[tuple[list[Epoch], Mapping[str, Tensor]]] = self._answers(refs, refs)[0]
            return said_here(first)

    def _wait(self, members: Sequence[Any], refs: Sequence[Any], training: "Training") -> None:
        """Until all are done, or one has failed; meanwhile what the first one tells is told here."""
        waiting, heard = list(refs), 0
        asked = members[0].told.remote(heard)
        while waiting:
            with looking():  # an exception out of a signal's handler would come out of Ray as another one
                ready, waiting = self.workers.ray.wait(waiting, num_returns=len(waiting), timeout=LOOK_SECONDS)
                answered, _ = self.workers.ray.wait([asked], timeout=0)
            look()
            if answered or not waiting:  # not before it has begun, which takes seconds
                heard += self._tell(asked, training)
                asked = members[0].told.remote(heard)
            try:
                self._answers(ready, refs)
            except _LostError:
                # Epochs that the first process finished since, if it is still there, are told by nobody else.
                with suppress(_LostError):
                    heard += self._tell(asked, training)
                    self._tell(members[0].told.remote(heard), training)
                raise
        self._tell(asked, training)

    def _tell(self, asked: Any, training: "Training") -> int:
        """Tell what was told there. Returns: how many things that were."""
        from ray.exceptions import RayError

        try:
            with looking():
                told: list[Told] = self.workers.ray.get(asked)
        except RayError as error:
            raise _LostError(type(error).__name__) from None
        for name, values in told:
            getattr(training.listener, name)(*values)
        return len(told)

    def _answers(self, refs: Sequence[Any], every: Sequence[Any]) -> list[Done[Any]]:
        """What some of them answered. Raises: what one of `every` raises by itself; _LostError if one is lost."""
        done, lost = self._outcomes(refs)
        if lost is not None:
            with looking():
                ended, _ = self.workers.ray.wait(list(every), num_returns=len(every), timeout=FAILED_SECONDS)
            self._outcomes(ended)
            raise lost
        for one in done:
            for place in one.uses:
                note_use(place)
        return done

    def _outcomes(self, refs: Sequence[Any]) -> "tuple[list[Done[Any]], _LostError | None]":
        """The answers, and the loss that some tell of. Raises: what one of them raises by itself."""
        from ray.exceptions import RayError, RayTaskError

        from graftline.training.together import PeerLostError

        done: list[Done[Any]] = []
        lost: _LostError | None = None
        for ref in refs:
            try:
                with looking():
                    done.append(self.workers.ray.get(ref))
            except RayTaskError as error:
                cause = error.cause if isinstance(error.cause, BaseException) else error
                if not isinstance(cause, RayError | PeerLostError):
                    raise cause from None
                lost = lost or _LostError(f"{type(cause).__name__}: {cause}")
            except RayError as error:
                lost = lost or _LostError(type(error).__name__)
        return done, lost

    @contextmanager
    def _members(self, *, again: bool) -> Iterator[list[Any]]:
        """As many processes as train together, each where it has what it needs; they end with the block.

        Raises: SettingsError if the cluster has no room for all; `again` only if it does not get it back for a while.
        """
        ray = self.workers.ray
        from ray.util.placement_group import placement_group, remove_placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        self._require_room(time.monotonic() + (ROOM_SECONDS if again else 0.0))
        asked = self.workers.asked(self.needs)
        group = placement_group([{name: needed for name, needed in asked.items() if needed}] * self.count)
        members: list[Any] = []
        try:
            self._wait_for(group)
            for bundle in range(self.count):
                there = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle)
                made = ray.remote(Member).options(
                    num_cpus=asked["CPU"], num_gpus=asked["GPU"], memory=asked["memory"] or None,
                    max_restarts=0, max_concurrency=2, scheduling_strategy=there,
                )  # fmt: skip
                members.append(made.remote())
            yield members
        finally:
            for member in members:
                ray.kill(member)
            remove_placement_group(group)

    def _wait_for(self, group: Any) -> None:
        """Until all have their place: other work may have it."""
        told = time.monotonic()
        while True:
            with looking():
                begun, _ = self.workers.ray.wait([group.ready()], timeout=LOOK_SECONDS)
            look()
            if begun:
                return
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                logger.info("the training waits until the cluster has room for %d processes at once", self.count)

    def _require_room(self, until: float) -> None:
        while (room := self._room()) < self.count:
            if time.monotonic() > until:
                asked = ", ".join(
                    f"{needed:,} of {name}" for name, needed in self.workers.asked(self.needs).items() if needed
                )
                raise SettingsError(
                    f"adaptation.workers {self.count}: the machines of the Ray cluster have room for {room} processes"
                    f" with {asked} each, and all of a training begin together; lower adaptation.workers, what each"
                    " takes (adaptation.threads, memory_gigabytes), or add machines"
                )
            time.sleep(LOOK_SECONDS)
            look()

    def _room(self) -> int:
        """How many of the processes its machines could hold if nothing else ran there."""
        nodes = [node["Resources"] for node in self.workers.ray.nodes() if node["Alive"]]
        asked = {name: needed for name, needed in self.workers.asked(self.needs).items() if needed}
        return sum(min(int(node.get(name, 0.0) // needed) for name, needed in asked.items()) for node in nodes)


def _once_each(listener: "Listener") -> "Listener":
    """The listener, told each epoch once, also where a training goes on from a checkpoint before it."""
    known: set[int] = set()

    def finished(epoch: "Epoch") -> None:
        if epoch.number not in known:
            known.add(epoch.number)
            listener.finished_epoch(epoch)

    return replace(listener, finished_epoch=finished)


def _known_to_the_cluster() -> dict[str, str]:
    """That the processes meet where Ray knows this machine: its name may be that of the loopback address."""
    import psutil
    import ray

    here = ray.util.get_node_ip_address()
    name = next((name for name, known in psutil.net_if_addrs().items() if here in {one.address for one in known}), None)
    return {} if name is None else {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name}


class _LostError(Exception):
    """A process of the training is gone."""
