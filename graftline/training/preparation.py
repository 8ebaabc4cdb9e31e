"""The rows of an adaptation, for which the frozen part runs once instead of in every epoch."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from graftline.compute.spread import Spread
from graftline.errors import GraftlineError
from graftline.frozen.filling import fill, run_through
from graftline.frozen.freezing import FreezePoint
from graftline.frozen.keys import RowKeys, row_keys
from graftline.frozen.proof import plan_for
from graftline.frozen.replay import replaying
from graftline.frozen.rows import FeatureRows, InputRows, ReplayedRows, joined
from graftline.frozen.store import KEYS_AT_ONCE, FeatureStore, FeatureStoreFullError
from graftline.frozen.vectors import Vectors, in_blocks, kept_vectors
from graftline.models.classifier import Classifier
from graftline.models.parts import HEAD
from graftline.models.views import views_of
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.plan import Rows
from graftline.training.progress import Listener


class Stores(Protocol):
    """Opens the store of what the frozen part in front of a freeze point gives."""

    def __call__(self, point: FreezePoint) -> AbstractContextManager[FeatureStore]: ...


@dataclass(frozen=True)
class Preparation:
    """Makes the rows ready that a model learns from behind a freeze point."""

    model: Classifier
    rows: Mapping[str, InputRows]
    """By split."""
    settings: AdaptationSettings
    stores: Stores
    listener: Listener
    solves_head: bool
    """Whether a head is solved, for which all views of a row count at once, where an epoch shows one of them."""
    spread: Spread | None = None
    """Who computes shards of the rows that are to be kept; None: this process."""

    @contextmanager
    def prepared(self, point: FreezePoint) -> Iterator[Mapping[str, Rows]]:
        """The rows to train on: as they are if nothing can be kept, otherwise from what the frozen part gave once."""
        if point.first_trainable is None:
            yield self._seen
            return
        if point.first_trainable == HEAD:
            yield self.features(point)
            return
        plan = plan_for(self.model, point, self.rows["train"])
        with ExitStack() as opened:
            kept = self._filled(point, opened)
            if kept is None:
                opened.close()  # nobody else should wait for a store that this training does not use
                yield self._seen
                return
            store, keys = kept
            give = opened.enter_context(replaying(self.model, point, plan))
            yield {split: ReplayedRows(rows, store, keys[split], give) for split, rows in self._seen.items()}

    def features(self, point: FreezePoint, *, keep: bool = True) -> Mapping[str, FeatureRows]:
        """The vectors that enter a head, of all views of the rows.

        Not to `keep` them is for a backbone that has learned: what stores hold is the base model's.

        Raises: GraftlineError if they are no numbers.
        """
        in_views = {split: rows.in_all_views() for split, rows in self._seen.items()}
        vectors = self._vectors(point, in_views, keep=keep)
        for split, of_split in vectors.items():
            if odd := sum(int((~block.isfinite().all(-1)).sum()) for _, block in in_blocks(of_split)):
                raise GraftlineError(
                    f"the frozen part gives numbers that are not finite for {odd} of {len(of_split)} {split} rows, so"
                    " no head can learn from them; remove rows with extreme content or choose another base model"
                )
        return {
            split: FeatureRows(vectors[split], rows.targets, max(1, len(self._seen[split].views)), rows.weights)
            for split, rows in in_views.items()
        }

    def _vectors(self, point: FreezePoint, in_views: Mapping[str, InputRows], *, keep: bool) -> dict[str, Vectors]:
        with ExitStack() as opened:
            kept = self._filled(point, opened) if keep else None
            if kept is not None:
                store, keys = kept
                return {
                    split: kept_vectors(_in_parts(store, of_split), len(of_split)) for split, of_split in keys.items()
                }
        # One vector per row has room in memory where the files of all runs have none on the disk.
        way = self.settings.precision, self.settings.runs_with
        passed = self.listener.passed
        spread = self.spread if keep else None  # where the backbone has learned, shards would cost more than they spare
        # Not in a file: this is for few rows, or for a disk that is full.
        exact = {split: run_through(self.model, point, rows, *way, passed, spread) for split, rows in in_views.items()}
        # As the store would have rounded them.
        rounded = getattr(torch, self.settings.feature_precision)
        return {split: tensor.to(rounded).float() for split, tensor in exact.items()}

    @property
    def _seen(self) -> Mapping[str, InputRows]:
        """The rows, those to learn from in their random views: as many as a solved head learns from, or epochs show."""
        settings = self.settings
        count = settings.views if self.solves_head else min(settings.views, settings.epochs * settings.runs)
        views = views_of(settings.augmentation, seed=settings.seed, count=count)
        return {**self.rows, "train": replace(self.rows["train"], views=views)}

    def _filled(self, point: FreezePoint, opened: ExitStack) -> tuple[FeatureStore, Mapping[str, RowKeys]] | None:
        """The store with all rows in it, open as long as `opened`; None, and told, if there is no room for them."""
        settings, say = self.settings, self.listener.say
        try:
            store = opened.enter_context(self.stores(point))
            in_views = {split: rows.in_all_views() for split, rows in self._seen.items()}
            keys = {split: row_keys(rows) for split, rows in in_views.items()}
            # All at once: rows of one length share batches, whichever side they are on.
            together, of_all = joined(list(in_views.values())), RowKeys.joined(keys.values())
            ran = fill(
                store,
                self.model,
                point,
                together,
                of_all,
                precision=settings.precision,
                runtime=settings.runs_with,
                passed=self.listener.passed,
                spread=self.spread,
            )
            say(f"frozen part: ran once for {ran} rows, {len(of_all) - ran} were kept")
            for name in store.evicted:
                say(f"frozen part: what was kept in {name}, the least recently used, made room")
        except FeatureStoreFullError as error:
            instead = "once, into memory" if point.first_trainable == HEAD else "in every epoch"
            say(f"{error}; the frozen part runs {instead}")
            return None
        return store, keys


def _in_parts(store: FeatureStore, keys: RowKeys) -> Iterator[Tensor]:
    """The vectors of these rows, some at a time: (rows, width)."""
    for start in range(0, len(keys), KEYS_AT_ONCE):
        yield store.batch(keys[start : start + KEYS_AT_ONCE]).float()
