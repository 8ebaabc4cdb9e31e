"""Requests that nobody should send to a served model, and some that people send by mistake."""

import json
from dataclasses import dataclass

from pydantic import JsonValue

JSON = "application/json"
# More than any row may have that a model learned from.
HUGE_CHARACTERS = 2_000_000
# Deeper than Python's parser can follow.
DEEP = 100_000
# More than a request may have.
MANY_ROWS = 2_000


@dataclass(frozen=True)
class HostileRequest:
    """One request to `/invocations`."""

    name: str
    body: bytes
    content_type: str = JSON
    may_be_answered: bool = False
    """Whether an answer is as good as an error: the input is odd, but it is one."""


def hostile_requests() -> list[HostileRequest]:
    """One of each kind: empty, huge, of a wrong type, in a wrong encoding, not a number, nested."""
    return [
        HostileRequest("an empty body", b""),
        HostileRequest("half of a JSON text", b'{"inputs": ["a'),
        HostileRequest("plain text", b"a text", "text/plain"),
        HostileRequest("JSON that claims to be Parquet", b'{"inputs": ["a text"]}', "application/x-parquet"),
        HostileRequest("JSON in Latin-1", '{"inputs": ["café"]}'.encode("latin-1")),
        HostileRequest("bytes that are no text", b'{"inputs": ["\xff\xfe\x00"]}'),
        HostileRequest("another character set", b'{"inputs": ["a text"]}', f"{JSON}; charset=utf-16"),
        HostileRequest("a list alone", b'["a text"]'),
        HostileRequest("no known key", b'{"rows": ["a text"]}'),
        _inputs("no inputs", []),
        _inputs("an empty text", [""], may_be_answered=True),
        _inputs("control characters", ["\x00\x07\x1b"], may_be_answered=True),
        HostileRequest("half of a surrogate pair", b'{"inputs": ["\\ud800"]}', may_be_answered=True),
        _inputs("a number", [7]),
        _inputs("true", [True]),
        _inputs("null", [None]),
        HostileRequest("not a number", b'{"inputs": [NaN]}'),
        HostileRequest("infinity", b'{"inputs": [Infinity]}'),
        HostileRequest("null beside a text", b'{"dataframe_split": {"columns": ["a"], "data": [["a text"], [null]]}}'),
        _inputs("a mapping", [{"a": {"b": "a text"}}]),
        _inputs("nested lists", [[["a text"], ["another"]]]),
        _inputs("ragged lists", [["a text"], ["another", ["third"]]]),
        _inputs("two cells in a row", [["a text", "another"]]),
        HostileRequest("lists of great depth", b'{"inputs": ' + b"[" * DEEP + b"]" * DEEP + b"}"),
        HostileRequest(
            "several columns",
            b'{"dataframe_split": {"columns": ["a", "b"], "data": [["x", "y"]]}}',
        ),
        HostileRequest("CSV with several columns", b"a,b\nx,y\n", "text/csv"),
        HostileRequest("half of CSV", b'a\n"x', "text/csv"),
        # A model of texts takes it for a text.
        _inputs("the path of a file", [__file__], may_be_answered=True),
        _inputs("the path of a device", ["/dev/zero"], may_be_answered=True),
        _inputs("many rows", ["a"] * MANY_ROWS),
        _inputs("a huge text", ["word " * (HUGE_CHARACTERS // 5)]),
    ]


def _inputs(name: str, inputs: list[JsonValue], *, may_be_answered: bool = False) -> HostileRequest:
    return HostileRequest(name, json.dumps({"inputs": inputs}).encode(), may_be_answered=may_be_answered)
