"""What was decided about a registered model: who, when, from, to, why."""

from dataclasses import asdict
from pathlib import Path

from pydantic import JsonValue

from tasks import registry
from tasks.artifacts import Workspace


def history(name: str) -> dict[str, JsonValue]:
    """The records of model `name`, oldest first, and its present champion.

    A plain function: it only reads, and a flow would start a server for it.
    """
    records, champion = registry.history(Workspace(Path.cwd()), name)
    lines = [
        f"{record.number:>4}  {record.when}  {record.who}  {record.action}"
        f"{' ' + record.verdict if record.verdict else ''}  version {record.version}"
        f"  champion {record.champion_before or 'none'} -> {record.champion_after or 'none'}  {record.why}"
        for record in records
    ]
    present = f"champion: {'version ' + str(champion) if champion else 'none'}"
    return {
        "model": name,
        "champion": champion,
        "records": [asdict(record) for record in records],
        "summary": "\n".join([*lines, present]),
    }
