"""MLflow's own pages: what its lists call a run, and the notes and links on a run, an experiment and a model."""

import json
from collections.abc import Mapping

from graftline.pages.text import as_markdown
from graftline.tasks.tracking.server import client, if_there

# Where MLflow's pages look for their Markdown, and for who ran what.
NOTE, USER, SOURCE, COMMIT = "mlflow.note.content", "mlflow.user", "mlflow.source.name", "mlflow.source.git.commit"
# MLflow offers tools for chats first unless its links and experiments say what they are about.
FOR_TRAINING = "workflowType=machine_learning"
# The list of runs as our links show it.
VIEW_NAME = "graftline"
VIEW, EXPERIMENT_KIND = f"mlflow.sharedViewState.{VIEW_NAME}", ("mlflow.experimentKind", "custom_model_development")
# The tags by which a run can be searched for; its name is made of them.
VERSION, VERDICT, SCORE = "graftline.version", "graftline.verdict", "graftline.score"
VIEW_PARAMS = ("adaptation.strategy", "adaptation.epochs", "adaptation.learning_rate", "base_model.uri")
# What a person writes over a description stays; this sentence tells ours.
OURS = "Graftline keeps this text; write another, and yours stays."
# So long is the column of MLflow's tables. Postgres refuses what is longer, of which sqlite takes any.
DESCRIPTION_CHARACTERS = 5000
CUT = "\n\n(Cut here, for MLflow keeps no longer text: the whole card is model_card.md of the run.)"
ROUND_THE_GATE = (
    "MLflow's **Promote** button and the pencil beside the aliases go round the gate: nothing is checked, nothing"
    " stands in the history, and the next command of Graftline warns of it."
)


def title_run(run_id: str, *, version: int, verdict: str, score: float) -> None:
    """Call a run by its version, verdict and main score: `v3 PROMOTE 0.842`."""
    shown = f"{score:.3f}"
    server = client()
    for tag, value in {VERSION: str(version), VERDICT: verdict, SCORE: shown}.items():
        server.set_tag(run_id, tag, value)
    server.update_run(run_id, name=f"v{version} {verdict} {shown}")


def retitle_run(run_id: str | None, verdict: str) -> None:
    """Call a run by a verdict that changed after it ended; one that has no title yet stays as it is."""
    run = if_there(lambda: client().get_run(run_id)) if run_id else None
    if run is not None and VERSION in run.data.tags and run.data.tags[VERDICT] != verdict:
        version, score = int(run.data.tags[VERSION]), float(run.data.tags[SCORE])
        title_run(run.info.run_id, version=version, verdict=verdict, score=score)


def note_run(run_id: str, *, model: str, version: int, lines: list[str], files: Mapping[str, str]) -> None:
    """Put on a run's page why it ended as it did, and the ways on; `files` are those of the run, by what they are."""
    experiment = client().get_run(run_id).info.experiment_id
    links = [f"[{title}]({artifact_address(experiment, run_id, name)})" for title, name in files.items()]
    links.append(f"[version {version} of {model}](#/models/{model}/versions/{version}?{FOR_TRAINING})")
    links.append(f"[all runs, best first]({_best_first(experiment)})")
    # MLflow folds what is long.
    client().set_tag(run_id, NOTE, "\n\n".join([" · ".join(links), *map(as_markdown, lines)]))


def note_experiment(experiment: str, *, model: str, score: str) -> None:
    """Put on an experiment's page what its runs are, and the ways on."""
    server = client()
    if OURS not in server.get_experiment(experiment).tags.get(NOTE, OURS):
        return
    columns = [f"metrics.`test/{score}`", *(f"params.`{name}`" for name in VIEW_PARAMS)]
    view = {"orderByKey": columns[0], "orderByAsc": False, "selectedColumns": columns}
    server.set_experiment_tag(experiment, VIEW, json.dumps(view))
    server.set_experiment_tag(experiment, *EXPERIMENT_KIND)
    server.set_experiment_tag(
        experiment,
        NOTE,
        f"Every run that adapts a base model for **{model}**, named by version, verdict and {score} on held-out"
        f" rows.\n\n[Best first]({_best_first(experiment)}) ·"
        f" [versions and champion](#/models/{model}?{FOR_TRAINING})\n\n{OURS}",
    )


def describe_model(model: str, what: str) -> None:
    """Put on a registered model's page what it is, and how its versions come to answer."""
    server = client()
    if OURS not in (server.get_registered_model(model).description or OURS):
        return
    server.update_registered_model(
        model,
        f"{what}\n\nA version becomes `champion` when the gate says PROMOTE, or by a person's word that stands in the"
        f" history (`graftline promote`, `override`, `approve`, `rollback`, or the forms of the same names in Prefect;"
        f" `graftline history {model}` shows who, when and why). {ROUND_THE_GATE}\n\n{OURS}",
    )


def describe_version(model: str, version: int, card: str) -> None:
    """Put a model card where a reader of the registry looks for it, and above its sections what the buttons do not."""
    head, section, rest = card.partition("\n## ")
    client().update_model_version(model, str(version), as_description(f"{head}\n{ROUND_THE_GATE}\n{section}{rest}"))


def as_description(text: str, after: str = "") -> str:
    """The text and what stands after it, as long as every database of MLflow takes: of a longer text whole lines."""
    if len(text) + len(after) <= DESCRIPTION_CHARACTERS:
        return text + after
    left = text[: DESCRIPTION_CHARACTERS - len(CUT) - len(after)]
    return left.rpartition("\n")[0].rstrip() + CUT + after


def artifact_address(experiment: str, run_id: str, name: str) -> str:
    """The address of a file of a run, from any page of the same server."""
    return f"#/experiments/{experiment}/runs/{run_id}/artifacts/{name}?{FOR_TRAINING}"


def _best_first(experiment: str) -> str:
    return f"#/experiments/{experiment}/runs?viewStateShareKey={VIEW_NAME}&{FOR_TRAINING}"
