"""The verbs that make new rows the next version of the data."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import JsonValue

from graftline.errors import SettingsError
from graftline.flows.commands.options import AsJson, Assignments, Debug, Params
from graftline.flows.commands.running import ask_in_terminal, run_verb, say

Yes = Annotated[bool, typer.Option("--yes", help="admit: make the version without asking.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="admit: only show what the version would be.")]
NewestWins = Annotated[
    bool, typer.Option("--newest-wins", help="Of several labels of one input take the newest by its time.")
]


def quarantine(
    what: Annotated[
        Literal["list", "mend", "admit"],
        typer.Argument(help="list the rows; mend: write them to FILE; admit: take FILE's corrected rows."),
    ],
    file: Annotated[
        Path | None, typer.Argument(help="The table of the rows to correct: .csv, .jsonl or .parquet.")
    ] = None,
    of: Annotated[
        str | None, typer.Option("--of", metavar="KEY", help="Of which validation; otherwise the newest of these data.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Only rows with this reason, such as target_known.")
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    params: Params = Path("params.yaml"),
    assignments: Assignments = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show the rows that validation put aside, write them to a table to correct, and make the corrected ones the
    next version of the data."""

    def call() -> dict[str, JsonValue]:
        from graftline.settings import read_settings

        if (file is None) != (what == "list"):
            raise SettingsError(f"quarantine {what}: expected {'no file' if what == 'list' else 'a FILE behind it'}")
        settings = read_settings(params, assignments)
        from graftline.flows.new_rows import Consent
        from graftline.flows.quarantine import admit_mended, list_quarantine, mend

        if file is None:
            return list_quarantine(Path.cwd(), settings, of=of, reason=reason)
        if what == "mend":
            return mend(Path.cwd(), settings, file, of=of, reason=reason)
        consent = Consent(_said(yes=yes, dry_run=dry_run), _ask(as_json))
        return admit_mended(Path.cwd(), settings, file, consent, say)

    run_verb(call, as_json=as_json, debug=debug)


def feedback(
    what: Annotated[
        Literal["list", "admit"],
        typer.Argument(help="list the labels; admit: make their inputs rows."),
    ],
    newest_wins: NewestWins = False,
    random: Annotated[
        bool,
        typer.Option("--random", help="Which inputs to label was drawn at random: then some may be held out."),
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    params: Params = Path("params.yaml"),
    assignments: Assignments = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Join labels that came later (tables in feedback/ with id and label) with what was served, and make them rows of
    the next version of the data."""

    def call() -> dict[str, JsonValue]:
        from graftline.settings import read_settings

        settings = read_settings(params, assignments)
        from graftline.flows.feedback import admit_feedback, list_feedback
        from graftline.flows.new_rows import Consent

        if what == "list":
            return list_feedback(Path.cwd(), settings, newest_wins=newest_wins)
        consent = Consent(_said(yes=yes, dry_run=dry_run), _ask(as_json))
        return admit_feedback(Path.cwd(), settings, consent, say, newest_wins=newest_wins, at_random=random)

    run_verb(call, as_json=as_json, debug=debug)


def labels(
    what: Annotated[
        Literal["list", "accept", "reject"],
        typer.Argument(help="list labels that look wrong; accept: give ROWs their likely label; reject: it stands."),
    ],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[ROW]...", help="Names of rows, as list shows them.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="accept: the label of the ROWs, in place of the likely one.")
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    params: Params = Path("params.yaml"),
    assignments: Assignments = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show the rows whose label looks wrong, with an estimate for the held-out ones; give them another one in the next
    version of the data, or remember that theirs stands."""

    def call() -> dict[str, JsonValue]:
        from graftline.settings import read_settings

        if bool(names) != (what != "list"):
            raise SettingsError(
                f"labels {what}: expected {'no ROW' if what == 'list' else 'one ROW or more behind it'}"
            )
        if label is not None and what != "accept":
            raise SettingsError(f"labels {what}: --label says what `accept` gives to rows; expected no --label")
        settings = read_settings(params, assignments)
        from graftline.flows.labels import accept_labels, list_labels, reject_labels
        from graftline.flows.new_rows import Consent

        if what == "list" or not names:
            return list_labels(Path.cwd(), settings)
        if what == "reject":
            return reject_labels(Path.cwd(), settings, names)
        consent = Consent(_said(yes=yes, dry_run=dry_run), _ask(as_json))
        return accept_labels(Path.cwd(), settings, names, label, consent, say)

    run_verb(call, as_json=as_json, debug=debug)


def _said(*, yes: bool, dry_run: bool) -> Literal["ask", "yes", "dry run"]:
    if yes and dry_run:
        raise SettingsError("--yes and --dry-run: expected one of them")
    return "dry run" if dry_run else "yes" if yes else "ask"


def _ask(as_json: bool) -> Callable[[str, str | None, Sequence[str]], str] | None:
    return ask_in_terminal if sys.stdin.isatty() and not as_json else None
