"""Beside the line, export: a version as a graph of ONNX, judged beside what it was made of before it is registered."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from graftline.answers.predicting import predictor_of
from graftline.answers.tasks import TASKS
from graftline.compute.threads import one_thread
from graftline.errors import RegistryRefusedError
from graftline.models.outputs import parts_of
from graftline.settings import Settings, Task
from graftline.tasks.data.accepted_rows import ValidatedData, places_with_target, raw_inputs, read_split, split_targets
from graftline.tasks.steps.held_out import Scorer, held_out_groups, predictions_sha256
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.evaluation.bootstrap import Difference
    from graftline.evaluation.metrics import Floats
    from graftline.models.preprocessing import Raw

# So many single rows are timed, after some that set things up.
TIMED, WARM = 200, 5


@dataclass(frozen=True)
class Limits:
    """What a variant has to reach."""

    least_equal: float = 0.995
    """The share of held-out rows whose answers are all the same."""
    margin: float = 0.01
    """By how much a main score may be worse at most, by the lower end of its 95 % interval."""
    least_faster: float = 1.1
    """How many times as fast it answers a single row on one thread, by the median."""


@dataclass(frozen=True)
class Parity:
    """A variant beside the version that it was made of, on the same held-out rows."""

    rows: int
    equal: float
    differences: "Mapping[str, Difference]"
    """Of each target's main score, the variant's minus the version's; the first target has the name of its column."""
    faster: float
    timed: int
    predictions_sha256: str
    """Of the variant's answers for the first target's rows."""

    def obstacles(self, limits: Limits) -> list[str]:
        """Why it may not stand beside the version, a sentence each."""
        found = []
        if self.equal < limits.least_equal:
            found.append(f"{self.equal:.2%} of the answers are the same, expected {limits.least_equal:.2%} or more")
        found += [
            f"{name} may be worse by more than {limits.margin:g}: {seen.value:+.4f} on the same rows, 95 % interval"
            f" {seen.low:+.4f} to {seen.high:+.4f}"
            for name, seen in self.differences.items()
            if seen.low < -limits.margin
        ]
        if self.faster < limits.least_faster:
            found.append(
                f"it answers a single row {self.faster:.2f} times as fast, expected {limits.least_faster:.2f} or more"
            )
        return found

    def sentence(self) -> str:
        """What was seen, in one sentence."""
        worst = ", ".join(f"{name} {seen.value:+.4f}" for name, seen in self.differences.items())
        return (
            f"{self.equal:.2%} of {self.rows:,} held-out rows have the same answer ({worst}), and a single row is"
            f" answered {self.faster:.2f} times as fast on one thread (median of {self.timed})"
        )

    def as_json(self) -> dict[str, JsonValue]:
        """Plain values."""
        return cast("dict[str, JsonValue]", asdict(self))


def judge_variant(workspace: Workspace, folder: Path, settings: Settings, data: ValidatedData) -> Parity:
    """Answer the held-out rows with the model in a folder, once as it was evaluated and once with the graph beside it.

    Raises: RegistryRefusedError if it does something else than the data are for.
    """
    plain, graph = predictor_of(folder), predictor_of(folder, runtime="onnx")
    raws = raw_inputs(workspace, data.with_all_rows, "test")
    before, after = plain.features(raws).outputs, graph.features(raws).outputs
    equal, differences, digests = [True] * len(raws), {}, []
    for part in parts_of(plain.outputs):
        own = data if part.name is None else data.targets.get(part.name)
        if own is None or (own.task, tuple(own.labels)) != (part.outputs.task, part.outputs.labels):
            raise RegistryRefusedError(
                f"export: the version answers {_meant(part.name, part.outputs.task, part.outputs.labels)}, and these"
                f" data hold {_meant(part.name, own.task, own.labels) if own else 'no such target'}; export it in a"
                " checkout of the data that it was judged on"
            )
        one, places = plain.of_target(part.name), places_with_target(own, "test")
        was, now = (one.answers(outputs[:, part.columns]) for outputs in (before, after))
        scores = TASKS[own.task].scores
        equal = [all(both) for both in zip(equal, scores.is_same(was, now, part.outputs.spread), strict=True)]
        scorer = Scorer(
            scores, split_targets(own, "test").numpy(), settings.evaluation, [],
            held_out_groups(own, settings.data.group),
        )  # fmt: skip
        differences[part.name or settings.data.target] = _difference(scorer, now[places], was[places])
        digests.append(predictions_sha256(read_split(own, "test", ["row_id"])["row_id"], now[places], scores.is_same))
    faster, timed = _times_as_fast(folder, raws)
    return Parity(len(raws), sum(equal) / len(raws), differences, faster, timed, digests[0])


def _meant(target: str | None, task: Task, labels: Sequence[str]) -> str:
    return f"{f'{target} as ' if target else ''}{task} of {', '.join(labels) or 'numbers'}"


def _difference(scorer: Scorer, ours: "Floats", theirs: "Floats") -> "Difference":
    from graftline.evaluation.comparison import comparison_of

    return comparison_of(scorer.compare(ours, theirs, "the version")).differences[scorer.task_scores.scoring.primary]


def _times_as_fast(folder: Path, raws: "Sequence[Raw]") -> tuple[float, int]:
    """How many times as fast single rows are answered, each by both in turns, on one thread: the median of the ratios.

    Of the processor's time, which is the same on a machine that does something else as well.
    """
    ratios = []
    with one_thread():
        both = predictor_of(folder), predictor_of(folder, runtime="onnx")
        for raw in raws[: TIMED + WARM]:
            seconds = []
            for one in both:
                began = time.process_time()
                one.predict([raw])
                seconds.append(time.process_time() - began)
            ratios.append(seconds[0] / seconds[1])
    kept = ratios[WARM:] or ratios
    return median(kept), len(kept)
