"""Bodies are limited before they are parsed, and understood as MLflow's own server understands them."""

import json
import re
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from graftline.answers.facts import content_of
from graftline.settings import Kind
from graftline.settings.serving import RequestLimits
from graftline.tasks.serving.request_reading import (
    CSV,
    ID_CHARACTERS,
    JSON,
    PARQUET,
    Reading,
    RefusedQuestionError,
    depth_and_values_of,
    read_question,
)
from tests.tasks.serving.test_forms_of_requests import KINDS, forms_of_requests, inputs

FORMS = ("inputs", "instances", "dataframe_split", "dataframe_records")
TEXTS = Reading("text", "review")
LIMITS = RequestLimits(inputs=3, depth=6)


def read(body: object, content_type: str = JSON, **headers: str) -> tuple[list[Any], tuple[str, ...] | None]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    question = read_question(content, {"content-type": content_type, **headers}, LIMITS)
    return question.inputs(TEXTS, LIMITS.inputs), question.ids


def deepest(value: object) -> int:
    if isinstance(value, Mapping):
        return 1 + max(map(deepest, value.values()), default=0)
    return 1 + max(map(deepest, value), default=0) if isinstance(value, list) else 0


NESTED = st.recursive(
    st.none() | st.integers() | st.text(alphabet='a"\\[]{}\n'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='[{"\\'), inner, max_size=3),
    max_leaves=12,
)


@given(NESTED)
def test_the_depth_of_json_is_known_without_parsing(value: object) -> None:
    assert depth_and_values_of(json.dumps(value).encode())[0] == deepest(value)


@pytest.mark.parametrize("body", [b'"[[', b'["\\', b'["a\\"[[[', b"]]][", b"\xff[", b""])
def test_a_body_that_is_no_json_has_some_depth_too(body: bytes) -> None:
    assert depth_and_values_of(body)[0] <= 1


def test_deep_json_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(RefusedQuestionError, match="depth 100,001, expected at most 6"):
        read(b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"inputs": [' + b"{}," * 200_000 + b"{}]}", JSON),
        (b'{"inputs": [' + b'{"a": 1},' * 100_000 + b'"a"]}', JSON),
        (b"a," * 300_000 + b"review\n", CSV),
        (b"review\n" + b"a\n" * 200_000, CSV),
        (b"review\r" + b"a\r" * 200_000, CSV),
    ],
)
def test_a_body_of_very_many_values_is_refused_before_it_is_parsed(
    body: bytes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for parser in ("infer_and_parse_data", "parse_csv_input"):
        monkeypatch.setattr(f"mlflow.pyfunc.scoring_server.{parser}", pytest.fail)
    with pytest.raises(RefusedQuestionError, match="values, expected at most 100,000"):
        read(body, kind)


def test_commas_and_lines_inside_of_texts_are_no_values() -> None:
    text = "a, b;\nc [d] {e} " * 30_000
    assert read({"inputs": [text]})[0] == [text]
    assert read(f'review\n"{text}"\n'.encode(), CSV)[0] == [text]


def packed(**columns: Any) -> bytes:
    content = BytesIO()
    parquet.write_table(pa.table(columns), content, compression="zstd")
    return content.getvalue()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (packed(review=np.zeros(2_000_000, np.int8)), "values, expected at most 100,000"),
        (packed(review=[f"{number}{'x' * 1_000_000}" for number in range(3)], more=["y" * 15_000_000] * 3), "unpacked"),
    ],
)
def test_parquet_that_unpacks_to_very_much_is_refused_before(
    body: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "read_table", pytest.fail)
    assert len(body) < 100_000
    with pytest.raises(RefusedQuestionError, match=said):
        read(body, PARQUET)


def test_a_value_of_many_rows_of_parquet_is_unpacked_once() -> None:
    one, *others = read(packed(review=["x" * 1_000_000] * 3, id=[1, 2, 3]), PARQUET)[0]
    assert all(one is other for other in others)


def test_the_column_of_the_training_counts() -> None:
    assert read({"dataframe_split": {"columns": ["id", "review"], "data": [[1, "a"], [2, "b"]]}})[0] == ["a", "b"]
    assert read(b"id,review\n1,a\n2,b\n", CSV)[0] == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"inputs": ["a"] * 4}, "got 4 inputs, expected at most 3"),
        ({"inputs": ["a", None]}, "input 1 is None"),
        ({"inputs": [7]}, "input 0 is 7, expected a text"),
        ({"dataframe_records": [{"review": "a"}, {}]}, "input 1 is nan"),
        ({"inputs": ["a"], "instances": ["a"]}, "expected one of"),
        ({"input": "a"}, "expected one of"),
        (["a"], "expected a mapping"),
        (b'{"inputs": ["a', "no JSON"),
        (b'{"inputs": ["\xff"]}', "no JSON"),
    ],
)
def test_what_is_no_request_is_refused_with_a_sentence(body: object, said: str) -> None:
    with pytest.raises(RefusedQuestionError, match=said) as error:
        read(body)
    assert error.value.status == 400


@pytest.mark.parametrize("kind", ["text/plain", "", f"{JSON}; charset=utf-16", f"{JSON}; version=1"])
def test_another_type_of_content_is_refused(kind: str) -> None:
    with pytest.raises(RefusedQuestionError, match="content type") as error:
        read({"inputs": ["a"]}, kind)
    assert error.value.status == 415


def test_ids_come_beside_the_inputs_or_in_a_header() -> None:
    assert read({"inputs": ["a", "b"], "ids": ["x", "y"]})[1] == ("x", "y")
    assert read(b"review\na\n", CSV, **{"x-graftline-ids": '["x"]'})[1] == ("x",)
    assert read({"inputs": ["a"]})[1] is None


@pytest.mark.parametrize("ids", ["x", ["x"], ["x", 7], ["x", ""], ["x", "y" * (ID_CHARACTERS + 1)], ["x", "\ud800"]])
def test_ids_that_do_not_fit_are_refused(ids: object) -> None:
    with pytest.raises(RefusedQuestionError, match="ids"):
        read({"inputs": ["a", "b"], "ids": ids})


CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
ANYTHING = st.recursive(
    CELLS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["columns", "data", "review", "a"]), inner)
    ),
    max_leaves=8,
)


@given(form=st.sampled_from(sorted([*FORMS, "ids", "other"])), value=ANYTHING, kind=st.sampled_from(KINDS))
def test_whatever_is_sent_is_read_or_refused(form: str, value: object, kind: Kind) -> None:
    contents(json.dumps({form: value}).encode(), JSON, Reading(kind, "review"))


@given(st.binary(max_size=60), st.sampled_from([JSON, CSV, PARQUET]))
def test_whatever_bytes_are_sent_are_read_or_refused(body: bytes, content_type: str) -> None:
    contents(body, content_type, TEXTS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_that_mlflows_server_takes_has_the_same_inputs(kind: Kind) -> None:
    both = [raw.encode() if isinstance(raw, str) else raw for raw in inputs(kind)]
    for form in forms_of_requests(kind):
        body = form.asked if isinstance(form.asked, bytes) else json.dumps(form.asked).encode()
        got = contents(body, form.content_type, Reading(kind, kind))
        if isinstance(got, str):
            assert isinstance(form.expected, str), f"{form.name}: {got}"
            assert re.search(form.expected, got), f"{form.name}: {got}"
        elif isinstance(form.expected, str):  # what is no picture or sound the model itself finds out
            assert kind != "text", form.name
            assert "no (image|sound) that can be read" in form.expected, form.name
        else:
            assert got == [both[place] for place in form.expected], form.name


def contents(body: bytes, content_type: str, reading: Reading) -> list[bytes] | str:
    """The inputs in a request, or why it is refused."""
    try:
        question = read_question(body, {"content-type": content_type}, RequestLimits())
        return [content_of(raw) for raw in question.inputs(reading, 1000)]
    except RefusedQuestionError as error:
        return str(error)
