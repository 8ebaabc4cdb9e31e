"""`graftline up`: what it starts, what it refuses, and that nothing of it stays behind."""

import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prefect.utilities.callables import parameter_schema

from graftline.errors import GraftlineError, SettingsError
from graftline.flows.servers.commands import prefect_environment, tracking_server
from graftline.flows.servers.forms import form_values
from graftline.flows.servers.services import (
    StopRequested,
    require_alive,
    service,
    stop_signal,
    wait_for_end,
    wait_for_page,
)
from graftline.flows.up import up
from graftline.settings import Settings, parse_settings, read_settings
from graftline.tasks.tracking.addresses import as_basic
from tests.support.running_project import (
    PROJECT,
    Running,
    ask_prefect,
    copy_project,
    free_port,
    graftline_up,
    marked_processes,
    state_of,
    wait_until,
)

ENVIRONMENT = dict(os.environ)
# A program that starts another one; neither listens to SIGTERM.
DEAF_FAMILY = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) == 1:
    child = subprocess.Popen([sys.executable, __file__, "child"])
    print(child.pid, flush=True)
time.sleep(60)
"""
# Flows with the real names and parameters that need no model: here it is about processes.
SLOW_ADAPT = '''
"""Adapt, slowly."""
import time
from prefect import flow
from graftline.settings import Settings

@flow(name="adapt")
def adapt(settings: Settings) -> dict[str, str]:
    time.sleep(600)
    return {}
'''
QUICK_FLOW = '''
"""Do nothing."""
from prefect import flow

@flow(name="NAME")
def NAME(name: str, version: str = "", reason: str = "") -> dict[str, str]:
    return {}
'''


@pytest.mark.full
def test_a_program_and_what_it_started_are_ended_though_they_ignore_sigterm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graftline.flows.servers.services.GRACE_SECONDS", 0.5)
    (tmp_path / "deaf.py").write_text(DEAF_FAMILY)
    log = tmp_path / "log"
    with service("deaf", python("deaf.py"), folder=tmp_path, environment=ENVIRONMENT, log=log) as deaf:
        wait_until(lambda: log.read_text().strip() != "")
        child = int(log.read_text())
        assert {deaf.process.pid, child} <= living()
    assert not {deaf.process.pid, child} & living()


def test_a_program_that_ends_by_itself_is_named_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with service("the clock", python("-c", "exit(3)"), folder=tmp_path, environment=ENVIRONMENT, log=log) as clock:
        clock.process.wait()
        with pytest.raises(
            GraftlineError, match=rf"the clock: ended by itself with exit code 3, .*{re.escape(str(log))}"
        ):
            require_alive([clock])


def test_a_page_that_never_answers_is_an_error_that_names_the_log(tmp_path: Path) -> None:
    command, log = python("-c", "import time; time.sleep(60)"), tmp_path / "log"
    with service("mute", command, folder=tmp_path, environment=ENVIRONMENT, log=log) as mute, stop_signal() as stop:
        address = f"http://127.0.0.1:{free_port()}/health"
        with pytest.raises(GraftlineError, match=rf"mute: no answer at {address} within 0 s, .*{re.escape(str(log))}"):
            wait_for_page(mute, address, stop, seconds=0)


def test_ctrl_c_ends_a_wait_at_once(tmp_path: Path) -> None:
    command, log = python("-c", "import time; time.sleep(60)"), tmp_path / "log"
    with service("slow", command, folder=tmp_path, environment=ENVIRONMENT, log=log) as slow, stop_signal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(StopRequested):
            wait_for_end(slow, stop, seconds=60)


def test_every_field_of_every_form_is_explained() -> None:
    deployments = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    without_words: dict[str, list[str]] = {}
    for deployment in deployments:
        module, _, name = deployment["entrypoint"].rpartition(".")
        fields = parameter_schema(getattr(importlib.import_module(module), name)).properties
        # The settings of adapt are a group, whose parts the browser's test looks at.
        found = [field for field, told in fields.items() if not told.get("description") and field != "settings"]
        without_words |= {deployment["name"]: found} if found else {}
    assert len(deployments) > 1
    assert without_words == {}


def test_a_taken_port_is_refused_with_its_number_and_its_option() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"port {port} of 127.0.0.1 cannot be used .* --mlflow-port"):
            up(PROJECT, prefect_port=free_port(), mlflow_port=port, say=print)


def test_one_port_for_both_servers_is_refused() -> None:
    port = free_port()
    with pytest.raises(SettingsError, match=f"--prefect-port and --mlflow-port: both are {port}"):
        up(PROJECT, prefect_port=port, mlflow_port=port, say=print)


def test_the_users_own_prefect_account_is_not_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "secret")
    environment = prefect_environment(tmp_path, "http://127.0.0.1:1", "name:secret")
    assert "PREFECT_API_KEY" not in environment
    assert environment["PREFECT_HOME"] == str(tmp_path / ".graftline" / "prefect")


def test_the_tracking_server_listens_on_loopback_only() -> None:
    command, environment = tracking_server(PROJECT, "http://127.0.0.1:5001")
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5001"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_the_form_needs_no_box_of_raw_json() -> None:
    for definition in Settings.model_json_schema()["$defs"].values():
        for name, field in definition["properties"].items():
            assert "anyOf" not in field, f"{name} would be drawn as a choice between types"


def test_what_the_form_shows_means_what_params_yaml_says() -> None:
    params = PROJECT / "params.yaml"
    shown = form_values(params)
    assert "null" not in json.dumps(shown)
    assert parse_settings(shown, source="the form") == read_settings(params)


def test_the_form_leaves_to_the_machine_that_runs_it_what_the_file_leaves_to_it(tmp_path: Path) -> None:
    tree: dict[str, Any] = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    for given, shown in (({"precision": "auto"}, ("auto", "auto")), ({"device": "cpu"}, ("cpu", "float32"))):
        params = tmp_path / "params.yaml"
        params.write_text(yaml.safe_dump({**tree, "adaptation": given}), encoding="utf-8")
        values: Any = form_values(params)
        assert (values["adaptation"]["device"], values["adaptation"]["precision"]) == shown


@pytest.mark.full
def test_either_signal_ends_everything_also_a_run_under_way_and_it_starts_again(tmp_path: Path) -> None:
    project = small_project(tmp_path)
    with graftline_up(project) as running:
        check_that_the_forms_are_the_projects(project, running)
        check_that_no_stranger_starts_a_command(running)
        check_that_server_and_store_are_one_registry(project, running.mlflow)
        run = run_under_way(project, running)
        assert_ends(running, signal.SIGINT)
    with graftline_up(project) as again:
        assert state_of(again, run) == "Crashed"
        run_under_way(project, again)
        assert_ends(again, signal.SIGTERM)


def check_that_the_forms_are_the_projects(project: Path, running: Running) -> None:
    """What is filled in, and what can be chosen; the full form and the short one wait for each other's runs."""
    adapt, retrain, promote = (
        deployment(running, name) for name in ("adapt/adapt", "retrain/retrain", "promote/promote")
    )
    assert adapt["parameters"] == {"settings": form_values(project / "params.yaml")}
    settings = read_settings(project / "params.yaml")
    assert retrain["parameters"]["epochs"] == settings.adaptation.epochs
    assert retrain["parameter_openapi_schema"]["properties"]["base_model"]["enum"] == [settings.base_model.uri]
    assert retrain["global_concurrency_limit"]["id"] == adapt["global_concurrency_limit"]["id"]
    assert promote["parameters"] == {"name": settings.registry.model}
    assert promote["parameter_openapi_schema"]["properties"]["version"]["enum"] == ["the challenger"]


def check_that_no_stranger_starts_a_command(running: Running) -> None:
    """Not without the password, not by another name of this machine, and with both not by what a run brings along."""
    rollback = deployment(running, "rollback/rollback")["id"]
    start = f"{running.prefect}/api/deployments/{rollback}/create_flow_run"
    brought = {"parameters": {"name": "m"}, "job_variables": {"command": "touch started-by-a-stranger"}}
    signed = {"Authorization": f"Basic {as_basic(running.password)}", "Prefect-Csrf-Client": "test"}
    csrf = {"Prefect-Csrf-Token": str(ask_prefect(running, "csrf-token?client=test")["token"])}
    for headers, status in (
        ({}, 403),  # without what pages of other sites cannot send
        ({"Prefect-Csrf-Client": "test", **csrf}, 401),
        ({**signed, **csrf, "Host": "rebound.example"}, 400),
        ({**signed, **csrf}, 422),
    ):
        assert httpx.post(start, json=brought, headers=headers).status_code == status
    for pid in marked_processes(running.mark):
        assert running.password.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()


def deployment(running: Running, name: str) -> dict[str, Any]:
    return dict(ask_prefect(running, f"deployments/name/{name}"))


def check_that_server_and_store_are_one_registry(project: Path, server: str) -> None:
    """A model registered through the server is read without it, and the other way round."""
    store = f"sqlite:///{project / 'mlflow' / 'mlflow.db'}"
    assert "version 1" in registry(project, server, "register")
    said = registry(project, store, "register", "read")
    assert "version 2" in said
    assert "predicts ['a'] ['a']" in said
    assert "predicts ['a'] ['a']" in registry(project, server, "read")


REGISTRY = """
import sys
from pathlib import Path
import mlflow
from graftline.tasks.step_folders import Workspace
from graftline.tasks.tracking.server import connect, experiment_of

workspace = Workspace(Path.cwd())
connect(workspace)
if "register" in sys.argv:
    Path("echo.py").write_text(
        "import mlflow\\n"
        "class Echo(mlflow.pyfunc.PythonModel):\\n"
        "    def predict(self, context, model_input: list[str]) -> list[str]:\\n"
        "        return model_input\\n"
        "mlflow.models.set_model(Echo())\\n"
    )
    with mlflow.start_run(experiment_id=experiment_of(workspace, "echo")):
        model = mlflow.pyfunc.log_model(name="model", python_model="echo.py", pip_requirements=["mlflow"])
    print("version", mlflow.register_model(model.model_uri, "echo").version)
if "read" in sys.argv:
    print("predicts", *(mlflow.pyfunc.load_model(f"models:/echo/{version}").predict(["a"]) for version in (1, 2)))
"""


def registry(project: Path, address: str, *verbs: str) -> str:
    """Use the registry at an address from a fresh process, as a run does; return what it printed."""
    done = subprocess.run(
        python("-c", REGISTRY, *verbs),
        cwd=project,
        env=ENVIRONMENT | {"MLFLOW_TRACKING_URI": address},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def small_project(tmp_path: Path) -> Path:
    project = copy_project(tmp_path / "project")
    (project / "flows" / "adapt.py").write_text(SLOW_ADAPT)
    for name in ("promote", "override", "rollback"):
        (project / "flows" / f"{name}.py").write_text(QUICK_FLOW.replace("NAME", name))
    return project


def run_under_way(project: Path, running: Running) -> str:
    run = start_adapt(project, running)
    wait_until(lambda: state_of(running, run) == "Running")
    return run


def assert_ends(running: Running, number: signal.Signals) -> None:
    said = running.stop(number)
    assert running.process.returncode == 0, said
    assert marked_processes(running.mark) == []


def start_adapt(project: Path, running: Running) -> str:
    """Start a run as a colleague with the command line does; return its id."""
    done = subprocess.run(
        python("-m", "prefect", "deployment", "run", "adapt/adapt"),
        cwd=project,
        env=prefect_environment(project, running.prefect, running.password),
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = re.search(r"UUID: ([0-9a-f-]{36})", done.stdout)
    assert found is not None, done.stdout + done.stderr
    return found.group(1)


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def living() -> set[int]:
    """The processes that are not merely waiting to be collected."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.add(int(folder.name))
    return found
