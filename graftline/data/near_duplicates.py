"""Rows that say the same, or nearly the same, on two sides of the split: such a row would be learned by heart."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from graftline.data.splitting import Split

SHINGLE_WORDS = 3
PERMUTATIONS = 128
MINHASH_SEED = 1
# Share of the pairs exactly at the threshold that are found; more similar ones are missed far more rarely.
RECALL_AT_THRESHOLD = 0.99
MOST_ROWS_PER_BAND = 16
# The length of the perceptual hashes, and how many rows are compared with all held-out ones at once: 15 MB for 30,000.
HASH_BITS = 256
HASHES_PER_STEP = 64
# Held-out rows stay when a twin is found, so that the verdict's rows never change because training data was added.
PROTECTION: dict[Split, int] = {"train": 0, "validation": 1, "test": 2}
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Twin:
    """A row on a better protected side of the split, and how alike the two are."""

    index: int
    split: Split
    similarity: float
    """1 if they are equal: the share of the word triples (Jaccard), of the hash's bits, or 1."""


def straddling(texts: Sequence[str], splits: Sequence[Split], *, similarity: float) -> dict[int, Twin]:
    """The rows that have a near duplicate on a better protected side, by index, each with one such twin.

    `texts` are normalised. Candidates come from MinHash (Broder 1997) with locality-sensitive hashing, and are
    compared exactly.
    """
    firsts = _first_of_each_kind(texts, splits)
    shingles = {index: _shingles(texts[index]) for index in firsts}
    held_out = [index for index in firsts if PROTECTION[splits[index]] > 0]
    twins: dict[int, Twin] = {}
    for index, candidates in _candidates(firsts, held_out, shingles, splits, similarity):
        for other in sorted(candidates, key=lambda other: (-PROTECTION[splits[other]], other)):
            shared = _jaccard(shingles[index], shingles[other])
            if PROTECTION[splits[other]] > PROTECTION[splits[index]] and shared >= similarity:
                twins[index] = Twin(other, splits[other], shared)
                break
    kinds = {(texts[index], splits[index]): twin for index, twin in twins.items()}
    return {index: kinds[kind] for index, kind in enumerate(zip(texts, splits, strict=True)) if kind in kinds}


def straddling_hashes(hashes: Sequence[int], splits: Sequence[Split], *, most_bits: int) -> dict[int, Twin]:
    """The rows whose perceptual hash differs in at most `most_bits` from one on a better protected side.

    Every pair is compared: 100,000 rows take about twenty seconds.
    """
    words = np.array([_words(number) for number in hashes], np.uint64).reshape(-1, HASH_BITS // 64)
    protection = np.array([PROTECTION[split] for split in splits], np.int8)
    # The best protected first, so that the first one near enough is the one to name.
    held_out = np.flatnonzero(protection > 0)
    held_out = held_out[np.argsort(-protection[held_out], kind="stable")]
    twins: dict[int, Twin] = {}
    open_to = np.flatnonzero(protection < max(PROTECTION.values()))
    for start in range(0, len(open_to) if len(held_out) else 0, HASHES_PER_STEP):
        rows = open_to[start : start + HASHES_PER_STEP]
        bits = sum(
            np.bitwise_count(words[rows, None, place] ^ words[held_out, place]).astype(np.uint16)
            for place in range(words.shape[1])
        )
        near = (bits <= most_bits) & (protection[held_out] > protection[rows, None])
        for row in np.flatnonzero(near.any(axis=1)):
            place = int(near[row].argmax())
            other = int(held_out[place])
            twins[int(rows[row])] = Twin(other, splits[other], 1 - int(bits[row, place]) / HASH_BITS)
    return twins


def straddling_equals(contents: Sequence[str], splits: Sequence[Split]) -> dict[int, Twin]:
    """The rows whose content stands on a better protected side as well."""
    best: dict[str, int] = {}
    for index, content in enumerate(contents):
        if content not in best or PROTECTION[splits[index]] > PROTECTION[splits[best[content]]]:
            best[content] = index
    return {
        index: Twin(best[content], splits[best[content]], 1.0)
        for index, content in enumerate(contents)
        if PROTECTION[splits[best[content]]] > PROTECTION[splits[index]]
    }


def _words(number: int) -> list[int]:
    """A perceptual hash in pieces that the processor compares at once."""
    return [(number >> shift) & (2**64 - 1) for shift in range(0, HASH_BITS, 64)]


def _first_of_each_kind(texts: Sequence[str], splits: Sequence[Split]) -> list[int]:
    """One index for each text on each side: equal rows have equal twins."""
    firsts: dict[tuple[str, Split], int] = {}
    for index, kind in enumerate(zip(texts, splits, strict=True)):
        firsts.setdefault(kind, index)
    return list(firsts.values())


def _shingles(text: str) -> frozenset[bytes]:
    """Hashes of the text's word triples; a shorter text, or one without words, is one shingle."""
    words = WORD.findall(text) or [text]
    starts = range(max(1, len(words) - SHINGLE_WORDS + 1))
    return frozenset(_hash(" ".join(words[start : start + SHINGLE_WORDS])) for start in starts)


def _hash(shingle: str) -> bytes:
    return hashlib.blake2b(shingle.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _candidates(
    firsts: Sequence[int],
    held_out: Sequence[int],
    shingles: dict[int, frozenset[bytes]],
    splits: Sequence[Split],
    similarity: float,
) -> Iterable[tuple[int, list[int]]]:
    from datasketch import MinHash, MinHashLSH

    sets = (shingles[index] for index in firsts)
    sketches = dict(
        zip(firsts, MinHash.bulk(sets, num_perm=PERMUTATIONS, seed=MINHASH_SEED, hashfunc=_first_32_bits), strict=True)
    )
    lookup = MinHashLSH(num_perm=PERMUTATIONS, params=_bands(similarity))
    for index in held_out:
        lookup.insert(index, sketches[index], check_duplication=False)
    for index in firsts:
        if splits[index] != "test":
            yield index, lookup.query(sketches[index])


def _bands(similarity: float) -> tuple[int, int]:
    """Bands and rows per band: the most selective ones that still find enough of the pairs at the threshold."""
    for rows in range(MOST_ROWS_PER_BAND, 1, -1):
        bands = PERMUTATIONS // rows
        if 1 - (1 - similarity**rows) ** bands >= RECALL_AT_THRESHOLD:
            return bands, rows
    return PERMUTATIONS, 1


def _first_32_bits(shingle: bytes) -> int:
    return int.from_bytes(shingle[:4], "little")


def _jaccard(one: frozenset[bytes], other: frozenset[bytes]) -> float:
    return len(one & other) / len(one | other)
