"""Checkpoints that are not safetensors as folders that are: where each tensor belongs, by name or by order, proven."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast

import torch
from huggingface_hub.errors import OfflineModeIsEnabled
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from graftline.base_models.weight_matching import Match, is_weight, match_tensors, refuse
from graftline.digests import tensors_sha256
from graftline.errors import BaseModelRefusedError, SettingsError
from graftline.files import write_json
from graftline.models.timm_backbones import (
    AUXILIARY,
    WEIGHTS,
    build_timm,
    is_known,
    load_timm,
    model_arguments,
)
from graftline.models.transformers_backbones import (
    BUILDING_ERRORS,
    CONFIG,
    build_transformers,
    is_timm,
    load_transformers,
    offline,
    quiet_transformers,
    read_config,
    reason_of,
    transformers_config,
)

PROBE_IMAGES = 2
# Four times as many as the largest published classifiers have; a file can claim more than memory holds.
MAX_CLASSES = 100_000
# The keys of the input and the classifier. The rest tells of timm's own weights: their address, tag and licence.
DESCRIBED = (
    "architecture", "num_classes", "input_size", "min_input_size", "fixed_input_size", "pool_size", "interpolation",
    "crop_pct", "crop_mode", "mean", "std", "first_conv", "classifier",
)  # fmt: skip


@dataclass(frozen=True)
class Conversion:
    """How a checkpoint was converted."""

    library: Literal["timm", "transformers"]
    architecture: str
    match: Match


def convert(tensors: Mapping[str, Tensor], folder: Path, *, where: str, architecture: str | None = None) -> Conversion:
    """Write `tensors` as safetensors into `folder`, and prove that a backbone loaded from there is made of them.

    The target is timm's `architecture`, or what the configuration in `folder` describes. Number formats stay.
    Raises: BaseModelRefusedError with the first difference if the tensors are not those of the architecture, or not
    finite; SettingsError if timm does not know `architecture`.
    """
    if architecture is None and not is_timm(folder):
        return _to_transformers(tensors, folder, where)
    config = read_config(folder) if architecture is None else {"architecture": architecture}
    if not is_known(config["architecture"]):
        raise SettingsError(
            f"{where}: timm {version('timm')} does not know the architecture {config['architecture']!r}, expected one"
            " that timm.list_models() names; correct --architecture, or the configuration beside the weights"
        )
    return _to_timm(tensors, folder, config, where)


def _to_timm(tensors: Mapping[str, Tensor], folder: Path, config: Mapping[str, Any], where: str) -> Conversion:
    def build(classes: int) -> nn.Module:
        return build_timm(config, where, classes=classes)

    described = cast("Any", build(0)).pretrained_cfg
    match, classes = _with_or_without_classifier(tensors, build, described, where)
    _require_finite(match.tensors, where)
    written = {
        "architecture": described["architecture"],
        "num_classes": classes,
        "model_args": model_arguments(config, where),
        "pretrained_cfg": {name: described[name] for name in DESCRIBED if name in described} | {"num_classes": classes},
    }
    write_json(folder / CONFIG, written)
    _write_weights(match.tensors, folder)
    _prove_timm(match.tensors, folder, build(classes), where)
    return Conversion("timm", described["architecture"], match)


def _with_or_without_classifier(
    tensors: Mapping[str, Tensor], build: Callable[[int], nn.Module], described: Mapping[str, Any], where: str
) -> tuple[Match, int]:
    """The match, and for how many classes the checkpoint has a classifier: 0 if it has none that fits.

    Raises: the refusal of the likeliest number.
    """
    classifier = described.get("classifier") or ()
    prefixes = tuple(f"{name}." for name in ([classifier] if isinstance(classifier, str) else classifier))
    *_, last = tensors.values()
    # The classifier is the last layer wherever the order was kept. Without a name for it, none could be loaded.
    numbers = [*last.shape[:1], described["num_classes"], 0] if prefixes else [0]
    refusals = []
    for classes in dict.fromkeys(number for number in numbers if number <= MAX_CLASSES):
        model = build(classes)
        spare = (f"{AUXILIARY}.",) if classes else (f"{AUXILIARY}.", *prefixes)
        try:
            return match_tensors(
                tensors, model.state_dict(), where=where, model=described["architecture"], spare=spare
            ), classes
        except BaseModelRefusedError as refusal:
            refusals.append(refusal)
    raise refusals[0]


def _prove_timm(tensors: Mapping[str, Tensor], folder: Path, by_hand: nn.Module, where: str) -> None:
    """Compare what `load_timm` makes of the folder with the network into which the tensors were put directly."""
    by_hand.load_state_dict(dict(tensors), strict=True)
    cast("Any", by_hand).reset_classifier(0)
    loaded = load_timm(folder)
    shape = cast("Any", by_hand).pretrained_cfg["input_size"]
    images = torch.randn(PROBE_IMAGES, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = [model.eval()(images) for model in (by_hand, loaded)]
    if tensors_sha256(by_hand.state_dict()) != tensors_sha256(loaded.state_dict()) or not torch.equal(*features):
        refuse(where, "gives other features from the converted folder", "the same as with its tensors put in directly")


def _to_transformers(tensors: Mapping[str, Tensor], folder: Path, where: str) -> Conversion:
    for part in _parts_of(read_config(folder)):
        model_arguments(part, where)  # some models of transformers hold one of timm
    try:
        with quiet_transformers(), offline():
            config = transformers_config(folder)
            blank: Any = build_transformers(config)
    except OfflineModeIsEnabled:
        refuse(where, f"lies beside a {CONFIG} that names another model on the Hugging Face Hub", "one that is whole")
    except BUILDING_ERRORS as error:
        refuse(
            where, f"lies beside a {CONFIG} that transformers cannot build a model from ({reason_of(error)})", "its own"
        )
    backbone = type(blank)

    def load(given: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Any]]:
        with quiet_transformers():
            return cast(
                "tuple[nn.Module, dict[str, Any]]",
                backbone.from_pretrained(
                    None,
                    config=config,
                    state_dict=dict(given),
                    dtype=torch.float32,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,
                ),
            )

    match = _known_to_transformers(tensors, blank, load(tensors)[1])
    if match is None:
        match = match_tensors(tensors, blank.state_dict(), where=where, model=backbone.__name__)
    _require_finite(match.tensors, where)
    _write_weights(match.tensors, folder)
    _prove_transformers(folder, *load(match.tensors), where=where)
    return Conversion("transformers", backbone.__name__, match)


def _parts_of(tree: object) -> Iterator[dict[str, Any]]:
    """The objects in a tree of JSON."""
    branches = [tree]
    while branches:
        branch = branches.pop()
        if isinstance(branch, dict):
            yield branch
            branches.extend(branch.values())
        elif isinstance(branch, list):
            branches.extend(branch)


def _known_to_transformers(tensors: Mapping[str, Tensor], blank: nn.Module, info: Mapping[str, Any]) -> Match | None:
    """The tensors under their own names, if transformers knows them all: it has rules for the names of its past."""
    lacking = {str(name) for name in info["missing_keys"]} | {str(name) for name, *_ in info["mismatched_keys"]}
    left_out = sorted(info["unexpected_keys"])
    children = {name for name, _ in blank.named_children()}
    base = f"{cast('Any', blank).base_model_prefix}."
    # A block more than the configuration has means another model; heads of other tasks have names of their own.
    blocks = [
        name for name in left_out if name.removeprefix(base).partition(".")[0] in children and is_weight(tensors[name])
    ]
    if blocks or not all("pooler." in name for name in lacking):
        return None
    kept = {name: tensor.clone().contiguous() for name, tensor in tensors.items() if name not in left_out}
    return Match(kept, len(kept), 0, 0, tuple(left_out))


def _prove_transformers(folder: Path, by_hand: nn.Module, info: Mapping[str, Any], *, where: str) -> None:
    """Compare what `load_transformers` makes of the folder with what transformers makes of the tensors directly."""
    digests = []
    for model in (by_hand, load_transformers(folder)):
        # What the checkpoint lacks, a pooler at most, starts as noise in either.
        states = {name: tensor for name, tensor in model.state_dict().items() if name not in info["missing_keys"]}
        digests.append(tensors_sha256(states))
    if digests[0] != digests[1]:
        refuse(where, "is another model when it is loaded from the converted folder", "the same tensors")


def _require_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            refuse(where, f"holds values in {name} that are infinite or no numbers", "finite weights")


def _write_weights(tensors: dict[str, Tensor], folder: Path) -> None:
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    if tensors_sha256(load_file(folder / WEIGHTS)) != tensors_sha256(tensors):
        raise OSError(f"{folder / WEIGHTS}: reads back other than it was written; check the disk")
