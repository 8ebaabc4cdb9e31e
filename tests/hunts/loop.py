"""The loop once around on a team's servers: requests drift, a candidate follows, and is served; nobody starts anything.

What people do is done here as they would: they label what was served, push the next version of the data, and approve.
Days pass by moving what was served today to the days before: `graftline watch` looks at days that are over.
"""

import argparse
import csv
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from benchmarks.scores.projects import git
from graftline.tasks.serving.shared_log import SERVED
from graftline.tasks.state.shared import shared_state
from tests.support.running_project import wait_until
from tests.support.servers import free_ports
from tests.support.serving import Serving, serving
from tests.support.team import Servers, commit, dvc, push_data_to_s3, started, team_project, worker
from tests.support.tiny_models import BAD, FILLERS, GOOD
from tests.support.tiny_project import MODEL

DAYS_BEFORE, DAYS_DRIFTED, ROWS_A_DAY, ROWS_A_REQUEST = 3, 4, 60, 20
# The words that tell the labels apart: those that the first data know, and those that come up later.
KNOWN, NEW = slice(0, 3), slice(3, 6)
LABELLED = 200
# A machine that does other things, too, may need minutes for one run.
RUN_SECONDS = 1200
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
PROMOTION: dict[str, Any] = {"floors": {"accuracy": 0.6}, "baselines": [], "approval_within_hours": 1}
RETRAINING: dict[str, Any] = {"triggers": ["input_drift"], "least_days": 0}
SERVING: dict[str, Any] = {"log": {"keeps": "input", "flush_seconds": 0.5}}


@dataclass
class Log:
    """What happened, and after how many seconds."""

    began: float = field(default_factory=time.monotonic)

    def say(self, what: str) -> None:
        print(f"{time.monotonic() - self.began:7.1f} s  {what}", flush=True)


@dataclass(frozen=True)
class Loop:
    """The servers and what is tried with them."""

    servers: Servers
    log: Log
    random: random.Random

    def deployment(self, flow: str) -> dict[str, Any]:
        return dict(self.servers.prefect(f"deployments/name/{flow}/{MODEL}"))

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """The runs of a deployment that are not only planned, the oldest first."""
        of = {"deployment_id": {"any_": [self.deployment(flow)["id"]]}, "state": {"type": {"not_any_": ["SCHEDULED"]}}}
        return list(self.servers.prefect("flow_runs/filter", flow_runs=of, sort="EXPECTED_START_TIME_ASC"))

    def start(self, flow: str, **parameters: Any) -> str:
        """As a person does on the page."""
        made = self.servers.prefect(
            f"deployments/{self.deployment(flow)['id']}/create_flow_run", parameters=parameters, state=None
        )
        return str(made["id"])

    def wait(self, run: str, *states: str) -> dict[str, Any]:
        """The run, once it is in one of these states. Raises: AssertionError if it ends in another."""
        wait_until(lambda: self._state(run) in (*states, *ENDED), RUN_SECONDS)
        found = dict(self.servers.prefect(f"flow_runs/{run}"))
        assert found["state_type"] in states, f"{found['name']}: {found['state']}"
        return found

    def answer(self, run: str) -> None:
        """What a person sends by the form of a run that waits for approval."""
        given = {"decision": "approve", "reason": "the drifted rows are learned", "name": "Ann"}
        done = self.servers.prefect(f"flow_runs/{run}/resume", run_input=given)
        assert done["status"] == "ACCEPT", done

    def switch_on(self, flow: str, cron: str) -> None:
        """What a person does once on the page."""
        there = self.deployment(flow)
        (one,) = there["schedules"]
        body = {"schedule": {"cron": cron, "timezone": "UTC"}, "active": True}
        self.servers.prefect(f"deployments/{there['id']}/schedules/{one['id']}", "PATCH", **body)

    def _state(self, run: str) -> str:
        return str(self.servers.prefect(f"flow_runs/{run}")["state_type"])


@dataclass
class Client:
    """Somebody who asks all the time."""

    server: Serving
    texts: Sequence[str]
    answered: Counter[str] = field(default_factory=Counter)
    """By status and version."""
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.over.wait(0.2):
            body = json.dumps({"inputs": [self.texts[0]]}).encode()
            status, headers, _ = self.server.ask("/invocations", body)
            self.answered[f"{status} by version {headers.get('x-graftline-version')}"] += 1


@contextmanager
def asking(client: Client) -> Iterator[None]:
    thread = threading.Thread(target=client.run)
    thread.start()
    try:
        yield
    finally:
        client.over.set()
        thread.join()


def once_around(place: Path, seed: int) -> None:
    """Raises: AssertionError where the loop does not close."""
    log, drawn = Log(), random.Random(seed)
    project = team_project(place / "project")
    write_settings(project, drawn)
    with started(project, place / "servers", free_ports(3)) as servers:
        os.environ.update(servers.environment)  # for what is read and moved of the team's state here
        loop = Loop(servers, log, drawn)
        log.say("Postgres, S3, MLflow and Prefect run, and the deployments are made")
        publish_project(loop, place)
        with worker(servers, place / "elsewhere"):
            first = loop.wait(loop.start("adapt"), "PAUSED")
            log.say(f"first training: {first['state']['name']}; a person approves")
            loop.answer(first["id"])
            loop.wait(first["id"], "COMPLETED")
            with serving(project, start_seconds=RUN_SECONDS, **servers.environment) as server:
                assert server.version == 1
                log.say("graftline serve answers with version 1")
                serve_and_close(loop, server)


def serve_and_close(loop: Loop, server: Serving) -> None:
    log, today = loop.log, datetime.now(UTC).date()
    first = today - timedelta(days=DAYS_BEFORE + DAYS_DRIFTED)
    for day in range(DAYS_BEFORE):
        serve_a_day(loop, server, first + timedelta(days=day), KNOWN, 6)
    watched = loop.wait(loop.start("watch", until=str(first + timedelta(days=DAYS_BEFORE - 1))), "COMPLETED")
    log.say(f"{DAYS_BEFORE} days like the held-out rows: {watched['name']}")
    labels: dict[str, str] = {}
    for day in range(DAYS_BEFORE, DAYS_BEFORE + DAYS_DRIFTED):
        labels |= serve_a_day(loop, server, first + timedelta(days=day), NEW, 9)
    log.say(f"{DAYS_DRIFTED} days of longer texts with words that the data do not have")
    admitted = admit_labels(loop, labels)
    log.say(f"people label {LABELLED} of {len(labels)}, drawn at random, and push the next data version ({admitted})")
    before, client = len(loop.runs("adapt")), Client(server, [text_of(loop.random, NEW, 9, 1)])
    began = Log()
    loop.switch_on("watch", "* * * * *")
    log.say("the schedule of `watch` is switched on; from here on nobody does anything but approve")
    with asking(client):
        close(loop, server, began, before)
    log.say(f"one client asked all the while: {dict(sorted(client.answered.items()))}")
    assert all(said.startswith("200 ") for said in client.answered), client.answered


def close(loop: Loop, server: Serving, began: Log, before: int) -> None:
    """From the next scheduled watch to the new version's first answer."""

    def seen(what: str) -> None:
        loop.log.say(f"{what} ({time.monotonic() - began.began:.1f} s after the schedule was switched on)")

    def appears(find: Callable[[], Sequence[Any]]) -> Any:
        wait_until(lambda: bool(find()), RUN_SECONDS)
        return find()[-1]

    watched = appears(lambda: [one for one in loop.runs("watch") if "ALARM" in one["name"]])
    seen(f"scheduled run: {watched['name']}")
    asked = {"event": {"prefix": ["graftline.alarm."]}}
    events = appears(lambda: loop.servers.prefect("events/filter", filter=asked)["events"])
    seen(f"event {events['event']}: {events['payload']['signal']} on {events['payload']['day']}")
    reacted = appears(lambda: [one for one in loop.runs("react") if "started" in one["name"]])
    seen(f"{reacted['name']}, by the rule")
    candidate = appears(lambda: loop.runs("adapt")[before:])
    seen(f"candidate: {candidate['name']}: {candidate['parameters']['note']}")
    waiting = loop.wait(candidate["id"], "PAUSED")
    seen(f"verdict: {waiting['name']}, {waiting['state']['name']}; a person approves")
    loop.answer(candidate["id"])
    answered = time.monotonic()
    wait_until(lambda: server.version == 2, RUN_SECONDS)
    seen(f"graftline serve answers with version 2, {time.monotonic() - answered:.1f} s after the approval")
    done = loop.wait(candidate["id"], "COMPLETED")
    seen(f"the run ends: {done['name']}, {done['state']['message']}")
    started = [one["name"] for one in loop.runs("adapt")]
    assert len(started) == before + 1, f"one drift, one candidate: {started}"
    seen(f"reactions: {dict(Counter(one['state_name'] for one in loop.runs('react')))}, candidates: 1")
    told = loop.servers.graftline("history", MODEL, "--verify")
    seen(f"history --verify: {told['summary'].splitlines()[-1]}")


def write_settings(project: Path, drawn: random.Random) -> None:
    write_rows(project / "data" / "rows.csv", [row_of(drawn, KNOWN, 6, number) for number in range(200)])
    for name, content in (("promotion", PROMOTION), ("retraining", RETRAINING), ("serving", SERVING)):
        (project / "mlflow" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    ignored = project / ".gitignore"
    ignored.write_text(
        ignored.read_text() + "\n!/mlflow/retraining.yaml\n!/mlflow/serving.yaml\n/feedback/\n/serve.log\n"
    )


def publish_project(loop: Loop, place: Path) -> None:
    """Where the workers get it from."""
    project = loop.servers.project
    push_data_to_s3(loop.servers)
    git(place, "init", "--quiet", "--bare", "--initial-branch", "main", "team.git")
    git(project, "remote", "add", "origin", (place / "team.git").as_uri())
    git(project, "push", "--quiet", "origin", "main")
    made = loop.servers.graftline("deploy")
    loop.log.say(made["summary"])


def serve_a_day(loop: Loop, server: Serving, day: date, words: slice, fillers: int) -> dict[str, str]:
    """Ask for a day's rows, and move them to that day. Returns: the true labels by the ids that were answered."""
    rows = [row_of(loop.random, words, fillers, number) for number in range(ROWS_A_DAY)]
    labels: dict[str, str] = {}
    for start in range(0, ROWS_A_DAY, ROWS_A_REQUEST):
        asked = rows[start : start + ROWS_A_REQUEST]
        answer = server.predict(*(row["text"] for row in asked))
        labels |= {one: row["label"] for one, row in zip(answer["ids"], asked, strict=True)}
    move_to(loop.servers, day, len(rows))
    return labels


def move_to(servers: Servers, day: date, rows: int) -> None:
    """As if all that was served today had been served on another day: here and in the team's state."""
    today = datetime.now(UTC).date()
    state = shared_state()
    assert state is not None
    folder = servers.project / "artifacts" / SERVED / MODEL
    there = state.room(SERVED, MODEL, today.isoformat())

    def count() -> int:
        files = [file for file in (folder / today.isoformat()).glob("[!.]*.parquet") if file.name in there.names()]
        return sum(pq.ParquetFile(file).metadata.num_rows for file in files)

    wait_until(lambda: count() >= rows, RUN_SECONDS)
    for file in sorted((folder / today.isoformat()).glob("[!.]*.parquet")):
        table = pq.ParquetFile(file).read()
        column = table.schema.get_field_index("time")
        moved = pc.subtract(table["time"], pa.scalar(today - day, pa.duration("us")))
        table = table.set_column(column, table.schema.field(column), moved)
        other = folder / day.isoformat() / file.name
        other.parent.mkdir(exist_ok=True)
        pq.write_table(table, other)
        state.room(SERVED, MODEL, day.isoformat()).upload(file.name, other)
        there.remove(file.name)
        file.unlink()


def admit_labels(loop: Loop, labels: dict[str, str]) -> str:
    """By the verbs that a person uses. Returns: what became of them."""
    project = loop.servers.project
    (project / "feedback").mkdir()
    with (project / "feedback" / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "label"), *loop.random.sample(sorted(labels.items()), LABELLED)])
    done = loop.servers.graftline("feedback", "admit", "--random", "--yes")
    commit(project, "labels of four days")
    dvc(loop.servers, "push", "--quiet")
    git(project, "push", "--quiet", "origin", "main")
    shutil.rmtree(project / "feedback")
    return str(done["summary"]).splitlines()[0]


def row_of(drawn: random.Random, words: slice, fillers: int, number: int) -> dict[str, str]:
    label = number % 2
    return {
        "id": f"r{number}",
        "text": text_of(drawn, words, fillers, label),
        "label": ("bad", "good")[label],
        "source": f"s{number % 3}",
    }


def text_of(drawn: random.Random, words: slice, fillers: int, label: int) -> str:
    telling = (GOOD if label else BAD)[words]
    chosen = [*drawn.choices(FILLERS, k=fillers), *drawn.choices(telling, k=2)]
    drawn.shuffle(chosen)
    return " ".join(chosen)


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=0)
    seed = options.parse_args().seed
    # Not in a folder of root's alone, which the account of Postgres could not enter.
    place = Path(tempfile.mkdtemp(prefix="graftline-loop-"))
    place.chmod(0o711)
    try:
        once_around(place, seed)
    except BaseException:
        print(f"what is left lies in {place}", file=sys.stderr)
        raise
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
