"""Self-training into a target domain with a strategy that trains, on the pairs of benchmarks/scores/domains.py.

Usage: python -m benchmarks.scores.domains_trained --packages FOLDER [--only NAME] [--seeds N ...]

Each seed draws the rows of either domain, the head and the order of the rows. Each training is kept in a JSON file
beside the page as soon as it ends.
"""

import random
import tempfile
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.problems.domain_shifts import SHIFTS, Labelled, Shift
from benchmarks.scores.domains import PAGE, gain, mean
from benchmarks.scores.kept_page import KeptPage, page_options, use_threads, write_between
from graftline.files import write_json
from graftline.frozen.eviction import open_feature_store
from graftline.frozen.rows import InputRows
from graftline.models.folders import load_base, load_preprocessor
from graftline.models.outputs import Outputs
from graftline.models.preprocessing import Preprocessor
from graftline.models.transformers_backbones import CONFIG, read_config
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.domain.adaptation import adapt
from graftline.training.single_label import objective_for
from graftline.training.strategies import Adaptation
from graftline.training.validation_score import predict

SEEDS = (0, 1, 2)
# Of the source to learn from and to choose by, and of the target to be seen without labels and to judge.
SIDES = {"train": 300, "validation": 100, "target": 300, "judging": 300}
WAYS = ("none", "self_training", "auto", "with its labels")
STRATEGY = {"strategy": "probe_then_fine_tune", "epochs": 2, "threads": 1, "device": "cpu", "precision": "float32"}
# Pictures of half the side, for as many trainings as these.
SIDE, IMAGE_RATES = 112, {"learning_rate": 1e-3}
LIMIT_BYTES, BATCH = 20_000_000_000, 32
HEAD = ("from and to", "seeds", "plain training there", *WAYS[1:])

Kept = dict[str, float]
"""The accuracy on the rows that judge, by pair, way and seed."""


def main() -> None:
    parser = page_options(__doc__, PAGE)
    parser.add_argument("--packages", type=Path, required=True, help="the folder with the unpacked packages")
    parser.add_argument("--only", help="the name of one pair")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    options = parser.parse_args()
    use_threads(1)
    kept = KeptPage(options.output.with_name("domains_trained.md"), Kept)
    known = kept.read({})
    with tempfile.TemporaryDirectory() as scratch:
        for shift, seed in product(SHIFTS, options.seeds):
            missing = [way for way in WAYS if _name(shift.name, way, seed) not in known]
            if not missing or options.only not in (None, shift.name):
                continue
            base = _base(shift, options.packages, Path(scratch))
            parts = drawn(shift.read(options.packages), seed)
            for way in missing:
                known[_name(shift.name, way, seed)] = accuracy(shift, base, parts, way, seed, Path(scratch))
                kept.keep(known, f"{_name(shift.name, way, seed)}: {known[_name(shift.name, way, seed)]:.4f}")
    write_between(options.output, "benchmarks.scores.domains_trained", table(known))


def drawn(domains: tuple[Labelled, Labelled], seed: int) -> dict[str, Labelled]:
    """The rows of each side: the first two of the source, the others of the target."""
    chance, parts = random.Random(seed), dict[str, Labelled]()  # noqa: S311 - nothing secret is drawn
    for (inputs, labels), names in zip(domains, (("train", "validation"), ("target", "judging")), strict=True):
        order = chance.sample(range(len(inputs)), len(inputs))
        for name in names:
            chosen, order = order[: SIDES[name]], order[SIDES[name] :]
            parts[name] = [inputs[row] for row in chosen], [labels[row] for row in chosen]
    return parts


def accuracy(shift: Shift, base: Path, parts: Mapping[str, Labelled], way: str, seed: int, scratch: Path) -> float:
    """On the rows that judge, of a model that learned this way."""
    labelled = way == "with its labels"
    chosen: dict[str, Any] = {**STRATEGY, "seed": seed, "domain": "none" if labelled else way}
    settings = AdaptationSettings(**chosen | (IMAGE_RATES if shift.reading.kind == "image" else {}))
    names = tuple(map(str, range(1 + max(parts["train"][1]))))
    preprocessor = load_preprocessor(base, shift.reading)
    model = load_base(base, Outputs("single_label", names), reading=shift.reading, seed=seed)
    sides = (
        _of_target(parts["target"]) if labelled else {name: parts[name] for name in ("train", "validation", "target")}
    )
    rows = {name: _rows(preprocessor, side) for name, side in sides.items()}
    with tempfile.TemporaryDirectory(dir=scratch) as own:

        def store(point: Any) -> Any:
            key = str(point.first_trainable)
            return open_feature_store(Path(own), key, precision=settings.feature_precision, limit_bytes=LIMIT_BYTES)

        adapt(Adaptation(model, rows, settings, objective_for, store, Path(own) / "checkpoints"))
    judging = _rows(preprocessor, parts["judging"])
    return float((predict(model, judging, batch_size=BATCH).argmax(1) == judging.targets).double().mean())


def _of_target(labelled: Labelled) -> dict[str, Labelled]:
    """The rows of the target domain with their labels, a fifth of them to choose by."""
    inputs, labels = labelled
    held = len(labels) // 5
    return {"validation": (inputs[:held], labels[:held]), "train": (inputs[held:], labels[held:])}


def _rows(preprocessor: Preprocessor, labelled: Labelled) -> InputRows:
    inputs, labels = labelled
    return InputRows(preprocessor, preprocessor.encode(inputs), torch.tensor(labels))


def _base(shift: Shift, packages: Path, folder: Path) -> Path:
    made = shift.base(packages, folder)
    if shift.reading.kind == "image":
        config = read_config(made)
        described = {**config["pretrained_cfg"], "input_size": [3, SIDE, SIDE]}
        write_json(made / CONFIG, {**config, "pretrained_cfg": described})
    return made


def table(known: Kept) -> str:
    """One line for each pair: means over the seeds that are whole, and gains paired by seed."""
    lines = [f"| {' | '.join(HEAD)} |", "| --- " * len(HEAD) + "|"]
    for shift in SHIFTS:
        whole = [seed for seed in range(100) if all(_name(shift.name, way, seed) in known for way in WAYS)]
        if whole:
            seen: dict[str, Sequence[float]] = {
                way: [known[_name(shift.name, way, seed)] for seed in whole] for way in WAYS
            }
            gains = [gain(seen[way], seen["none"]) for way in WAYS[1:]]
            lines.append(f"| {' | '.join([shift.name, str(len(whole)), mean(seen['none']), *gains])} |")
    return "\n".join(lines)


def _name(shift: str, way: str, seed: int) -> str:
    return f"{shift}; {way}; seed {seed}"


if __name__ == "__main__":
    main()
