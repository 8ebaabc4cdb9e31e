"""Between steps 2 and 3, distances: how far from home the rows are, in what the untouched base model makes of them."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from graftline.compute.threads import thread_count
from graftline.files import write_json
from graftline.settings import Kind, Settings
from graftline.settings.by_value import by_value
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import (
    ACCEPTED,
    GROUP,
    ValidatedData,
    raw_inputs,
    read_split,
)
from graftline.tasks.step import step
from graftline.tasks.step_folders import produce
from graftline.tasks.steps.baseline_settings import frozen_head_settings
from graftline.tasks.steps.feature_stores import libraries_for
from graftline.tasks.steps.fine_tune import LIBRARIES
from graftline.tasks.steps.source_task import NAME as PROBE
from graftline.tasks.steps.source_task import SourceTask
from graftline.tasks.steps.target_domain import NAME as THERE
from graftline.tasks.steps.target_domain import TargetDomain
from graftline.tasks.steps.untouched_base import head_vectors
from graftline.tasks.workspace import Workspace
from graftline.transfer.distances import LEAST_ROWS
from graftline.transfer.pairs import About, Pair, as_json, pairs_of

if TYPE_CHECKING:
    from graftline.models.preprocessing import Raw

STEP, SUMMARY = "distances", "distances.json"
# What is known before a training: no held-out row is read.
SIDES = ("train", "validation")
# The largest values of a column; each costs some seconds.
MOST_SLICES = 12

logger = logging.getLogger("graftline.distances")


@dataclass(frozen=True)
class Domain:
    """Rows of one origin."""

    name: str
    """In words: `the rows to learn from`."""
    raws: "Sequence[Raw]"
    groups: Sequence[str] | None = None
    """Of each row, where rows of one group are not independent."""

    def __len__(self) -> int:
        return len(self.raws)

    def take(self, places: Sequence[int]) -> "Domain":
        """Some of the rows."""
        groups = None if self.groups is None else [self.groups[place] for place in places]
        return Domain(self.name, [self.raws[place] for place in places], groups)


@dataclass(frozen=True)
class Asked:
    """Two sets of rows to compare."""

    about: About
    source: Domain
    target: Domain

    @property
    def too_few(self) -> str | None:
        """Why nothing is to be seen, if so."""
        few = [f"{len(one)} of {one.name}" for one in (self.source, self.target) if len(one) < LEAST_ROWS]
        return f"too few rows to compare: {' and '.join(few)}, expected {LEAST_ROWS} or more" if few else None


@step("distances")
def distances(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    base: BaseModel,
    source: SourceTask | None,
    domain: TargetDomain | None = None,
) -> tuple[Pair, ...]:
    """The distances of what the settings name, once for all runs on these rows and this base model.

    None where they name no rows of a source task or a target domain: slices alone are for `graftline distance`.
    """
    if source is None and domain is None:
        return ()
    frozen = frozen_head_settings(settings)
    depends_on: dict[str, JsonValue] = {
        "data": data.sha256,
        "slices": list(settings.data.slices),
        "source_task": source.rows.sha256 if source else None,
        "target_domain": domain.rows.sha256 if domain else None,
        "base_model": base.digest,
        "settings": by_value(frozen, "adaptation", without=["threads", "feature_gigabytes"]),
        "threads": thread_count(frozen.threads),
    }

    def build(folder: Path) -> None:
        asked = asked_of_line(workspace, settings, data, source, domain)
        pairs = compare(workspace, settings, base, asked, kind=data.kind, sample_bits=data.sample_bits)
        write_json(folder / SUMMARY, as_json(pairs))

    folder = produce(
        workspace,
        STEP,
        depends_on=depends_on,
        code=(__name__,),
        libraries=(*LIBRARIES, "scipy", *libraries_for(frozen, data.kind)),
        build=build,
    )
    return pairs_of(folder.read_json(SUMMARY))


def rows_to_learn_from(workspace: Workspace, data: ValidatedData, name: str = "the rows to learn from") -> Domain:
    """The training and validation rows."""
    raws = [raw for side in SIDES for raw in raw_inputs(workspace, data, side)]
    return Domain(name, raws, _column(data, GROUP) if _has_groups(data) else None)


def asked_of_line(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    source: SourceTask | None,
    domain: TargetDomain | None,
) -> list[Asked]:
    """What the settings name: the rows to learn from beside those of the source task and of the target domain, and each
    slice beside the others."""
    rows = rows_to_learn_from(workspace, data)
    probe = [] if source is None else [Asked("source task", rows_to_learn_from(workspace, source.rows, PROBE), rows)]
    there = [] if domain is None else [Asked("target domain", rows, rows_to_learn_from(workspace, domain.rows, THERE))]
    return [*probe, *there, *_slices(settings, data, rows)]


def compare(
    workspace: Workspace,
    settings: Settings,
    base: BaseModel,
    asked: Sequence[Asked],
    *,
    kind: Kind,
    sample_bits: int,
) -> tuple[Pair, ...]:
    """The distances of each pair with enough rows, of some of the rows of each, and what they advise.

    The base model runs for those rows only that no store holds yet.
    """
    import numpy as np

    from graftline.transfer.distances import distances as distances_of
    from graftline.transfer.distances import some_rows

    seed = settings.evaluation.seed
    pairs = [one for one in asked if one.too_few is None]
    chosen = [
        domain.take([int(place) for place in some_rows(len(domain), np.random.default_rng(seed))])
        for one in pairs
        for domain in (one.source, one.target)
    ]
    if not chosen:
        return ()
    every = [raw for domain in chosen for raw in domain.raws]
    frozen, ends = frozen_head_settings(settings), list(accumulate(len(domain) for domain in chosen))
    vectors = head_vectors(workspace, frozen, base, every, kind=kind, sample_bits=sample_bits).tensor_split(ends[:-1])
    found = []
    for place, one in enumerate(pairs):
        (source, target), of_both = chosen[2 * place : 2 * place + 2], vectors[2 * place : 2 * place + 2]
        groups = None if source.groups is None or target.groups is None else (source.groups, target.groups)
        apart = distances_of(*(tensor.numpy() for tensor in of_both), seed=seed, groups=groups)
        found.append(Pair(one.about, one.source.name, one.target.name, apart))
        logger.info("distance: %s", found[-1].advice)
    return tuple(found)


def _slices(settings: Settings, data: ValidatedData, rows: Domain) -> Iterator[Asked]:
    """Each of the most frequent values of the columns in `data.slices` beside all other rows."""
    for column in settings.data.slices:
        values = _column(data, f"slice.{column}")
        often = sorted(set(values), key=lambda value: (-values.count(value), value))
        for value in often[:MOST_SLICES] if len(often) > 1 else ():
            name = f"{column}={value}"
            inside = [place for place, one in enumerate(values) if one == value]
            outside = [place for place, one in enumerate(values) if one != value]
            others = _named(rows.take(outside), f"the rows without {name}")
            yield Asked("slice", others, _named(rows.take(inside), name))


def _named(rows: Domain, name: str) -> Domain:
    return Domain(name, rows.raws, rows.groups)


def _column(data: ValidatedData, name: str) -> list[str]:
    return [value for side in SIDES for value in read_split(data, side, [name])[name]]


def _has_groups(data: ValidatedData) -> bool:
    from pyarrow import parquet

    return GROUP in parquet.read_schema(data.folder.path / ACCEPTED).names
