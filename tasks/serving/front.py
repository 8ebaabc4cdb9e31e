"""The server in front of a model's versions: MLflow's paths, limits, batches, the log of requests, and the switch."""

import asyncio
import json
import time
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from graftline.models.preprocessing import Raw
from graftline.settings.serving import MEBIBYTE, Serving
from graftline.tasks.serving.batching import Answered, Batches, VersionGoneError
from graftline.tasks.serving.counting import CONTENT_TYPE_LATEST, Counts
from graftline.tasks.serving.live_version import OK
from graftline.tasks.serving.refusals import CODES, refusal
from graftline.tasks.serving.request_log import Answers, RequestLog
from graftline.tasks.serving.request_reading import IDS, Question, RefusedQuestionError, read_question

VERSION_HEADER = "x-graftline-version"
# A larger body is parsed in a thread of its own: the others need not wait for it.
LARGE_BYTES = 64 * 1024
# How long an answer waits for room in the log; then it goes out without a row.
LOG_SECONDS, LOG_POLL_SECONDS = 1.0, 0.01


class Front:
    """What answers. All but `counts` belongs to one event loop."""

    def __init__(self, settings: Serving, log: RequestLog, counts: Counts) -> None:
        self.counts, self._settings, self._log = counts, settings, log
        self.answered = 0
        self._now = 0
        self._bodies_bytes = 0
        limits = settings.limits
        self.batches = Batches(
            most_inputs=settings.batching.inputs, most_per_request=limits.inputs, seconds=limits.seconds, counts=counts
        )

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/invocations", self._invocations, methods=["POST"]),
                Route("/ping", self._ping),
                Route("/health", self._ping),
                Route("/version", self._version),
                Route("/metrics", self._metrics),
            ]
        )

    async def _ping(self, _: Request) -> Response:
        live = self.batches.live
        return Response("\n", 200 if live and not live.broken else 503, media_type="application/json")

    async def _version(self, _: Request) -> Response:
        """MLflow's own server tells its release here; which version answers is what a client can use."""
        live = self.batches.live
        told = {"version": live.number, "run_id": live.run_id} if live else {"version": None}
        return Response(json.dumps(told), media_type="application/json")

    async def _metrics(self, _: Request) -> Response:
        return Response(self.counts.page(), media_type=CONTENT_TYPE_LATEST)

    async def _invocations(self, request: Request) -> Response:
        began, came = time.perf_counter(), datetime.now(UTC)
        if self._now >= self._settings.limits.requests:
            return self._counted(refusal(503, f"{self._now:,} requests are there already; come again"), began)
        self._now += 1
        self.counts.now.set(self._now)
        try:
            response = await self._response(request, began, came)
        finally:
            self._now -= 1
            self.counts.now.set(self._now)
        return self._counted(response, began)

    def _counted(self, response: Response, began: float) -> Response:
        if VERSION_HEADER not in response.headers and self.batches.live:
            response.headers[VERSION_HEADER] = str(self.batches.live.number)
        self.counts.requests.labels(response.status_code).inc()
        self.counts.seconds.observe(time.perf_counter() - began)
        return response

    async def _response(self, request: Request, began: float, came: datetime) -> Response:
        deadline = asyncio.get_running_loop().time() + self._settings.limits.seconds
        body = bytearray()
        try:
            await self._receive(request, body, deadline)
            question, answered = await self._asked(bytes(body), request, deadline)
            return await self._answer(question, answered, began, came)
        except RefusedQuestionError as error:
            return refusal(error.status, str(error))
        except VersionGoneError:
            return refusal(503, "the model's process ended or hangs and is started again; come again")
        except ClientDisconnect:
            return refusal(400, "the body was cut off")
        finally:
            self._bodies_bytes -= len(body)

    async def _receive(self, request: Request, body: bytearray, deadline: float) -> None:
        """Read the body into this array. Raises: RefusedQuestionError with 408, 413 or 503."""
        limits = self._settings.limits
        most, told = limits.body_mebibytes * MEBIBYTE, request.headers.get("content-length", "")
        too_large = RefusedQuestionError(f"the body has more than {most:,} bytes; send several requests", 413)
        if told.isdecimal() and int(told) > most:
            raise too_large
        try:
            async with asyncio.timeout_at(deadline):
                async for part in request.stream():
                    if len(body) + len(part) > most:
                        raise too_large
                    if self._bodies_bytes + len(part) > limits.bodies_mebibytes * MEBIBYTE:
                        raise RefusedQuestionError("the bodies of all requests take too much memory; come again", 503)
                    body += part
                    self._bodies_bytes += len(part)
        except TimeoutError:
            raise RefusedQuestionError(f"the body did not come within {limits.seconds:g} s", 408) from None

    async def _asked(self, body: bytes, request: Request, deadline: float) -> tuple[Question, Answered]:
        live, headers = self.batches.live, request.headers
        if live is None:
            raise VersionGoneError
        reading, limits = live.reading, self._settings.limits

        def read() -> tuple[Question, list[Raw]]:
            question = read_question(body, headers, limits)
            return question, question.inputs(reading, limits.inputs)

        question, inputs = read() if len(body) <= LARGE_BYTES else await asyncio.to_thread(read)
        return question, await self.batches.answer(question, reading, inputs, deadline)

    async def _answer(self, question: Question, answered: Answered, began: float, came: datetime) -> Response:
        version, reply = answered.version, answered.reply
        headers = {VERSION_HEADER: str(version.number)}
        if reply.status != OK:
            refused = refusal(reply.status if reply.status in CODES else 500, reply.message)
            refused.headers.update(headers)
            return refused
        ids = question.named(len(answered.inputs))
        milliseconds = 1000 * (time.perf_counter() - began)
        await self._log_rows(
            Answers(
                ids, answered.inputs, version.reading.kind, reply.records, reply.vectors, version.number,
                version.run_id, came, milliseconds,
            )
        )  # fmt: skip
        self.answered += len(ids)
        self.counts.rows.labels(version.number).inc(len(ids))
        # MLflow's clients read `predictions` and leave what stands beside it.
        return Response(json.dumps({"predictions": reply.records, IDS: ids}), OK, headers, "application/json")

    async def _log_rows(self, answers: Answers) -> None:
        """Before the answer goes out, so that none that somebody got is missing when the server ends."""
        patience = time.monotonic() + LOG_SECONDS
        while not self._log.offer(answers):
            if time.monotonic() > patience:
                self._log.lose(len(answers.ids))
                return
            await asyncio.sleep(LOG_POLL_SECONDS)
