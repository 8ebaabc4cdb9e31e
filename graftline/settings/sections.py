"""The make of every section of the settings and of the policy."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

Share = Annotated[float, Field(ge=0, le=1)]
# A text that may stay empty. Its schema says plain text, because Prefect's form draws `str | None` as two buttons
# named after Python's types, and sends an emptied box as "".
OptionalText = Annotated[
    str | None,
    BeforeValidator(lambda value: None if value == "" else value),
    WithJsonSchema({"type": "string"}),
    Field(json_schema_extra={"default": ""}),
]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
