"""The process behind one served version: MLflow's own scoring app around the model, at a socket in the file system.

Nothing of graftline may be imported here: the model must bring the code that it needs.
"""

import json
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What whoever started this process asks beside MLflow's own paths.
DESCRIPTION = "/graftline/description"
# How many numbers of each input's vector follow behind the answer's JSON, as little-endian float32.
WIDTH = b"x-graftline-width"
# The vectors of the request that is being answered; MLflow answers in another thread, with a copy of the context.
_vectors: ContextVar[list[Any] | None] = ContextVar("the vectors of this request", default=None)


def main() -> None:
    folder, socket, threads, with_features = sys.argv[1:]
    import mlflow
    import torch
    import uvicorn
    from mlflow.pyfunc import scoring_server

    torch.set_num_threads(int(threads))
    model = mlflow.pyfunc.load_model(folder)
    python_model: Any = model.unwrap_python_model()
    # Under this name in every release.
    predictor = getattr(python_model, "_predictor", None)
    if with_features == "True":
        _keep_vectors_of(predictor)
    app = _Served(scoring_server.init(model), _described(python_model, predictor))
    uvicorn.run(app, uds=socket, log_level="warning", access_log=False, lifespan="off")


def _described(python_model: Any, predictor: Any) -> dict[str, Any]:
    """What is asked how; nothing of a model that Graftline did not register."""
    if predictor is None:
        return {}
    kind = predictor.kind
    return {"kind": kind, "column": getattr(python_model, "_column", kind)}


def _keep_vectors_of(predictor: Any) -> None:
    """Have it put aside what its head reads, which it computes anyway; one of an earlier release has no such way."""
    if not (hasattr(predictor, "features") and hasattr(predictor, "answers")):
        return

    def predict(raws: Any) -> Any:
        features = predictor.features(raws)
        if (kept := _vectors.get()) is not None:
            kept.append(features.vectors)
        return predictor.answers(features.outputs)

    predictor.predict = predict


class _Served:
    """MLflow's app, with the description at its path and the vectors behind its answers."""

    def __init__(self, mlflow: "ASGIApp", description: dict[str, Any]) -> None:
        self._mlflow, self._description = mlflow, json.dumps(description).encode()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "http" and scope["path"] == DESCRIPTION:
            await _respond(send, 200, [(b"content-type", b"application/json")], self._description)
            return
        kept: list[Any] = []
        _vectors.set(kept)
        started: dict[str, Any] = {}
        body = bytearray()

        async def gather(message: "Message") -> None:
            if message["type"] == "http.response.start":
                started.update(message)
            else:
                body.extend(message.get("body", b""))

        await self._mlflow(scope, receive, gather)
        headers = [header for header in started["headers"] if header[0] != b"content-length"]
        if len(kept) == 1 and started["status"] == 200:
            headers.append((WIDTH, str(kept[0].shape[1]).encode()))
            body.extend(kept[0].numpy().astype("<f4").tobytes())
        await _respond(send, started["status"], headers, bytes(body))


async def _respond(send: "Send", status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    main()
