"""One click from the link that `graftline up` prints to Prefect's page: a ticket, good once, for its password."""

import base64
import json
import os
import secrets
from hashlib import sha256
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

PATH = "/sign-in"
# The file in .graftline/ that a command line on this machine reads the password from, its owner's alone.
PASSWORD_FILE = "prefect_password"  # noqa: S105 - the name of a file
USER = "graftline"
SECRET_BYTES = 32
# A ticket and the name of its field.
MOST_BYTES = 200


def new_password(file: Path) -> str:
    """A new password of Prefect's API, which nobody but the file's owner can read. Prefect calls it auth string."""
    password = f"{USER}:{secrets.token_urlsafe(SECRET_BYTES)}"
    file.unlink(missing_ok=True)  # its mode counts only where a file is made
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(password)
    return password


class Tickets:
    """Tickets that are good once. Of each there is a file named by its digest, and only who removes that has used it.

    So no file holds a secret, and of two who come at once with the same ticket one is too late.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def clear(self) -> None:
        """Make all tickets of an earlier start void."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        for file in self.folder.iterdir():
            file.unlink(missing_ok=True)

    def issue(self) -> str:
        ticket = secrets.token_urlsafe(SECRET_BYTES)
        self._file(ticket).touch(mode=0o600)
        return ticket

    def is_used(self, ticket: str) -> bool:
        return not self._file(ticket).exists()

    def use(self, ticket: str) -> bool:
        """Whether it is good; it is void from then on."""
        try:
            self._file(ticket).unlink()
        except FileNotFoundError:
            return False
        return True

    def _file(self, ticket: str) -> Path:
        return self.folder / sha256(ticket.encode(errors="surrogatepass")).hexdigest()


def link(page: str, ticket: str) -> str:
    """Behind a #, so that the ticket stands in no log of a server and in no Referer."""
    return f"{page}{PATH}#{ticket}"


def sign_in_app(tickets: Tickets, password: str) -> Starlette:
    """The page that the link leads to, and what it asks: the password for a good ticket."""

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE, headers=HEADERS)

    async def password_for_ticket(request: Request) -> Response:
        # The guard has looked at the host; a page of another origin, if a browser let it ask, is none of ours.
        if request.headers.get("origin") != f"http://{request.headers['host']}":
            return _refused("this page is asked by another one")
        if not tickets.use(await _ticket_in(request)):
            return _refused("the ticket was used already, or is of an earlier start")
        return JSONResponse({"password": password}, headers=HEADERS)

    return Starlette(routes=[Route(PATH, page, methods=["GET"]), Route(PATH, password_for_ticket, methods=["POST"])])


async def _ticket_in(request: Request) -> str:
    """The ticket that was sent; an empty one, which is never good, where there is none."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            return ""
    try:
        return str(json.loads(body)["ticket"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _refused(why: str) -> Response:
    return JSONResponse({"error": why}, status_code=403, headers=HEADERS)


# Prefect's page keeps its password under this name, for this host and port alone: a cookie would go to every port.
SCRIPT = """
const show = text => { document.getElementById("said").textContent = text };
const KEPT = "prefect-password";
async function isGood(kept) {
  const asked = await fetch("/api/admin/version", { headers: { Authorization: `Basic ${kept}` } });
  return asked.ok;
}
async function signIn() {
  const ticket = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  const answer = await fetch(location.pathname, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ticket }),
  });
  if (answer.ok) localStorage.setItem(KEPT, btoa((await answer.json()).password));
  if (answer.ok || await isGood(localStorage.getItem(KEPT))) return location.replace("/");
  localStorage.removeItem(KEPT);
  show("This link was used already, or is of an earlier start. Take the newest one that graftline up has printed.");
}
signIn().catch(error => show(`The server does not answer (${error.message}). Does graftline up still run?`));
"""
SCRIPT_SHA256 = base64.b64encode(sha256(SCRIPT.encode()).digest()).decode()
PAGE = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Graftline: sign in</title>
<body><main><h1>Prefect, started by Graftline</h1><p id="said" role="status">Signing in ...</p>
<noscript><p>Prefect's pages need JavaScript.</p></noscript></main><script>{SCRIPT}</script></body></html>
"""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; script-src 'sha256-{SCRIPT_SHA256}'; connect-src 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
