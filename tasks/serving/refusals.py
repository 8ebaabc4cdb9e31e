"""Answers that refuse, in the form that MLflow's scoring server has for them."""

from starlette.responses import JSONResponse

# What MLflow calls them, for clients that look at it.
CODES = {
    400: "BAD_REQUEST", 401: "UNAUTHENTICATED", 408: "DEADLINE_EXCEEDED", 413: "REQUEST_LIMIT_EXCEEDED",
    415: "BAD_REQUEST", 500: "INTERNAL_ERROR", 503: "TEMPORARILY_UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
# After so long a queue of ordinary requests is another one.
RETRY_SECONDS = "1"


def refusal(status: int, sentence: str) -> JSONResponse:
    """The response; with 503 it says when to come again."""
    headers = {"retry-after": RETRY_SECONDS} if status == 503 else {}
    return JSONResponse({"error_code": CODES[status], "message": sentence}, status, headers)
