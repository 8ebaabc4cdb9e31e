"""`graftline deploy`: a project's deployments on a team's Prefect server, for workers that have only addresses."""

import importlib.metadata
from collections.abc import Callable
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL
from pydantic import JsonValue, ValidationError

from graftline.errors import SettingsError
from graftline.flows.servers.checkout import head_of
from graftline.flows.servers.deployments import deploy_plan, open_variables
from graftline.flows.servers.plans import Plan, Source
from graftline.flows.servers.versions import differing_versions
from graftline.settings import PARAMS, read_settings
from graftline.tasks.step import require_servers
from graftline.tasks.tracking.addresses import password_in
from graftline.tasks.tracking.git import git
from graftline.tasks.workspace import Workspace

DIGITS = 12


def deploy(
    root: Path,
    *,
    repository: str | None,
    branch: str | None,
    commit: str | None,
    pool: str,
    cron: str | None,
    timezone: str,
    when_busy: str,
    retries: int,
    loop: bool,
    say: Callable[[str], None],
) -> dict[str, JsonValue]:
    """Write the deployments of the project's registered model to the server that PREFECT_API_URL names.

    Raises: SettingsError if no server is named, the project is in no git repository that workers can read, an option
    is wrong, or the server's Prefect or MLflow does not fit; ServerAwayError if a server does not answer.
    """
    if not PREFECT_API_URL.value():
        raise SettingsError(
            "PREFECT_API_URL is not set, so there is no server to deploy to; set it (`graftline team` writes a file of"
            " such lines), or use `graftline up`, which deploys by itself"
        )
    settings = read_settings(root / PARAMS)
    source = _source(root, repository, branch, commit)
    plan = Plan(
        settings.registry.model,
        importlib.metadata.version("graftline"),
        source,
        pool,
        cron,
        timezone,
        when_busy,
        retries,
        loop,
    )
    _require_schedule(plan)
    require_servers(Workspace(root))
    warnings = [*differing_versions(Workspace(root)), *_not_pushed(root, source)]
    say(f"deploying {plan.model} from {source.repository}, branch {source.branch}, to the work pool {plan.pool}")
    names = deploy_plan(root / PARAMS, plan)
    with get_client(sync_client=True) as client:
        if brought := open_variables(client, pool):
            warnings.append(
                f"whoever may start a run in the work pool {pool} may set its {', '.join(brought[:8])}: take them out"
                " of its base job template, as in deploy/ of Graftline's repository"
            )
    at = source.commit or head_of(source.repository, source.branch) or ""
    said = [f"deployed {', '.join(names)}: each run is made at {_place(source, at)}", *warnings]
    plain: list[JsonValue] = [*warnings]
    return {
        "model": plan.model, "deployments": [*names], "repository": source.repository, "branch": source.branch,
        "commit": at, "pool": pool, "graftline": plan.version, "warnings": plain, "summary": "\n".join(said),
    }  # fmt: skip


def _source(root: Path, repository: str | None, branch: str | None, commit: str | None) -> Source:
    here = git(root, "rev-parse", "HEAD")
    if here is None:
        raise SettingsError(f"{root}: workers get the project from a git repository, and here is no commit; make one")
    repository = repository or git(root, "remote", "get-url", "origin") or git(root, "rev-parse", "--show-toplevel")
    branch = branch or git(root, "symbolic-ref", "--short", "HEAD")
    if repository is None or branch is None:
        raise SettingsError(f"{root}: git says no branch here (a detached HEAD); name one with --branch")
    if (held := password_in(repository)) and held[1]:
        raise SettingsError(
            "the address of the repository holds a password, which everybody would read in Prefect's page; take it out"
            " (--repository), and give the workers theirs by git's credential helper or an SSH key"
        )
    if repository.startswith("-") or branch.startswith("-") or (commit or "").startswith("-"):
        raise SettingsError("--repository, --branch and --commit may not begin with a dash")
    if head_of(repository, branch) is None:
        raise SettingsError(f"{repository}: has no branch {branch}; push it, or name another one with --branch")
    if commit is not None:
        full = git(root, "rev-parse", "--verify", f"{commit}^{{commit}}")
        if full is None:
            raise SettingsError(f"--commit {commit}: git knows no such commit here")
        commit = full
    return Source(repository, branch, commit, git(root, "rev-parse", "--show-prefix") or "")


def _require_schedule(plan: Plan) -> None:
    if plan.cron is None:
        return
    try:
        CronSchedule(cron=plan.cron, timezone=plan.timezone)
    except ValidationError as error:
        said = "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
        raise SettingsError(f"--schedule {plan.cron!r} in --timezone {plan.timezone}: {said}") from None


def _not_pushed(root: Path, source: Source) -> list[str]:
    """A word where workers would not train what lies here."""
    here = git(root, "rev-parse", "HEAD")
    there = source.commit or head_of(source.repository, source.branch)
    if here == there:
        return []
    return [
        f"workers get commit {str(there)[:DIGITS]}, here is {str(here)[:DIGITS]}: the forms show this folder's"
        " settings; push, or deploy from there"
    ]


def _place(source: Source, at: str) -> str:
    return f"commit {at[:DIGITS]}" if source.commit else f"the head of {source.branch} (now {at[:DIGITS]})"
