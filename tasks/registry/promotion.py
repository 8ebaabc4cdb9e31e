"""Every decision about a registered model: recorded first, then carried out, and finished if a kill came between."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypedDict

from graftline.errors import RegistryRefusedError, SettingsError
from graftline.tasks.registry.approval import Approval
from graftline.tasks.registry.binding import bound_but_pages
from graftline.tasks.registry.carrying_out import LATE_SECONDS, append, entry_of, read_settled, settled, without_answer
from graftline.tasks.registry.history import champions, deciding, newest_move
from graftline.tasks.registry.looks import looks_before
from graftline.tasks.registry.manifest import require_as_judged
from graftline.tasks.registry.records import WITH_RUN, Action, Answer, Entry, Look, Record
from graftline.tasks.registry.versions import (
    BARRED,
    DATA_VERSION,
    WEIGHTS,
    challenger_of,
    champion_of,
    get_version,
    is_of,
    judged_run,
    open_model,
    shown,
    verdict_of,
)
from graftline.tasks.registry.witnessing import catch_up
from graftline.tasks.workspace import Workspace

# An override names what else it overrides.
MODIFIED_DATA = "modified-data"
REASON_CHARACTERS, NAME_CHARACTERS = 500, 100


class Grounds(TypedDict):
    """The registry's facts about a version when it is first decided about."""

    version: int
    run_id: str | None
    model_sha256: str | None
    data_version: str | None
    barred: str | None


def record_verdict(
    workspace: Workspace,
    model: str,
    *,
    version: int,
    verdict: str,
    reasons: tuple[str, ...],
    rival: int | None,
    evaluation_sha256: str,
    policy_sha256: str,
    approval: Approval | None = None,
    look: Look | None = None,
    files: Mapping[str, str] | None = None,
    bind: Callable[[str, tuple[str, ...], str | None], Mapping[str, str]] | None = None,
) -> Record:
    """Record the gate's verdict; PROMOTE moves the champion, or is HOLD until a person approves.

    `files` are the digests of the version's files; `bind` gives those of what else stands beside it, by its verdict,
    reasons, and until when a person may approve.
    Returns: the record of the present verdict, which is an earlier one if the version was judged already.
    Raises: RegistryRefusedError if the champion is not `rival` any more, with which the version was compared, or if
    another candidate was compared with it since the level of this comparison was computed.
    """
    due = approval.due() if approval and verdict == "PROMOTE" else None
    if due:
        verdict = "HOLD"
        reasons = (f"the gate says PROMOTE, but the policy wants a person's approval, until {due}", *reasons)
    with deciding(workspace, model):
        records = settled(workspace, model)
        if (known := verdict_of(records, get_version(model, version))) is not None:
            return known
        before = champion_of(model)
        if verdict == "PROMOTE" or due:
            _require_champion(model, before, rival, version)
            _require_no_other_look(model, version, records, look)
        return append(
            workspace,
            model,
            records,
            Entry(
                action="verdict",
                champion_before=before,
                champion_after=version if verdict == "PROMOTE" else before,
                why="; ".join(reasons),
                verdict=verdict,
                reasons=reasons,
                evaluation_sha256=evaluation_sha256,
                policy_sha256=policy_sha256,
                due=due,
                look=look,
                files=files,
                # Only now, when no other process can judge it: both would store what is bound under the same names.
                bound=bind(verdict, reasons, due) if bind else None,
                **grounds(model, version),
            ),
        )


def answer_approval(workspace: Workspace, model: str, version: int, answer: Answer) -> Record:
    """Record a person's answer to a promotion that waits for approval; an approved version becomes champion.

    If the champion changed since the comparison, the approved version is on HOLD instead: another one is due.
    Raises: RegistryRefusedError if the version does not wait for an answer, or not any more.
    """
    open_model(workspace, model)
    answer = replace(
        answer,
        name=one_line(answer.name, "the name", NAME_CHARACTERS),
        reason=one_line(answer.reason, "the reason", REASON_CHARACTERS),
    )
    if answer.decision == "approve":
        require_as_judged(workspace, model, version)
    with deciding(workspace, model):
        records = settled(workspace, model)
        asked = verdict_of(records, get_version(model, version))
        if asked is None or asked.due is None:
            verdict = f"its verdict is {asked.verdict} ({asked.why})" if asked else "it was never judged"
            raise RegistryRefusedError(
                f"{model} version {version}: does not wait for an approval, {verdict}; see `graftline history {model}`"
            )
        if answer.when > asked.due:
            append(workspace, model, records, without_answer(asked, champion_of(model)))
            raise RegistryRefusedError(
                f"{model} version {version}: waited for an answer until {asked.due}, this one came at {answer.when}, so"
                f" it stays on HOLD; if it is to be champion all the same: `graftline override {model} --version"
                f" {version} --reason ...`"
            )
        return append(workspace, model, records, _answered(asked, answer, champion_of(model)))


def promote(workspace: Workspace, model: str, version: int | None, why: str) -> Record:
    """Make a version that has the verdict PROMOTE the champion. Without `version`: the challenger.

    Raises: RegistryRefusedError if there is no such version, it is champion already, or its verdict forbids it.
    """
    open_model(workspace, model)
    why = one_line(why, "the reason", REASON_CHARACTERS)
    records, expected = repair(workspace, model), champion_of(model)
    version = challenger_of(model) if version is None else version
    if version is None:
        raise RegistryRefusedError(f"{model}: has no challenger to promote; name a version with --version")
    judged = verdict_of(records, get_version(model, version))
    if judged is None:
        raise _never_judged(model, version)
    _require_no_question(model, judged)
    if judged.verdict != "PROMOTE":
        raise RegistryRefusedError(
            f"{model} version {version}: has the verdict {judged.verdict}, expected PROMOTE ({judged.why}); train a"
            f" better one with `graftline adapt`, or answer for it: `graftline override {model} --version {version}"
            " --reason ...`"
        )
    return _move(workspace, model, judged, expected=expected, action="promote", why=why)


def override(workspace: Workspace, model: str, version: int, why: str, despite: str | None = None) -> Record:
    """Make a version the champion that the gate held or rejected, by a person's word that stands in the history.

    `despite` names what bars the version from promotion, if anything does: MODIFIED_DATA.
    Raises: SettingsError for a blank reason; RegistryRefusedError if there is nothing to override, or it is barred.
    """
    open_model(workspace, model)
    why = one_line(why, "the reason of an override", REASON_CHARACTERS)
    if despite not in (None, MODIFIED_DATA):
        raise SettingsError(f"--despite {despite}: nothing of that name bars a promotion, expected {MODIFIED_DATA}")
    records, expected = repair(workspace, model), champion_of(model)
    there = get_version(model, version)
    judged, barred = verdict_of(records, there), there.tags.get(BARRED)
    if judged is None:
        raise _never_judged(model, version)
    if judged.verdict == "PROMOTE":
        raise RegistryRefusedError(
            f"{model} version {version}: has the verdict PROMOTE, so there is nothing to override; use"
            f" `graftline promote {model} --version {version}`"
        )
    _require_no_question(model, judged)
    # What stands in the record cannot be taken off the version's tags.
    barred = judged.barred or barred
    if barred and despite is None:
        raise RegistryRefusedError(
            f"{model} version {version}: may not be promoted: {barred}; run `graftline adapt` without that, or override"
            f" it by name with --despite {MODIFIED_DATA}"
        )
    if despite and not barred:
        raise RegistryRefusedError(
            f"{model} version {version}: its data do not bar it, so there is nothing that --despite {despite} would"
            " override; leave it out"
        )
    why = f"{why} (despite {despite}: {barred})" if despite else why
    return _move(workspace, model, judged, expected=expected, action="override", why=why)


def rollback(workspace: Workspace, model: str, why: str) -> Record:
    """Give the alias back to the champion before this one.

    Raises: RegistryRefusedError if there was none, or its version was deleted.
    """
    open_model(workspace, model)
    why = one_line(why, "the reason", REASON_CHARACTERS)
    stack = champions(repair(workspace, model))
    if len(stack) < 2:
        raise RegistryRefusedError(
            f"{model}: there is nothing to roll back to: its history holds {len(stack)} champion(s), expected 2 or"
            f" more; see `graftline history {model}`"
        )
    present, former = stack[-1], stack[-2]
    if champion_of(model) != present.version:
        raise RegistryRefusedError(
            f"{model}: the champion is {shown(champion_of(model))}, but by the history it is version {present.version}:"
            f" the alias was moved outside of Graftline; settle it with `graftline promote {model} --version N` first"
        )
    if not is_of(former, get_version(model, former.version)):
        raise RegistryRefusedError(
            f"{model} version {former.version}: is not the one that record {former.number} made champion: the registry"
            f" was replaced since; promote a version of this registry with `graftline promote {model} --version N`"
        )
    return _move(workspace, model, former, expected=present.version, action="rollback", why=why)


def history(workspace: Workspace, model: str) -> tuple[list[Record], int | None]:
    """The records of a model and its present champion. Raises: RegistryRefusedError if there is no such model."""
    if found := read_settled(workspace, model):
        return found
    open_model(workspace, model)
    return repair(workspace, model), champion_of(model)


def repair(workspace: Workspace, model: str) -> list[Record]:
    """Finish what a killed process left half done, and say where the alias was moved by hand. Returns: the history.

    Witnesses that were away get what they lack.
    """
    with deciding(workspace, model):
        records = settled(workspace, model)
        catch_up(workspace, model, records)
        return records


def one_line(text: str, what: str, characters: int) -> str:
    """A person's text, fit for one line of a record.

    Raises: SettingsError if it is blank, too long or not printable, as marks are that turn the direction of text.
    """
    line = " ".join(text.split())
    if not line or len(line) > characters or not line.isprintable():
        fault = "is blank" if not line else f"has {len(line)} characters" if line.isprintable() else "is not printable"
        raise SettingsError(f"{what} {fault}, expected 1 to {characters} printable characters; write why, in words")
    return line


def _move(
    workspace: Workspace, model: str, rests_on: Record, *, expected: int | None, action: Action, why: str
) -> Record:
    """Record a person's decision and carry it out; one process at a time.

    Raises: RegistryRefusedError if the champion is that version already, or is not `expected` any more, or if the
    files of that version are not those that were judged.
    """
    to = rests_on.version
    require_as_judged(workspace, model, to)
    with deciding(workspace, model):
        records = settled(workspace, model)
        before, newest = champion_of(model), newest_move(records)
        _require_champion(model, before, expected, to)
        if before == to:
            # An alias that was put there by hand still lacks its record.
            before = newest.champion_after if newest else None
        if before == to:
            raise RegistryRefusedError(f"{model} version {to}: is the champion already; nothing to do")
        entry = entry_of(rests_on)
        if rests_on.form < WITH_RUN:
            entry = replace(entry, **grounds(model, to))
        entry = replace(
            entry, action=action, champion_before=before, champion_after=to, why=why, reasons=(), due=None, answer=None
        )
        return append(workspace, model, records, entry)


def _answered(asked: Record, answer: Answer, champion: int | None) -> Entry:
    """A person's answer in time, where this is the champion by now."""
    said = f"{answer.name}: {answer.reason}"
    verdict, reason = "PROMOTE", f"approved by {said}"
    if answer.decision == "reject":
        verdict, reason = "REJECT", f"rejected by {said}"
    elif champion != asked.champion_before:
        verdict = "HOLD"
        reason += f", but the champion is {shown(champion)} by now, not {shown(asked.champion_before)} as compared"
    reasons = (reason, *asked.reasons[1:])
    return replace(
        entry_of(asked),
        action="approval",
        verdict=verdict,
        champion_before=champion,
        champion_after=asked.version if verdict == "PROMOTE" else champion,
        why="; ".join(reasons),
        reasons=reasons,
        due=None,
        answer=answer,
        bound=bound_but_pages(asked.bound),
    )


def grounds(model: str, number: int) -> Grounds:
    version = get_version(model, number)
    return {
        "version": number,
        "run_id": judged_run(version),
        "model_sha256": version.tags.get(WEIGHTS),
        "data_version": version.tags.get(DATA_VERSION),
        "barred": version.tags.get(BARRED),
    }


def _require_no_other_look(model: str, version: int, records: list[Record], look: Look | None) -> None:
    if look is not None and look.looks_before != (now := len(looks_before(records, None))):
        raise RegistryRefusedError(
            f"{model} version {version}: {now - look.looks_before} other candidates were compared on these rows since"
            " its level was computed; start the run again, which judges it beside them"
        )


def _require_champion(model: str, actual: int | None, expected: int | None, version: int) -> None:
    if actual != expected:
        raise RegistryRefusedError(
            f"{model}: the champion is {shown(actual)} by now, not {shown(expected)} as when version {version} was"
            f" chosen; see `graftline history {model}`, then run the same command again"
        )


def _require_no_question(model: str, judged: Record) -> None:
    if judged.due:
        raise RegistryRefusedError(
            f"{model} version {judged.version}: waits for an approval until {judged.due} (an answer on its way may take"
            f" {LATE_SECONDS // 60} minutes more); answer on its page in Prefect, or with `graftline approve {model}"
            f" --version {judged.version} --by NAME --reason ...`"
        )


def _never_judged(model: str, version: int) -> RegistryRefusedError:
    return RegistryRefusedError(
        f"{model} version {version}: has no verdict in the history, expected one; run `graftline adapt`, which judges"
        " what it makes"
    )
