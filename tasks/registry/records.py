"""One decision about a registered model, as canonical JSON with a digest and, if wanted, a signature."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

from pydantic import JsonValue, TypeAdapter, ValidationError

from graftline.digests import canonical_json, json_sha256
from graftline.signatures import Signer, is_signed

Action = Literal["verdict", "approval", "promote", "override", "rollback", "remove"]
# Records of the first form lack what `Entry` and `Record` name after `previous_sha256`, those of the second what a
# verdict was spent on, whose record it is, and what it binds.
FORM, WITH_RUN = 3, 2
NOT_IN_SECOND_FORM = ("model", "files", "bound", "look")
FIRST_FORM = (
    "number", "when", "who", "action", "verdict", "version", "champion_before", "champion_after", "why",
    "evaluation_sha256", "previous_sha256",
)  # fmt: skip
SIGNATURE = "signature"


@dataclass(frozen=True)
class Answer:
    """A person's answer to a promotion that needs approval."""

    decision: Literal["approve", "reject"]
    name: str
    """As the person gave it: whoever can open the page can write any name."""
    reason: str
    when: str
    """UTC, ISO 8601: when it was given."""


@dataclass(frozen=True)
class LookAtGroups:
    """The same look, by whole groups of rows that are not independent."""

    groups: int
    names: str | None
    """The names of the groups, in their order, of many only a part: base64 (evaluation/row_gains.py)."""
    names_in: int | None
    """The record that holds the names, if they are those of an earlier one."""
    gains: str
    """The sum of the gains of each of these groups: base64."""
    design_effect: float
    """How many times the variance of the mean gain is that of as many independent rows."""


@dataclass(frozen=True)
class Look:
    """A comparison with the champion on held-out rows, as later ones on these rows have to know it."""

    level: float
    """The two-sided level of its test."""
    spent: float
    """Which share of the rows' evidence the looks before it had spent."""
    looks_before: int
    """How many records with a look the level was computed from."""
    rows: int
    names: str | None
    """The names of the rows, in their order, of many only a part: base64 (evaluation/row_gains.py)."""
    names_in: int | None
    """The record that holds the names, if they are those of an earlier one."""
    gains: str
    """What the candidate gained on each of these rows: base64."""
    gain: float
    """By how much its main score was better than the champion's."""
    error: float
    """The standard error of that."""
    of_groups: LookAtGroups | None = None
    """With `data.group`."""
    target: str | None = None
    """The target beside the first one that was looked at; None: the first, or only one."""
    by_costs: bool = False
    """Whether what answers cost was compared, instead of the main score: `gain` is what was saved."""
    further: "tuple[Look, ...]" = ()
    """The same comparison for more targets, where any of them decides."""

    def plain(self) -> dict[str, JsonValue]:
        """Its names and values. What only several targets or costs have is not there without
        them."""
        values: dict[str, JsonValue] = {**asdict(self), "further": [one.plain() for one in self.further]}
        return {name: value for name, value in values.items() if value or name not in ("target", "by_costs", "further")}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A decision about a version, and its grounds."""

    action: Action
    version: int
    """The version that was judged or moved."""
    champion_before: int | None
    champion_after: int | None
    why: str
    verdict: str | None = None
    """The verdict that the action rests on; of an override the one that it overrode."""
    evaluation_sha256: str | None = None
    reasons: tuple[str, ...] = ()
    """Of a verdict or approval: what the version's tags say."""
    policy_sha256: str | None = None
    run_id: str | None = None
    """The MLflow run that made the version: a number alone may be another version in another registry."""
    model_sha256: str | None = None
    """Digest of the version's weights."""
    data_version: str | None = None
    barred: str | None = None
    """Why its data bar the version from promotion, if they do."""
    due: str | None = None
    """Until when a person may approve (UTC, ISO 8601), if one must."""
    answer: Answer | None = None
    model: str | None = None
    """The registered model: a record that was copied to another one's history is noticed."""
    files: Mapping[str, str] | None = None
    """SHA-256 of every file of the version, by its path in the registered model."""
    bound: Mapping[str, str] | None = None
    """SHA-256 of what else stood beside the version when it was judged: its tags, the policy, evaluation, report."""
    look: Look | None = None
    """Of a verdict that compared with a champion."""

    @property
    def moves(self) -> bool:
        """Whether the champion changes with it."""
        return self.champion_before != self.champion_after


@dataclass(frozen=True, kw_only=True)
class Record(Entry):
    """An entry in its place: who made it when, and which record it follows."""

    number: int
    when: str
    """UTC, ISO 8601."""
    who: str
    previous_sha256: str | None
    """Digest of the record before this one."""
    form: int = FORM
    public_key: str | None = None
    signature: str | None = None

    def plain(self) -> dict[str, JsonValue]:
        """The names and values that its file holds."""
        values: dict[str, JsonValue] = {**asdict(self), "look": self.look.plain() if self.look else None}
        if self.form < WITH_RUN:
            return {name: values[name] for name in FIRST_FORM}
        return (
            values if self.form >= FORM else {name: values[name] for name in values if name not in NOT_IN_SECOND_FORM}
        )

    @property
    def sha256(self) -> str:
        """The digest by which the next record knows it, signature included."""
        return json_sha256(self.plain())

    @property
    def content(self) -> bytes:
        """Its file: canonical JSON and a line's end."""
        if self.form < WITH_RUN:
            return (json.dumps(self.plain(), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
        return canonical_json(self.plain()) + b"\n"

    def signed_by(self, signer: Signer) -> "Record":
        """The same record with the public key in it and a signature over all of that."""
        unsigned = replace(self, public_key=signer.public_key, signature=None)
        return replace(unsigned, signature=signer.sign(unsigned._signed_content))

    @property
    def signature_holds(self) -> bool:
        """Whether it was signed with the key that it names, exactly as it stands here."""
        if self.public_key is None or self.signature is None:
            return False
        return is_signed(self._signed_content, public_key=self.public_key, signature=self.signature)

    @property
    def _signed_content(self) -> bytes:
        return canonical_json({name: value for name, value in self.plain().items() if name != SIGNATURE})


def parse_record(content: bytes) -> Record:
    """The record that a file holds. Raises: ValueError if its content is none."""
    try:
        values = json.loads(content)
        if not isinstance(values, dict):
            raise ValueError("no JSON object")
        if "form" not in values:
            values = {**values, "form": 1, "reasons": [values.get("why")]}
        return _RECORD.validate_python(values)
    except (ValidationError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None


_RECORD: TypeAdapter[Record] = TypeAdapter(Record)
