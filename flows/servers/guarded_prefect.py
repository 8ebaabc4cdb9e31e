"""Prefect's server behind a guard: it answers to the names of this machine only, in no frame, and signs browsers in.

Prefect has no such check, so a page of any site could give its name the address of this machine and call the API.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from prefect.server.api.server import create_app
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graftline.flows.servers.sign_in import PATH, Tickets, sign_in_app

# In the environment of the server, which only its owner can read.
TICKETS, PASSWORD = "GRAFTLINE_SIGN_IN_TICKETS", "PREFECT_SERVER_API_AUTH_STRING"
# Who still listens to events when the server is stopped would hold it otherwise.
LINGER_SECONDS = 3
HOSTS = ("127.0.0.1", "localhost")
# The names by which a proxy asks, with commas between them.
MORE_HOSTS = "GRAFTLINE_PREFECT_HOSTS"
NO_FRAME = (b"x-frame-options", b"DENY")


def guarded(prefect: ASGIApp, sign_in: ASGIApp, more_hosts: Sequence[str] = ()) -> ASGIApp:
    """Prefect's app and, at its own path, the page that signs in; both only for who asks this machine by its name."""

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        async def unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), NO_FRAME]
            await send(message)

        is_sign_in = scope["type"] == "http" and scope["path"] == PATH
        await (sign_in if is_sign_in else prefect)(scope, receive, unframed)

    return TrustedHostMiddleware(either, allowed_hosts=[*HOSTS, *more_hosts], www_redirect=False)


def serve(host: str, port: int) -> None:
    """As `prefect server start` does, with the guard before it."""
    prefect = create_app(final=True)
    # A server without pages has no use for one that signs in.
    sign_in = (
        sign_in_app(Tickets(Path(os.environ[TICKETS])), os.environ[PASSWORD]) if TICKETS in os.environ else prefect
    )
    app = guarded(prefect, sign_in, [name for name in os.environ.get(MORE_HOSTS, "").split(",") if name])
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=LINGER_SECONDS)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
