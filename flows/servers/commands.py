"""The commands and environments of the servers of `graftline up`."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from pydantic import JsonValue

# flows/servers/deployments.py creates it, prefect.yaml names it.
WORK_POOL = "local"


def prefect_environment(root: Path, page: str, password: str) -> dict[str, str]:
    """The surroundings of who asks Prefect. The user's own profile and variables neither help nor hinder."""
    return prefect_environment_in(root / ".graftline" / "prefect", page, password)


def prefect_environment_in(home: Path, page: str, password: str) -> dict[str, str]:
    """As `prefect_environment`, with what Prefect keeps for itself in another folder."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return others | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"{page}/api",
        # Not on a command line, which every user of the machine can read.
        "PREFECT_API_AUTH_STRING": password,
        # How long a submitted run waits for the worker to look; the default of 10 s feels broken.
        "PREFECT_WORKER_QUERY_SECONDS": "2",
    }


def prefect_server(root: Path, page: str, password: str, tickets: Path) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of Prefect's server."""
    return guarded_prefect(prefect_environment(root, page, password), page, password, tickets)


def guarded_prefect(
    own: Mapping[str, str], page: str, password: str, tickets: Path
) -> tuple[list[str], dict[str, str]]:
    """The same in the surroundings `own`."""
    address = page.removeprefix("http://").split(":")
    command = [sys.executable, "-m", "graftline.flows.servers.guarded_prefect", *address]
    return command, {
        **own,
        "PREFECT_SERVER_API_AUTH_STRING": password,
        "GRAFTLINE_SIGN_IN_TICKETS": str(tickets),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # The newer pages ask an outside host for their analytics even where analytics are off.
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # Otherwise any site that is open in the same browser may start a run.
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": page,
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
    }


def prefect_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "prefect", *arguments]


def attendant(model: str) -> list[str]:
    """The command that answers what is asked about a model on MLflow's page."""
    return [sys.executable, "-m", "graftline", "attend", model]


def tracking_server(root: Path, page: str) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of MLflow's server, as `mlflow/server.yaml` describes them."""
    file = yaml.safe_load((root / "mlflow" / "server.yaml").read_text(encoding="utf-8"))
    options = [part for name, value in file["options"].items() for part in (f"--{name}", str(value))]
    flags = [f"--{name}" for name in file["flags"]]
    command = [sys.executable, "-m", "mlflow", "server", *address_options(page), *options, *flags]
    return command, {**os.environ, **file["environment"]}


# How MLflow's server asks who somebody is. Who is signed in reads; who makes a model may change it, and so may those to
# whom an administrator gives the right. A digest that is slow on purpose is computed at the first request of a minute
# only: at each of them, a model of a hundred files takes half a minute of a processor. So a password that was changed
# may count for a minute longer.
BASIC_AUTH = """[mlflow]
default_permission = READ
database_uri = {database_uri}
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""


def team_tracking_server(
    page: str, *, hosts: Sequence[str], artifacts: str, environment: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of an MLflow server that asks who one is, and hands out what lies on S3.

    `environment` says by MLFLOW_BACKEND_STORE_URI where its database is, which holds a password.
    """
    allowed = ",".join([*LOCAL_HOSTS, *hosts])
    origins = ",".join(["http://localhost:*", "http://127.0.0.1:*", *(f"https://{host}" for host in hosts)])
    options = ["--app-name", "basic-auth", "--workers", "2", "--serve-artifacts", "--artifacts-destination", artifacts]
    options += ["--allowed-hosts", allowed, "--cors-allowed-origins", origins, "--x-frame-options", "DENY"]
    command = [sys.executable, "-m", "mlflow", "server", *address_options(page), *options]
    others = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return command, {
        **others,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # only for the evaluation of traces
        **environment,
    }


LOCAL_HOSTS = ("localhost:*", "127.0.0.1:*")


def address_options(page: str) -> list[str]:
    host, port = page.removeprefix("http://").split(":")
    return ["--host", host, "--port", port]


# What a worker does with a run, whoever asks for it: Prefect's own command in the project folder. The pool has no
# variables, so no run and no deployment can bring another command, environment or folder.
POOL_TEMPLATE: dict[str, JsonValue] = {
    "job_configuration": {"stream_output": True},
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}
