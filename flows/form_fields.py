"""The fields of Prefect's forms that need more than a type."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from graftline.tasks.registry.promotion import MODIFIED_DATA, REASON_CHARACTERS

# What a form sends must hold something that can be seen.
VISIBLE = r"\S"
CHALLENGER_CHOICE = "the challenger"


def _number_of(choice: object) -> object:
    """The version that a line of the dropdown begins with; none of the line that names the challenger."""
    if not isinstance(choice, str):
        return choice
    return None if choice in ("", CHALLENGER_CHOICE) else choice.partition(" ")[0]


# A dropdown, which flows/servers/forms.py fills: `3 PROMOTE (champion)`. A call may give a number.
Choice = WithJsonSchema({"type": "string"})
Version = Annotated[int, BeforeValidator(_number_of), Choice]
VersionOrChallenger = Annotated[int | None, BeforeValidator(_number_of), Choice]
# Prefect draws `None or a text` as two buttons named after Python's types.
NOTHING = "nothing"
Despite = Annotated[
    Literal["modified-data"] | None,
    BeforeValidator(lambda value: None if value == NOTHING else value),
    WithJsonSchema({"type": "string", "enum": [NOTHING, MODIFIED_DATA]}),
]
Note = Annotated[str, Field(max_length=REASON_CHARACTERS)]
Reason = Annotated[str, Field(pattern=VISIBLE, max_length=REASON_CHARACTERS)]
