"""The facts about the files of images and sounds that the rows of a table name."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from graftline.data.media_files import MOST_SAMPLE_BITS, MediaFile, look_at, sample_bits_of, used_bits
from graftline.data.tables import Row
from graftline.settings import DataSettings
from graftline.tasks.stopping import look

# Every few seconds, for pictures.
FILES_PER_MESSAGE = 5_000
# Where nine in ten pictures need so many bits fewer than the largest value does, they lose most of their grey levels.
USUAL_SHARE, DARKER_BITS = 0.9, 2

logger = logging.getLogger("graftline.validate_data")


def media_files(
    rows: Sequence[Row], data: Path, settings: DataSettings, cache: Path | None
) -> tuple[dict[int, MediaFile], int]:
    """The facts about the files that the rows name, by the rows' lines; and how many bits a sample they use."""
    files: dict[int, MediaFile] = {}
    for row in rows if settings.kind != "text" else ():
        if row.fault is None and row.values[0]:
            look()  # a stop that arrives inside a decoder would make its file a faulty one
            files[row.line] = look_at(data, row.values[0], settings, cache=cache)
            if len(files) % FILES_PER_MESSAGE == 0:
                logger.info("%d files looked at", len(files))
    bits = sample_bits_of(files.values(), settings)
    _tell_bits(files.values(), bits, is_seen=not settings.sample_bits)
    for row in rows if bits < (settings.sample_bits or MOST_SAMPLE_BITS) else ():
        # Only now is it known how bright they are.
        if row.line in files and used_bits(files[row.line]):
            look()
            files[row.line] = look_at(data, str(row.values[0]), settings, cache=cache, sample_bits=bits)
    return files, bits


def _tell_bits(files: Iterable[MediaFile], bits: int, *, is_seen: bool) -> None:
    """What few pictures of larger values decide is said, too: a single damaged value is enough for it."""
    used = sorted(filter(None, map(used_bits, files)))
    if used and bits < MOST_SAMPLE_BITS:
        logger.info("pictures of 16 bits a sample are read as %d bits, and so the model will read them", bits)
    usual = used[int(USUAL_SHARE * (len(used) - 1))] if used else bits
    if is_seen and usual + DARKER_BITS <= bits:
        logger.warning(
            "%d of %d pictures of 16 bits a sample need more than %d bits, so all are read as %d bits, and most become"
            " dark; with data.sample_bits: %d those few are faulty rows",
            sum(one > usual for one in used), len(used), usual, bits, usual,
        )  # fmt: skip
