"""The one tree of settings: read once from `params.yaml`, frozen, and drawn by Prefect as the form of a run."""

from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from graftline.settings.adaptation import AdaptationSettings
from graftline.settings.addresses import address_of
from graftline.settings.by_kind import with_defaults_of_the_kind
from graftline.settings.data import STANDS_IN, DataSettings
from graftline.settings.evaluation import EvaluationSettings
from graftline.settings.further_targets import Task
from graftline.settings.mending import require_groups_to_mend
from graftline.settings.sections import Section
from graftline.settings.words import direction_of

# In the place of a base model's address: the one that the newest ranking advises.
RANKED = "ranked"
RegistryName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]


def _are_whole_addresses(uris: list[str]) -> list[str]:
    for place, uri in enumerate(uris):
        address_of(uri)
        if uri in uris[:place]:
            raise ValueError(f"names {uri} twice; name each once")
    return uris


class BaseModelSettings(Section, title="Base model"):
    """Which pre-trained model to start from."""

    uri: str
    """package:NAME/FOLDER, path:FOLDER, hf:ORG/NAME@REVISION, s3://BUCKET/PREFIX or models:/NAME@ALIAS.
    What it holds is pinned in base_models.lock by `graftline lock`. Or ranked: the one that `graftline rank` advised
    last, for this version of the data."""

    @field_validator("uri")
    @classmethod
    def _is_a_whole_address(cls, uri: str) -> str:
        if uri != RANKED:
            address_of(uri)
        return uri


class RegistrySettings(Section, title="Registry"):
    """Where the result is registered."""

    model: RegistryName
    """Name of the registered model: letters, digits, - and _."""
    wait_for_servers: Annotated[float, Field(ge=0, le=1440)] = 10
    """Minutes that a run waits for MLflow's or Prefect's server when one goes away in its middle. At its beginning they
    have to be there."""


class Settings(Section):
    """Everything that decides what a run does."""

    data: DataSettings
    base_model: BaseModelSettings
    base_models: Annotated[list[str], AfterValidator(_are_whole_addresses)] = []
    """Addresses of other base models, in the forms of base_model.uri, which `graftline rank` compares with it on your
    rows. It locks and fetches what is missing; a run reads nothing of them."""
    adaptation: AdaptationSettings = Field(default_factory=AdaptationSettings)
    evaluation: EvaluationSettings = EvaluationSettings()
    registry: RegistrySettings

    @model_validator(mode="before")
    @classmethod
    def _what_is_not_set_suits_the_kind(cls, tree: object) -> object:
        if not isinstance(tree, dict) or not isinstance(tree.get("data"), dict):
            return tree  # refused below, or made of sections that are whole
        written = tree.get("adaptation", {})
        if not isinstance(written, dict):
            return tree
        kind = tree["data"].get("kind", DataSettings.model_fields["kind"].default)
        return {**tree, "adaptation": with_defaults_of_the_kind(written, kind)}

    @model_validator(mode="after")
    def _what_is_set_belongs_to_the_task(self) -> "Settings":
        adaptation = self.adaptation
        tasks = {self.data.task, *(target.task for target in self.data.further)}
        if tasks == {"regression"} and (adaptation.class_weights != "none" or adaptation.label_smoothing):
            raise ValueError(
                "adaptation.class_weights and adaptation.label_smoothing are about labels, which data.task regression"
                " has not; set them to none and 0"
            )
        if self.data.task == "regression" and adaptation.strategy == "contrastive":
            raise ValueError(
                "adaptation.strategy contrastive is about rows that share a label, which data.task regression has not;"
                " set it to probe_then_fine_tune"
            )
        if self.data.task != "single_label" and self.evaluation.costs:
            raise ValueError(
                f"evaluation.costs are about the one label of a row, which data.task {self.data.task} has not; leave"
                " them empty"
            )
        self._require_answers_that_can_be_given(tasks)
        self._require_what_is_for_several_targets()
        self._require_words_that_can_be_changed()
        require_groups_to_mend(self.data, self.adaptation, self.evaluation)
        self._require_a_domain_to_go_to()
        if unknown := sorted(set(self.evaluation.groups) - set(self.data.slices)):
            raise ValueError(
                f"evaluation.groups: {unknown[0]!r} is none of data.slices {self.data.slices}; name the column there,"
                " too"
            )
        if self.data.kind == "text" and self.adaptation.augmentation != "none":
            raise ValueError(
                f"adaptation.augmentation {self.adaptation.augmentation}: texts have no random views, images and sounds"
                " have; set it to none where data.kind is text"
            )
        if self.data.kind != "text" and self.adaptation.pretraining_epochs:
            raise ValueError(
                f"adaptation.pretraining_epochs {self.adaptation.pretraining_epochs}: continued pre-training learns the"
                f" language of texts, which data.kind {self.data.kind} has not; set it to 0"
            )
        return self

    def _require_answers_that_can_be_given(self, tasks: set[Task]) -> None:
        answers = self.adaptation.answers
        if tasks == {"regression"} and answers != "likeliest":
            raise ValueError(
                f"adaptation.answers {answers} is about labels, which data.task regression has not; set it to likeliest"
            )
        if answers == "least_cost" and self.data.task != "single_label":
            raise ValueError(
                f"adaptation.answers {answers} is about the one label of a row, which data.task {self.data.task} has"
                " not; set it to likeliest"
            )
        if answers == "least_cost" and not self.evaluation.costs:
            raise ValueError(
                f"adaptation.answers {answers} without evaluation.costs: name there what a wrong answer costs, as in"
                " spam > ham: 5, or set it to likeliest"
            )

    def _require_a_domain_to_go_to(self) -> None:
        data, domain, scored = self.data, self.adaptation.domain, self.evaluation.target_rows
        if scored and STANDS_IN in scored and scored != data.target_domain:
            raise ValueError(
                f"evaluation.target_rows {scored!r} is no path, and not the same as data.target_domain"
                f" {data.target_domain!r}; expected the same column=value in both, or a table"
            )
        if domain != "none" and data.target_domain is None:
            raise ValueError(
                f"adaptation.domain {domain} without data.target_domain: name unlabelled rows of that domain there, or"
                " set adaptation.domain to none"
            )
        if domain != "none" and self.adaptation.fairness != "none":
            raise ValueError(
                f"adaptation.domain {domain} with adaptation.fairness {self.adaptation.fairness}: nobody knows the"
                " groups of unlabelled rows; set one of them to none"
            )
        if domain in ("self_training", "auto") and data.task != "single_label":
            raise ValueError(
                f"adaptation.domain {domain} with data.task {data.task}: it labels rows with one label each; set it to"
                " coral or none"
            )

    def _require_what_is_for_several_targets(self) -> None:
        adaptation = self.adaptation
        if not self.data.targets:
            if adaptation.task_balance != "equal":
                raise ValueError(
                    f"adaptation.task_balance {adaptation.task_balance}: data.target is the only target, so there is"
                    " one loss and nothing to balance; name more columns in data.targets, or leave it at equal"
                )
            return
        alone = {
            f"strategy {adaptation.strategy}": adaptation.strategy in ("contrastive", "auto"),
            f"pretraining_epochs {adaptation.pretraining_epochs}": adaptation.pretraining_epochs > 0,
            f"domain {adaptation.domain}": adaptation.domain != "none",
            f"teacher {adaptation.teacher}": adaptation.teacher is not None,
        }
        for chosen in (name for name, is_set in alone.items() if is_set):
            raise ValueError(
                f"adaptation.{chosen} is for one target, and data.targets names more; set it to its default, or leave"
                " data.targets empty"
            )
        if self.evaluation.target_rows:
            raise ValueError(
                "evaluation.target_rows have labels of one target, and data.targets names more; leave one of them empty"
            )

    def _require_words_that_can_be_changed(self) -> None:
        data, evaluation = self.data, self.evaluation
        if data.kind != "text" and (evaluation.directions or evaluation.counterfactuals):
            raise ValueError(
                "evaluation.directions and evaluation.counterfactuals are about words, which data.kind"
                f" {data.kind} has not; leave them empty"
            )
        for direction in map(direction_of, evaluation.directions):
            if (direction.label is None) != (data.task == "regression"):
                raise ValueError(
                    f"evaluation.directions: {direction.more} > {direction.less} needs a label, as in great > awful:"
                    " positive, unless data.task is regression, which has none"
                )
            if direction.label and data.labels and direction.label not in data.labels:
                raise ValueError(f"evaluation.directions: {direction.label!r} is none of data.labels {data.labels}")
