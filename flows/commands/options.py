"""The options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="The last line of standard output is one JSON object.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Params = Annotated[Path, typer.Option("--params", help="The settings file.")]
Assignments = Annotated[list[str] | None, typer.Option("--set", help="Change one setting: section.key=value.")]
FullCheck = Annotated[
    bool, typer.Option("--full-check", help="To see if anything changed, read every file, whatever its times say.")
]
Name = Annotated[str, typer.Argument(help="The registered model.")]
Version = Annotated[int | None, typer.Option("--version", help="The version of the model.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; stands in the history.")]
