"""Rows in shards: whole batches of them, which a worker computes for whoever wants the same bits as without it."""

from collections.abc import Sequence
from dataclasses import dataclass

from graftline.models.preprocessing import Encoded, Preprocessor
from graftline.settings import Kind

# Rows of a shard: seconds of work, and no more memory than some batches of a training. Which shard a row is in says
# nothing of its bits, so neither this number nor that of the workers does.
SHARD_ROWS = 256
# The same of images and sounds, whose files go along.
SHARD_FILES = 32


@dataclass(frozen=True)
class Shard:
    """Rows, and the batches in which they run, by their places among these rows."""

    rows: list[Encoded]
    batches: list[list[int]]


def in_shards(batches: Sequence[list[int]], kind: Kind) -> list[list[list[int]]]:
    """Batches that follow each other, together of so many rows as a worker is given at once."""
    parts: list[list[list[int]]] = []
    most = count = SHARD_ROWS if kind == "text" else SHARD_FILES
    for batch in batches:
        if count >= most:
            parts.append([])
            count = 0
        parts[-1].append(batch)
        count += len(batch)
    return parts


def shard_of(rows: Sequence[Encoded], batches: Sequence[Sequence[int]], preprocessor: Preprocessor) -> Shard:
    """Of all rows those of the batches, each once, in the order in which the batches have them, with their files.

    The files are read here: a worker needs no folder that it has in common with this machine.
    Raises: ValueError, DataRefusedError for a file that cannot be read.
    """
    place = {row: number for number, row in enumerate(dict.fromkeys(row for batch in batches for row in batch))}
    return Shard(
        [preprocessor.carried(rows[row]) for row in place], [[place[row] for row in batch] for batch in batches]
    )
