"""Versions as people name them: 3, reviews/3, champion, reviews@champion."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graftline.errors import RegistryRefusedError, SettingsError
from graftline.tasks.registry.versions import (
    CHALLENGER,
    CHAMPION,
    WEIGHTS,
    challenger_of,
    champion_of,
    get_version,
    open_model,
)
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

FORM = re.compile(rf"(?:(?P<model>[^/@\s]+)[/@])?(?P<which>[1-9]\d*|{CHAMPION}|{CHALLENGER})")


@dataclass(frozen=True)
class VersionName:
    """A version by its number or its alias."""

    model: str
    which: str


@dataclass(frozen=True)
class NamedVersion:
    """A version that the registry has."""

    model: str
    number: int
    alias: str | None
    """By which it was asked for, if so."""
    version: "ModelVersion"

    @property
    def uri(self) -> str:
        """Its address for MLflow."""
        return f"models:/{self.model}/{self.number}"

    @property
    def weights_sha256(self) -> str | None:
        """The digest of its weights; none of a model from elsewhere."""
        return self.version.tags.get(WEIGHTS)

    def __str__(self) -> str:
        return f"{self.model} version {self.number}{f' ({self.alias})' if self.alias else ''}"


def read_name(text: str, model: str | None = None) -> VersionName:
    """A version's name; without a model in it one of `model`. Raises: SettingsError for anything else."""
    match = FORM.fullmatch(text)
    named = match and (match["model"] or model)
    if not match or not named:
        raise SettingsError(
            f"{text!r} names no version, expected a number, champion or challenger, or with the model in front:"
            f" {model or 'NAME'}/3, {model or 'NAME'}@champion"
        )
    return VersionName(named, match["which"])


def find_named(workspace: Workspace, name: VersionName) -> NamedVersion:
    """Raises: RegistryRefusedError if the registry has no such model or version."""
    open_model(workspace, name.model)
    if name.which.isdecimal():
        return NamedVersion(name.model, int(name.which), None, get_version(name.model, int(name.which)))
    number = champion_of(name.model) if name.which == CHAMPION else challenger_of(name.model)
    if number is None:
        raise RegistryRefusedError(
            f"{name.model}: has no {name.which}; name a version by its number (`graftline models` lists them)"
        )
    return NamedVersion(name.model, number, name.which, get_version(name.model, number))
