"""Work on a real Ray cluster of three nodes on this machine: order, errors, lost workers, and equal results."""

import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from graftline.errors import DataRefusedError, GraftlineError, ServerAwayError, SettingsError, Stopped
from graftline.frozen.filling import fill
from graftline.frozen.freezing import freeze
from graftline.frozen.keys import row_keys
from graftline.frozen.store import INDEX, VALUES, FeatureStore
from graftline.models import sharding
from graftline.settings.compute import Compute
from graftline.tasks.step_uses import collected_uses
from graftline.tasks.stopping import stoppable
from graftline.tasks.workers import on_ray
from graftline.tasks.workers.fanout import Needs, ThisProcess, Workers, fanned_out
from graftline.tasks.workers.piece import do_piece, like_this_machine
from graftline.tasks.workers.ray_cluster import address_of
from graftline.tasks.workspace import Workspace
from tests.support import pieces
from tests.support.spread_work import Work, compared, found_by, ranked, searched, write_candidates
from tests.support.tiny_models import tiny_classifier, tiny_rows, write_tiny_model
from tests.tasks.workers.conftest import NODES, PROCESSORS, Losing, Machines

ANYWHERE = Needs()


def test_answers_come_in_the_order_of_the_items_from_several_processes(machines: Machines) -> None:
    came = list(machines.workers.map(pieces.squared, 5, range(20), ANYWHERE))
    assert [value for value, _ in came] == [5 + item * item for item in range(20)]
    assert len({process for _, process in came} - {os.getpid()}) > 1


def test_pieces_are_made_when_there_is_room_for_their_bytes(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made() -> Iterator[int]:
        for item in range(4):
            count.append(item)
            yield item

    count = list[int]()
    monkeypatch.setattr(on_ray, "MOST_BYTES", 1)
    answers = machines.workers.map(pieces.squared, 0, made(), ANYWHERE)
    for number in range(4):
        assert next(answers)[0] == number * number
        assert len(count) == min(4, number + 2)  # the next one, as soon as one is done


def test_what_was_said_and_used_on_a_worker_is_said_and_used_here(
    machines: Machines, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "graftline.pieces"), collected_uses() as uses:
        list(machines.workers.map(pieces.telling, None, range(3), ANYWHERE))
    assert caplog.messages == ["piece 0", "piece 1", "piece 2"]
    assert sorted(uses) == ["pieces/0", "pieces/1", "pieces/2"]  # noted as soon as each is done


def test_an_error_comes_back_as_it_is_with_its_exit_code_and_causes(machines: Machines) -> None:
    with pytest.raises(DataRefusedError, match="row 2: is no row") as caught:
        list(machines.workers.map(pieces.refusing, None, range(5), ANYWHERE))
    assert type(caught.value) is DataRefusedError
    assert (caught.value.exit_code, caught.value.causes) == (3, ("the first cause", "the second"))


def test_a_piece_whose_process_dies_begins_again_but_not_for_ever(
    machines: Machines, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert list(machines.workers.map(pieces.dying, tmp_path, [0, 1], ANYWHERE)) == [0, 1]
    assert caplog.text.count("lost its worker") == 1
    with pytest.raises(GraftlineError, match="lost the worker of piece 1 of the work 2 times"):
        list(machines.workers.map(pieces.dying, tmp_path, [5], ANYWHERE))
    assert len(list(tmp_path.glob("5-*"))) == 2


def test_who_is_stopped_leaves_nothing_computing(machines: Machines, tmp_path: Path) -> None:
    def ask_to_stop() -> None:
        while not list(tmp_path.glob("pid-*")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask_to_stop, daemon=True).start()
    with stoppable(), pytest.raises(Stopped):
        list(machines.workers.map(pieces.computing_for_ever, tmp_path, range(1), ANYWHERE))
    began = time.monotonic()
    while any(is_alive(path) for path in tmp_path.glob("pid-*")):
        assert time.monotonic() - began < 30
        time.sleep(0.1)


def is_alive(path: Path) -> bool:
    with suppress(ProcessLookupError):
        os.kill(int(path.name.removeprefix("pid-")), 0)
        return True
    return False


def test_work_with_the_project_is_done_in_its_folder(machines: Machines, tmp_path: Path) -> None:
    needs = Needs(project=Workspace(tmp_path))
    assert list(machines.workers.map(pieces.here, None, [0], needs)) == [str(tmp_path.resolve())]
    assert not list((tmp_path / "artifacts" / "scratch").iterdir())


def test_a_worker_that_is_not_like_the_runs_machine_is_refused(tmp_path: Path) -> None:
    with like_this_machine(Workspace(tmp_path)) as expected:
        pass
    for told, match in (
        (expected, f"does not see the project folder {re.escape(str(tmp_path))} as the run's own"),
        (replace(expected, code="0" * 64), r"Graftline's code is [0-9a-f]{12}, expected 000000000000"),
        (replace(expected, processor="abacus"), "its processor is .*, expected abacus"),
        (replace(expected, gpu="another GPU"), "its GPU is .*, expected another GPU"),
        (
            replace(expected, versions=(*expected.versions[:-1], "pillow 1.0")),
            "its Python and .*, expected .* pillow 1.0",
        ),
    ):
        with pytest.raises(SettingsError, match=match):
            do_piece(told, pieces.here, [None], 0)


def test_work_that_no_machine_has_room_for_is_refused(machines: Machines) -> None:
    with pytest.raises(SettingsError, match="needs 64 processors, and the largest machine of the Ray cluster has 2"):
        list(machines.workers.map(pieces.here, None, [0], Needs(processors=64)))


def test_memory_that_no_machine_has_is_refused_and_not_waited_for(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = machines.workers._compute.model_copy(update={"memory_gigabytes": 9_000.0})
    monkeypatch.setattr(machines.workers, "_compute", asked)
    with pytest.raises(
        SettingsError, match=r"needs 9,000,000,000,000 bytes of memory, .*; set memory_gigabytes to what"
    ):
        list(machines.workers.map(pieces.here, None, [0], Needs()))


@pytest.mark.parametrize("named", ["auto", "ray://host:10001", "host"])
def test_an_address_in_the_environment_is_held_to_what_one_in_the_file_is(
    named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", named)
    with pytest.raises(SettingsError, match=f"RAY_ADDRESS in the environment is {named!r}, expected HOST:PORT"):
        address_of(Compute(engine="ray"))
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert address_of(Compute(engine="ray")) is None


def test_a_store_has_the_same_bytes_by_1_2_and_4_workers_and_if_a_node_is_lost(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tiny_model(tmp_path / "base")
    model, rows = tiny_classifier(folder), tiny_rows(folder, 120)
    point, keys = freeze(model, "partial", "2", example=rows.batch([0, 1])), row_keys(rows)
    monkeypatch.setattr(sharding, "SHARD_ROWS", 10)

    def filled(name: str, count: int, those: Workers) -> bytes:
        # With as many processors for each that so many have room on two nodes of two.
        monkeypatch.setattr(on_ray, "AHEAD", 0.1 if count == 1 else 2)
        needs = Needs(processors=PROCESSORS * NODES // max(2, count))

        def spread(function: Callable[[Any, Any], Any], shared: object, items: Iterable[object]) -> Iterator[Any]:
            return those.map(function, shared, items, needs)

        with FeatureStore(tmp_path / name) as store:
            assert fill(store, model, point, rows, keys, spread=spread) == len(set(keys))
        return bytes_in(tmp_path / name)

    with FeatureStore(tmp_path / "plain") as store:
        fill(store, model, point, rows, keys)
    plain = bytes_in(tmp_path / "plain")
    assert [filled(f"by {count}", count, machines.workers) == plain for count in (1, 2, 4)] == [True] * 3
    losing = Losing(machines, tmp_path)
    assert filled("one lost", 4, losing) == plain
    assert losing.lost


def bytes_in(store: Path) -> bytes:
    return b"".join((store / file).read_bytes() for file in (VALUES, INDEX))


def test_where_no_cluster_is_a_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "compute.yaml").write_text("engine: ray\naddress: 127.0.0.1:9\n")
    workspace = Workspace(tmp_path)
    with pytest.raises(ServerAwayError, match=r"no Ray cluster answers at 127\.0\.0\.1:9 "), fanned_out(workspace):
        pass
    monkeypatch.setattr("graftline.tasks.workers.ray_cluster.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"install Graftline with the extra ray"), fanned_out(workspace):
        pass


@pytest.mark.long
@pytest.mark.parametrize(("work", "by"), [(ranked, "node"), (searched, "process"), (compared, "node")])
def test_what_is_found_is_the_same_if_a_worker_is_lost_in_the_middle_of_it(
    machines: Machines, tmp_path: Path, work: Work, by: Literal["node", "process"]
) -> None:
    project, losing = write_candidates(tmp_path / "project"), Losing(machines, tmp_path, by)
    assert found_by(losing, work, project, tmp_path / "there") == found_by(
        ThisProcess(), work, project, tmp_path / "here"
    )
    assert losing.lost
