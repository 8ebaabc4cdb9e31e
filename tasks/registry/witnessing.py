"""Giving a history's receipts to its witnesses, and comparing the history with what they hold."""

import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from graftline.errors import RegistryRefusedError, ServerAwayError, SettingsError
from graftline.tasks.registry.findings import Finding
from graftline.tasks.registry.history import history_room, place_of
from graftline.tasks.registry.records import Record
from graftline.tasks.registry.signing import outside_of, read_form
from graftline.tasks.state.room import NoPlainFileError
from graftline.tasks.witnesses.kept_file import add_receipts, read_receipts
from graftline.tasks.witnesses.named import Witnesses
from graftline.tasks.witnesses.receipts import Receipt, Testimony, Witness
from graftline.tasks.workspace import Workspace

NAMED_IN = "mlflow/witnesses.yaml"
# Beside the records: how many of them each witness was given. It only spares asking; what counts is what they hold.
NOTE = "witnessed"

logger = logging.getLogger("graftline.registry")


@dataclass(frozen=True)
class Asked:
    """A witness, and what it said."""

    where: str
    testimony: Testimony | None
    why_not: str | None = None
    """Why it said nothing."""


@dataclass(frozen=True)
class Witnessed:
    """What a witness knows of a history."""

    where: str
    records: int
    """How many of its records it holds receipts of."""
    without: tuple[int, ...]
    """The numbers of those that it does not."""
    asked: bool
    why_not: str | None
    """Why it said nothing, or takes no receipt."""
    weakness: str | None


def witnesses_of(workspace: Workspace) -> Sequence[Witness]:
    """Those that the file outside of the project names; without one those of the project.

    Raises: SettingsError if a file is wrong.
    """
    outside, inside = outside_of(workspace), _named_inside(workspace)
    return (outside.witnesses if outside and outside.witnesses else inside).named(workspace.root)


def left_out(workspace: Workspace, model: str) -> list[str]:
    """The witnesses that the project names in vain, because the file outside does not."""
    asked = {witness.where(model) for witness in witnesses_of(workspace)}
    named = [witness.where(model) for witness in _named_inside(workspace).named(workspace.root)]
    return [where for where in named if where not in asked]


@contextmanager
def asking(workspace: Workspace, model: str) -> Iterator[list[Asked]]:
    """Every witness, asked what it holds; within the block more can be given to it."""
    with ExitStack() as stack:
        yield [_ask(stack, witness, model) for witness in witnesses_of(workspace)]


def require_witnessed(workspace: Workspace, model: str, asked: Sequence[Asked], records: Sequence[Record]) -> None:
    """Raises: RegistryRefusedError if a witness knows another history than this one."""
    if faults := witness_faults(workspace, model, asked, [record.sha256 for record in records]):
        raise RegistryRefusedError(
            f"{model}: {'; '.join(str(fault) for fault in faults)}; nothing is decided on it: see `graftline history"
            f" {model} --verify` and restore {place_of(workspace, model)} and the registry from a backup; if this"
            f" folder decides about another model of that name, name other witnesses in {NAMED_IN}"
        )


def witness_faults(
    workspace: Workspace, model: str, asked: Sequence[Asked], digests: Sequence[str | None]
) -> list[Finding]:
    """Where a witness knows another history than the one of these digests; None is one that cannot be read."""
    noted = _noted(workspace, model)
    return [
        finding
        for one in asked
        if one.testimony is not None
        for finding in (
            *(Finding(None, fault) for fault in one.testimony.faults),
            *_faults(one.where, one.testimony.receipts, digests, noted.get(one.where, 0)),
        )
    ]


def give(workspace: Workspace, model: str, asked: Sequence[Asked], records: Sequence[Record]) -> list[Witnessed]:
    """Give each witness the receipts that it lacks, and say which could not be given: the next command tries again.

    Only while no one else decides, and after `witness_faults` found nothing.
    """
    noted = _noted(workspace, model)
    found = [_give(model, one, records) for one in asked]
    for one in found:
        if one.without:
            logger.warning(
                "%s: %s not witnessed at %s yet, which the next command tries again (%s)",
                model, _records(one.without), one.where, one.why_not,
            )  # fmt: skip
    now = {**noted, **{one.where: len(records) for one in found if not one.without}}
    if now != noted:
        history_room(workspace, model).replace(NOTE, json.dumps(now, indent=2).encode() + b"\n")
    return found


def catch_up(workspace: Workspace, model: str, records: Sequence[Record]) -> None:
    """Give the witnesses what they could not be given before. Only while no one else decides.

    Raises: as `require_witnessed`.
    """
    if is_owed(workspace, model, len(records)):
        with asking(workspace, model) as asked:
            require_witnessed(workspace, model, asked, records)
            give(workspace, model, asked, records)


def is_owed(workspace: Workspace, model: str, records: int) -> bool:
    """Whether a witness is not known to hold as many receipts as there are records."""
    witnesses = witnesses_of(workspace)
    noted = _noted(workspace, model) if witnesses else {}
    return any(noted.get(witness.where(model), 0) != records for witness in witnesses)


def kept_by_a_colleague(path: Path, model: str) -> Asked:
    """The receipts in a file. Raises: SettingsError if it is none, or holds nothing of this model."""
    receipts = [receipt for receipt in read_receipts(path) if receipt.model == model]
    if not receipts:
        raise SettingsError(f"{path}: holds no receipt of the model {model}; name the file that does")
    return Asked(str(path), _File(receipts))


def keep_receipts(path: Path, model: str, records: Sequence[Record]) -> int:
    """Bring a file of receipts up to date. Returns: how many were added.

    Raises: SettingsError; RegistryRefusedError if it holds receipts of another history, and then it stays as it is.
    """
    held = [receipt for receipt in read_receipts(path) if receipt.model == model] if path.exists() else []
    if faults := _faults(str(path), held, [record.sha256 for record in records], 0):
        raise RegistryRefusedError(
            f"{path}: holds receipts of another history of {model} than this one"
            f" ({'; '.join(str(fault) for fault in faults)}), and stays as it is; find out which of the two was"
            f" changed: see `graftline history {model} --verify`"
        )
    missing = _missing(model, held, records)
    if missing:
        add_receipts(path, missing)
    return len(missing)


@dataclass(frozen=True)
class _File:
    receipts: Sequence[Receipt]
    faults: Sequence[str] = ()
    weakness: str | None = None

    def add(self, receipts: Sequence[Receipt]) -> None:
        """Nothing: its keeper does that."""


def summary_of(model: str, one: Asked, records: Sequence[Record]) -> Witnessed:
    """What a witness knows, without giving it more."""
    receipts = one.testimony.receipts if one.testimony else []
    without = tuple(receipt.number for receipt in _missing(model, receipts, records))
    weakness = one.testimony.weakness if one.testimony else None
    return Witnessed(one.where, len(records) - len(without), without, one.testimony is not None, one.why_not, weakness)


def _named_inside(workspace: Workspace) -> Witnesses:
    path = workspace.root / NAMED_IN
    return read_form(path, Witnesses) if path.exists() else Witnesses()


def _ask(stack: ExitStack, witness: Witness, model: str) -> Asked:
    try:
        return Asked(witness.where(model), stack.enter_context(witness.asked(model)))
    except (ServerAwayError, SettingsError) as error:
        return Asked(witness.where(model), None, str(error))


def _give(model: str, one: Asked, records: Sequence[Record]) -> Witnessed:
    before = summary_of(model, one, records)
    if one.testimony is None or not before.without:
        return before
    try:
        one.testimony.add(_missing(model, one.testimony.receipts, records))
    except (ServerAwayError, SettingsError) as error:
        return Witnessed(one.where, before.records, before.without, True, str(error), before.weakness)
    return Witnessed(one.where, len(records), (), True, None, before.weakness)


def _missing(model: str, held: Sequence[Receipt], records: Sequence[Record]) -> list[Receipt]:
    known = {receipt.number for receipt in held}
    return [Receipt(model, record.number, record.sha256) for record in records if record.number not in known]


def _faults(where: str, receipts: Sequence[Receipt], digests: Sequence[str | None], noted: int) -> list[Finding]:
    held: dict[int, set[str]] = defaultdict(set)
    for receipt in receipts:
        held[receipt.number].add(receipt.sha256)
    last, findings = max(held, default=0), []
    if last > len(digests):
        findings.append(
            Finding(
                last,
                f"was witnessed at {where} with digest {min(held[last])}; this history ends at record"
                f" {len(digests)}: it was cut",
            )
        )
    for number, known in sorted(held.items()):
        if len(known) > 1:
            findings.append(Finding(number, f"has {len(known)} receipts at {where}: somebody wrote another one there"))
    differing = [
        number
        for number, known in sorted(held.items())
        if number <= len(digests) and digests[number - 1] not in (None, *known)
    ]
    if differing:  # and with it all that follow on it
        number = differing[0]
        what = f"was witnessed at {where} with digest {min(held[number])}, but has digest {digests[number - 1]}"
        findings.append(Finding(number, f"{what}: this history is not the one that was witnessed"))
    if gone := [number for number in range(1, max(last, noted) + 1) if number not in held]:
        findings.append(Finding(None, f"{where} has lost the receipt of {_records(gone)}: it was taken away there"))
    return findings


def _records(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"record {numbers[0]}"
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"records {numbers[0]} to {numbers[-1]}"
    return f"records {', '.join(map(str, numbers))}"


def _noted(workspace: Workspace, model: str) -> Mapping[str, int]:
    """How many receipts each witness was given; of a note that is damaged nothing."""
    try:
        kept = history_room(workspace, model).read(NOTE)
        found = json.loads(kept.content) if kept else {}
    except (NoPlainFileError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {where: count for where, count in found.items() if isinstance(count, int) and not isinstance(count, bool)}
