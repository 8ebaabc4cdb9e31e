"""Which entry of a feature store lies where: fixed records in a file that grows, found by the digests of their keys."""

import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

StoredPrecision = Literal["float32", "bfloat16"]
ITEM_BYTES: Mapping[StoredPrecision, int] = {"float32": 4, "bfloat16": 2}
# An image's feature maps have three: channels, height, width.
MOST_AXES = 4
# `shape` is filled up with ones. The checksum is the CRC-32 of the entry's values and of the record's other fields, so
# that neither can be damaged unseen.
RECORD = np.dtype(
    [
        ("key", "S16"),
        ("offset_bytes", "<u8"),
        ("shape", "<u4", (MOST_AXES,)),
        ("axes", "<u2"),
        ("precision", "S2"),
        ("checksum", "<u4"),
    ]
)
Records: TypeAlias = NDArray[np.void]
PRECISION_CODES: Mapping[StoredPrecision, bytes] = {"float32": b"f4", "bfloat16": b"b2"}


@dataclass(frozen=True)
class _Run:
    """The digests of keys, sorted, and the numbers of their records."""

    keys: NDArray[np.bytes_]
    numbers: NDArray[np.uint32]

    @classmethod
    def of(cls, keys: NDArray[np.bytes_], numbers: NDArray[np.uint32]) -> Self:
        order = np.argsort(keys, kind="stable")
        return cls(np.ascontiguousarray(keys[order]), numbers[order])


class FeatureIndex:
    """The numbers of records under string keys; of several records with one key the last added counts.

    It holds 20 bytes a record, where a dictionary of the keys would hold several hundred: a store of a million rows
    must not need a gigabyte before its first batch.
    """

    def __init__(self) -> None:
        self._runs = list[_Run]()

    def add(self, keys: NDArray[np.bytes_], numbers: NDArray[np.uint32]) -> None:
        """Sorted runs of at least doubling size: a record is sorted again as often as the size has doubled."""
        self._runs.append(_Run.of(keys, numbers))
        while len(self._runs) > 1 and len(self._runs[-2].keys) < 2 * len(self._runs[-1].keys):
            newer, older = self._runs.pop(), self._runs.pop()
            self._runs.append(
                _Run.of(np.concatenate([older.keys, newer.keys]), np.concatenate([older.numbers, newer.numbers]))
            )

    def find(self, keys: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        """The number of one record per key, and whether there is one at all."""
        wanted = np.frombuffer(b"".join(key_digest(key) for key in keys), dtype="S16")
        numbers, found = np.zeros(len(keys), np.uint32), np.zeros(len(keys), np.bool_)
        for run in self._runs:
            if len(run.keys):
                place = np.searchsorted(run.keys, wanted, side="right") - 1  # -1 is no hit either: all are greater
                hit = run.keys[place] == wanted
                numbers[hit], found[hit] = run.numbers[place[hit]], True
        return numbers, found


def readable(records: Records, *, available_bytes: int) -> NDArray[np.bool_]:
    """Which records in an index file have entries that can be there."""
    # In floating point: the sizes of a damaged record may be too large for any integer.
    ends = records["offset_bytes"].astype(np.float64) + _sizes(records).astype(np.float64)
    known = np.isin(records["precision"], list(PRECISION_CODES.values())) & (records["axes"] <= MOST_AXES)
    there: NDArray[np.bool_] = known & (ends <= available_bytes)
    return there


def new_records(
    entries: Iterable[tuple[str, tuple[int, ...], bytes]], *, offset_bytes: int, precision: StoredPrecision
) -> Records:
    """A record for each (key, shape, values' bytes), laid one behind the other from `offset_bytes` on.

    Raises: ValueError if an entry has more axes than a record has room for.
    """
    rows, value_checksums = [], []
    for key, shape, content in entries:
        if len(shape) > MOST_AXES:
            raise ValueError(f"an entry of the feature store has {len(shape)} axes, expected at most {MOST_AXES}")
        padded = (*shape, *[1] * (MOST_AXES - len(shape)))
        rows.append((key_digest(key), offset_bytes, padded, len(shape), PRECISION_CODES[precision], 0))
        value_checksums.append(zlib.crc32(content))
        offset_bytes += len(content)
    records = np.array(rows, RECORD)
    records["checksum"] = record_checksums(records, value_checksums)
    return records


def record_checksums(records: Records, value_checksums: Sequence[int]) -> list[int]:
    """The checksum that each record must have if its values have these."""
    content, size, fields = records.tobytes(), RECORD.itemsize, RECORD.itemsize - RECORD["checksum"].itemsize
    starts = range(0, len(content), size)
    return [zlib.crc32(content[at : at + fields], of) for at, of in zip(starts, value_checksums, strict=True)]


def entry_sizes(records: Records) -> NDArray[np.int64]:
    """The bytes of each record's values."""
    return _sizes(records).astype(np.int64)


def key_digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=16).digest()


def _sizes(records: Records) -> NDArray[np.float64]:
    is_float = records["precision"] == PRECISION_CODES["float32"]
    item_bytes = np.where(is_float, ITEM_BYTES["float32"], ITEM_BYTES["bfloat16"])
    sizes: NDArray[np.float64] = np.prod(records["shape"], axis=1, dtype=np.float64) * item_bytes
    return sizes
