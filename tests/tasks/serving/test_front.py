"""The server in front of a model: limits, statuses, ids and headers, the token, and a row for every answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow.deployments import PredictionsResponse

from graftline.errors import SettingsError
from graftline.settings.serving import Serving
from graftline.tasks.serving import front as front_module
from graftline.tasks.serving.access import TOKEN, TOKEN_FILE, guarded, read_token, require_token_beyond_loopback
from graftline.tasks.serving.counting import Counts
from graftline.tasks.serving.front import Front
from graftline.tasks.serving.request_log import RequestLog, read_served, served_folder
from graftline.tasks.workspace import Workspace
from tests.support.serving import REFUSED, StandIn

SECRET = "a-token-that-is-long-enough"
Work = Callable[[httpx.AsyncClient, StandIn, Front], Awaitable[Any]]


@pytest.fixture
def here(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def run(here: Workspace, work: Work, *, token: bytes | None = None, **settings: Any) -> Any:
    async def all_of_it() -> Any:
        given = Serving.model_validate(settings)
        counts = Counts()
        log = RequestLog(served_folder(here, "m"), given.log, lost=counts.lost.inc)
        front, live = Front(given, log, counts), StandIn(3)
        await front.batches.switch(live)
        lanes = asyncio.create_task(front.batches.run())
        app = guarded(front.app(), token=token, hosts=given.hosts)
        try:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
                return await work(client, live, front)
        finally:
            lanes.cancel()
            log.close()

    return asyncio.run(all_of_it())


def rows(here: Workspace) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    found: list[dict[str, Any]] = read_served(here, "m", now - timedelta(days=1), now + timedelta(days=1)).to_pylist()
    return found


async def post(client: httpx.AsyncClient, *texts: str, **more: Any) -> httpx.Response:
    return await client.post("/invocations", json={"inputs": list(texts), **more})


def test_an_answer_is_mlflows_with_ids_and_the_version(here: Workspace) -> None:
    async def work(client: httpx.AsyncClient, live: StandIn, front: Front) -> None:
        answer = await post(client, "a", "b", ids=["x", "y"])
        assert answer.headers["x-graftline-version"] == "3"
        assert [one["label"] for one in answer.json()["predictions"]] == ["a by 3", "b by 3"]
        assert answer.json()["ids"] == ["x", "y"]
        told = PredictionsResponse.from_json(answer.text)  # type: ignore[no-untyped-call]
        assert len(told.get_predictions()) == 2
        made = (await post(client, "a", "b")).json()["ids"]
        assert len({"x", "y", *made}) == 4

    run(here, work)
    assert {row["id"]: row["answer"] for row in rows(here)}["y"] == "b by 3"
    assert len(rows(here)) == 4


def test_each_row_of_the_log_has_its_own_vector(here: Workspace) -> None:
    async def work(client: httpx.AsyncClient, live: StandIn, front: Front) -> None:
        await asyncio.gather(*(post(client, "x" * number, ids=[str(number)]) for number in range(1, 9)))

    run(here, work)
    assert {row["id"]: row["features"] for row in rows(here)} == {str(n): [float(n), 3.0] for n in range(1, 9)}


@pytest.mark.parametrize(("name", "status"), [("[::1]:80", 200), ("127.0.0.1:80", 200), ("elsewhere", 400)])
def test_it_may_be_asked_by_the_names_of_this_machine(here: Workspace, name: str, status: int) -> None:
    async def work(client: httpx.AsyncClient, live: StandIn, front: Front) -> int:
        return (await client.get("/version", headers={"host": name})).status_code

    assert run(here, work) == status


def test_the_version_that_answers_is_told_and_counted(here: Workspace) -> None:
    async def work(client: httpx.AsyncClient, live: StandIn, front: Front) -> None:
        await post(client, "a", "b")
        await post(client, REFUSED)
        assert (await client.get("/version")).json() == {"version": 3, "run_id": "run3"}
        told = (await client.get("/metrics")).text
        assert 'graftline_requests_total{status="200"} 1.0' in told
        assert 'graftline_requests_total{status="400"} 1.0' in told
        assert 'graftline_rows_total{version="3"} 2.0' in told
        assert "graftline_version 3.0" in told
        assert (await client.get("/ping")).status_code == (await client.get("/health")).status_code == 200
        live.broken = True
        assert (await client.get("/ping")).status_code == 503

    run(here, work)


def test_a_refused_request_says_why_and_leaves_no_row(here: Workspace) -> None:
    async def work(client: httpx.AsyncClient, live: StandIn, front: Front) -> None:
        for answer in (await post(client, REFUSED), await post(client), await post(client, "a", ids=[])):
            assert answer.status_code == 400
            assert set(answer.json()) == {"error_code", "message"}
            assert answer.headers["x-graftline-version"] == "3"

    run(here, work)
    assert rows(here) == []


async def parts(*sizes: int) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b" " * size


def test_a_large_body_is_refused_by_what_it_says_or_by_what_comes(here: Workspace) -> None:
    async def work(client: httpx.AsyncClient, live: StandIn, front: Front) -> None:
        said = await client.post("/invocations", content=b" " * (2**20 + 1))
        came = await client.post("/invocations", content=parts(2**20, 1))
        assert [said.status_code, came.status_code] == [413, 413]
        assert (await post(client, "a")).status_code == 200

    run(here, work, limits={"body_mebibytes": 1})


def test_bodies_that_are_too_large_together_come_again(here: Workspace) -> None:
    async def work(client: httpx.AsyncClient, live: StandIn, front: Front) -> None:
        live.gate.clear()
        first = asyncio.create_task(post(client, "a" * 600_000))
        await asyncio.sleep(0.1)
        second = await post(client, "b" * 600_000)
        assert (second.status_code, second.headers["retry-after"]) == (503, "1")
        live.gate.set()
        assert (await first).status_code == 200
        assert (await post(client, "b" * 600_000)).status_code == 200

    run(here, work, limits={"bodies_mebibytes": 1})


def test_more_requests_than_allowed_come_again(here: Workspace) -> None:
    async def work(client: httpx.AsyncClient, live: StandIn, front: Front) -> None:
        live.gate.clear()
        first = [asyncio.create_task(post(client, "a")) for _ in range(3)]
        await asyncio.sleep(0.1)
        late = await post(client, "b")
        assert (late.status_code, late.headers["retry-after"]) == (503, "1")
        live.gate.set()
        assert {(await one).status_code for one in first} == {200}
        assert (await post(client, "b")).status_code == 200

    run(here, work, limits={"requests": 3})


def test_a_slow_model_and_a_slow_client_are_given_up(here: Workspace) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(30)

    async def work(client: httpx.AsyncClient, live: StandIn, front: Front) -> None:
        assert (await client.post("/invocations", content=slowly())).status_code == 408
        live.gate.clear()
        assert (await post(client, "a")).status_code == 504

    run(here, work, limits={"seconds": 0.2})


def test_depth_and_number_of_inputs_are_limited(here: Workspace) -> None:
    async def work(client: httpx.AsyncClient, live: StandIn, front: Front) -> None:
        deep = await client.post("/invocations", content=b"[" * 99, headers={"content-type": "application/json"})
        assert (deep.status_code, "depth 99" in deep.text) == (400, True)
        assert (await post(client, "a", "b", "c")).status_code == 400
        assert live.asked == []

    run(here, work, limits={"inputs": 2})


def test_without_the_token_nothing_is_told_but_that_it_lives(here: Workspace) -> None:
    async def work(client: httpx.AsyncClient, live: StandIn, front: Front) -> None:
        for path in ("/version", "/metrics", "/invocations", "/elsewhere"):
            assert (await client.get(path)).status_code == 401
        assert (await client.get("/ping")).status_code == 200
        for given in ("", "Bearer", f"Basic {SECRET}", f"Bearer {SECRET}x", f"Bearer {SECRET[:-1]}", SECRET):
            answer = await client.get("/version", headers={"authorization": given})
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert SECRET not in answer.text
        twice = [("authorization", f"Bearer {SECRET}"), ("authorization", "Bearer x")]
        assert (await client.get("/version", headers=twice)).status_code == 401
        for given in (f"Bearer {SECRET}", f"bearer {SECRET}"):
            assert (await client.get("/version", headers={"authorization": given})).status_code == 200

    run(here, work, token=SECRET.encode())


def test_a_name_that_is_not_the_servers_is_answered_nothing(here: Workspace) -> None:
    async def work(client: httpx.AsyncClient, live: StandIn, front: Front) -> None:
        assert (await client.get("/version", headers={"host": "evil.example"})).status_code == 400
        assert (await client.get("/version", headers={"host": "localhost:5001"})).status_code == 200

    run(here, work)


def test_an_answer_for_which_the_log_has_no_room_is_counted(here: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_module, "LOG_SECONDS", 0.0)
    monkeypatch.setattr(RequestLog, "offer", lambda *_: False)

    async def work(client: httpx.AsyncClient, live: StandIn, front: Front) -> None:
        assert (await post(client, "a", "b")).status_code == 200
        assert "graftline_lost_rows_total 2.0" in (await client.get("/metrics")).text

    run(here, work)


def test_the_token_comes_from_the_environment_or_a_file_of_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    assert read_token({}) is None
    assert read_token({TOKEN: SECRET}) == read_token({TOKEN_FILE: str(file)}) == SECRET.encode()
    file.chmod(0o640)
    for environment, said in (
        ({TOKEN_FILE: str(file)}, "mode 0640"),
        ({TOKEN_FILE: str(tmp_path / "none")}, "cannot be read"),
        ({TOKEN: SECRET, TOKEN_FILE: str(file)}, "both set"),
        ({TOKEN: "short"}, "expected at least 16"),
        ({TOKEN: ""}, "expected at least 16"),
        ({TOKEN: f"{SECRET} and more"}, "white space"),
    ):
        with pytest.raises(SettingsError, match=said) as error:
            read_token(environment)
        assert SECRET not in str(error.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.com"])
def test_beyond_this_machine_a_token_is_needed(host: str) -> None:
    with pytest.raises(SettingsError, match="without a token"):
        require_token_beyond_loopback(host, None)
    require_token_beyond_loopback(host, SECRET.encode())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_on_this_machine_none_is_needed(host: str) -> None:
    require_token_beyond_loopback(host, None)


def test_large_requests_are_parsed_beside_the_others(here: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_module, "LARGE_BYTES", 1)

    async def work(client: httpx.AsyncClient, live: StandIn, front: Front) -> None:
        answer = await client.post(
            "/invocations", content=json.dumps({"inputs": ["a"]}), headers={"content-type": "application/json"}
        )
        assert answer.json()["predictions"][0]["label"] == "a by 3"

    run(here, work)
