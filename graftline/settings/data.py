"""The section of the settings that says which rows to learn from."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from graftline.settings.further_targets import FurtherTarget, Task, further_target_of
from graftline.settings.sections import OptionalText, Section, Share

# The kind of a row's input.
Kind = Literal["text", "image", "audio"]
DATA_FOLDER = "data"
# One backbone for more is no use that anybody has shown, and each has a table of its own on every page.
MOST_FURTHER_TARGETS = 16


# Between a spelling and the label that it stands for, in a list; and between a column and the value in it.
STANDS_FOR, STANDS_IN = " = ", "="


def _by_spelling(given: object) -> object:
    """The lines of a list as pairs; the pairs of YAML are those already."""
    if not isinstance(given, list | tuple):
        return given
    lines = [str(line).rpartition(STANDS_FOR) for line in given]
    if wrong := [label for spelling, _, label in lines if not spelling]:
        raise ValueError(f"{wrong[0]!r} names no spelling and its label, expected something like 1.0{STANDS_FOR}1")
    return {spelling: label for spelling, _, label in lines}


def _as_lines(aliases: dict[str, str]) -> list[str]:
    return [f"{spelling}{STANDS_FOR}{label}" for spelling, label in aliases.items()]


def _by_column(given: object) -> object:
    """Pairs as lines: without quotes YAML reads a line as a pair of a column and its task."""
    pairs = [given] if isinstance(given, dict) else given
    if not isinstance(pairs, list | tuple):
        return given
    return [
        line
        for one in pairs
        for line in ([f"{name}: {task}" for name, task in one.items()] if isinstance(one, dict) else [one])
    ]


Spelling = Annotated[str, Field(min_length=1)]
# In JSON lines of text: of pairs Prefect's form would make a box of raw JSON.
Aliases = Annotated[
    dict[Spelling, Spelling],
    BeforeValidator(_by_spelling),
    PlainSerializer(_as_lines, when_used="json"),
    WithJsonSchema({"type": "array", "items": {"type": "string"}, "default": []}),
]


class DataSettings(Section, title="Data"):
    """Which rows to learn from, and what makes a row fit to be learned from."""

    path: str
    """The table, below the project folder: CSV, JSON Lines (.jsonl) or Parquet. For images and sounds also a folder of
    class folders: each file below data/photos/cat/ is a row with the target cat."""
    kind: Kind = "text"
    """The kind of input. image: PNG, JPEG or WebP; audio: WAV, FLAC, OGG or MP3."""
    task: Task = "single_label"
    """The kind of answer: one label per row, any number of labels, or a number."""
    split_folders: Literal["use", "ignore"] = "use"
    """What folders train/, val/ and test/ over the class folders are. use: the split; ignore: nothing, and one split is
    drawn of all the files. Never labels."""
    input: str = "text"
    """The column that the model reads. For images and sounds it holds paths below data/, with / between folders."""
    target: str = "label"
    """The column that the model learns to predict."""
    targets: Annotated[list[str], BeforeValidator(_by_column)] = []
    """More columns to learn to predict, from the same backbone with a head for each: a line for each with its task,
    rating: regression, and its labels if only some may occur, section: single_label: net|web. A row may lack some
    targets, the first one too, but not all. Empty: target is the only one."""
    label_separator: Annotated[str, Field(min_length=1, max_length=3)] = "|"
    """Stands between the labels of a multi_label row. Alone it says that the row has none of them."""
    labels: list[str] = []
    """The labels that may occur, all different. Empty: every label that the data holds."""
    label_aliases: Aliases = {}
    """Other spellings of labels, each with the label that it stands for: {'1.0': '1', 'True': 'true'}, or as lines:
    1.0 = 1"""
    id: OptionalText = None
    """The column that names a row. Empty: a name made from the row's content."""
    group: OptionalText = None
    """Rows with the same value in this column, of one speaker, document, customer or day, stay on one side of the split
    and are not independent: intervals and tests are by group, and fewer than 10 held-out groups promote nothing. Empty:
    rows with the same content stay together, and every row counts by itself."""
    target_domain: OptionalText = None
    """Rows of where the model will work, whose labels nobody needs to know: a table below the project folder with the
    input in a column of the same name, or a folder of images or sounds. Or column=value: the rows of the data with that
    value, whose labels are then not learned from. Read and checked as the data are; what nearly is a held-out row is
    kept out. Below data/ it is versioned with them."""
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
    max_twins: Share = 0.2
    """Refuse the data when a larger share of the held-out rows are twins: equal or nearly equal to a row that a model
    learns from. Twins are accepted and listed, and never scored. Of real tweets 2 % are, of CIFAR-100's images 10 %."""
    max_characters: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    """A longer text is a faulty row."""
    min_side: Annotated[int, Field(ge=1, le=4096)] = 16
    """An image with a shorter side, in pixels, is a faulty row: smaller than any block that a base model looks at."""
    max_pixels: Annotated[int, Field(ge=1, le=50_000_000)] = 50_000_000
    """An image with more pixels is a faulty row, and never decoded. Training and serving decode no larger ones."""
    sample_bits: Literal[0, 8, 9, 10, 11, 12, 13, 14, 15, 16] = 0
    """How many bits a PNG of 16 bits a sample uses, if it does not say so itself: 12 for many cameras and scanners. 0:
    as many as the largest value in the whole set needs. A picture with larger values is a faulty row."""
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
    """Texts that share this much of their pieces of five characters (Jaccard) are near duplicates: with 0.85 one
    character may differ in 58, or one word of five letters in 110. A held-out one is a twin, see max_twins."""
    near_duplicate_bits: Annotated[int, Field(ge=0, le=64)] = 12
    """Images are near duplicates if their perceptual hashes differ in at most this many of 256 bits. 5,000 MNIST
    digits differ by up to 8 when saved again as a JPEG of quality 90, and from each other by 20 and more. With more
    than 47 some pairs may be overlooked."""
    allow_modified: bool = False
    """Run although the files differ from the version that their .dvc file names. Recorded; bars promotion."""

    @property
    def folder(self) -> str:
        """The folder of the project whose content has a version: the one that `path` begins with."""
        return folder_of(self.path)

    @property
    def target_domain_column(self) -> tuple[str, str] | None:
        """The column, and the value in it, of the rows that are the target domain, where one says so."""
        column, mark, value = (self.target_domain or "").partition(STANDS_IN)
        return (column, value) if mark else None

    @field_validator("target_domain")
    @classmethod
    def _target_domain_can_be_read(cls, written: str | None) -> str | None:
        column, mark, value = (written or "").partition(STANDS_IN)
        if mark and not (column and value):
            raise ValueError(f"{written!r} names no column and its value, expected something like shop=books")
        if not mark and leaves_the_project(written or ""):
            raise ValueError(
                "is absolute or holds .. or NUL, expected a path below the project folder (data/target.csv), or"
                " column=value"
            )
        return written

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
    def _aliases_lead_to_labels(self) -> "DataSettings":
        aliases, labels = self.label_aliases, self.labels
        if self.task == "regression" and aliases:
            raise ValueError("task regression with label_aliases: its targets are numbers, leave label_aliases empty")
        for alias, label in aliases.items():
            if STANDS_FOR in label:
                raise ValueError(
                    f"label_aliases: {label!r} holds {STANDS_FOR!r}, which stands between a spelling and it"
                )
            if label in aliases:
                raise ValueError(f"label_aliases: {label!r} is an alias itself, expected the label that stays")
            if alias in labels:
                raise ValueError(f"label_aliases: {alias!r} is one of labels, too; take it out of one of them")
            if labels and label not in labels:
                raise ValueError(f"label_aliases: {alias!r} stands for {label!r}, which is none of labels")
            if self.task == "multi_label" and self.label_separator in alias + label:
                raise ValueError(
                    f"label_aliases: {alias!r} or {label!r} holds label_separator {self.label_separator!r}, which"
                    " stands between labels"
                )
        return self

    @property
    def further(self) -> tuple[FurtherTarget, ...]:
        """The targets beside the first one."""
        return tuple(map(further_target_of, self.targets))

    @property
    def target_names(self) -> tuple[str, ...]:
        """All targets, the first one first."""
        return (self.target, *(target.name for target in self.further))

    def of_target(self, name: str) -> "DataSettings":
        """The same rows as if this one of `targets` were the only target."""
        found = next(target for target in self.further if target.name == name)
        own = {"target": name, "task": found.task, "labels": list(found.labels), "label_aliases": {}, "targets": []}
        return DataSettings.model_validate({**self.model_dump(), **own})

    @model_validator(mode="after")
    def _targets_are_columns_of_their_own(self) -> "DataSettings":
        if len(self.targets) > MOST_FURTHER_TARGETS:
            raise ValueError(
                f"targets: {len(self.targets)} columns, expected {MOST_FURTHER_TARGETS} or fewer; drop some"
            )
        roles = {"target": self.target, "input": self.input, "id": self.id, "group": self.group}
        taken = {column: f"data.{role}" for role, column in roles.items()}
        taken |= dict.fromkeys(self.slices, "data.slices")
        for target in self.further:
            if target.name in taken:
                raise ValueError(
                    f"targets: {target.name!r} is named by {taken[target.name]}, too, expected a column of its own;"
                    " take it out of one of them"
                )
            taken[target.name] = "data.targets"
            try:
                self.of_target(target.name)
            except ValidationError as error:  # labels that its task cannot have
                said = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
                raise ValueError(f"targets: {target.name!r}: {said}") from None
        return self

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> "DataSettings":
        if self.min_seconds > self.max_seconds:
            raise ValueError(f"min_seconds {self.min_seconds:g} lies above max_seconds {self.max_seconds:g}")
        return self


def leaves_the_project(path: str) -> bool:
    """Whether a path is none below the project folder, by its look."""
    parts = PurePosixPath(path)
    return parts.is_absolute() or ".." in parts.parts or "\0" in path


def folder_of(path: str) -> str:
    """The folder whose content has a version, of the path of a table or a folder in a project."""
    parts = PurePosixPath(path).parts
    is_table_beside = len(parts) == 1 and "." in path
    return DATA_FOLDER if is_table_beside or not parts or parts[0] in ("/", "..") else parts[0]
