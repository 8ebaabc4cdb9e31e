"""What `graftline deploy` makes of prefect.yaml, and the pools of deploy/."""

import importlib.resources
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import PrefectHTTPStatusError

from graftline.errors import SettingsError
from graftline.flows.servers.plans import CHECKOUT, Plan, Source, planned, read_tree, tagged
from tests.support.running_project import PROJECT

SOURCE = Source("https://git.example.org/team/films.git", "main")
PLAN = Plan("films", "0.1.0", SOURCE, pool="gpu", cron="0 3 * * *", timezone="Europe/Berlin")
OF_PREFECT = {"docker": "prefect-docker", "kubernetes": "prefect-kubernetes"}


def tree(plan: Plan = PLAN) -> dict[str, Any]:
    return planned(read_tree((PROJECT / "prefect.yaml").read_text(encoding="utf-8")), plan)


def deployment(name: str, plan: Plan = PLAN) -> dict[str, Any]:
    (found,) = (one for one in tree(plan)["deployments"] if one["entrypoint"].endswith(f".{name}"))
    return dict(found)


def test_deployments_are_called_by_their_model_and_say_which_graftline_made_them() -> None:
    found = tree()["deployments"]
    assert {one["name"] for one in found} == {"films"}
    assert {one["version"] for one in found} == {"graftline 0.1.0"}
    assert {one["work_pool"]["name"] for one in found} == {"gpu"}


def test_our_flows_bear_our_tag_by_which_lost_ones_are_ended_and_those_of_the_team_do_not() -> None:
    own = {"name": "weekly report", "entrypoint": "reports.weekly", "tags": ["theirs"]}
    found = tagged({"deployments": [*tree()["deployments"], own]})["deployments"]
    assert [one["tags"] for one in found[-2:]] == [["graftline"], ["theirs"]]
    assert all(set(one["tags"]) >= {"graftline", "films"} for one in found[:-2])


def test_a_flow_of_the_teams_own_keeps_its_name_behind_the_models() -> None:
    own = {"name": "weekly report", "entrypoint": "reports.weekly", "work_pool": {"name": "local"}}
    found = planned({"deployments": [own]}, PLAN)["deployments"]
    assert [one["name"] for one in found] == ["films weekly report", "films"]


def test_no_path_of_the_deployers_machine_is_deployed() -> None:
    assert str(PROJECT) not in yaml.safe_dump(tree())
    assert deployment("adapt")["pull"][0][CHECKOUT]["repository"] == SOURCE.repository


def test_a_scheduled_run_is_dropped_while_another_trains_and_one_of_a_form_waits() -> None:
    assert deployment("adapt")["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert deployment("retrain")["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    waiting = Plan("films", "0.1.0", SOURCE, when_busy="wait")
    assert deployment("adapt", waiting)["concurrency_limit"]["collision_strategy"] == "ENQUEUE"


def test_the_schedule_has_its_time_zone_and_without_one_that_of_prefect_yaml_stays() -> None:
    (planned_one,) = deployment("adapt")["schedules"]
    assert (planned_one["cron"], planned_one["timezone"], planned_one["active"]) == ("0 3 * * *", "Europe/Berlin", True)
    (of_the_file,) = deployment("adapt", Plan("films", "0.1.0", SOURCE))["schedules"]
    assert (of_the_file["slug"], of_the_file["active"]) == ("nightly", False)


def test_the_loop_is_deployed_switched_off_and_on_where_it_is_asked_for() -> None:
    for name in ("watch", "react"):
        (off,) = deployment(name)["schedules"]
        (on,) = deployment(name, Plan("films", "0.1.0", SOURCE, loop=True))["schedules"]
        assert (off["active"], on) == (False, {**off, "active": True})
        assert deployment(name)["pull"][0][CHECKOUT]["waits"] is False


def test_a_prefect_yaml_without_deployments_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"prefect.yaml: has no deployments"):
        planned(read_tree("name: graftline"), PLAN)


@pytest.mark.parametrize("kind", OF_PREFECT)
def test_a_pool_of_deploy_sets_what_prefects_worker_knows_and_nothing_that_a_run_could_bring(kind: str) -> None:
    template = pool(kind)
    known = published(kind)["job_configuration"].keys()
    assert template["job_configuration"].keys() <= known
    assert template["variables"]["properties"] == {}
    assert "{{" not in json.dumps(template)
    assert not re.search("PASSWORD|AUTH_STRING|SECRET_ACCESS|TOKEN", json.dumps(template)), "everybody reads a template"


def test_the_job_of_the_kubernetes_pool_has_the_form_of_prefects_own() -> None:
    ours = pool("kubernetes")["job_configuration"]["job_manifest"]
    theirs = published("kubernetes")["job_configuration"]["job_manifest"]
    assert {name: ours[name] for name in ("apiVersion", "kind")} == {
        name: theirs[name] for name in ("apiVersion", "kind")
    }
    assert ours["spec"]["backoffLimit"] == 0, "Prefect starts a run again, not Kubernetes: two would run at once"
    assert ours["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    (container,) = ours["spec"]["template"]["spec"]["containers"]
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in ours["spec"]["template"]["spec"]["volumes"]}
    assert container["envFrom"] == [{"secretRef": {"name": "graftline-servers"}}]


@pytest.mark.full
@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("kind", OF_PREFECT)
def test_prefects_server_takes_the_pools_of_deploy_and_refuses_a_run_that_brings_a_command(kind: str) -> None:
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=kind, type=kind, base_job_template=pool(kind)))
        flow = client.create_flow_from_name(f"in {kind}")
        there = client.create_deployment(flow, "there", work_pool_name=kind)
        assert client.create_flow_run_from_deployment(there).work_pool_name == kind
        with pytest.raises(PrefectHTTPStatusError, match="422"):
            client.create_flow_run_from_deployment(there, job_variables={"command": "touch brought"})


def pool(kind: str) -> dict[str, Any]:
    return dict(json.loads(Path(PROJECT / "deploy" / f"{kind}-pool.json").read_text(encoding="utf-8")))


def published(kind: str) -> dict[str, Any]:
    """The template of Prefect's own worker, as its server hands it out."""
    views = importlib.resources.files("prefect.server.api") / "collections_data" / "views"
    known = json.loads((views / "aggregate-worker-metadata.json").read_text(encoding="utf-8"))
    return dict(known[OF_PREFECT[kind]][kind]["default_base_job_configuration"])
