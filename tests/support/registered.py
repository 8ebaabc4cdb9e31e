"""Registered versions without files, judged as a test wants them, and what the registry then looks like."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlflow import MlflowClient

from graftline.digests import json_sha256
from graftline.tasks.registry.carrying_out import append, settled
from graftline.tasks.registry.history import deciding, history_folder, read_history, record_name
from graftline.tasks.registry.records import Entry
from graftline.tasks.registry.versions import BARRED, CHAMPION, WEIGHTS, champion_of, get_version
from graftline.tasks.tracking.server import experiment_of
from graftline.tasks.workspace import Workspace

MODEL = "tiny"
# Nothing here loads a version.
NO_FILES = "s3://nowhere/model"

Verdict = Literal["PROMOTE", "HOLD", "REJECT"]


def register(workspace: Workspace, *verdicts: Verdict | None, barred: str | None = None) -> None:
    """A version per verdict, None for one that was not judged; no champion is made."""
    client = MlflowClient()
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(MODEL)
    run = client.create_run(experiment_of(workspace, MODEL))
    for verdict in verdicts:
        tags = {WEIGHTS: "w" * 64} | ({BARRED: barred} if barred else {})
        made = client.create_model_version(MODEL, NO_FILES, run.info.run_id, tags=tags)
        if verdict:
            judge(workspace, int(made.version), verdict, barred=barred)


def judge(workspace: Workspace, number: int, verdict: Verdict, *, barred: str | None = None) -> None:
    """Record a verdict that leaves the champion where it is."""
    version, champion = get_version(MODEL, number), champion_of(MODEL)
    reasons = (f"because of {verdict}",)
    with deciding(workspace, MODEL):
        entry = Entry(
            action="verdict", version=number, champion_before=champion, champion_after=champion, why=reasons[0],
            verdict=verdict, reasons=reasons, run_id=version.run_id or None, model_sha256=version.tags.get(WEIGHTS),
            barred=barred,
        )  # fmt: skip
        append(workspace, MODEL, settled(workspace, MODEL), entry)


def record_file(workspace: Workspace, model: str, number: int) -> Path:
    """Where the project folder keeps a record."""
    return history_folder(workspace, model) / record_name(number)


def move_by_hand(version: int) -> None:
    """What MLflow's own client does, past Graftline."""
    MlflowClient().set_registered_model_alias(MODEL, CHAMPION, str(version))


def write_first_form(root: Path, *records: dict[str, object]) -> None:
    """Records as the first release wrote them."""
    folder = history_folder(Workspace(root), MODEL)
    folder.mkdir(parents=True, exist_ok=True)
    previous = None
    for number, values in enumerate(records, start=1):
        record = {
            "number": number, "when": f"2026-11-0{number}T10:00:00+00:00", "who": "ada@there", "action": "promote",
            "verdict": "PROMOTE", "version": number, "champion_before": number - 1 or None, "champion_after": number,
            "why": "better", "evaluation_sha256": None, "previous_sha256": previous, **values,
        }  # fmt: skip
        previous = json_sha256(record)  # type: ignore[arg-type]
        text = json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        (folder / f"{number:06d}.json").write_text(text, encoding="utf-8")
        (folder / f"{number:06d}.done").write_text(previous + "\n", encoding="utf-8")


@dataclass(frozen=True)
class RegistryState:
    """The champion, and every move of it that the history holds."""

    champion: int | None
    moves: tuple[tuple[str, int | None, int | None], ...]


def state_of(workspace: Workspace) -> RegistryState:
    moves = [
        (record.action, record.champion_before, record.champion_after)
        for record in read_history(workspace, MODEL)
        if record.moves
    ]
    return RegistryState(champion_of(MODEL), tuple(moves))
