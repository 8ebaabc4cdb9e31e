"""The held-out rows: their slices, and scores on them, always on the same resamples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, cast

from pydantic import JsonValue

from graftline.data.splitting import BY_HASH
from graftline.digests import lines_sha256
from graftline.settings.evaluation import EvaluationSettings
from graftline.tasks.data.accepted_rows import GROUP, ValidatedData, read_split, split_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graftline.evaluation.comparison import Slice
    from graftline.evaluation.metrics import Floats, Integers, MetricsOf
    from graftline.evaluation.task_scores import SameAnswer, TaskScores

# The settings that decide on which side of the split a row lies, as the settings of a run are logged.
SIDES = ("data.group", "data.input")
TEST_SHARE = "data.test_share"
# Not logged by earlier releases, which knew no folders of a split.
SPLIT_FROM = "rows.split_from"


class Resampling(TypedDict):
    """What scores and differences with intervals are made of, beside predictions and targets."""

    of: "MetricsOf"
    resamples: int
    seed: int
    strata: "Integers | None"
    groups: "Integers | None"


@dataclass(frozen=True, eq=False)
class Scorer:
    """Scores predictions for the same rows, always on the same resamples."""

    task_scores: "TaskScores"
    targets: "NDArray[Any]"
    settings: EvaluationSettings
    slices: "Sequence[Slice]"
    groups: Sequence[str] | None = None
    """The name of each row's group, where rows of one group are not independent."""

    @property
    def places(self) -> "Integers | None":
        """The groups as numbers: (rows,)."""
        import numpy as np

        return None if self.groups is None else np.unique(self.groups, return_inverse=True)[1].astype(np.int64)

    def of(self, predictions: "Floats") -> JsonValue:
        from graftline.evaluation.bootstrap import scores

        scored = scores(predictions, self.targets, **self.resampling(self.task_scores.metrics))
        return {name: cast("JsonValue", score.as_json()) for name, score in scored.items()}

    def resampling(self, of: "MetricsOf") -> "Resampling":
        """How metrics are resampled that are made by `of`."""
        return {
            "of": of,
            "resamples": self.settings.bootstrap,
            "seed": self.settings.seed,
            "strata": self.task_scores.strata(self.targets),
            "groups": self.places,
        }

    def value(self, name: str, predictions: "Floats") -> float:
        """One score without its interval."""
        import numpy as np

        counted_once = np.ones((1, len(self.targets)))
        return float(self.task_scores.metrics(predictions, self.targets)[name](counted_once)[0])

    def compare(self, candidate: "Floats", other: "Floats", against: str) -> JsonValue:
        """Both on the same resamples, and on the same slices."""
        from graftline.evaluation.comparison import compare

        return compare(
            self.task_scores,
            candidate,
            other,
            self.targets,
            against=against,
            slices=self.slices,
            resamples=self.settings.bootstrap,
            seed=self.settings.seed,
            groups=self.places,
        ).as_json()

    def row_gains(self, row_ids: Sequence[str], candidate: "Floats", other: "Floats") -> JsonValue:
        """What the candidate gained on each row, as a record keeps it."""
        from graftline.evaluation.row_gains import row_gains

        ours, theirs = (self.task_scores.quality(each, self.targets) for each in (candidate, other))
        return row_gains(row_ids, ours.astype(float) - theirs, self.groups).as_json()

    def on(self, rows: "NDArray[Any]") -> "Scorer":
        """For a part of the rows."""
        groups = self.groups and [group for group, there in zip(self.groups, rows, strict=True) if there]
        return Scorer(self.task_scores, self.targets[rows], self.settings, (), groups)


def held_out_groups(data: ValidatedData, column: str | None) -> list[str] | None:
    """The name of each held-out row's group by this column; None without one.

    The column is part of the name: by another one they are other groups.
    """
    return None if column is None else [f"{column}={group}" for group in read_split(data, "test", [GROUP])[GROUP]]


def predictions_sha256(row_ids: list[str], predictions: "Floats", is_same: "SameAnswer") -> str:
    """One digest over the rows' names and every bit of what was predicted for them, in order of the names.

    `is_same` is the task's. An answer counts where it is another than the probabilities alone would give.
    """
    import numpy as np

    from graftline.evaluation.given import answers_in

    usual, given = is_same(np.asarray(predictions), predictions, 1.0), answers_in(predictions)

    def line(row: int) -> str:
        said = "" if given is None or usual[row] else given[row].tobytes().hex()
        return f"{predictions[row].astype('<f8').tobytes().hex()}{said}"

    # One by one: a text for each of many rows would take more memory than all that is predicted.
    by_name = sorted(range(len(predictions)), key=row_ids.__getitem__)
    return lines_sha256(part for row in by_name for part in (row_ids[row], line(row)))


def held_out_slices(data: ValidatedData, columns: Sequence[str]) -> "list[Slice]":
    """The parts of the held-out rows that are scored one by one: by the values of columns, and by the input's length.

    Lengths are those of texts and sounds, in quarters of the training rows'.
    """
    import numpy as np

    from graftline.evaluation.comparison import length_slices, value_slices

    names = {name: f"slice.{name}" for name in columns}
    values = read_split(data, "test", list(names.values()))
    found = [part for name, column in names.items() for part in value_slices(name, values[column])]
    if data.kind == "image":
        return found

    def lengths(side: str) -> "NDArray[Any]":
        if data.kind == "audio":
            return split_numbers(data, side, "seconds", float, np.float64)
        return split_numbers(data, side, "input", len, np.int32)

    unit = "s" if data.kind == "audio" else "characters"
    return [*length_slices(lengths("test"), lengths("train"), column="input length", unit=unit), *found]


def class_slices(data: ValidatedData, targets: "NDArray[Any]") -> "list[Slice]":
    """The held-out rows of each label; numbers have none."""
    from graftline.evaluation.comparison import Slice

    members = [targets == place if targets.ndim == 1 else targets[:, place] > 0 for place in range(len(data.labels))]
    return [Slice("class", label, rows) for label, rows in zip(data.labels, members, strict=True) if rows.any()]


def slice_scores(slices: "Sequence[Slice]", predictions: "Floats", scores: Scorer) -> JsonValue:
    result: dict[str, JsonValue] = {part.column: [] for part in slices}
    for part in slices:
        scored = scores.on(part.rows).of(predictions[part.rows])
        rows = int(part.rows.sum())
        cast("list[JsonValue]", result[part.column]).append({"value": part.value, "rows": rows, "scores": scored})
    return result


def split_changes(now: Mapping[str, str], then: Mapping[str, str]) -> str | None:
    """The settings by which rows that are held out `now` may have been learned from `then`, in words; None: by none.

    A row's side depends on its group and the shares only, or on its folder. Of a model from elsewhere it is not known
    what it learned from: None.
    """
    if TEST_SHARE not in now or TEST_SHARE not in then:
        return None
    now, then = ({SPLIT_FROM: BY_HASH, **settings} for settings in (now, then))
    changed = [name for name in (*SIDES, SPLIT_FROM) if now.get(name) != then.get(name)]
    if float(now[TEST_SHARE]) > float(then[TEST_SHARE]):
        changed.append(TEST_SHARE)
    return ", ".join(f"{name} was {then.get(name)} and is {now.get(name)}" for name in changed) or None
