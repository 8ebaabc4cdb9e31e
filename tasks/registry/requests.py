"""What people do on the registry's own page: asking for a promotion there, and moving the champion past the gate."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from graftline.errors import GraftlineError, ServerAwayError
from graftline.tasks.registry.carrying_out import read_settled
from graftline.tasks.registry.history import is_carried_out, newest_move, read_history
from graftline.tasks.registry.ownership import has_no_say
from graftline.tasks.registry.promotion import promote, repair
from graftline.tasks.registry.versions import NAME, champion_of, get_version, shown
from graftline.tasks.tracking.pages import as_description
from graftline.tasks.tracking.server import client, connect, has_registry, if_there, tracking_uri
from graftline.tasks.tracking.stored_model import stored_model
from graftline.tasks.workspace import Workspace
from graftline.wording import shortened

# The alias by which a person asks on a version's page.
REQUESTED = "promote-requested"
# What a person wrote above this line stays.
ANSWER = "**Graftline on the request to promote**"
# Of a refusal that gives every reason of a verdict; the rest of a description is the model card's.
ANSWER_CHARACTERS = 2000

logger = logging.getLogger("graftline.registry")


@dataclass(frozen=True)
class Seen:
    """What was found on a look at a registered model."""

    answered: str | None = None
    """The answer to a request, if there was one."""
    moved: str | None = None
    """That the champion is another one than the history says, if it is."""


def look_at(workspace: Workspace, model: str) -> Seen:
    """Answer a request to promote, and tell whether somebody moved the champion outside of Graftline.

    A look at which nothing is found imports no MLflow.
    Raises: RegistryRefusedError if the history is broken; ServerAwayError.
    """
    if not NAME.fullmatch(model) or (aliases := _aliases(workspace, model)) is None:
        return Seen()
    answered = None
    if (version := aliases.get(REQUESTED)) is not None:
        answered = _answer(workspace, model, version)
    if read_settled(workspace, model) is not None:
        return Seen(answered)
    connect(workspace)
    newest = newest_move(read_history(workspace, model))
    if newest is None and has_no_say(workspace, model):  # whose history lies elsewhere
        return Seen(answered)
    if newest is not None and not is_carried_out(workspace, model, newest):
        newest = newest_move(repair(workspace, model))
    champion, expected = champion_of(model), newest.champion_after if newest else None
    if champion == expected or newest_move(read_history(workspace, model)) != newest:  # decided at this moment
        return Seen(answered)
    by = f"by record {newest.number}" if newest else "by the history"
    said = (
        f"{model}: the champion is {shown(champion)}, but {by} {shown(expected)}:"
        f" somebody moved it outside of Graftline; settle it with `graftline promote {model} --version N`"
    )
    return Seen(answered, said)


def _aliases(workspace: Workspace, model: str) -> Mapping[str, int] | None:
    """Those of a registered model; None if there is none."""
    if (stored := stored_model(tracking_uri(workspace), model)) is not None:
        return stored.aliases
    if not has_registry(workspace):
        return None
    connect(workspace)  # it is not there, or cannot be asked without MLflow
    found = if_there(lambda: client().get_registered_model(model), model)
    return None if found is None else {name: int(version) for name, version in found.aliases.items()}


def _answer(workspace: Workspace, model: str, version: int) -> str:
    """Ask the gate, write what it says on the version's page, and take the request away.

    In this order: a kill in between asks once more, and the second answer is that it is the champion already.
    """
    connect(workspace)
    try:
        record = promote(workspace, model, version, f"asked for by the alias {REQUESTED} in MLflow")
        said = f"promoted, record {record.number} of {record.when}"
    except ServerAwayError:
        raise  # the next look asks again
    except GraftlineError as error:
        said = f"refused: {error.sentence}"
    server = client()
    before = str(get_version(model, version).description or "").partition(ANSWER)[0].rstrip()
    answer = f"{ANSWER}: {shortened(said, ANSWER_CHARACTERS)}"
    server.update_model_version(model, str(version), as_description(before, f"\n\n{answer}" if before else answer))
    server.delete_registered_model_alias(model, REQUESTED)
    logger.info("%s version %d: %s", model, version, said)
    return said
