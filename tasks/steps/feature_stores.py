"""The stores of what a frozen part gives for rows, which trainings share; a team's state has what others kept."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from graftline.compute.threads import thread_count
from graftline.data.media_files import DECODING_VERSION
from graftline.settings import Kind
from graftline.settings.adaptation import AdaptationSettings
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import READING_LIBRARIES
from graftline.tasks.state.folders import bring_store, keep_unfinished, send_store
from graftline.tasks.state.shared import shared_state
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.frozen.freezing import FreezePoint
    from graftline.frozen.keys import KeptUnder
    from graftline.frozen.store import FeatureStore
    from graftline.training.preparation import Stores

logger = logging.getLogger("graftline.fine_tune")


def stores_of(
    workspace: Workspace, base: BaseModel, settings: AdaptationSettings, kind: Kind, opened: list[str]
) -> "Stores":
    """Opens stores, and adds the key of each to those that were `opened`. A team's state has what others kept."""

    @contextmanager
    def open_store(point: "FreezePoint") -> "Iterator[FeatureStore]":
        from graftline.frozen.eviction import open_feature_store
        from graftline.frozen.keys import store_key
        from graftline.frozen.store import write_use

        key = store_key(_kept_under(base, point, settings, kind))
        opened.append(key)
        folder, limit_bytes = workspace.features / key, round(settings.feature_gigabytes * 1e9)
        if (state := shared_state()) is not None:
            new = partial(write_use, turn=0, reserved_bytes=0)
            bring_store(state, key, folder, limit_bytes=limit_bytes, prepare=new)
        precision = settings.feature_precision
        with open_feature_store(
            workspace.features, key, precision=precision, limit_bytes=limit_bytes, say=logger.info
        ) as store:
            yield store
            _share_stores(workspace, [key])

    return open_store


def share_unfinished(workspace: Workspace, folder: Path, opened: Sequence[str]) -> None:
    """Bring to a team's state what another machine needs to go on from the checkpoint that was just written."""
    keep_unfinished(folder)
    _share_stores(workspace, opened)


def _share_stores(workspace: Workspace, keys: Sequence[str]) -> None:
    from graftline.frozen.store import INDEX, VALUES

    if (state := shared_state()) is not None:
        for key in keys:
            send_store(state, key, workspace.features / key, (VALUES, INDEX))


def _kept_under(base: BaseModel, point: "FreezePoint", settings: AdaptationSettings, kind: Kind) -> "KeptUnder":
    from importlib.metadata import version

    from graftline.frozen.keys import LIBRARIES, KeptUnder

    return KeptUnder(
        base_digest=base.digest,
        first_trainable=point.first_trainable,
        threads=thread_count(settings.threads),
        device=settings.device,
        precision=settings.precision,
        feature_precision=settings.feature_precision,
        runtime=settings.runs_with,
        versions=(*(version(name) for name in (*LIBRARIES, *libraries_for(settings, kind))), *_decoded_in(kind)),
    )


def _decoded_in(kind: Kind) -> tuple[str, ...]:
    return () if kind == "text" else (f"decoding {DECODING_VERSION}",)


def libraries_for(settings: AdaptationSettings, kind: Kind) -> tuple[str, ...]:
    """The other libraries that a result depends on. Whoever asks for OpenVINO and lacks it is told where it is used."""
    is_there = settings.runtime == "openvino" and find_spec("openvino") is not None
    return (*READING_LIBRARIES[kind], "openvino") if is_there else READING_LIBRARIES[kind]
