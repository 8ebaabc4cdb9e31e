"""Whether what is expected before a training comes true: each case of the page on defaults by kind of input.

Usage: python -m benchmarks.scores.foresight --data FOLDER [--kinds text image audio] [--seeds N ...]

`--data` is the folder of benchmarks/scores/defaults.py, whose cases these are: a set of real rows and a seed, which
draws the rows. Texts are trained here, since the answers to each row are asked for; what pictures and sounds came to
stands beside that page. Each case is kept in a JSON file beside the page as soon as it is known.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from benchmarks.problems.problem import Labelled, Task
from benchmarks.problems.real_sets import SETS, RealSet
from benchmarks.scores.defaults import BASE_MODELS, FEATURES, PRESENT, ROWS, THREADS, name_of, task_of
from benchmarks.scores.defaults import PAGE as DEFAULTS
from benchmarks.scores.defaults import Kept as OfDefaults
from benchmarks.scores.distance import tau_in_words
from benchmarks.scores.kept_page import KeptPage, page_options, use_threads
from benchmarks.scores.seeds import SEEDS
from benchmarks.scores.shifts import head_vectors
from benchmarks.sides.ours import VALIDATION_SHARE, Adapted, adapt
from graftline.answers.tasks import TASKS
from graftline.evaluation.baselines import bag_of_words
from graftline.evaluation.bootstrap import differences
from graftline.evaluation.metrics import Floats, Integers
from graftline.frozen.rows import InputRows
from graftline.models.outputs import Outputs
from graftline.settings import Kind
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.linear_head import solve_head
from graftline.training.single_label import OneLabel, objective_for
from graftline.training.validation_score import predict
from graftline.transfer.agreement import agreement
from graftline.transfer.evidence import log_evidence
from graftline.transfer.foresight import Standing, came_true
from graftline.transfer.neighbours import accuracy, answers_of_neighbours
from graftline.transfer.separation import h_score
from graftline.transfer.wrong_labels import FOLDS, folds_of, out_of_fold

PAGE = Path(__file__).parents[2] / "docs" / "measurements" / "foresight.md"
SCORES = TASKS["single_label"].scores
RESAMPLES, BATCH = 1_000, 32
EXPECTED: Mapping[str, str] = {
    "validation": "the validation rows alone",
    "folds": f"all labelled rows, out of {FOLDS} folds",
}
FORETELLERS = ("solved head, validation rows", "LogME", "H-score", "neighbours")
HEAD_OF_PAGE = """# What is foreseen, and what comes
Over the cases of [the defaults by kind of input](defaults.md): nine real sets, five seeds each, which draw the labelled
rows (text {text}, image {image}, audio {audio}) and those that judge. What is expected is said by labelled rows alone,
before anything is trained; what came is said by the rows held out. One machine of 2 cores, one thread, float32. Made by
`python -m benchmarks.scores.foresight`.

In short: 24 validation rows foresee next to nothing, and are wrong once; all labelled rows in folds foresee 14 of 15
cases and are wrong in none. So `adapt` asks all of them where fewer than 500 validate. In all of these cases the
fine-tuned model came out ahead of words: how well the opposite is foreseen is not shown, and as in a run the head
learns from the rows that chose its penalty, too (four folds), and words do not (three), which favours what came.

Whether fine-tuning will beat the solved head is foretold by no score well enough to be told: over the nine sets the
intervals of the solved head and of neighbours reach down to zero, and LogME and the H-score are higher where
fine-tuning gains less. `adapt` says nothing about it.
"""
WORDS = """## Whether it will beat words alone
Of texts: by how much a head solved on the untouched base model leads over a linear model on words, with a 95 % interval
(paired bootstrap), and by how much the fine-tuned model leads on the held-out rows. *Open* is what the interval leaves
open. Cases:
"""
HEADS = """## Whether fine-tuning will beat the solved head
Weighted Kendall tau between a score before the training and the gain of fine-tuning over the solved head on the
held-out rows, with its 95 % interval (sets are drawn, each with all of its seeds). Fine-tuning gained in {gained} of
{cases} cases, and lost in {lost}.
"""


@dataclass(frozen=True)
class Lead:
    """By how much one is ahead, with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Case:
    """A set and a seed."""

    kind: Kind
    set: str
    seed: int
    expected: dict[str, Lead]
    """Over words, by the rows that say so; none but of texts."""
    came: Lead | None
    head: float
    """Accuracy of the solved head on the held-out rows."""
    tuned: float
    """That of fine-tuning."""
    scores: dict[str, float]
    """Those of the base model's features of the labelled rows."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = page_options(__doc__, PAGE)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the unpacked packages")
    parser.add_argument("--kinds", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="N")
    chosen = parser.parse_args(arguments)
    use_threads(THREADS)
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)  # it knows no class of ours
    transformers.logging.disable_progress_bar()
    kept = KeptPage(chosen.output, list[Case])
    known = kept.read([])
    trained = KeptPage(DEFAULTS, OfDefaults).read(OfDefaults())
    with tempfile.TemporaryDirectory() as scratch:
        for kind in chosen.kinds:
            base = None
            for of, seed in ((of, seed) for of in SETS if of.kind == kind for seed in chosen.seeds):
                if any((one.set, one.seed) == (of.name, seed) for one in known):
                    continue
                base = base or BASE_MODELS[kind](chosen.data, Path(scratch))
                task = task_of(of.read(chosen.data), base, kind, seed, rows=ROWS[kind])
                known.append(case_of(task, of, seed, trained, Path(scratch) / kind))
                kept.keep(known, f"{known[-1]}")
    kept.write(page(known))
    return 0


def case_of(task: Task, of: RealSet, seed: int, trained: OfDefaults, features: Path) -> Case:
    """What is expected of it, and what came."""
    vectors = torch.from_numpy(head_vectors(task.base, task.reading, task.train.inputs))
    targets = np.asarray(task.train.targets)
    count = max(2, round(VALIDATION_SHARE * len(targets)))
    held, rest = np.arange(count), np.arange(count, len(targets))
    scores = dict(zip(FORETELLERS, _foretold(vectors, targets, rest, held), strict=True))
    if of.kind != "text":
        head, tuned = (trained.accuracies[name_of(of, line, seed)] for line in ("feature_extraction", PRESENT))
        return Case(of.kind, of.name, seed, {}, None, head, tuned, scores)
    learned = {name: adapt(task, _settings(seed, values), features=features / name) for name, values in LINES.items()}
    said = {name: _answers(adapted, task.test) for name, adapted in learned.items()}
    judged = np.asarray(task.test.targets)
    right = {name: float((answers.argmax(1) == judged).mean()) for name, answers in said.items()}
    beside = _words(task, rest, held, task.test)
    return Case(
        of.kind, of.name, seed, _expected(task, vectors, targets, rest, held), _lead(said["tuned"], beside, judged),
        right["head"], right["tuned"], scores,
    )  # fmt: skip


LINES: Mapping[str, Mapping[str, Any]] = {"head": FEATURES, "tuned": {}}


def _settings(seed: int, values: Mapping[str, Any]) -> AdaptationSettings:
    chosen: dict[str, Any] = {"precision": "float32", "threads": THREADS, "seed": seed, **values}
    return AdaptationSettings(**chosen)


def _foretold(vectors: Tensor, targets: Integers, learns: Integers, held: Integers) -> list[float]:
    features, labels = vectors.numpy(), int(targets.max()) + 1
    columns = np.eye(labels)[targets]
    said = solved(vectors, targets, learns, held, judge=held)
    return [
        float((said.argmax(1) == targets[held]).mean()),
        log_evidence(features[learns], columns[learns]),
        h_score(features[learns], targets[learns]),
        accuracy(answers_of_neighbours(features[learns], columns[learns], None), targets[learns]),
    ]


def _expected(task: Task, vectors: Tensor, targets: Integers, learns: Integers, held: Integers) -> dict[str, Lead]:
    """The lead of the solved head over words: on the validation rows, and out of folds on all of them."""
    head, words = solved(vectors, targets, learns, held, judge=held), _words(task, learns, held, _some(task, held))
    folds = folds_of(np.arange(len(targets)), [task.labels[one] for one in targets], seed=0)
    all_heads = out_of_fold(
        vectors,
        torch.from_numpy(targets).long(),
        folds,
        outputs=Outputs("single_label", task.labels),
        kind=TASKS["single_label"].outputs,
        objective_for=objective_for,
    ).probabilities
    all_words = np.zeros_like(all_heads)
    for fold in range(FOLDS):
        judged, chooses = (np.flatnonzero(folds == one % FOLDS) for one in (fold, fold + 1))
        others = np.setdiff1d(np.arange(len(targets)), [*judged, *chooses])
        all_words[judged] = _words(task, others, chooses, _some(task, judged))
    return {"validation": _lead(head, words, targets[held]), "folds": _lead(all_heads, all_words, targets)}


def _some(task: Task, places: Integers) -> Labelled:
    return Labelled([task.train.inputs[row] for row in places.tolist()], [task.train.targets[row] for row in places])


def solved(vectors: Tensor, targets: Integers, learns: Integers, chooses: Integers, *, judge: Integers) -> Floats:
    """Probabilities of some rows by a head that is solved on others, its penalty chosen by yet others."""
    learned = torch.from_numpy(targets).long()
    head = solve_head(
        vectors[learns], learned[learns], validation=(vectors[chooses], learned[chooses]),
        outputs=int(targets.max()) + 1, objective=OneLabel(),
    )  # fmt: skip
    answers: Floats = (vectors[judge] @ head.weight.float().T + head.bias.float()).softmax(1).double().numpy()
    return answers


def _words(task: Task, learns: Integers, chooses: Integers, asked: Labelled) -> Floats:
    """Those of a linear model on words for the texts that are asked."""
    sides = {"train": _some(task, learns), "validation": _some(task, chooses)}
    texts = {name: [str(one) for one in side.inputs] for name, side in {**sides, "test": asked}.items()}
    known = {name: np.asarray(side.targets) for name, side in sides.items()}
    return bag_of_words(SCORES, texts, known, labels=task.labels)


def _answers(adapted: Adapted, asked: Labelled) -> Floats:
    preprocessor = adapted.preprocessor
    rows = InputRows(preprocessor, preprocessor.encode(asked.inputs), torch.tensor(asked.targets))
    answers: Floats = predict(adapted.model, rows, batch_size=BATCH).softmax(1).double().numpy()
    return answers


def _lead(first: Floats, second: Floats, targets: Sequence[int] | Integers) -> Lead:
    truth = np.asarray(targets)
    found = differences(
        first, second, truth, of=SCORES.metrics, resamples=RESAMPLES, seed=0, strata=SCORES.strata(truth)
    )[SCORES.scoring.primary]  # fmt: skip
    return Lead(found.value, found.low, found.high)


def page(known: Sequence[Case]) -> str:
    """The page, with what is known."""
    counts = {kind: str(learn) for kind, (learn, _) in ROWS.items()}
    return "\n".join([HEAD_OF_PAGE.format(**counts), *_beside_words(known), *_beside_heads(known)])


def _beside_words(known: Sequence[Case]) -> list[str]:
    texts = [one for one in known if one.came is not None]
    rows = [WORDS, "| expected by | expected | came ahead | came open | came behind |", "| --- " * 5 + "|"]
    sums = []
    for by, in_words in EXPECTED.items():
        seen = Counter((_standing(one.expected[by]), _standing(one.came)) for one in texts if one.came)
        expected: Sequence[Standing] = ("ahead", "open", "behind")
        rows += [
            f"| {in_words} | {standing} | {' | '.join(str(seen[standing, came]) for came in expected)} |"
            for standing in expected
        ]
        foreseen = [came_true(one, came) for (one, came), count in seen.items() for _ in range(count)]
        sums.append(
            f"By {in_words}: {foreseen.count(True)} came as foreseen, {foreseen.count(False)} did not,"
            f" {foreseen.count(None)} of {len(foreseen)} were open on one side or the other."
        )
    return [*rows, "", *sums, ""]


def _standing(lead: Lead | None) -> Standing:
    assert lead is not None
    return "ahead" if lead.low > 0 else "behind" if lead.high < 0 else "open"


def _beside_heads(known: Sequence[Case]) -> list[str]:
    gains = [one.tuned - one.head for one in known]
    gained, lost = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    rows = [HEADS.format(gained=gained, lost=lost, cases=len(known))]
    kinds = list(dict.fromkeys(one.kind for one in known))
    rows += [f"| kind | sets | {' | '.join(FORETELLERS)} |", "| --- " * (len(FORETELLERS) + 2) + "|"]
    for kind in (*kinds, None):
        cases = [(one, gain) for one, gain in zip(known, gains, strict=True) if kind in (one.kind, None)]
        sets = [one.set for one, _ in cases]
        taus = [
            agreement([one.scores[name] for one, _ in cases], [gain for _, gain in cases], sets) for name in FORETELLERS
        ]
        rows.append(f"| {kind or 'all'} | {len(set(sets))} | {' | '.join(map(tau_in_words, taus))} |")
    return [*rows, ""]


if __name__ == "__main__":
    sys.exit(main())
