"""A page whose results take hours: each is kept beside it at once, so that a killed run goes on where it stopped."""

import argparse
import json
import os
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from pydantic import TypeAdapter

from graftline.files import write_atomically, write_json

# Prefect gives its server less, which a busy machine may exceed.
SERVER_SECONDS = 180
ASKED = "asked"

Results = TypeVar("Results")


@dataclass(frozen=True)
class KeptPage(Generic[Results]):
    """A page in Markdown, and the JSON file beside it that holds the results so far."""

    path: Path
    of: type[Results]
    """The type of all results together."""
    asked: dict[str, Any] | None = None
    """All that they depend on, where they hold or fall together; None where each says by itself what was asked."""

    def read(self, otherwise: Results) -> Results:
        """The results of earlier runs; `otherwise` if there are none, or they are of something else."""
        if not self._kept.exists():
            return otherwise
        kept = json.loads(self._kept.read_text(encoding="utf-8"))
        if self.asked is not None and kept.pop(ASKED, None) != self.asked:
            return otherwise
        return TypeAdapter(self.of).validate_python(kept)

    def keep(self, results: Results, newest: str) -> None:
        """Write all results down, and say the `newest` one on standard error."""
        plain = TypeAdapter(self.of).dump_python(results, mode="json")
        write_json(self._kept, plain if self.asked is None else {ASKED: self.asked, **plain})
        print(newest, file=sys.stderr, flush=True)

    def write(self, text: str) -> None:
        """Write the page anew."""
        write_atomically(self.path, text)

    @property
    def _kept(self) -> Path:
        return self.path.with_suffix(".json")


def write_between(page: Path, script: str, text: str) -> None:
    """The text in the place of what this script wrote on the page before; all around it was written by hand."""
    begin, end = f"<!-- written by {script} -->", "<!-- until here -->"
    written = page.read_text(encoding="utf-8") if page.exists() else f"{begin}\n{end}\n"
    before, after = written.partition(begin)[0], written.partition(end)[2]
    write_atomically(page, f"{before}{begin}\n\n{text}\n\n{end}{after}")


def with_range(value: float, low: float, high: float) -> str:
    """A score in a table, and the range around it."""
    return f"{value:.4f} ({low:.4f} to {high:.4f})"


def page_options(description: str | None, page: Path) -> argparse.ArgumentParser:
    """A command line that is described as its module is, with the option that every page has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=page, help="the page")
    return parser


def use_threads(threads: int) -> None:
    """So many threads for this process, its tokenizers, and the processes that it starts."""
    os.environ |= {name: str(threads) for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")}
    torch.set_num_threads(threads)


def prefect_server() -> AbstractContextManager[None]:
    """Inside, flows run at a Prefect server of their own, which leaves nothing behind."""
    from prefect.testing.utilities import prefect_test_harness

    return prefect_test_harness(server_startup_timeout=SERVER_SECONDS)
