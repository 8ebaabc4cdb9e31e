"""The one tree of settings: read once from `params.yaml`, frozen, and drawn by Prefect as the form of a run."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    JsonValue,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from graftline.errors import SettingsError
from graftline.evaluation_settings import EvaluationSettings
from graftline.sections import OptionalText, Section, Share
from graftline.terms import direction_of

Strategy = Literal[
    "feature_extraction",
    "partial",
    "fine_tuning",
    "probe_then_fine_tune",
    "gradual_unfreezing",
    "lora",
    "bias_only",
    "norm_only",
]
# The strategies that may begin behind a block; the first one has to.
CUT_STRATEGIES = ("partial", "probe_then_fine_tune", "lora", "bias_only", "norm_only")

RegistryName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]

# What the input of a row is, and what is learned to be said of it.
Kind = Literal["text", "image", "audio"]
Task = Literal["single_label", "multi_label", "regression"]
Augmentation = Literal["none", "light"]
Runtime = Literal["torch", "openvino"]


def _chosen_precision(value: object) -> object:
    if value in ("float32", "bfloat16"):
        return value
    if value != "auto":
        raise ValueError("expected float32, bfloat16 or auto")
    from graftline.precision import fastest_precision  # torch takes a second to import

    return fastest_precision()


# What is chosen by the machine is settled here, so that keys, records and a repetition elsewhere name what it was.
ChosenPrecision = Annotated[
    Literal["float32", "bfloat16"],
    BeforeValidator(_chosen_precision),
    WithJsonSchema({"type": "string", "enum": ["float32", "bfloat16", "auto"]}),
]


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
    """Share of the rows that chooses the best epoch."""
    max_quarantined: Share = 0.01
    """Refuse the data when a larger share of its rows is faulty."""
    max_characters: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    """A longer text is a faulty row."""
    min_side: Annotated[int, Field(ge=1, le=4096)] = 16
    """An image with a shorter side, in pixels, is a faulty row: smaller than any block that a base model looks at."""
    max_pixels: Annotated[int, Field(ge=1, le=89_000_000)] = 50_000_000
    """An image with more pixels is a faulty row, and never decoded."""
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


class AdaptationSettings(Section, title="Adaptation"):
    """What is frozen and how the rest is trained."""

    strategy: Strategy = "fine_tuning"
    """feature_extraction: only the head. partial: what lies behind freeze_until. fine_tuning: everything.
    probe_then_fine_tune: the head first, solved to its optimum, then everything but BatchNorm's statistics (LP-FT,
    arXiv 2202.10054); the solved head stays if no epoch beats it.
    gradual_unfreezing: from the head down, in stages (ULMFiT, arXiv 1801.06146). lora: low-rank adapters beside
    frozen weights (arXiv 2106.09685). bias_only: the biases (BitFit, arXiv 2106.10199). norm_only: the norm layers."""
    freeze_until: OptionalText = None
    """The first trained block, as a name (encoder.layer.3), a number (3) or a share of the depth (0.5). Partial needs
    it; probe_then_fine_tune, lora, bias_only and norm_only may have it."""
    head: Literal["linear", "mlp"] = "linear"
    """mlp puts a hidden layer as wide as the features into the head. A linear head on a wholly frozen model is solved
    to its optimum, anything else is trained."""
    head_penalty: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """L2 penalty of a solved head, on standardised features. 0: the one with the lowest validation loss."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 3
    """Passes over the training rows."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-5
    """Highest learning rate of the pre-trained blocks."""
    head_learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Highest learning rate of the new head: it starts from random weights and needs far larger steps."""
    find_learning_rate: bool = False
    """Find both rates by a range test first (arXiv 1506.01186), in the proportion that they have here."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Each block's rate is this much of that behind it: what is general learns more slowly than what is special
    (ULMFiT has 0.38, ELECTRA's fine-tuning 0.8). 1: all the same."""
    l2_sp: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Pull of the weights towards those of the base model (L2-SP, arXiv 1802.01483). 0: none."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    """Rows per batch."""
    gradient_accumulation: Annotated[int, Field(ge=1, le=1024)] = 1
    """Batches per step: the step of a batch that would not fit into memory."""
    gradient_checkpointing: bool = False
    """Compute activations again instead of keeping them: less memory, about a third more time."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Decoupled weight decay (AdamW) of matrices; biases and norms have none."""
    warmup_share: Share = 0.1
    """Share of the steps in which the learning rate rises; afterwards it falls to zero."""
    schedule: Literal["linear", "cosine"] = "linear"
    """How the learning rate falls: along a straight line, as BERT's did, or half a cosine."""
    stage_epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    """For gradual_unfreezing: epochs before more blocks are unfrozen. With the last stage everything is."""
    average: Literal["none", "greedy"] = "none"
    """greedy: the weights are the mean of those epochs that do better together on the validation rows than the best
    one alone (arXiv 2203.05482)."""
    runs: Annotated[int, Field(ge=1, le=100)] = 1
    """Trainings from the same start, each with another order of the rows, whose weights are averaged (model soup,
    arXiv 2203.05482): better than the same number of epochs in one, and less a matter of the seed. Best from a head
    that was solved: runs from a random one may end too far apart to be averaged."""
    lora_rank: Annotated[int, Field(ge=1, le=1024)] = 8
    """Rank of the adapters. The paper found 4 to 8 enough (table 6)."""
    lora_alpha: Annotated[float, Field(gt=0, le=4096)] = 16.0
    """Scale of the adapters: their output counts alpha / rank times."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Dropout in front of the adapters."""
    lora_targets: OptionalText = None
    """A regular expression that the names of the adapted layers contain. Empty: every linear layer and convolution."""
    lora_merge: bool = True
    """Add the adapters to the weights at the end. Otherwise they stay beside the untouched base weights."""
    max_tokens: Annotated[int, Field(ge=8, le=8192)] = 128
    """Longer texts are cut to this many tokens."""
    max_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    """Longer sounds are cut to this many seconds."""
    augmentation: Augmentation = "none"
    """light: training rows are seen in seeded random views. Images: a crop of 80 to 100 % of the area, brightness and
    contrast within 20 %, never mirrored or turned. Sounds: 6 dB louder or softer, shifted by up to 0.1 s, white noise
    20 to 40 dB below. Validation, test and served rows stay as they are."""
    views: Annotated[int, Field(ge=1, le=100)] = 4
    """In how many views each row is seen, if there is augmentation: epoch after epoch the next one, then from the first
    again. The frozen part's output is kept for each; without room for all it runs in every epoch, on the same views. A
    head is solved on all views together."""
    block_pattern: OptionalText = None
    """A regular expression over module names that says which are the blocks of an unknown model: blocks[.][0-9]+"""
    precision: ChosenPrecision = "float32"
    """bfloat16 is faster where the processor has instructions for it, and a little less exact; elsewhere it is several
    times slower. auto: bfloat16 where there are such instructions; the run records what it came to."""
    runtime: Runtime = "torch"
    """What runs the frozen part. openvino is faster on processors, needs pip install "graftline[openvino]", and is
    compared with torch on a few rows first: a model that it cannot run, or runs differently, is an error."""
    feature_precision: Literal["float32", "bfloat16"] = "float32"
    """In which precision the frozen part's output is kept: bfloat16 takes half the space and rounds to 3 digits."""
    feature_gigabytes: Annotated[float, Field(ge=0, le=100_000)] = 20.0
    """What all kept outputs of frozen parts may take on the disk together; the least recently used go first. Where
    one alone would take more, its frozen part runs in every epoch instead."""
    patience: Annotated[int, Field(ge=0, le=100)] = 0
    """Stop after this many epochs without improvement on the validation rows. 0: train all epochs."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of each row's weight that is spread over all classes: against noisy labels and overconfidence. 0: none."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced weighs each class by the inverse of its frequency."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Processor threads. 0: one per core. The last bits of the weights depend on it."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Start of every random sequence of the training."""

    @field_validator("freeze_until", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _freeze_point_belongs_to_the_strategy(self) -> "AdaptationSettings":
        needed, possible = self.strategy == "partial", self.strategy in CUT_STRATEGIES
        if (needed and self.freeze_until is None) or (not possible and self.freeze_until is not None):
            raise ValueError(
                f"strategy {self.strategy} with freeze_until {self.freeze_until!r}: partial needs freeze_until (for"
                f" example 3), {', '.join(CUT_STRATEGIES[1:])} may have it, the other strategies must leave it empty"
            )
        return self

    @model_validator(mode="after")
    def _only_trainings_are_repeated(self) -> "AdaptationSettings":
        if self.runs > 1 and self.strategy == "feature_extraction" and self.head == "linear":
            raise ValueError(f"runs {self.runs} with a solved head: it comes out the same each time; set runs to 1")
        return self

    @model_validator(mode="after")
    def _a_probe_is_linear(self) -> "AdaptationSettings":
        if self.strategy == "probe_then_fine_tune" and self.head != "linear":
            raise ValueError("strategy probe_then_fine_tune needs head linear: no other can be solved")
        return self


class RegistrySettings(Section, title="Registry"):
    """Where the result is registered."""

    model: RegistryName
    """Name of the registered model: letters, digits, - and _."""


class Settings(Section):
    """Everything that decides what a run does."""

    data: DataSettings
    base_model: BaseModelSettings
    adaptation: AdaptationSettings = AdaptationSettings()
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
    return parse_settings(tree, source=str(path))


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
