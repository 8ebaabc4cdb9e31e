"""What someone planned in Prefect's page is still planned after the deployments were made again."""

from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule

from graftline.flows.servers.deployments import _give_back, _made_in_page, keep_switched

NIGHTLY = DeploymentScheduleCreate(
    schedule=CronSchedule(cron="0 3 * * *", timezone="UTC"), active=False, slug="nightly"
)
IN_THE_ZONE = CronSchedule(cron="30 2 * * *", timezone="Europe/Berlin")


@flow
def planned() -> None:
    pass


def deployed(client: SyncPrefectClient, *schedules: DeploymentScheduleCreate) -> UUID:
    """As `prefect deploy` does it, of a flow with schedules in prefect.yaml."""
    return client.create_deployment(client.create_flow(planned), "planned", schedules=list(schedules))


def schedules_of(client: SyncPrefectClient) -> set[tuple[str, str | None, bool]]:
    found = client.read_deployment_by_name("planned/planned").schedules
    crons = [one.schedule for one in found if isinstance(one.schedule, CronSchedule)]
    assert len(crons) == len(found)
    return {(cron.cron, cron.timezone, one.active) for cron, one in zip(crons, found, strict=True)}


@pytest.mark.usefixtures("prefect_server")
def test_a_schedule_made_in_the_page_outlives_the_next_deployment() -> None:
    with get_client(sync_client=True) as client:
        deployment = deployed(client, NIGHTLY)
        client.create_deployment_schedules(deployment, [DeploymentScheduleCreate(schedule=IN_THE_ZONE, active=True)])
        before, made = schedules_of(client), _made_in_page(client)
        deployed(client, NIGHTLY)
        assert schedules_of(client) < before  # Prefect removes it
        _give_back(client, made)
        assert schedules_of(client) == before
        _give_back(client, made)
        assert schedules_of(client) == before
        client.delete_deployment(deployment)
        _give_back(client, made)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(("slug", "in_file", "in_page"), [("daily", False, True), ("planned", True, False)])
def test_a_schedule_that_was_switched_in_the_page_stays_so(slug: str, in_file: bool, in_page: bool) -> None:
    of_file = NIGHTLY.model_copy(update={"slug": slug, "active": in_file})
    with get_client(sync_client=True) as client:
        deployment = deployed(client, of_file)
        (one,) = client.read_deployment(deployment).schedules
        assert one.id is not None
        client.update_deployment_schedule(deployment, one.id, active=in_page)
        before = client.read_deployment(deployment).schedules
        deployed(client, of_file.model_copy(update={"schedule": IN_THE_ZONE}))
        keep_switched(client, client.read_deployment(deployment), before)
        assert schedules_of(client) == {("30 2 * * *", "Europe/Berlin", in_page)}
        client.delete_deployment(deployment)


@pytest.mark.usefixtures("prefect_server")
def test_what_the_file_switches_on_goes_on() -> None:
    with get_client(sync_client=True) as client:
        deployment = deployed(client, NIGHTLY)
        before = client.read_deployment(deployment).schedules
        deployed(client, NIGHTLY.model_copy(update={"active": True}))
        keep_switched(client, client.read_deployment(deployment), before)
        assert schedules_of(client) == {("0 3 * * *", "UTC", True)}
        client.delete_deployment(deployment)


@pytest.mark.usefixtures("prefect_server")
def test_where_prefect_yaml_has_no_slugs_it_alone_says_what_is_planned() -> None:
    unnamed = NIGHTLY.model_copy(update={"slug": None})
    changed = unnamed.model_copy(update={"schedule": IN_THE_ZONE})
    with get_client(sync_client=True) as client:
        deployment = deployed(client, unnamed)
        made = _made_in_page(client)
        deployed(client, changed)
        _give_back(client, made)
        assert schedules_of(client) == {("30 2 * * *", "Europe/Berlin", False)}
        client.delete_deployment(deployment)
