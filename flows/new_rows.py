"""What the verbs about new rows share: the diff is shown, a person is asked, and the next version is made."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from graftline.errors import DataRefusedError, SettingsError
from graftline.tasks.rows.admission import Admission
from graftline.tasks.rows.diff import diff_of, printed
from graftline.tasks.rows.draft import Draft
from graftline.tasks.rows.next_version import make_version, next_commands

SHOWN_REFUSALS = 20
YES = "yes"

Say = Callable[[str], None]
Ask = Callable[[str, str | None, Sequence[str]], str]


@dataclass(frozen=True)
class Consent:
    """Whether the next version is made: a person is asked, or has said so already."""

    said: Literal["ask", "yes", "dry run"]
    ask: Ask | None = None

    def require(self) -> None:
        """Raises: SettingsError if there is nobody to ask."""
        if self.said == "ask" and self.ask is None:
            raise SettingsError("there is nobody to ask whether to make the version; say --yes, or --dry-run")


def finish(
    draft: Draft,
    admission: Admission,
    consent: Consent,
    *,
    command: str,
    chosen: str,
    refused: Sequence[str],
    say: Say,
    more: Sequence[Path] = (),
) -> dict[str, JsonValue]:
    """Show what the next version would be and make it if that is wanted; `more` files are to be committed with it.

    Returns: the diff, and whether it was made.
    """
    if not admission.admitted.keys:
        if refused:
            raise DataRefusedError("no row can be admitted; nothing was changed", refused)
        return {"written": False, "summary": "no row to admit; nothing was changed"}
    diff = diff_of(admission)
    for line in [*printed(diff), *(f"refused    {one}" for one in _some(refused))]:
        say(line)
    told: dict[str, JsonValue] = {"before": draft.version.version, "diff": diff}
    if not _is_wanted(draft, consent):
        return {**told, "written": False, "summary": "nothing was changed"}
    version = make_version(draft, admission, command=command, chosen=chosen)
    commands = next_commands(draft, more)
    summary = (
        f"{draft.settings.folder}/ is at version {version[:12]} now, after {draft.version.version[:12]}, which stays in"
        f" DVC's cache; next: {commands}"
    )
    return {**told, "written": True, "version": version, "next": commands, "summary": summary}


def _is_wanted(draft: Draft, consent: Consent) -> bool:
    if consent.said != "ask":
        return consent.said == "yes"
    assert consent.ask is not None
    answer = consent.ask(f"Make this the next version of {draft.settings.folder}/?", "no", (YES, "no"))
    return answer.strip().lower() in (YES, "y")


def _some(refused: Sequence[str]) -> list[str]:
    more = len(refused) - SHOWN_REFUSALS
    return [*refused[:SHOWN_REFUSALS], *([f"... and {more} more, which --json lists"] if more > 0 else [])]
