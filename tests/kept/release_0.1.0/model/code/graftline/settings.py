"""The one tree of settings: read once from `params.yaml`, frozen, and drawn by Prefect as the form of a run."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from graftline.adaptation_settings import AdaptationSettings
from graftline.errors import SettingsError
from graftline.evaluation_settings import EvaluationSettings
from graftline.sections import OptionalText, Section, Share
from graftline.terms import direction_of

RegistryName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]

# What the input of a row is, and what is learned to be said of it.
Kind = Literal["text", "image", "audio"]
Task = Literal["single_label", "multi_label", "regression"]


class DataSettings(Section, title="Data"):
    """Which rows to learn from, and what makes a row fit to be learned from."""

    path: str
    """The table, below the project folder: CSV, JSON Lines (.jsonl) or Parquet. For images and sounds also a folder of
    class folders: each file below data/photos/cat/ is a row with the target cat."""
    kind: Kind = "text"
    """What the input is. image: PNG, JPEG or WebP; audio: WAV, FLAC, OGG or MP3."""
    task: Task = "single_label"
    """What is predicted: one label per row, any number of labels, or a number."""
    input: str = "text"
    """The column that the model reads. For images and sounds it holds paths below data/, with / between folders."""
    target: str = "label"
    """The column that the model learns to predict."""
    label_separator: Annotated[str, Field(min_length=1, max_length=3)] = "|"
    """Stands between the labels of a multi_label row. Alone it says that the row has none of them."""
    labels: list[str] = []
    """The labels that may occur. Empty: every label that the data holds."""
    id: OptionalText = None
    """The column that names a row. Empty: a name made from the row's content."""
    group: OptionalText = None
    """Rows with the same value in this column stay on one side of the split. Empty: rows with the same content."""
    licence: str = "unknown"
    """Under which licence the rows may be used; stands on the model card."""
    slices: list[str] = []
    """Columns whose values are scored separately."""
    test_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """Share of the rows that is held out for the verdict."""
    validation_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """Share of the rows that chooses the best epoch, or the penalty of a solved head, which then learns from them, too,
    if nothing is trained after it."""
    max_quarantined: Share = 0.01
    """Refuse the data when a larger share of its rows is faulty."""
    max_characters: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    """A longer text is a faulty row."""
    min_side: Annotated[int, Field(ge=1, le=4096)] = 16
    """An image with a shorter side, in pixels, is a faulty row: smaller than any block that a base model looks at."""
    max_pixels: Annotated[int, Field(ge=1, le=50_000_000)] = 50_000_000
    """An image with more pixels is a faulty row, and never decoded. Training and serving decode no larger ones."""
    min_seconds: Annotated[float, Field(ge=0, le=600)] = 0.1
    """A shorter sound is a faulty row: below 25 ms the speech models have nothing to read."""
    max_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    """A longer sound is a faulty row. Whisper hears 30 seconds."""
    silence_level: Annotated[float, Field(ge=0, lt=1)] = 0.001
    """A sound that never moves further than this from its middle is a faulty row. 1 is full scale, 0.001 is -60 dB."""
    min_rows_per_class: Annotated[int, Field(ge=1)] = 20
    """Refuse the data when a class has fewer accepted rows."""
    min_class_share: Share = 0.01
    """Refuse the data when a class makes up a smaller share of the accepted rows."""
    near_duplicate_similarity: Annotated[float, Field(ge=0.5, le=1)] = 0.85
    """Texts that share this much of their word triples (Jaccard) are near duplicates; none may straddle the split."""
    near_duplicate_bits: Annotated[int, Field(ge=0, le=64)] = 12
    """Images are near duplicates if their perceptual hashes differ in at most this many of 256 bits. 5,000 MNIST
    digits differ by up to 8 when saved again as a JPEG of quality 90, and from each other by 20 and more."""
    allow_modified: bool = False
    """Run although the files differ from the version that data.dvc names. Recorded; bars promotion."""

    @model_validator(mode="after")
    def _labels_belong_to_the_task(self) -> "DataSettings":
        if self.task == "regression" and self.labels:
            raise ValueError("task regression with labels: its targets are numbers, leave labels empty")
        divided = [label for label in self.labels if self.label_separator in label]
        if self.task == "multi_label" and divided:
            raise ValueError(
                f"labels: {divided[0]!r} holds label_separator {self.label_separator!r}, which stands between labels;"
                " choose another separator"
            )
        return self

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> "DataSettings":
        if self.min_seconds > self.max_seconds:
            raise ValueError(f"min_seconds {self.min_seconds:g} lies above max_seconds {self.max_seconds:g}")
        return self


class BaseModelSettings(Section, title="Base model"):
    """Which pre-trained model to start from."""

    uri: str
    """package:NAME/FOLDER, path:FOLDER, hf:ORG/NAME@REVISION, s3://BUCKET/PREFIX or models:/NAME@ALIAS.
    What it holds is pinned in base_models.lock by `graftline lock`."""


class RegistrySettings(Section, title="Registry"):
    """Where the result is registered."""

    model: RegistryName
    """Name of the registered model: letters, digits, - and _."""


class Settings(Section):
    """Everything that decides what a run does."""

    data: DataSettings
    base_model: BaseModelSettings
    adaptation: AdaptationSettings = Field(default_factory=AdaptationSettings)
    evaluation: EvaluationSettings = EvaluationSettings()
    registry: RegistrySettings

    @model_validator(mode="after")
    def _what_is_set_belongs_to_the_task(self) -> "Settings":
        adaptation = self.adaptation
        if self.data.task == "regression" and (adaptation.class_weights != "none" or adaptation.label_smoothing):
            raise ValueError(
                "adaptation.class_weights and adaptation.label_smoothing are about labels, which data.task regression"
                " has not; set them to none and 0"
            )
        self._require_words_that_can_be_changed()
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
        return self

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


def read_settings(path: Path, assignments: list[str] | None = None) -> Settings:
    """Read a settings file and apply `section.key=value` assignments, whose values are read as YAML.

    Raises: SettingsError naming the file, the key, what stands there and what is expected.
    """
    return parse_settings(read_tree(path, assignments), source=str(path))


def settled_by_the_machine(path: Path) -> list[str]:
    """The settings of the adaptation that stand as `auto` in the file: whatever machine runs it decides."""
    written = read_tree(path).get("adaptation")
    given = written if isinstance(written, dict) else {}
    fields = AdaptationSettings.model_fields
    return [name for name, field in fields.items() if given.get(name, field.default) == "auto"]


def read_tree(path: Path, assignments: list[str] | None = None) -> dict[str, JsonValue]:
    """What a settings file says, unchecked, with the assignments. Raises: SettingsError if it cannot be read."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"{path}: there is no such settings file; run in the project folder or name a file with --params"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not readable as YAML ({' '.join(str(error).split())}); mend the file") from None
    if not isinstance(tree, dict):
        raise SettingsError(f"{path}: holds {type(tree).__name__}, expected sections such as data: and registry:")
    for assignment in assignments or []:
        _assign(tree, assignment)
    return tree


def parse_settings(tree: JsonValue, source: str) -> Settings:
    """Check a tree of plain values. Raises: SettingsError naming every faulty key."""
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        faults = faults_of(error, "settings")
        raise SettingsError(f"{source}: {faults}; mend it there or with --set section.key=value") from None


def faults_of(error: ValidationError, whole: str) -> str:
    """Every faulty key with what stands there and what is expected; a fault between keys is that of the `whole`."""
    return "; ".join(
        f"{'.'.join(str(part) for part in fault['loc']) or whole}: {_shown(fault['input'])}: {fault['msg']}"
        for fault in error.errors()
    )


def _assign(tree: dict[str, JsonValue], assignment: str) -> None:
    name, equals, value = assignment.partition("=")
    *sections, key = name.split(".")
    if not equals or not sections or not all((*sections, key)):
        raise SettingsError(f"--set {assignment}: expected section.key=value, for example adaptation.epochs=5")
    branch = tree
    for section in sections:
        child = branch.setdefault(section, {})
        if not isinstance(child, dict):
            raise SettingsError(f"--set {assignment}: {section} is a single value and has no key {key}")
        branch = child
    try:
        branch[key] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SettingsError(f"--set {assignment}: {' '.join(str(error).split())}; quote the value") from None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
