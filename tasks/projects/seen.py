"""A closer look at the data of a project that is to begin, for values that fit."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from graftline.data.class_folders import read_class_folders
from graftline.data.first_look import look_at_table
from graftline.data.tables import read_rows
from graftline.settings import Kind
from graftline.tasks.projects.proposal import Answers, Seen

# Their headers are read, and that takes a millisecond each.
MOST_FILES = 2_000


def seen_in_table(table: Path, folder: Path, answers: Answers) -> Seen:
    """What a table holds, and the files below `folder` that it names."""
    look = look_at_table(table)
    if answers.kind == "text" or answers.input is None:
        return Seen(look.rows, look)
    named = (row.values[0] for row in islice(read_rows(table, [answers.input]), MOST_FILES))
    paths = [folder / name for name in named if name]
    return Seen(look.rows, look, seconds=_seconds(paths, answers.kind), shortest_side=_side(paths, answers.kind))


def seen_in_folders(folder: Path, kind: Kind) -> Seen:
    """What lies in a folder of class folders."""
    assert kind != "text"
    rows = [row.values for row in read_class_folders(folder, folder, kind) if row.fault is None]
    counts = Counter(str(label) for _, label in rows)
    # Evenly over all classes: they stand one after the other.
    paths = [folder / str(name) for name, _ in rows[:: max(1, len(rows) // MOST_FILES)]]
    return Seen(len(rows), None, counts, _seconds(paths, kind), _side(paths, kind))


def _seconds(paths: Sequence[Path], kind: Kind) -> tuple[float, float] | None:
    from graftline.data.sound_containers import UnreadableSoundError
    from graftline.data.sounds import sound_seconds

    if kind != "audio":
        return None
    lengths = []
    for path in paths:
        # validate_data says which files are no sounds
        with suppress(UnreadableSoundError, OSError):
            lengths.append(sound_seconds(path.read_bytes()))
    return (min(lengths), max(lengths)) if lengths else None


def _side(paths: Iterable[Path], kind: Kind) -> int | None:
    from PIL import Image

    if kind != "image":
        return None
    sides = []
    for path in paths:
        # validate_data says which files are no pictures
        with suppress(Exception), Image.open(path) as picture:
            sides.append(min(picture.size))
    return min(sides, default=None)
