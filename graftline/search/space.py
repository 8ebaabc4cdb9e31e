"""What a search tries: strategies, and for each of them the few settings that change its result most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import JsonValue, ValidationError

from graftline.errors import SettingsError
from graftline.settings.adaptation import FREEZE_UNTIL, AdaptationSettings, Strategy
from graftline.wording import did_you_mean, shown

# Its head is solved and nothing is drawn for it: one trial says all, so it is tried once and drawn never.
SOLVED: Strategy = "feature_extraction"
# Those that were best somewhere in docs/measurements/; the others are tried where they are named.
USUAL: tuple[Strategy, ...] = ("probe_then_fine_tune", "fine_tuning", "lora")
# They learn few weights, which need larger steps: LoRA's authors took ten times the rate of full fine-tuning and more
# (arXiv 2106.09685, appendix D), as did BitFit's (arXiv 2106.10199).
FEW_WEIGHTS: frozenset[Strategy] = frozenset({"lora", "bias_only", "norm_only"})
# Rates are tried from a fifth of that in the settings to five times it; for few weights from it to fifty times it.
AROUND, ABOVE = 5.0, 50.0
# The names under which values are drawn. A rate means something else where few weights learn, so it has two.
STRATEGY, RATE, RATE_OF_FEW, HEAD_RATE = (
    "strategy",
    "learning_rate",
    "learning_rate of few weights",
    "head_learning_rate",
)
FROZEN, DECAY, RANK = "freeze_until", "layer_decay", "lora_rank"
# Quarters of the depth: each freeze point has a store of its own, and more of them would fill the disk.
QUARTER = 0.25
LOWEST_DECAY, DECAY_STEP = 0.7, 0.1
RANKS = (4, 32)
DIGITS = 2

Value = str | int | float
Values = Mapping[str, Value]


@dataclass(frozen=True)
class Range:
    """The values from which one is drawn."""

    low: float
    high: float
    way: Literal["log", "whole", "steps"]
    """By orders of magnitude; whole numbers by orders of magnitude; in equal steps."""
    step: float | None = None


@dataclass(frozen=True)
class Space:
    """All that may be tried."""

    settings: AdaptationSettings
    """As they are. What is not drawn stays so."""
    strategies: tuple[Strategy, ...]
    """Those that are drawn."""
    begins_with: tuple[AdaptationSettings, ...]
    """What is tried first: the settings as they are, and the solved head alone where it is something else."""

    def ranges(self, strategy: Strategy) -> Mapping[str, Range]:
        """What is drawn for a strategy beside its name."""
        from graftline.training.strategies import METHODS  # and torch

        settings, found = self.settings, dict[str, Range]()
        if strategy in FEW_WEIGHTS:
            found[RATE_OF_FEW] = _rates(settings.learning_rate, 1, ABOVE)
        else:
            found[RATE] = _rates(settings.learning_rate, 1 / AROUND, AROUND)
            found[DECAY] = Range(LOWEST_DECAY, 1.0, "steps", DECAY_STEP)
        if METHODS[strategy].head == "random":
            found[HEAD_RATE] = _rates(settings.head_learning_rate, 1 / AROUND, AROUND)
        if FREEZE_UNTIL[strategy] != "refused":
            lowest = QUARTER if FREEZE_UNTIL[strategy] == "needed" else 0.0
            found[FROZEN] = Range(lowest, 1 - QUARTER, "steps", QUARTER)
        if strategy == "lora":
            found[RANK] = Range(*RANKS, "whole")
        return found

    def settings_with(self, values: Values) -> AdaptationSettings:
        """The settings that drawn values stand for. Raises: ValidationError where they do not suit the others."""
        drawn: dict[str, JsonValue] = {**values}
        if RATE_OF_FEW in drawn:
            drawn[RATE] = drawn.pop(RATE_OF_FEW)
        frozen = drawn.get(FROZEN)
        drawn[FROZEN] = str(frozen) if frozen else None
        # A range test would put its own rates into their place.
        fixed: dict[str, JsonValue] = {"find_learning_rate": False}
        return AdaptationSettings.model_validate({**self.settings.model_dump(), **fixed, **drawn})

    def values_of(self, settings: AdaptationSettings) -> Values:
        """What would have to be drawn to get these settings; nothing where they lie outside."""
        if settings.strategy not in self.strategies or settings.find_learning_rate:
            return {}
        values: dict[str, Value] = {STRATEGY: settings.strategy}
        for name, wanted in self.ranges(settings.named_strategy).items():
            value = _value_of(settings, name)
            if value is None or not _holds(wanted, value):
                return {}
            values[name] = value
        return values


def strategies_named(text: str) -> list[Strategy]:
    """The strategies in a text such as `lora, partial`. Raises: SettingsError for what is none."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in FREEZE_UNTIL:
            known = get_args(Strategy)
            raise SettingsError(
                f"--strategies: {shown(name)} is none of {', '.join(known)}{did_you_mean(name, known, shown)}"
            )
    return [strategy for strategy in get_args(Strategy) if strategy in names]


def space_of(settings: AdaptationSettings, named: Sequence[Strategy] = ()) -> Space:
    """The space around these settings, over the strategies that are named; over the usual ones if none is.

    Raises: SettingsError for a strategy that nothing is drawn for, or that the other settings forbid.
    """
    if SOLVED in named:
        raise SettingsError(
            f"strategies: {SOLVED} has a solved head and nothing to search for; it is tried once anyway, so name others"
        )
    wished = [strategy for strategy in get_args(Strategy) if strategy in (named or USUAL)]
    space = Space(settings, tuple(wished), (settings,))
    faults = {strategy: fault for strategy in wished if (fault := _fault(space, strategy)) is not None}
    for strategy in named:
        if strategy in faults:
            raise SettingsError(f"strategies: {strategy} does not suit the other settings: {faults[strategy]}")
    if not (possible := tuple(strategy for strategy in wished if strategy not in faults)):
        raise SettingsError(f"nothing to search over: {next(iter(faults.values()))}")
    first = [settings]
    if settings.strategy != SOLVED and _fault(space, SOLVED) is None:
        first.append(space.settings_with({STRATEGY: SOLVED}))
    return Space(settings, possible, tuple(first))


def changed(settings: AdaptationSettings, found: AdaptationSettings) -> dict[str, JsonValue]:
    """The settings that differ in what was found: what to write into the section `adaptation`."""
    before: dict[str, JsonValue] = settings.model_dump(mode="json")
    return {name: value for name, value in found.model_dump(mode="json").items() if value != before[name]}


def rounded(value: float) -> float:
    """To so many digits as a person writes into a settings file."""
    return float(f"{value:.{DIGITS}g}")


def _rates(rate: float, lowest: float, highest: float) -> Range:
    return Range(rounded(rate * lowest), min(1.0, rounded(rate * highest)), "log")


def _fault(space: Space, strategy: Strategy) -> str | None:
    """Why the settings forbid a strategy, if they do."""
    values: dict[str, Value] = {STRATEGY: strategy}
    if strategy != SOLVED:
        values |= {name: one.high for name, one in space.ranges(strategy).items()}
    try:
        space.settings_with(values)
    except ValidationError as error:
        return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
    return None


def _value_of(settings: AdaptationSettings, name: str) -> float | None:
    if name == FROZEN:
        try:
            return 0.0 if settings.freeze_until is None else float(settings.freeze_until)
        except ValueError:
            return None  # a block's name
    return float(getattr(settings, RATE if name == RATE_OF_FEW else name))


def _holds(one: Range, value: float) -> bool:
    if not one.low <= value <= one.high:
        return False
    steps = (value - one.low) / one.step if one.step else 0.0
    return abs(steps - round(steps)) < 1e-9
