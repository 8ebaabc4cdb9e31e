"""A real Ray cluster of three nodes on this machine, which a file's tests share with the next one's."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest

from graftline.settings.compute import Compute
from graftline.tasks.workers.fanout import Needs
from graftline.tasks.workers.on_ray import RayWorkers
from graftline.tasks.workers.ray_cluster import LOOPBACK, QUIET, TOKEN, TOKEN_MODE
from tests.support import pieces

NODES, PROCESSORS = 2, 2

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass
class Machines:
    """The nodes of a cluster that do the work; the head does none."""

    cluster: Any
    nodes: list[Any]
    workers: RayWorkers

    def lose(self, node_id: str) -> None:
        lost = next(node for node in self.nodes if node.node_id == node_id)
        self.nodes.remove(lost)
        self.cluster.remove_node(lost, allow_graceful=False)

    def whole(self) -> None:
        while len(self.nodes) < NODES:
            self.nodes.append(self.cluster.add_node(num_cpus=PROCESSORS))
        self.cluster.wait_for_nodes()


class Losing:
    """The workers of a cluster that loses the node, or the process, of the first piece while that is under way."""

    many = True

    def __init__(self, machines: Machines, folder: Path, by: Literal["node", "process"] = "node") -> None:
        self._machines, self._folder, self._by = machines, folder, by
        self.lost = False
        if by == "node":
            machines.whole()

    def map(
        self, function: Callable[[Shared, Item], Answer], shared: Shared, items: Iterable[Item], needs: Needs
    ) -> Iterator[Answer]:
        killer = threading.Thread(target=self._lose, daemon=True)
        killer.start()
        yield from self._machines.workers.map(
            pieces.unless_lost, pieces.Lost(self._folder, self._by, function, shared), items, needs
        )
        killer.join()

    def _lose(self) -> None:
        while not (node := read(self._folder / "lost")):
            time.sleep(0.05)
        if self._by == "node":
            self._machines.lose(node)
        self.lost = True


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.fixture(scope="package")
def machines() -> Iterator[Machines]:
    with pytest.MonkeyPatch.context() as patch:
        # Ray reads these once, when it is imported.
        for name, value in {**LOOPBACK, **QUIET, TOKEN_MODE: "token", TOKEN: "5" * 64}.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        # A process costs a second: none is begun that is not used.
        quiet = {"include_dashboard": False, "_system_config": {"prestart_worker_first_driver": False}}
        head = {"num_cpus": 0, "object_store_memory": 100 << 20, **quiet}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            nodes = [cluster.add_node(num_cpus=PROCESSORS, object_store_memory=100 << 20) for _ in range(NODES)]
            compute = Compute(engine="ray", address=cluster.address, tries=2)
            with RayWorkers(compute) as those:
                assert those.ray  # connected here: the workers import tests from the folder of that moment
                yield Machines(cluster, nodes, those)
        finally:
            cluster.shutdown()
