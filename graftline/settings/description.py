"""Each setting in words: its type, range, default and meaning, read from the fields themselves."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import yaml
from pydantic import BaseModel, JsonValue

from graftline.settings.tree import Settings

REQUIRED = "must be given"
EMPTY = "empty"
# From JSON schema's words to a reader's.
TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
Schema = dict[str, JsonValue]


@dataclass(frozen=True)
class SettingDescription:
    """A setting as a reader sees it."""

    key: str
    """With its sections: adaptation.epochs."""
    type: str
    range: str
    """The values that are taken; empty where every value of the type is."""
    default: str
    """As one writes it in the file; `REQUIRED` or `EMPTY` where there is none."""
    meaning: str


def described_settings() -> list[SettingDescription]:
    """Every setting of `params.yaml`, in the order of its sections."""
    return described(Settings)


def described(model: type[BaseModel], prefix: str = "") -> list[SettingDescription]:
    """Every field of the model and of the sections in it; `prefix` stands before their keys."""
    schema = cast("Schema", model.model_json_schema())
    return list(_walked(schema, cast("dict[str, Schema]", schema.get("$defs", {})), f"{prefix}." if prefix else ""))


def _walked(section: Schema, sections: dict[str, Schema], prefix: str) -> Iterator[SettingDescription]:
    required = cast("list[str]", section.get("required", []))
    for name, field in cast("dict[str, Schema]", section["properties"]).items():
        if isinstance(inside := field.get("$ref"), str):
            yield from _walked(sections[inside.rpartition("/")[2]], sections, f"{prefix}{name}.")
        else:
            yield _described(field, f"{prefix}{name}", required=name in required)


def _described(field: Schema, key: str, *, required: bool) -> SettingDescription:
    alternatives = cast("list[Schema]", field.get("anyOf", [field]))
    value = next(choice for choice in alternatives if choice.get("type") != "null")
    default = REQUIRED if required else _written(field.get("default"))
    return SettingDescription(key, _type_of(value), _range_of(value), default, _meaning_of(field))


def _type_of(value: Schema) -> str:
    if value.get("type") == "array":
        return f"list of {_type_of(cast('Schema', value['items']))}s"
    if value.get("type") == "object":
        return f"pairs of text: {_type_of(cast('Schema', value['additionalProperties']))}"
    return "choice" if "enum" in value else TYPES[cast("str", value["type"])]


def _range_of(value: Schema) -> str:
    if value.get("type") == "array":
        return _range_of(cast("Schema", value["items"]))
    if "enum" in value:
        return " | ".join(map(str, cast("list[JsonValue]", value["enum"])))
    if "pattern" in value:
        return f"matches {value['pattern']}"
    if "maxLength" in value:
        return f"{value.get('minLength', 0)} to {value['maxLength']} characters"
    return _bounds_of(value)


def _bounds_of(value: Schema) -> str:
    low, above = value.get("minimum"), value.get("exclusiveMinimum")
    high, below = value.get("maximum"), value.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f"{_number(low)} to {_number(high)}"
    words = {"at least": low, "above": above, "at most": high, "below": below}
    return ", ".join(f"{word} {_number(bound)}" for word, bound in words.items() if bound is not None)


def _number(bound: JsonValue) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


def _written(default: JsonValue) -> str:
    if default in (None, "", [], {}):
        return EMPTY
    text: str = yaml.safe_dump(default, default_flow_style=True, width=1000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _meaning_of(field: Schema) -> str:
    return " ".join(str(field.get("description", "")).split())
