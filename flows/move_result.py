"""The result of a verb that moves a champion."""

from dataclasses import asdict

from pydantic import JsonValue

from graftline.tasks.registry.records import Record


def move_result(name: str, record: Record) -> dict[str, JsonValue]:
    """The record of the move as plain values, and in a sentence."""
    before = f"version {record.champion_before}" if record.champion_before else "none"
    summary = f"{name}: the champion is version {record.champion_after}, it was {before}"
    return {"model": name, **asdict(record), "summary": summary}
