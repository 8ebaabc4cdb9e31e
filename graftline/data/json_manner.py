"""How the lines of a file of JSON Lines are written: separators, what is escaped, and the types of values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from graftline.data.arrow_values import as_json, text_of
from graftline.data.csv_manner import line_end
from graftline.data.tables import open_text

# So many lines show it.
SAMPLE_LINES = 200
SEPARATORS = ((", ", ": "), (",", ":"), (",", ": "))


@dataclass(frozen=True)
class JsonManner:
    """How objects are written, and of each key a value that shows its type."""

    separators: tuple[str, str]
    ensure_ascii: bool
    examples: Mapping[str, object]
    line_end: str

    def line(self, before: str, values: Mapping[str, str | None]) -> str:
        """The object of the line `before`, in which the keys of `values` hold these, without its line end."""
        content = _object_in(before) or {}
        for name, text in values.items():
            if text:
                content[name] = as_value(text, content.get(name, self.examples.get(name)))
            elif name in content:
                content[name] = None
        return self._written(content)

    def _written(self, content: Mapping[str, object]) -> str:
        return json.dumps(content, ensure_ascii=self.ensure_ascii, separators=self.separators)


def json_manner(path: Path) -> JsonManner:
    """The manner in which a file of JSON Lines is written, told from its first lines."""
    with open_text(path) as file:
        lines = list(islice(file, SAMPLE_LINES))
    objects = [(line.strip(), content) for line in lines if (content := _object_in(line)) is not None]
    examples: dict[str, object] = {}
    for _, content in objects:
        for name, value in content.items():
            if examples.get(name) is None:
                examples[name] = value
    end = line_end(lines[0]) if lines else ""
    manners = [
        JsonManner(separators, escaped, examples, end or "\n") for separators in SEPARATORS for escaped in (False, True)
    ]
    return max(manners, key=lambda manner: sum(manner._written(content) == line for line, content in objects))


def as_value(text: str, example: object) -> object:
    """A text as a value of the type of the one that stands, or stood, in its place."""
    if text == (as_json(example) if isinstance(example, list | dict) else text_of(example)):
        return example
    if isinstance(example, bool | int | float | list | dict):
        try:
            value = json.loads(text)
        except ValueError:
            return text
        kinds = {bool: bool, int: int, float: (int, float), list: list, dict: dict}
        wanted = kinds[type(example)]
        is_number_for_bool = isinstance(value, bool) and not isinstance(example, bool)
        return value if isinstance(value, wanted) and not is_number_for_bool else text  # type: ignore[arg-type]
    return text


def _object_in(line: str) -> dict[str, object] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
