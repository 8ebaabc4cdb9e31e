"""Requests that come at once are answered together: each gets its own rows, and only its own faults."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
import pytest

from graftline.tasks.serving.batching import LANES, Answered, Batches, VersionGoneError
from graftline.tasks.serving.counting import Counts
from graftline.tasks.serving.live_version import OK
from graftline.tasks.serving.request_reading import Question, RefusedQuestionError
from tests.support.serving import REFUSED, StandIn

Work = Callable[[Batches, StandIn], Awaitable[Any]]
SECONDS = 60.0


def run(work: Work, *, most_inputs: int = 8, seconds: float = SECONDS, first: StandIn | None = None) -> Any:
    async def all_of_it() -> Any:
        batches = Batches(most_inputs=most_inputs, most_per_request=100, seconds=seconds, counts=Counts())
        live = first or StandIn(1)
        await batches.switch(live)
        lanes = asyncio.create_task(batches.run())
        try:
            return await work(batches, live)
        finally:
            lanes.cancel()

    return asyncio.run(all_of_it())


async def ask(batches: Batches, *texts: str, seconds: float = SECONDS) -> Answered:
    assert batches.live is not None
    deadline = asyncio.get_running_loop().time() + seconds
    return await batches.answer(Question(list(texts), None), batches.live.reading, texts, deadline)


def labels(answered: Answered) -> list[str]:
    return [record["label"] for record in answered.reply.records]


async def keep_busy(batches: Batches, live: StandIn) -> "list[asyncio.Task[Answered]]":
    """Requests that are under way, as many as there may be at once, until the gate opens."""
    live.gate.clear()
    busy = []
    for number in range(LANES):
        busy.append(asyncio.create_task(ask(batches, f"busy {number}")))
        await until(lambda: len(live.asked) == len(busy))
    return busy


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():
            await asyncio.sleep(0.001)


async def asked_while_busy(batches: Batches, live: StandIn, requests: Sequence[Sequence[str]]) -> list[Any]:
    """All of these, after as many that keep the model busy until they wait."""
    busy = await keep_busy(batches, live)
    waiting = [asyncio.create_task(ask(batches, *texts)) for texts in requests]
    await asyncio.sleep(0.01)
    live.gate.set()
    await asyncio.gather(*busy)
    return await asyncio.gather(*waiting, return_exceptions=True)


def test_who_waits_is_answered_together_and_gets_its_own_rows() -> None:
    async def work(batches: Batches, live: StandIn) -> None:
        one, two, three = await asked_while_busy(batches, live, [["a"], ["b", "c"], ["d"]])
        assert live.asked[2:] == [["a", "b", "c", "d"]]
        assert (labels(one), labels(two), labels(three)) == (["a by 1"], ["b by 1", "c by 1"], ["d by 1"])
        assert two.reply.vectors.tolist() == [[1.0, 1.0], [1.0, 1.0]]

    run(work)


def test_nobody_waits_for_others_while_the_model_is_free() -> None:
    async def work(batches: Batches, live: StandIn) -> None:
        await ask(batches, "a")
        await ask(batches, "b")
        assert live.asked == [["a"], ["b"]]

    run(work)


def test_a_batch_has_no_more_inputs_than_allowed_unless_one_request_has() -> None:
    async def work(batches: Batches, live: StandIn) -> None:
        await asked_while_busy(batches, live, [["a"], ["b"], ["c"], list("defgh")])
        assert sorted(map(len, live.asked[2:])) == [1, 2, 5]

    run(work, most_inputs=2)


def test_a_refused_row_fails_no_other_request() -> None:
    async def work(batches: Batches, live: StandIn) -> None:
        requests = [["a"], ["b", REFUSED], ["c"], ["d"], ["e"]]
        outcomes = await asked_while_busy(batches, live, requests)
        assert [one.reply.status for one in outcomes] == [OK, 400, OK, OK, OK]
        assert outcomes[1].reply.message == "input 1 is refused"
        assert labels(outcomes[4]) == ["e by 1"]

    run(work)


def test_after_the_switch_the_one_before_is_asked_nothing() -> None:
    async def work(batches: Batches, live: StandIn) -> None:
        under_way = await keep_busy(batches, live)
        waiting = asyncio.create_task(ask(batches, "waits"))
        await asyncio.sleep(0.01)
        new = StandIn(2)
        assert await batches.switch(new) is live
        retired = asyncio.create_task(batches.retire(live))
        after = asyncio.create_task(ask(batches, "after"))
        await asyncio.sleep(0.05)
        assert not retired.done()
        live.gate.set()
        assert [labels(one) for one in await asyncio.gather(*under_way)] == [["busy 0 by 1"], ["busy 1 by 1"]]
        await retired
        assert [labels(one) for one in await asyncio.gather(waiting, after)] == [["waits by 2"], ["after by 2"]]
        assert len(live.asked) == 2

    run(work)


def test_a_request_is_read_anew_for_a_version_of_another_column() -> None:
    async def work(batches: Batches, live: StandIn) -> None:
        new = StandIn(2)
        new.reading = type(new.reading)("text", "other")
        question = Question([{"text": "a", "other": "b"}], None)
        live.broken = True  # so that it waits for the next one
        waiting = asyncio.create_task(batches.answer(question, live.reading, ["a"], 1e9))
        await asyncio.sleep(0.01)
        await batches.switch(new)
        assert labels(await waiting) == ["b by 2"]

    run(work)


def test_who_waits_too_long_is_told_whether_its_turn_had_come() -> None:
    async def work(batches: Batches, live: StandIn) -> None:
        live.gate.clear()
        under_way = asyncio.create_task(ask(batches, "a", seconds=0.2))
        await until(lambda: len(live.asked) == 1)
        busy = asyncio.create_task(ask(batches, "b"))
        await until(lambda: len(live.asked) == LANES)
        outcomes = await asyncio.gather(under_way, ask(batches, "c", seconds=0.1), return_exceptions=True)
        assert [one.status for one in outcomes if isinstance(one, RefusedQuestionError)] == [504, 503]
        live.gate.set()
        await busy

    run(work)


@pytest.mark.parametrize("fault", [httpx.ReadError("gone"), ValueError("nonsense")])
def test_what_a_dying_process_was_asked_fails_and_what_waits_is_answered_by_the_next(fault: Exception) -> None:
    async def work(batches: Batches, live: StandIn) -> None:
        live.fault = fault
        with pytest.raises(VersionGoneError):
            await ask(batches, "a")
        assert live.broken
        waiting = asyncio.create_task(ask(batches, "b"))
        await asyncio.sleep(0.01)
        await batches.switch(StandIn(1))
        assert labels(await waiting) == ["b by 1"]

    run(work)


def test_what_a_process_that_had_ended_was_never_asked_is_answered_by_the_next() -> None:
    async def work(batches: Batches, live: StandIn) -> None:
        live.fault = httpx.ConnectError("nobody there")
        waiting = [asyncio.create_task(ask(batches, text)) for text in "abc"]
        await until(lambda: live.broken)
        await batches.switch(StandIn(2))
        assert sorted(labels(one)[0] for one in await asyncio.gather(*waiting)) == ["a by 2", "b by 2", "c by 2"]

    run(work)


def test_whatever_goes_wrong_with_a_batch_the_next_one_is_answered() -> None:
    async def work(batches: Batches, live: StandIn) -> None:
        for _ in range(2 * LANES):
            live.fault = RuntimeError("unforeseen")
            with pytest.raises(RuntimeError, match="unforeseen"):
                await ask(batches, "a")
            live.fault = None
            assert labels(await ask(batches, "b")) == ["b by 1"]

    run(work)
