"""Who may ask a served model: who has its token, and only by the names that the server has."""

import hmac
import ipaddress
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from graftline.errors import SettingsError
from graftline.tasks.serving.refusals import refusal

TOKEN, TOKEN_FILE = "GRAFTLINE_SERVE_TOKEN", "GRAFTLINE_SERVE_TOKEN_FILE"
# Shorter ones can be guessed by trying.
LEAST_CHARACTERS = 16
# What looks after servers asks these, and seldom can say a token; they tell nothing.
OPEN = ("/ping", "/health")
BEARER = b"bearer "


def read_token(environment: Mapping[str, str] = os.environ) -> bytes | None:
    """The token that the environment, or the file that it names, holds; None without both. It is never shown.

    Raises: SettingsError if both are set, the file can be read by others, or the token is short or blank.
    """
    given, file = environment.get(TOKEN), environment.get(TOKEN_FILE)
    if given is not None and file is not None:
        raise SettingsError(f"{TOKEN} and {TOKEN_FILE} are both set; expected one of them")
    if given is None and file is None:
        return None
    token = given.strip() if given is not None else _in_file(Path(str(file)).expanduser())
    if len(token) < LEAST_CHARACTERS or not token.isascii() or any(mark.isspace() for mark in token):
        raise SettingsError(
            f"{TOKEN if given is not None else TOKEN_FILE}: the token has {len(token)} characters, expected at least"
            f" {LEAST_CHARACTERS} of ASCII without white space; make one with `openssl rand -hex 32`"
        )
    return token.encode()


def _in_file(path: Path) -> str:
    try:
        mode, token = stat.S_IMODE(path.stat().st_mode), path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{TOKEN_FILE}: {path} cannot be read ({error}); name the file that holds it") from None
    if mode & 0o077:
        raise SettingsError(
            f"{TOKEN_FILE}: {path} has mode {mode:04o}, which lets others read or change it, expected 0600; run"
            " chmod 600 on it, and make a new token if others could have read it"
        )
    return token.strip()


def require_token_beyond_loopback(host: str, token: bytes | None) -> None:
    """Raises: SettingsError if anybody who can reach the machine could ask."""
    if token is None and not _is_loopback(host):
        raise SettingsError(
            f"--host {host} without a token, so that whoever can reach this machine could ask the model; set {TOKEN} or"
            f" {TOKEN_FILE}, or leave --host out and put a proxy in front"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def guarded(app: ASGIApp, *, token: bytes | None, hosts: tuple[str, ...]) -> ASGIApp:
    """The app for who asks by one of the server's names (Host), says one length of the body, and, but for `OPEN`, the
    token.

    `hosts` are those of `mlflow/serving.yaml`.
    """

    async def behind_token(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _has_two_lengths(scope):
            response = refusal(400, "got both Content-Length and Transfer-Encoding, expected one of them")
            response.headers["connection"] = "close"
            await response(scope, receive, send)
            return
        if scope["type"] == "http" and token is not None and scope["path"] not in OPEN and not _says(scope, token):
            response = refusal(401, "expected the header Authorization: Bearer TOKEN with the token of this server")
            response.headers["www-authenticate"] = "Bearer"
            await response(scope, receive, send)
            return
        await app(scope, receive, send)

    return TrustedHostMiddleware(behind_token, allowed_hosts=list(hosts), www_redirect=False)


def _has_two_lengths(scope: Scope) -> bool:
    """By which a proxy in front could see another request than this server does."""
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}


def _says(scope: Scope, token: bytes) -> bool:
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(given) != 1 or given[0][: len(BEARER)].lower() != BEARER:
        return False
    return hmac.compare_digest(given[0][len(BEARER) :].strip(), token)
