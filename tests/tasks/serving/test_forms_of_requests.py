"""Every form in which inputs reach a registered model, with its answer: in Python, and at MLflow's scoring server."""

import base64
import io
import json
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import mlflow
import numpy as np
import pandas as pd
import pytest
import uvicorn
from mlflow.pyfunc import PyFuncModel, scoring_server
from PIL import Image

from graftline.settings import Kind
from graftline.tasks.serving.served_model import SERVED
from tests.support.running_project import free_port, wait_until
from tests.support.served import answered, write_registered
from tests.support.tiny_media import tiny_images, tiny_sounds

KINDS: tuple[Kind, ...] = get_args(Kind)
JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
TEXTS = ["good film", "an awful, dull plot"]

# Which of the two inputs of a kind are answered, in this order; or the words of the refusal.
Expected = list[int] | str
Answer = list[dict[str, Any]]
# Sends a body of a type to a server: status and content.
Post = Callable[[bytes, str], tuple[int, bytes]]


@dataclass(frozen=True)
class Form:
    """One way to ask."""

    name: str
    asked: Any
    """For Python the argument of `predict`; else the body of the request."""
    expected: Expected
    content_type: str = JSON


def inputs(kind: Kind) -> list[Any]:
    """Two inputs as a program has them: texts, or the bytes of files."""
    two: dict[Kind, list[Any]] = {"text": TEXTS, "image": tiny_images(2)[0], "audio": tiny_sounds(2)[0]}
    return two[kind]


def sent(kind: Kind) -> list[str]:
    """The same two as they go over a network."""
    return TEXTS if kind == "text" else [base64.b64encode(content).decode() for content in inputs(kind)]


def forms_in_json(kind: Kind) -> Iterator[Form]:
    a, b = sent(kind)
    neither = "got 2 columns .*expected one called"
    yield Form("inputs", {"inputs": [a, b]}, [0, 1])
    yield Form("one input alone", {"inputs": b}, [1])
    yield Form("instances", {"instances": [a, b]}, [0, 1])
    yield Form("a column", {"inputs": {kind: [a, b]}}, [0, 1])
    yield Form("a column of instances", {"instances": {kind: [a, b]}}, [0, 1])
    yield Form("a column of any name", {"inputs": {"review": [a, b]}}, [0, 1])
    yield Form("a column beside others", {"inputs": {"id": [7, 8], kind: [a, b]}}, [0, 1])
    yield Form("columns without that one", {"inputs": {"id": [7, 8], "review": [a, b]}}, neither)
    yield Form("columns of other lengths", {"inputs": {"id": [7], kind: [a, b]}}, "columns of 1 and 2 rows")
    yield Form("a cell", {"inputs": {kind: a}}, [0])
    yield Form("rows", {"inputs": [{"id": 7, kind: a}, {"id": 8, kind: b}]}, [0, 1])
    yield Form("rows of instances", {"instances": [{"id": 7, kind: a}, {"id": 8, kind: b}]}, [0, 1])
    yield Form("rows without the column", {"inputs": [{"id": 7, "review": a}]}, neither)
    yield Form("a row that lacks it", {"inputs": [{"id": 7, kind: a}, {"id": 8}]}, "input 1 is None")
    yield Form("rows of one cell", {"inputs": [[a], [b]]}, [0, 1])
    yield Form("rows of two cells", {"inputs": [[a, b]]}, "got an array of 1 x 2")
    yield Form("rows of one and two cells", {"inputs": [[a], [a, b]]}, "inhomogeneous shape")
    yield Form("deep rows", {"inputs": [[[a], [b]]]}, "got an array of 1 x 2 x 1")
    yield Form("split", _split([kind], [[a], [b]]), [0, 1])
    yield Form("split, any name", _split(["review"], [[a], [b]]), [0, 1])
    yield Form("split, no name", {"dataframe_split": {"data": [[a], [b]]}}, [0, 1])
    yield Form("split, id first", _split(["id", kind], [[7, a], [8, b]]), [0, 1])
    yield Form("split, label first", _split(["label", kind], [["bad", a], ["good", b]]), [0, 1])
    yield Form("split, named last of three", _split(["review", "id", kind], [[b, 7, a], [a, 8, b]]), [0, 1])
    yield Form("split, without it", _split(["id", "review"], [[7, a]]), neither)
    yield Form("split, twice", _split([kind, kind], [[a, b]]), f"got 2 columns called {kind}")
    yield Form("split, other index", _split([kind], [[a], [b]], index=[9, 4]), [0, 1])
    yield Form("split, named rows", _split([kind], [[a], [b]], index=["x", "y"]), "rows have names")
    yield Form("split, no rows", _split([kind], []), "got no rows")
    yield Form("records", {"dataframe_records": [{kind: a}, {kind: b}]}, [0, 1])
    yield Form("records, id first", {"dataframe_records": [{"id": 7, kind: a}, {"id": 8, kind: b}]}, [0, 1])
    yield Form("records, without it", {"dataframe_records": [{"id": 7, "review": a}]}, neither)
    yield Form("records, one lacks it", {"dataframe_records": [{"id": 7, kind: a}, {"id": 8}]}, "input 1 is nan")
    yield Form("nothing", {"inputs": []}, "got no rows")
    yield Form("no columns", {"inputs": {}}, "got 0 columns")
    yield Form("null", {"inputs": None}, "input 0 is None")
    yield Form("a missing one", {"inputs": [a, None]}, "input 1 is None")
    yield Form("not a number", {"inputs": [a[:20], float("nan")]}, "input 1 is a missing value")
    yield Form("not a number beside a long one", {"inputs": [a * 9, float("nan")]}, "input 1 is a missing value")
    yield Form("a number", {"inputs": [7]}, "input 0 is 7")
    yield Form("a number beside a text", {"inputs": ["a", 7]}, "input 1 is 7, which is no text")
    yield Form("true beside a text", {"inputs": ["a", True]}, "input 1 is True, which is no text")


def _split(columns: list[str], data: list[list[Any]], **index: Any) -> dict[str, Any]:
    return {"dataframe_split": {"columns": columns, "data": data, **index}}


def forms_of_tables(kind: Kind) -> Iterator[Form]:
    a, b = sent(kind)
    id_first = pd.DataFrame({"id": [7, 8], kind: [a, b]})
    without = pd.DataFrame({"id": [7, 8], "review": [a, b]})
    neither = "got 2 columns .*expected one called"
    yield Form("CSV", _csv(id_first[[kind]]), [0, 1], CSV)
    yield Form("CSV with a byte order mark", b"\xef\xbb\xbf" + _csv(id_first[[kind]]), [0, 1], CSV)
    yield Form("CSV, any name", _csv(without[["review"]]), [0, 1], CSV)
    yield Form("CSV, id first", _csv(id_first), [0, 1], CSV)
    yield Form("CSV, row numbers first", id_first.to_csv().encode(), [0, 1], CSV)
    yield Form("CSV, without it", _csv(without), neither, CSV)
    for mark, name in {";": "semicolons", "\t": "tabs"}.items():
        divided = id_first[:1].to_csv(index=False, sep=mark).encode()
        yield Form(f"CSV, divided by {name}", divided, "divide the cells of CSV by commas", CSV)
    yield Form("CSV, an empty cell", f"id,{kind}\n7,\n".encode(), "input 0 is nan", CSV)
    yield Form("CSV, more cells than its header", f"{kind}\nan awful, dull plot\n".encode(), "rows have names", CSV)
    yield Form("CSV, header alone", f"{kind}\n".encode(), "got no rows", CSV)
    yield Form("CSV, numbers", f"{kind}\n007\n".encode(), "input 0 is 7", CSV)
    yield Form("Parquet, id first", _parquet(id_first), [0, 1], PARQUET)
    yield Form("Parquet, without it", _parquet(without), neither, PARQUET)
    yield Form("Parquet of what a program has", _parquet(pd.DataFrame({kind: inputs(kind)})), [0, 1], PARQUET)


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode()


def _parquet(table: pd.DataFrame) -> bytes:
    content = io.BytesIO()
    table.to_parquet(content)
    return content.getvalue()


def forms_of_base64(kind: Kind) -> Iterator[Form]:
    if kind != "text":
        a, (content, _) = sent(kind)[0], inputs(kind)
        yield Form("base64 in lines", {"inputs": [base64.encodebytes(content).decode()]}, [0])
        yield Form("base64 in lines of Windows", {"inputs": [a[:76] + "\r\n" + a[76:] + "\r\n"]}, [0])
        yield Form("a data URI", {"inputs": [f"data:{kind}/x;base64,{a}"]}, [0])
        yield Form("a data URI with a parameter", {"inputs": [f"data:{kind}/x;name=a.x;base64,{a}"]}, [0])
        yield Form(
            "an escaped data URI", {"inputs": [f"data:;base64,{a}".replace("+", "%2B").replace("=", "%3D")]}, [0]
        )
        yield Form("a data URI in a table", _csv(pd.DataFrame({"id": [7], kind: [f"data:;base64,{a}"]})), [0], CSV)
        yield Form("a cut base64", {"inputs": [a[:-1]]}, "input 0 is ")
        yield Form("no data", {"inputs": ["data:;base64,"]}, "input 0 is 'data:;base64,'")
        # Whether there is one or not. Some are base64, too.
        refused = "input 0( is '.*, expected the bytes of an? |: no (image|sound) that can be read .*it begins with)"
        for path in ("/etc/passwd", "/proc/kmsg", "/dev/zero", __file__, "/nowhere", "file:///etc/passwd", "."):
            yield Form(f"the path {path}", {"inputs": [path]}, refused)
            yield Form(f"the path {path} in a table", _csv(pd.DataFrame({kind: [path]})), refused, CSV)


def forms_of_requests(kind: Kind) -> list[Form]:
    return [*forms_in_json(kind), *forms_of_tables(kind), *forms_of_base64(kind)]


def forms_in_python(kind: Kind, folder: Path) -> Iterator[Form]:
    a, b = inputs(kind)
    neither = "got 2 columns .*expected one called"
    yield Form("a list", [a, b], [0, 1])
    yield Form("a tuple", (a, b), [0, 1])
    yield Form("one alone", b, [1])
    yield Form("an array", np.array([a, b], object), [0, 1])
    yield Form("a column of an array", np.array([[a], [b]], object), [0, 1])
    yield Form("a Series", pd.Series([a, b]), [0, 1])
    yield Form("a Series with a name and an index", pd.Series([a, b], index=["x", "y"], name="review"), [0, 1])
    yield Form("a table", pd.DataFrame({kind: [a, b]}), [0, 1])
    yield Form("a table, any name", pd.DataFrame({"review": [a, b]}), [0, 1])
    yield Form("a table, no name", pd.DataFrame([a, b]), [0, 1])
    yield Form("a table, other index", pd.DataFrame({"id": [7, 8], kind: [a, b]}).set_index("id"), [0, 1])
    yield Form("a table, index of texts", pd.DataFrame({"id": ["x", "y"], kind: [a, b]}).set_index("id"), [0, 1])
    yield Form("a table, id first", pd.DataFrame({"id": [7, 8], kind: [a, b]}), [0, 1])
    yield Form("a table, label first", pd.DataFrame({"label": ["bad", "good"], kind: [a, b]}), [0, 1])
    yield Form("a table, without it", pd.DataFrame({"id": [7, 8], "review": [a, b]}), neither)
    yield Form("a table, no rows", pd.DataFrame({kind: []}), "got no rows")
    yield Form("a dict of lists", {"id": [7, 8], kind: [a, b]}, [0, 1])
    yield Form("a dict of arrays", {"id": np.array([7, 8]), kind: np.array([a, b], object)}, [0, 1])
    yield Form("a dict without it", {"id": [7, 8], "review": [a, b]}, neither)
    yield Form("a list of dicts", [{"id": 7, kind: a}, {"id": 8, kind: b}], [0, 1])
    yield Form("rows of one cell", [[a], [b]], [0, 1])
    yield Form("rows of two cells", [[a, b]], "row 0 is ")
    yield Form("nothing", [], "got no rows")
    yield Form("None", None, "got None, expected one input")
    yield Form("a number", 7, "got 7, expected one input")
    yield Form("a missing one", [a, None], "input 1 is None")
    if kind == "text":
        yield Form("an array of texts", np.array([a, b]), [0, 1])
        yield Form("a part of an array of texts", np.array([a, b, "x" * 40])[:2], [0, 1])
    else:
        (folder / "a file").write_bytes(a)
        yield Form("bytearrays", [bytearray(a), memoryview(b)], [0, 1])
        yield Form("base64", sent(kind), [0, 1])
        yield Form("a path", folder / "a file", [0])
        yield Form("paths in a table", pd.DataFrame({"id": [7], kind: [folder / "a file"]}), [0])
        yield Form("a text that is a path", [str(folder / "a file")], "a pathlib.Path")
        yield Form("a device", [Path("/dev/zero")], "is a folder or device")
        yield Form("a folder", [folder], "is a folder or device")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, PyFuncModel]:
    folders = {kind: write_registered(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}
    return {kind: mlflow.pyfunc.load_model(str(folder)) for kind, folder in folders.items()}


def alone(model: PyFuncModel, kind: Kind) -> Answer:
    """The answers to both inputs, each alone."""
    return [answered(model.predict([one]))[0] for one in inputs(kind)]


def check(form: Form, got: Answer | str, both: Answer) -> None:
    """The answers are those to each input alone, but for the last bits."""
    if isinstance(form.expected, str):
        assert isinstance(got, str), f"{form.name}: answered"
        assert re.search(form.expected, got), f"{form.name}: {got}"
        return
    assert not isinstance(got, str), f"{form.name}: {got}"
    assert len(got) == len(form.expected), form.name
    for answer, place in zip(got, form.expected, strict=True):
        wanted = both[place]
        assert answer["probabilities"] == pytest.approx(wanted["probabilities"], abs=1e-5), form.name


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_in_python_has_its_answer(models: dict[Kind, PyFuncModel], kind: Kind, tmp_path: Path) -> None:
    both = alone(models[kind], kind)
    assert both[0] != both[1]
    for form in forms_in_python(kind, tmp_path):
        try:
            got: Answer | str = answered(models[kind].predict(form.asked))
        except ValueError as error:
            got = str(error)
        check(form, got, both)


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_of_a_request_has_its_answer(models: dict[Kind, PyFuncModel], kind: Kind) -> None:
    both = alone(models[kind], kind)
    with listening(models[kind]) as post:
        for form in forms_of_requests(kind):
            body = form.asked if isinstance(form.asked, bytes) else json.dumps(form.asked).encode()
            status, content = post(body, form.content_type)
            told = json.loads(content)
            assert status == (400 if isinstance(form.expected, str) else 200), f"{form.name}: {content[:300]!r}"
            check(form, told["message"] if status != 200 else told["predictions"], both)


@contextmanager
def listening(model: PyFuncModel) -> Iterator[Post]:
    """MLflow's scoring server around the model, on a port, in a thread of this process."""
    config = uvicorn.Config(scoring_server.init(model), port=free_port(), log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()

    def post(body: bytes, content_type: str) -> tuple[int, bytes]:
        address = f"http://127.0.0.1:{config.port}/invocations"
        request = urllib.request.Request(address, body, {"Content-Type": content_type})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    try:
        wait_until(lambda: server.started)
        yield post
    finally:
        server.should_exit = True
        thread.join()
        # MLflow leaves behind that the process serves.
        os.environ.pop(SERVED, None)


def test_a_request_over_a_limit_is_refused_with_it_and_a_program_has_none(models: dict[Kind, PyFuncModel]) -> None:
    assert len(models["text"].predict(["a"] * 1001)) == 1001
    with listening(models["text"]) as post:
        assert refused(post, ["a"] * 1001) == "got 1,001 rows, expected at most 1,000 in one request; send several"
        assert refused(post, ["a" * 900_000] * 5).startswith("got 4,500,000 bytes or more, expected at most 4,194,304")
    with listening(models["image"]) as post:
        assert refused(post, [blank_png(1)] * 101).startswith("got 101 rows, expected at most 100")
        assert refused(post, [blank_png(7000)] * 3).startswith("got 147,000,000 pixels or more, expected at most 100,")
    with listening(models["audio"]) as post:
        assert refused(post, [sent("audio")[0]] * 101).startswith("got 101 rows, expected at most 100")


def refused(post: Post, inputs: list[str]) -> str:
    status, content = post(json.dumps({"inputs": inputs}).encode(), JSON)
    assert status == 400
    return str(json.loads(content)["message"])


def blank_png(side: int) -> str:
    content = io.BytesIO()
    Image.new("1", (side, side)).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def test_the_column_that_it_was_trained_to_read_counts_before_the_one_named_after_its_kind(tmp_path: Path) -> None:
    model = mlflow.pyfunc.load_model(str(write_registered(tmp_path, "text", column="review")))
    a, b = alone(model, "text")
    assert answered(model.predict(pd.DataFrame({"text": TEXTS[:1], "review": TEXTS[1:]}))) == [b]
    assert answered(model.predict(pd.DataFrame({"id": [7], "text": TEXTS[:1]}))) == [a]
    with pytest.raises(ValueError, match=r"got 2 columns \('id', 'body'\), expected one called review or text"):
        model.predict(pd.DataFrame({"id": [7], "body": TEXTS[:1]}))


def test_a_refusal_is_one_sentence_without_the_request_or_a_stack_trace(models: dict[Kind, PyFuncModel]) -> None:
    with listening(models["image"]) as post:
        body = json.dumps({"inputs": ["A" * 100_000]}).encode()
        status, content = post(body, JSON)
    assert (status, "stack_trace" in json.loads(content), len(content) < 500) == (400, False, True)
