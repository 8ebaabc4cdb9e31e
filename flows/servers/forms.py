"""The forms of Prefect's page: which fields they have, what is filled in, and which versions can be chosen.

Prefect draws a form from the schema that it keeps with a deployment, and refuses a run that does not fit it. Deploying
writes the schema of the flow's parameters; what depends on the project is written here, over that.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from pydantic import JsonValue

from graftline.flows.form_fields import CHALLENGER_CHOICE, NOTHING
from graftline.settings import Settings, Strategy, read_settings, settled_by_the_machine, unconcerned
from graftline.tasks.base_models.locking import locked_uris
from graftline.tasks.registry.versions import VERDICT, challenger_of, champion_of, versions_of
from graftline.tasks.tracking.server import connect
from graftline.tasks.workspace import Workspace

ADAPT, RETRAIN, SEARCH = "adapt/adapt", "retrain/retrain", "search/search"
PROMOTE, OVERRIDE = "promote/promote", "override/override"
WATCH, REACT = "watch/watch", "react/react"
ABOUT_A_MODEL = (PROMOTE, OVERRIDE, "rollback/rollback", "history/history")
# A prefect.yaml of an earlier `graftline init` may lack them, as it may lack SEARCH.
OF_THE_LOOP = (WATCH, REACT)

# JSON Schema, as Prefect keeps it.
Schema = dict[str, Any]


def fill_in(
    client: SyncPrefectClient, workspace: Workspace, params: Path, named: str | None = None, branch: str = ""
) -> None:
    """Make the forms those of the project: its settings, its kind of data, its base models, its registered model.

    `named` is what the deployments are called where they are not called as their flows; `branch` that whose head names
    new data versions.
    """
    settings = read_settings(params)
    uris = sorted({*locked_uris(workspace), settings.base_model.uri})
    adapt, retrain = (client.read_deployment_by_name(called(name, named)) for name in (ADAPT, RETRAIN))
    _update(client, adapt, adapt_schema(_schema(adapt), settings, uris), {"settings": form_values(params)})
    values: dict[str, JsonValue] = {name: getattr(settings.adaptation, name) for name in _OF_ADAPTATION}
    values["base_model"] = settings.base_model.uri
    _update(client, retrain, retrain_schema(_schema(retrain), settings, uris), values)
    _share_limit(client, adapt, retrain)
    if (search := find(client, called(SEARCH, named))) is not None:
        schema = adapt_schema(_schema(search), settings, uris)
        _update(client, search, schema, {"settings": form_values(params), "strategies": []})
        _share_limit(client, adapt, search)
    for name in ABOUT_A_MODEL:
        about = client.read_deployment_by_name(called(name, named))
        schema = _schema(about)
        if "despite" in schema["properties"]:
            schema["properties"]["despite"]["default"] = NOTHING
        _update(client, about, schema, {"name": settings.registry.model})
    own: dict[str, JsonValue] = {"branch": branch, "deployment": called(ADAPT, named)}
    for name in OF_THE_LOOP:
        if (found := find(client, called(name, named))) is not None:
            more = own if name == REACT else {}
            _update(client, found, _schema(found), {"name": settings.registry.model, **more})
    connect(workspace)
    offer_versions(client, settings.registry.model)


def called(name: str, named: str | None) -> str:
    """What a deployment of prefect.yaml is called where `named` stands in the place of its own name."""
    return name if named is None else f"{name.partition('/')[0]}/{named}"


def find(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    """The deployment of this name, if there is one."""
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def form_values(params: Path) -> dict[str, JsonValue]:
    """The settings as the form of a run shows them: an empty text where one is empty, `auto` where the file says so.

    The machine that runs it may be another than the one that deploys it.
    """
    settings = read_settings(params)
    values = settings.model_dump(mode="json")
    values["adaptation"] |= dict.fromkeys(settled_by_the_machine(params), "auto")
    for name in unconcerned(settings):
        section, _, key = name.partition(".")
        del values[section][key]
    return {name: _without_null(value) for name, value in values.items()}


def adapt_schema(schema: Schema, settings: Settings, uris: Iterable[str]) -> Schema:
    """The form of all settings without those that mean nothing for the project's data."""
    sections = {name: _section(schema, name) for name in ("data", "base_model", "adaptation", "evaluation")}
    for name in unconcerned(settings):
        section, _, key = name.partition(".")
        del sections[section][key]
    # The fields of other kinds and tasks are not there.
    sections["data"]["kind"]["enum"], sections["data"]["task"]["enum"] = [settings.data.kind], [settings.data.task]
    sections["base_model"]["uri"]["enum"] = list(uris)
    return schema


def retrain_schema(schema: Schema, settings: Settings, uris: Iterable[str]) -> Schema:
    """The short form with the locked base models, and the strategies that need nothing else to be set."""
    fields = schema["properties"]
    fields["base_model"]["enum"] = list(uris)
    if settings.adaptation.freeze_until is None:
        partial: Strategy = "partial"
        fields["strategy"]["enum"] = [name for name in fields["strategy"]["enum"] if name != partial]
    return schema


def offer_versions(client: SyncPrefectClient, model: str) -> None:
    """Put the registry's present versions into the dropdowns of the forms about `model`, where there are any."""
    versions = sorted(versions_of(model).items(), reverse=True)
    verdicts = {number: version.tags[VERDICT] for number, version in versions if VERDICT in version.tags}
    carried = {challenger_of(model): "challenger", champion_of(model): "champion"}
    shown = {
        number: f"{number} {verdict}" + (f" ({carried[number]})" if number in carried else "")
        for number, verdict in verdicts.items()
    }
    passed = [shown[number] for number, verdict in verdicts.items() if verdict == "PROMOTE"]
    others = [shown[number] for number, verdict in verdicts.items() if verdict != "PROMOTE"]
    for named in (None, model):  # of `graftline up`, of `graftline deploy`
        _offer(client, called(PROMOTE, named), model, [CHALLENGER_CHOICE, *passed], default=CHALLENGER_CHOICE)
        _offer(client, called(OVERRIDE, named), model, others)


# The fields of the short form that are settings of this section.
_OF_ADAPTATION = ("strategy", "epochs", "learning_rate", "seed")


def _offer(client: SyncPrefectClient, name: str, model: str, choices: list[str], default: str | None = None) -> None:
    deployment = find(client, name)  # a server of its own, which a run without `graftline up` has, has no forms
    if deployment is None or deployment.parameters.get("name") != model:
        return
    schema = _schema(deployment)
    field = schema["properties"]["version"]
    field.pop("enum", None)
    if choices:
        field["enum"] = choices
    if default:
        field["default"] = default
    client.update_deployment(deployment.id, DeploymentUpdate(parameter_openapi_schema=schema))


def _share_limit(client: SyncPrefectClient, first: DeploymentResponse, second: DeploymentResponse) -> None:
    """Let a run of one deployment wait for those of the other: one training fills the machine."""
    shared = first.global_concurrency_limit
    if shared is not None:
        limit = {"global_concurrency_limit_id": str(shared.id)}  # which Prefect's own client cannot set
        client.request("PATCH", "/deployments/{id}", path_params={"id": second.id}, json=limit).raise_for_status()


def _schema(deployment: DeploymentResponse) -> Schema:
    schema = deployment.parameter_openapi_schema
    assert schema is not None  # deploying wrote it
    return dict(schema)


def _section(schema: Schema, name: str) -> Schema:
    """The fields of a section of the settings."""
    definitions = schema["definitions"]
    reference: str = definitions["Settings"]["properties"][name]["$ref"]
    fields: Schema = definitions[reference.rpartition("/")[2]]["properties"]
    return fields


def _update(
    client: SyncPrefectClient, deployment: DeploymentResponse, schema: Schema, parameters: Mapping[str, JsonValue]
) -> None:
    for name, field in schema["properties"].items():
        field["title"] = name.replace("_", " ").capitalize()
    client.update_deployment(
        deployment.id, DeploymentUpdate(parameter_openapi_schema=schema, parameters=dict(parameters))
    )


def _without_null(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _without_null(child) for key, child in value.items()}
    return "" if value is None else value
