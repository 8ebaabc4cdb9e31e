"""The fresh process behind tasks/serving/trial.py: load a registered model, answer, write, end.

Nothing of graftline may be imported here: the model must bring the code that it needs.
"""

import base64
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import pandas as pd
    from fastapi.testclient import TestClient
    from mlflow.pyfunc import PyFuncModel

# The first requests pay for what is loaded late; the 95th percentile of 100 has 5 above it.
WARM_UP, SINGLE_REQUESTS = 5, 100
# Answers in one line of their file.
ROWS_AT_ONCE = 1000
# In the folder of a trial.
REQUESTS, TIMED, OUTCOMES = "requests.json", "timed.json", "outcomes.jsonl"
# Beside the answers of a model of an earlier release, which declares its input (earlier_forms.py).
EARLIER = "earlier"
# What the head read of each question, where that was asked for and the model can tell.
WITH_VECTORS, VECTORS = "with_vectors", "vectors.npy"
# In the first line of the questions, of which each has a line of its own.
FORM, FILES, TEXTS = "form", "files", "texts"
AFTERWARDS = "an ordinary request afterwards"


def main() -> None:
    uri, questions, answers, threads, *trial = sys.argv[1:]
    import mlflow
    import torch

    torch.set_num_threads(int(threads))
    model = mlflow.pyfunc.load_model(uri)
    if model.metadata.get_input_schema() is not None:
        Path(answers).with_name(EARLIER).touch()
    asked, with_vectors = _asked(Path(questions))
    kept = _kept_vectors(model) if with_vectors else []
    if trial:
        with _server(model) as client:
            _time_single_requests(client, asked, Path(trial[0]))
    predicted = model.predict(asked)
    if kept:
        import numpy as np

        np.save(Path(answers).with_name(VECTORS), np.concatenate(kept))
    _write_answers(Path(answers), predicted)
    if trial:
        # What these do to the process, and that may be to end it, is told apart from the answers.
        with _server(model) as client:
            _ask_hostile_requests(client, _as_sent(asked[0]), Path(trial[0]))
            # Not the usual way: that would wait for a request that hangs.
            os._exit(0)


def _asked(questions: Path) -> tuple[list[Any], bool]:
    """Texts, or paths, which no text is; and whether what the head reads of them is wanted, too."""
    with questions.open(encoding="utf-8") as file:
        told: dict[str, Any] = json.loads(next(file))
        asked = map(json.loads, file)
        return list(map(Path, asked) if told[FORM] == FILES else asked), told[WITH_VECTORS]


def _write_answers(path: Path, predicted: "pd.DataFrame") -> None:
    """Some at a time: as Python's objects all of them would take more memory than the model."""
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        for start in range(0, len(predicted), ROWS_AT_ONCE):
            some = predicted.iloc[start : start + ROWS_AT_ONCE].to_dict(orient="records")
            file.write(json.dumps(some) + "\n")
    partial.replace(path)


def _kept_vectors(model: "PyFuncModel") -> list[Any]:
    """What the head reads, filled as the model answers, which computes it anyway; earlier releases cannot tell."""
    python_model: Any = model.unwrap_python_model()  # type: ignore[no-untyped-call]
    predictor: Any = getattr(python_model, "_predictor", None)
    kept: list[Any] = []
    if hasattr(predictor, "features") and hasattr(predictor, "answers"):

        def predict(raws: Any) -> Any:
            features = predictor.features(raws)
            kept.append(features.vectors.numpy())
            return predictor.answers(features.outputs)

        predictor.predict = predict
    return kept


@contextmanager
def _server(model: "PyFuncModel") -> "Iterator[TestClient]":
    """MLflow's scoring server around the model, without a network."""
    from fastapi.testclient import TestClient
    from mlflow.environment_variables import _MLFLOW_IS_IN_SERVING_ENVIRONMENT as SERVED
    from mlflow.pyfunc import scoring_server

    with TestClient(scoring_server.init(model), raise_server_exceptions=False) as client:
        yield client
    # The server sets it for good, and the model then limits what it is asked at once.
    os.environ.pop(SERVED.name, None)


def _as_sent(question: str | Path) -> str:
    """A question as a client sends it."""
    return base64.b64encode(question.read_bytes()).decode() if isinstance(question, Path) else question


def _time_single_requests(client: "TestClient", questions: Sequence[str | Path], folder: Path) -> None:
    """How long requests with one input take, one after the other, and the most memory that the process had by then."""
    milliseconds = []
    for number in range(WARM_UP + SINGLE_REQUESTS):
        question = {"inputs": [_as_sent(questions[number % len(questions)])]}
        began = time.perf_counter()
        client.post("/invocations", json=question).raise_for_status()
        milliseconds.append(1000 * (time.perf_counter() - began))
    timed = {"milliseconds": milliseconds[WARM_UP:], "peak_memory_bytes": _peak_memory_bytes()}
    (folder / TIMED).write_text(json.dumps(timed), encoding="utf-8")


def _peak_memory_bytes() -> int | None:
    """Most memory that this process had at once; None where the system does not tell.

    Not from getrusage: on Linux its peak is also that of the process which started this one.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    (kibibytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(kibibytes)


def _ask_hostile_requests(client: "TestClient", question: str, folder: Path) -> None:
    """Write down each status as it comes, so that the last line says what a process died of."""
    ordinary = {"inputs": [question]}
    before = client.post("/invocations", json=ordinary).content
    with (folder / OUTCOMES).open("w", encoding="utf-8") as file:
        for request in json.loads((folder / REQUESTS).read_text(encoding="utf-8")):
            headers = {"content-type": request["content_type"]}
            answer = client.post("/invocations", content=base64.b64decode(request["body"]), headers=headers)
            _tell(file, request["name"], answer.status_code, _is_finite(answer.content))
        after = client.post("/invocations", json=ordinary)
        _tell(file, AFTERWARDS, after.status_code, after.content == before)


def _tell(file: "TextIO", name: str, status: int, fine: bool) -> None:
    file.write(json.dumps({"name": name, "status": status, "fine": fine}) + "\n")
    file.flush()


def _is_finite(content: bytes) -> bool:
    """Whether an answer is JSON without NaN and infinities."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(content, parse_constant=refuse)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    main()
