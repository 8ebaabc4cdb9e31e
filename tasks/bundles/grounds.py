"""What a reader is told of the texts that stand in a bundle whole."""

import json
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from graftline.digests import json_sha256
from graftline.errors import BundleRefusedError
from graftline.pages.text import visible
from graftline.tasks.registry.binding import PAGES

# As the steps name what they keep with a run; importing those would take seconds.
EVALUATION, POLICY, PROVENANCE = "evaluation.json", "policy.json", "provenance.json"
_, REPORT = PAGES


class _Part(BaseModel):
    """Of a file that says more than is told of it."""

    model_config = ConfigDict(strict=True, frozen=True)


class Score(_Part):
    """A score on the held-out rows, with its 95 % interval."""

    value: float
    low: float
    high: float


class Numbers(_Part):
    """Of evaluation.json."""

    task: str
    rows: int
    scores: Mapping[str, Score]


class Sides(_Part):
    """The settings that decide on which side of the split a row lies."""

    input: str
    group: str | None
    test_share: float
    validation_share: float


class RunSettings(_Part):
    """Of the settings of a run."""

    data: Sides


class Provenance(_Part):
    """Of provenance.json."""

    settings: RunSettings
    data_version: str
    data_modified: bool
    data_sha256: str
    split_from: str
    split_sha256: str
    test_sha256: str
    base_model: str
    base_model_revision: str | None
    base_model_sha256: str
    policy_sha256: str
    git_commit: str | None
    locks: Mapping[str, str]


Part = TypeVar("Part", Numbers, Provenance)


def read_part(form: type[Part], name: str, text: str) -> Part:
    """Raises: BundleRefusedError if the text says something else."""
    try:
        return form.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        what = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        raise BundleRefusedError(f"its {name} has another form than this release knows ({visible(what)})") from None


def evaluation_sha256(text: str) -> str | None:
    """The digest by which a record names an evaluation; None of a text that is none."""
    try:
        return json_sha256(json.loads(text))
    except (ValueError, RecursionError):
        return None
