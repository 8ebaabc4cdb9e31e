"""Whether a bundle is what its signer made, and what it then says: without a registry and without a network."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from graftline.envelopes import UnknownKeyError, key_of, opened
from graftline.errors import BundleRefusedError, SettingsError
from graftline.tasks.bundles.belonging import faults_of, records_of
from graftline.tasks.bundles.form import MOST_BYTES, Statement, parse_statement
from graftline.tasks.bundles.grounds import EVALUATION, PROVENANCE, Numbers, Provenance, Score, read_part
from graftline.tasks.registry.records import Record
from graftline.tasks.registry.signing import Signing
from graftline.tasks.registry.verification import champion_faults

SHOWN_FAULTS = 20


@dataclass(frozen=True)
class Proven:
    """A bundle that holds, and what it says."""

    statement: Statement
    key: str
    """The public key that signed it."""
    records: Sequence[Record]
    numbers: Numbers
    provenance: Provenance

    @property
    def record(self) -> Record:
        """Of the verdict."""
        return self.records[self.statement.predicate.record - 1]

    @property
    def score(self) -> Score:
        """The one that decides."""
        return self.numbers.scores[self.statement.predicate.stated.main_score]

    @property
    def signed_by(self) -> Mapping[str, int]:
        """How many records are signed with each public key."""
        return Counter(str(record.public_key) for record in self.records if record.signature is not None)

    @property
    def notes(self) -> list[str]:
        """Where an alias was moved by hand: it is told, and speaks against nothing that was judged."""
        return [str(finding) for finding in champion_faults([*self.records])]


def read_bundle(path: Path) -> bytes:
    """The content of a file. Raises: SettingsError if it cannot be read; BundleRefusedError if it is too large."""
    # Whatever else lies there, such as a pipe, might never end.
    if not path.is_file():
        raise SettingsError(f"{path}: is no file; name a bundle, as `graftline bundle NAME --version N` writes it")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); correct its path or mode") from None
    if len(content) > MOST_BYTES:
        raise BundleRefusedError(f"{path}: has more than {MOST_BYTES >> 20} MiB, which no bundle has")
    return content


def prove(what: str, content: bytes, signing: Signing) -> Proven:
    """Check a bundle, called `what` in sentences, by the keys that count: of what none of them signed nothing is read.

    Raises: BundleRefusedError, with all that does not belong together where its signature holds.
    """
    try:
        payload, key = opened(content, signing.trusted_keys), key_of(content)
    except UnknownKeyError as error:
        raise BundleRefusedError(
            f"{what}: {error}; ask whoever is said to have made it whether that key is theirs, by another way than the"
            " one that it came by"
        ) from None
    except ValueError as error:
        raise BundleRefusedError(f"{what}: {error}; have it sent anew, and use nothing that it is about") from None
    try:
        return _proven(parse_statement(payload), key, signing)
    except BundleRefusedError as error:
        sentence = f"{what}: {error.sentence}, though it is signed with the key {key}; ask its owner what happened"
        raise BundleRefusedError(sentence, error.causes) from None


def _proven(statement: Statement, key: str, signing: Signing) -> Proven:
    verdict = statement.predicate
    records = records_of(verdict)
    numbers = read_part(Numbers, EVALUATION, verdict.files.get(EVALUATION, ""))
    provenance = read_part(Provenance, PROVENANCE, verdict.stated.provenance)
    faults = list(faults_of(statement, records, signing, numbers, provenance))
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise BundleRefusedError(f"{faults[0]}{more}", faults[:SHOWN_FAULTS] if more else [])
    return Proven(statement, key, records, numbers, provenance)
