"""Requests that come at once, answered together: each gets its own rows, and a refused one fails no other."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
import numpy as np
import numpy.typing as npt

from graftline.models.media import Medium
from graftline.models.preprocessing import Raw
from graftline.settings.serving import MEBIBYTE
from graftline.tasks.serving.counting import Counts
from graftline.tasks.serving.live_version import OK, LiveVersion, Reply
from graftline.tasks.serving.request_reading import Question, Reading, RefusedQuestionError

# While the model computes one batch, the next one is parsed and the last one's answers are written.
LANES = 2
# Larger requests go alone, so that nobody waits for another one's megabytes.
BATCH_BYTES = MEBIBYTE
# A model that needs so many times the limit of a request for one batch will not come back.
STUCK = 2

logger = logging.getLogger("graftline.serving")


@dataclass(frozen=True)
class Answered:
    """A request's part of a batch."""

    version: LiveVersion
    inputs: Sequence[Raw]
    reply: Reply


class VersionGoneError(Exception):
    """The process that was asked ended, or hangs."""


@dataclass(eq=False)
class _Waiting:
    question: Question
    reading: Reading
    inputs: Sequence[Raw]
    answer: "asyncio.Future[Answered]"
    taken: bool = False
    bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.bytes = sum(map(_size, self.inputs))


def _size(raw: Raw) -> int:
    return len(raw.read() if isinstance(raw, Medium) else raw)


class Batches:
    """The queue in front of the version that answers. All of it runs in one event loop."""

    def __init__(self, *, most_inputs: int, most_per_request: int, seconds: float, counts: Counts) -> None:
        self.live: LiveVersion | None = None
        self._most, self._most_per_request, self._seconds, self._counts = most_inputs, most_per_request, seconds, counts
        self._waiting: deque[_Waiting] = deque()
        self._under_way: Counter[LiveVersion] = Counter()
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        """Answer what comes, until cancelled."""
        async with asyncio.TaskGroup() as lanes:
            for _ in range(LANES):
                lanes.create_task(self._lane())

    async def switch(self, version: LiveVersion) -> LiveVersion | None:
        """Have this version answer whatever has not been asked yet; returns the one before.

        What comes from now on is never answered by that one: requests meet a version when their turn comes.
        """
        before, self.live = self.live, version
        self._counts.version.set(version.number)
        async with self._changed:
            self._changed.notify_all()
        return before

    async def retire(self, version: LiveVersion) -> None:
        """Return once a version, from which another took over, has answered what it was asked."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._under_way[version])
        del self._under_way[version]
        await version.close()

    async def answer(self, question: Question, reading: Reading, inputs: Sequence[Raw], deadline: float) -> Answered:
        """The answer when its turn has come; `deadline` is by the event loop's clock.

        Raises: RefusedQuestionError with 503 if its turn did not come by then, with 504 if it is not done by then;
        VersionGoneError.
        """
        waiting = _Waiting(question, reading, inputs, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        async with self._changed:
            self._changed.notify()
        try:
            async with asyncio.timeout_at(deadline):
                return await waiting.answer
        except TimeoutError:
            if waiting.taken:
                raise RefusedQuestionError(f"not answered within {self._seconds:g} s", 504) from None
            raise RefusedQuestionError(f"waited {self._seconds:g} s for its turn; come again", 503) from None
        finally:
            if not waiting.taken:
                self._waiting.remove(waiting)

    async def _lane(self) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._waiting and self.live and not self.live.broken)
                live, batch = self.live, self._take()
                assert live is not None
                self._under_way[live] += 1
            try:
                await self._answer(live, [one for one in batch if self._is_read_for(one, live.reading)])
            except Exception as error:  # whatever it was, who comes next is answered
                logger.warning("version %d: a batch failed", live.number, exc_info=error)
                for one in batch:
                    _settle(one, error)
            finally:
                async with self._changed:
                    self._under_way[live] -= 1
                    self._changed.notify_all()

    def _take(self) -> list[_Waiting]:
        """Those that have waited longest, as many as go together."""
        batch = [self._waiting.popleft()]
        inputs, size = len(batch[0].inputs), batch[0].bytes
        while self._waiting:
            inputs, size = inputs + len(self._waiting[0].inputs), size + self._waiting[0].bytes
            if inputs > self._most or size > BATCH_BYTES:
                break
            batch.append(self._waiting.popleft())
        for one in batch:
            one.taken = True
        return batch

    def _is_read_for(self, one: _Waiting, reading: Reading) -> bool:
        """Read it anew if meanwhile another version answers, which was trained on another column."""
        if one.reading == reading:
            return True
        try:
            one.inputs, one.reading = one.question.inputs(reading, self._most_per_request), reading
        except RefusedQuestionError as error:
            _settle(one, error)
            return False
        return True

    async def _answer(self, live: LiveVersion, batch: Sequence[_Waiting]) -> None:
        batch = [one for one in batch if not one.answer.done()]
        if not batch:
            return
        inputs = [raw for one in batch for raw in one.inputs]
        self._counts.batch.observe(len(inputs))
        try:
            reply = await live.ask(inputs, STUCK * self._seconds)
        except httpx.ConnectError:  # it ended before it was asked: whoever comes next can answer that
            live.broken = True
            self._waiting.extendleft(reversed(batch))
            for one in batch:
                one.taken = False
            return
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:  # ended, hangs, or speaks nonsense
            live.broken = True
            logger.warning("version %d did not answer %d inputs (%r)", live.number, len(inputs), error)
            for one in batch:
                _settle(one, VersionGoneError())
            return
        if reply.status == OK or len(batch) == 1:
            self._share(live, batch, reply)
            return
        # One of them is refused, and it does not say which.
        half = len(batch) // 2
        await self._answer(live, batch[:half])
        await self._answer(live, batch[half:])

    def _share(self, live: LiveVersion, batch: Sequence[_Waiting], reply: Reply) -> None:
        place = 0
        for one in batch:
            end = place + len(one.inputs)
            own = Reply(reply.status, reply.records[place:end], _rows(reply.vectors, place, end), reply.message)
            _settle(one, Answered(live, one.inputs, own))
            place = end


def _rows(vectors: npt.NDArray[np.float32] | None, first: int, end: int) -> npt.NDArray[np.float32] | None:
    return None if vectors is None else vectors[first:end]


def _settle(one: _Waiting, outcome: Answered | Exception) -> None:
    if one.answer.done():  # whoever waited has given up
        return
    if isinstance(outcome, Answered):
        one.answer.set_result(outcome)
    else:
        one.answer.set_exception(outcome)
