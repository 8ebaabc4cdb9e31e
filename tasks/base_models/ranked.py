"""The base model that the newest ranking advises, in the place of `base_model.uri: ranked`."""

import json
import logging
from typing import cast

import yaml
from pydantic import JsonValue

from graftline.errors import SettingsError
from graftline.files import write_json
from graftline.settings import RANKED, Settings
from graftline.settings.by_value import by_value
from graftline.tasks.base_models.locking import locked_model
from graftline.tasks.workspace import Workspace

RANKING = "ranking.json"
AGAIN = "run `graftline rank` again, or name a base model in base_model.uri"

logger = logging.getLogger("graftline.rank")


def keep_ranking(workspace: Workspace, settings: Settings, version: str, found: dict[str, JsonValue]) -> None:
    """Write down what was found, with the data that it is about: `version` is theirs."""
    workspace.reports.mkdir(exist_ok=True)
    about: dict[str, JsonValue] = {"data_version": version, "data_settings": by_value(settings.data, "data")}
    write_json(workspace.reports / RANKING, {**about, **found})


def with_ranked(workspace: Workspace, settings: Settings) -> Settings:
    """The settings with the address of the base model that was advised, if they ask for it; as they are otherwise.

    Raises: SettingsError if there is no ranking, or one of other data, or of other bytes of the base model.
    """
    if settings.base_model.uri != RANKED:
        return settings
    path = workspace.reports / RANKING
    try:
        ranking = cast("dict[str, JsonValue]", json.loads(path.read_text(encoding="utf-8")))
        uri, digest = str(ranking["advised"]), ranking["advised_sha256"]
        of_version, of_settings = ranking["data_version"], ranking["data_settings"]
    except FileNotFoundError:
        raise SettingsError(
            f"base_model.uri {RANKED}: {path.name} is not in {path.parent}, so no ranking says which base model that"
            " is; run `graftline rank`, or name one in base_model.uri"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise SettingsError(f"base_model.uri {RANKED}: {path} is damaged; {AGAIN}") from None
    version = _version_named(workspace, settings)
    if version is not None and version != of_version:
        raise SettingsError(
            f"base_model.uri {RANKED}: the newest ranking is of data version {of_version}, and"
            f" {settings.data.folder}.dvc names {version}; {AGAIN}"
        )
    if by_value(settings.data, "data") != of_settings:
        raise SettingsError(f"base_model.uri {RANKED}: the data settings were others when it was ranked; {AGAIN}")
    if (locked := locked_model(workspace, uri).digest) != digest:
        raise SettingsError(
            f"base_model.uri {RANKED}: {uri} was ranked with the digest {str(digest)[:12]}, and is locked with"
            f" {locked[:12]}; {AGAIN}"
        )
    logger.info("base_model.uri %s: takes %s, as `graftline rank` advised", RANKED, uri)
    return settings.model_copy(update={"base_model": settings.base_model.model_copy(update={"uri": uri})})


def _version_named(workspace: Workspace, settings: Settings) -> str | None:
    """The version that the .dvc file names; None where there is none to be read, which a run itself refuses."""
    try:
        (out,) = yaml.safe_load((workspace.root / f"{settings.data.folder}.dvc").read_text(encoding="utf-8"))["outs"]
        return str(out["md5"]).removesuffix(".dir")
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None
