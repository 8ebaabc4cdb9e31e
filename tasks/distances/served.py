"""What was served beside the held-out rows, both as the champion's own head reads them."""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from graftline.errors import DataRefusedError
from graftline.settings import Settings
from graftline.settings.serving import SERVING
from graftline.tasks.registry.named import NamedVersion, VersionName, find_named
from graftline.tasks.registry.versions import CHAMPION
from graftline.tasks.serving.request_log import served_days
from graftline.tasks.watching.reference import Reference, logged_rows
from graftline.tasks.watching.watched import reference_for, rows_of_day
from graftline.tasks.workspace import Workspace
from graftline.transfer.distances import LEAST_ROWS, MOST_ROWS, distances, some_rows
from graftline.transfer.pairs import Pair

if TYPE_CHECKING:
    from graftline.transfer.two_samples import Vectors


def served_beside_held_out(workspace: Workspace, settings: Settings) -> Pair:
    """The newest rows that the champion answered, beside those that it was judged on.

    Raises: RegistryRefusedError if there is no champion, or it does not answer for the held-out rows; DataRefusedError
    if nothing was logged, or too few rows of either have what its head read.
    """
    model = settings.registry.model
    version, days = find_named(workspace, VersionName(model, CHAMPION)), served_days(workspace, model)
    if not days:
        raise DataRefusedError(
            f"{model}: nothing was logged, expected files in artifacts/served/{model}/DAY; serve it with"
            " `graftline serve`"
        )
    reference = reference_for(workspace, settings, version)
    served, held_out = _newest(workspace, version, reference, days), reference.rows.features
    if held_out is None or min(len(served), len(held_out)) < LEAST_ROWS:
        rows = 0 if held_out is None else len(held_out)
        raise DataRefusedError(
            f"{version}: what its head read is known of {len(served)} served and {rows} held-out rows, expected"
            f" {LEAST_ROWS} or more of both; serve with log.keeps features or input in {SERVING}, or wait for more"
        )
    seed = settings.evaluation.seed
    chosen = [side[some_rows(len(side), np.random.default_rng(seed))] for side in (held_out, served)]
    name = f"what {version} answered"
    return Pair("served rows", "its held-out rows", name, distances(chosen[0], chosen[1], seed=seed))


def _newest(workspace: Workspace, version: NamedVersion, reference: Reference, days: Sequence[date]) -> "Vectors":
    """Of the newest days, until there are enough: (rows, width)."""
    width = 0 if reference.rows.features is None else reference.rows.features.shape[1]
    found = [np.zeros((0, width), np.float32)]
    for day in reversed(days):
        if sum(map(len, found)) >= MOST_ROWS:
            break
        table = rows_of_day(workspace, version, day)
        known = logged_rows(table.filter(table["features"].is_valid()), reference.about, width)
        if known.features is not None:
            found.append(known.features)
    return np.concatenate(found)
