"""What it costs to compare a registered model's files with their digests before anything of it runs.

Usage: python -m benchmarks.speed.file_checks [--repeats N] [--folder FOLDER]      needs 1.2 GB there

Models of 120 files, of which one holds weights of so many MB and the others are code. By turns, files in the system's
cache: our check, SHA-256 of as many bytes in memory (the least that any check of this kind takes), and reading the
weights as safetensors, which every load does. Shown are medians.
"""

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from graftline.tasks.tracking.model_files import digests_of, require_files

MEGABYTES = (0, 10, 100, 1000)
CODE_FILES, CODE_BYTES = 119, 6_000
WEIGHTS = "artifacts/model/model.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the models are made (default: a temporary one)"
    )
    chosen = parser.parse_args()
    print("|    MB | check, ms | ms per MB | digest alone, ms | check / digest | read weights, ms |")
    print("| ---: " * 6 + "|")
    for megabytes in MEGABYTES:
        with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
            model = write_model(Path(folder), megabytes)
            print(line(megabytes, measure(model, chosen.repeats)), flush=True)


def write_model(folder: Path, megabytes: int) -> Path:
    """A folder of the form that a registered model has."""
    code = folder / "code"
    code.mkdir()
    for number in range(CODE_FILES):
        (code / f"{number}.py").write_bytes(os.urandom(CODE_BYTES))
    weights = folder / WEIGHTS
    weights.parent.mkdir(parents=True)
    save_file({"weights": torch.rand(max(1, megabytes * 250_000))}, weights)
    return folder


def measure(model: Path, repeats: int) -> Mapping[str, list[float]]:
    """Milliseconds of each side, turn by turn."""
    files = digests_of("the model", model)
    content = b"".join((model / name).read_bytes() for name in files)
    sides: dict[str, Callable[[], object]] = {
        "check": lambda: require_files("the model", model, files),
        "digest": lambda: hashlib.sha256(content).digest(),
        "weights": lambda: [values.sum() for values in load_file(model / WEIGHTS).values()],
    }
    seen: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            began = time.perf_counter()
            run()
            seen[name].append(1000 * (time.perf_counter() - began))
    return seen


def line(megabytes: int, seen: Mapping[str, list[float]]) -> str:
    """A line of the table."""
    check, least, weights = (statistics.median(seen[name]) for name in ("check", "digest", "weights"))
    ratio = statistics.median(ours / theirs for ours, theirs in zip(seen["check"], seen["digest"], strict=True))
    size = megabytes + CODE_FILES * CODE_BYTES / 1e6
    return f"| {size:.1f} | {check:.1f} | {check / size:.2f} | {least:.1f} | {ratio:.2f} | {weights:.1f} |"


if __name__ == "__main__":
    main()
