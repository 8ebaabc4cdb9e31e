"""What a bundle states: the files of a version and the verdict on it, as a statement of in-toto."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from graftline.digests import canonical_json
from graftline.errors import BundleRefusedError
from graftline.pages.text import visible

STATEMENT: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
# A name and no address: Graftline has no host of its own that this could lead to.
PREDICATE: Literal["urn:graftline:verdict:v1"] = "urn:graftline:verdict:v1"
# A year of nightly retrainings takes about 7 MB, most of it the manifests of all versions in their records.
MOST_BYTES = 64 << 20

# More than any count of rows, versions or records; a number of a thousand digits would fill the page.
MOST = 1 << 53
Number = Annotated[int, Field(ge=1, le=MOST)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Digests(_Form):
    """Of one file."""

    sha256: Digest


class Subject(_Form):
    """A file of the registered model, by its path in it."""

    name: str
    digest: Digests


class Made(_Form):
    """Who made the bundle, when and with what."""

    when: str
    """UTC, ISO 8601."""
    who: str
    graftline: str
    """The release."""


class Stated(_Form):
    """What no record binds: the signer of the bundle alone vouches for it."""

    main_score: str
    """The name of the score that decides."""
    rows: Mapping[str, Annotated[int, Field(ge=0, le=MOST)]]
    """Read, accepted, set aside, and on each side of the split."""
    provenance: str
    """provenance.json of the version's run, byte for byte: settings, data, split, base model, code, libraries."""


class Verdict(_Form):
    """The verdict on a version, and all that it rests on.

    Texts that stand in it whole are those whose digests stand elsewhere in it.
    """

    model: str
    version: Number
    record: Number
    """The number of the record of the verdict."""
    made: Made
    files: Mapping[str, str]
    """What lies with the version's run and is bound by that record, byte for byte: policy, evaluation, verdict."""
    tags: Mapping[str, str]
    """The version's tags that the record binds: data version, split, held-out rows, what it was compared with."""
    stated: Stated
    history: tuple[str, ...]
    """Every record of the model, oldest first, each as the canonical JSON whose digest the next one names."""


class Statement(_Form):
    """A statement of in-toto, version 1, about the files of one version."""

    type: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")] = STATEMENT
    subject: tuple[Subject, ...]
    predicate_type: Annotated[Literal["urn:graftline:verdict:v1"], Field(alias="predicateType")] = PREDICATE
    predicate: Verdict

    @property
    def payload(self) -> bytes:
        """The one spelling of it."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))


def subjects_of(files: Mapping[str, str]) -> tuple[Subject, ...]:
    """The files of a version, from their digests by their paths."""
    return tuple(Subject(name=name, digest=Digests(sha256=digest)) for name, digest in sorted(files.items()))


def parse_statement(payload: bytes) -> Statement:
    """The statement that a payload is. Raises: BundleRefusedError if it has another form, or another spelling."""
    try:
        statement = Statement.model_validate_json(payload)
        same = statement.payload == payload
    except ValidationError as error:
        fault = error.errors()[0]
        what = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        raise BundleRefusedError(
            f"its statement has another form than this release of Graftline knows ({visible(what)})"
        ) from None
    if not same:
        raise BundleRefusedError("its statement is spelt otherwise than Graftline writes it")
    return statement
