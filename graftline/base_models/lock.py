"""Base models as a listing of files: what `base_models.lock` says, and whether a folder is exactly that."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from graftline.base_models.allowed_files import check_content, check_names
from graftline.digests import file_sha256, json_sha256
from graftline.errors import BaseModelRefusedError

MODEL_CARD = "README.md"
UNKNOWN_LICENCE = "unknown"
SHOWN_CHARACTERS = 12
LOCK_HEAD = """\
# The exact bytes of each base model: written by `graftline lock`, checked at every load. Review a change like code:
# a new digest means other weights. The digest names the listing of path, bytes and sha256.
"""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Locked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LockedFile(Locked):
    """One file of a base model."""

    path: str
    bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256
    version: str | None = None
    """The object's version, where a bucket keeps versions."""


class LockedModel(Locked):
    """The files that a base model consists of, and where from."""

    revision: str
    licence: str
    digest: Sha256
    files: Annotated[tuple[LockedFile, ...], Field(strict=False)]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @model_validator(mode="after")
    def _digest_is_of_the_listing(self) -> "LockedModel":
        if self.digest != listing_sha256(self.files):
            raise ValueError(f"the digest is not that of the files, which is {listing_sha256(self.files)}")
        return self


def parse_lock(text: str, source: str) -> dict[str, LockedModel]:
    """Read the lock file: base model by its uri. It may have been edited by hand, so names are checked too.

    Raises: BaseModelRefusedError.
    """
    try:
        models = TypeAdapter(dict[str, LockedModel]).validate_python(yaml.safe_load(text) or {})
    except (yaml.YAMLError, ValidationError) as error:
        fault = _fault(error) if isinstance(error, ValidationError) else " ".join(str(error).split())
        raise BaseModelRefusedError(
            f"{source}: {fault}; expected what `graftline lock` wrote: restore the file from git or lock again"
        ) from None
    for uri, model in models.items():
        check_names([file.path for file in model.files], f"{source}: {uri}")
    return models


def print_lock(models: Mapping[str, LockedModel]) -> str:
    """The lock file's text: sorted, one line per file."""
    return LOCK_HEAD + "".join(_print_model(uri, models[uri]) for uri in sorted(models))


def describe_folder(
    folder: Path, uri: str, *, revision: str, licence: str | None, versions: Mapping[str, str | None]
) -> LockedModel:
    """The lock entry of the model in `folder`. An unknown licence is looked up in its model card.

    Raises: BaseModelRefusedError if the folder holds what may run code or no safetensors weights.
    """
    names = list_files(folder, uri)
    check_names(names, uri)
    for name in names:
        check_content(folder / name, name, uri)
    files = tuple(
        LockedFile(
            path=name,
            bytes=(folder / name).stat().st_size,
            sha256=file_sha256(folder / name),
            version=versions.get(name),
        )
        for name in names
    )
    licence = card_licence(folder) or licence or UNKNOWN_LICENCE
    return LockedModel(revision=revision, licence=licence, digest=listing_sha256(files), files=files)


def check_folder(folder: Path, uri: str, *, files: Sequence[LockedFile], next_step: str) -> None:
    """Check that `folder` holds exactly `files`, byte for byte, and nothing that runs code.

    Raises: BaseModelRefusedError naming the file, what it is and what it should be; `next_step` ends the sentence.
    """
    where = f"{uri}: {folder}"
    found, expected = set(list_files(folder, uri)), {file.path for file in files}
    for name in sorted(found - expected):
        raise BaseModelRefusedError(f"{where}: {name!r} is extra, expected only what the lock names; {next_step}")
    for name in sorted(expected - found):
        raise BaseModelRefusedError(f"{where}: {name} is missing, expected what the lock names; {next_step}")
    for file in files:
        check_file(folder / file.path, file, where, next_step=next_step)
    for file in files:
        check_content(folder / file.path, file.path, uri)


def check_file(path: Path, file: LockedFile, where: str, *, next_step: str) -> None:
    """Check one file's size and sha256. Raises: BaseModelRefusedError."""
    size_bytes = path.stat().st_size
    if size_bytes != file.bytes:
        raise BaseModelRefusedError(
            f"{where}: {file.path} has {size_bytes} bytes, expected {file.bytes} as locked; {next_step}"
        )
    sha256 = file_sha256(path)
    if sha256 != file.sha256:
        raise BaseModelRefusedError(
            f"{where}: {file.path} has sha256 {sha256[:SHOWN_CHARACTERS]}, expected {file.sha256[:SHOWN_CHARACTERS]}"
            f" as locked; {next_step}"
        )


def list_files(folder: Path, uri: str) -> list[str]:
    """Relative names of the regular files below `folder`, sorted. A link may point inside the folder, to a file.

    Raises: BaseModelRefusedError for links out of the folder, links to folders, pipes and the like.
    """
    root = folder.resolve()
    names = []
    for parent, folders, files in os.walk(folder, followlinks=False):
        for entry in [*files, *(name for name in folders if (Path(parent) / name).is_symlink())]:
            path = Path(parent) / entry
            name = path.relative_to(folder).as_posix()
            if not path.is_file() or not path.resolve().is_relative_to(root):
                raise BaseModelRefusedError(
                    f"{uri}: {name!r} is a link that leads out of the model's folder, or no regular file;"
                    " expected files only: put the file itself there"
                )
            names.append(name)
    return sorted(names)


def listing_sha256(files: Sequence[LockedFile]) -> str:
    """The digest that a base model goes by: over path, size and content of each file, wherever it comes from."""
    return json_sha256([[file.path, file.bytes, file.sha256] for file in sorted(files, key=lambda file: file.path)])


def card_licence(folder: Path) -> str | None:
    """The licence that the model card's front matter names."""
    card = folder / MODEL_CARD
    if not card.is_file():
        return None
    head, front, *_ = [*card.read_text(encoding="utf-8").split("---\n", 2), ""]
    try:
        values = yaml.safe_load(front) if not head else None
    except yaml.YAMLError:
        return None
    licence = values.get("license") if isinstance(values, dict) else None
    return " ".join(licence.split()) if isinstance(licence, str) else None


def _print_model(uri: str, model: LockedModel) -> str:
    lines = [f"{_quoted(uri)}:"]
    lines += [f"  {name}: {_quoted(getattr(model, name))}" for name in ("revision", "licence", "digest")]
    lines += ["  files:"]
    for file in model.files:
        values = file.model_dump(exclude_none=True)
        lines.append("    - {" + ", ".join(f"{key}: {_quoted(value)}" for key, value in values.items()) + "}")
    return "\n".join(lines) + "\n"


def _fault(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'the file'}: {first['msg']}"


def _quoted(value: str | int) -> str:
    """A YAML value that stays what it is: unquoted, the revision 1.10 would come back as the number 1.1."""
    return json.dumps(value, ensure_ascii=False)
