"""params.yaml of a project that is to begin: values that fit its data, each with its reason."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from graftline.data.first_look import Column, Look, few_valued, label_counts, name_column
from graftline.data.label_spellings import other_spellings
from graftline.pages.text import spelt_out
from graftline.settings import DataSettings, Kind, Task
from graftline.settings.by_kind import BY_KIND

# More labels than a person would read in a file.
MOST_LABELS = 60
# Of a tenth of so many rows a difference of 5 points can be shown: with fewer, more has to be held out.
ROWS_FOR_SHARES = ((500, 0.3), (2_000, 0.2))
# A label with fewer rows cannot lie on all three sides of the split, and is more often a typo.
FEWEST_ROWS = 5
LONG_TEXT_TOKENS = (128, 256, 512)
TOKENS_PER_WORD = 1.4
LINE_CHARACTERS = 120


@dataclass(frozen=True)
class Answers:
    """What a project is about, as it was answered or could be told from the data."""

    kind: Kind
    task: Task
    uri: str
    model: str
    input: str | None = None
    """The columns; none for class folders."""
    target: str | None = None
    label_separator: str = "|"


@dataclass(frozen=True)
class Seen:
    """What was seen in the data."""

    rows: int
    look: Look | None = None
    """Of a table."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """The files in class folders."""
    seconds: tuple[float, float] | None = None
    """The shortest and the longest of the sounds that were looked at."""
    shortest_side: int | None = None
    """Of the pictures that were looked at, in pixels."""

    def column(self, name: str | None) -> Column | None:
        return self.look.columns[name] if self.look and name else None


def print_params(path: str, answers: Answers, seen: Seen) -> str:
    """The text of the settings file for data at `path`."""
    lines = [
        "# What `graftline adapt` does, as `graftline init` proposed it from the data. What does not stand here has",
        "# its default; `graftline settings` explains each. For one run alone:",
        "# `graftline adapt --set section.key=value`.",
        "data:",
        *(_line(*line) for line in _data_lines(path, answers, seen)),
        "base_model:",
        _line("uri", answers.uri, "its bytes are pinned in base_models.lock; after a change run `graftline lock`"),
        "adaptation:",
        *(_line(*line) for line in _adaptation_lines(answers, seen)),
        _other_strategy(answers),
        "  # epochs: 3                       # more help where rows are few",
        "  # class_weights: balanced         # where rare labels matter as much as frequent ones"
        if answers.task != "regression"
        else "  # patience: 2                     # stop after so many epochs without improvement",
        "registry:",
        _line("model", answers.model, "the name that versions are registered and served under"),
    ]
    return "\n".join(lines) + "\n"


def rare_labels(answers: Answers, seen: Seen) -> dict[str, int]:
    """The labels with too few rows to be learned, if leaving them out costs no more rows than may be faulty."""
    counts = _counts(answers, seen)
    rare = {label: rows for label, rows in sorted(counts.items()) if rows < FEWEST_ROWS}
    allowed = DataSettings.model_fields["max_quarantined"].default * seen.rows
    return rare if rare and sum(rare.values()) <= allowed and len(counts) - len(rare) >= 2 else {}


Line = tuple[str, object, str]


def _data_lines(path: str, answers: Answers, seen: Seen) -> Iterator[Line]:
    target, used = seen.column(answers.target), (answers.input, answers.target)
    yield "path", path, f"{seen.rows:,} rows" if seen.look else f"{seen.rows:,} files in {len(seen.counts)} folders"
    yield "kind", answers.kind, ""
    yield "task", answers.task, _told_of(target)
    if seen.look:
        yield "input", answers.input, _told_of_input(seen.column(answers.input), answers.kind)
        yield "target", answers.target, ""
    if answers.task == "multi_label" and answers.label_separator != "|":
        yield "label_separator", answers.label_separator, "stands between the labels of a row"
    yield from _label_lines(answers, seen)
    if seen.look:
        if name := name_column(seen.look, used):
            yield "id", name, "each value once: names the rows in every page"
        groups = few_valued(seen.look, (*used, name))
        if groups:
            yield "# slices", groups, "few values each: take those whose scores you want to see separately"
        yield "# group", None, "a column, if rows of one customer, author or case shall stay on one side of the split"
    for rows, share in ROWS_FOR_SHARES:
        if seen.rows < rows:
            yield "test_share", share, f"{seen.rows:,} rows are few: held-out ones decide how small a gain can be shown"
            break
    yield from _limits(answers, seen)
    yield "# licence", "unknown", "of the data; stands on the model card"


def _told_of(target: Column | None) -> str:
    if target is None:
        return ""
    return f"{len(target.values):,} values" if target.holds_numbers else f"{len(target.values):,} different ones"


def _told_of_input(column: Column | None, kind: Kind) -> str:
    if column is None or kind != "text":
        return "paths below the data's folder"
    return f"{column.mean_words:.0f} words on average, at most {column.longest:,} characters"


def _counts(answers: Answers, seen: Seen) -> Counter[str]:
    """The rows of each label, those of its other spellings among them."""
    written = _written_counts(answers, seen)
    spellings, counts = other_spellings(written), Counter[str]()
    for label, rows in written.items():
        counts[spellings.get(label, label)] += rows
    return counts


def _written_counts(answers: Answers, seen: Seen) -> Counter[str]:
    target = seen.column(answers.target)
    if answers.task == "regression":
        return Counter()
    return label_counts(target, answers.task, answers.label_separator) if target else Counter(seen.counts)


def _label_lines(answers: Answers, seen: Seen) -> Iterator[Line]:
    counts = _counts(answers, seen)
    rare = rare_labels(answers, seen)
    kept = {label: rows for label, rows in sorted(counts.items()) if label not in rare}
    if not kept:
        return
    if seen.look and len(kept) <= MOST_LABELS:
        shown = ", ".join(f"{label} {rows:,}" for label, rows in counts.most_common(6))
        without = f"; left out: {', '.join(f'{name} {rows}' for name, rows in rare.items())}" if rare else ""
        yield "labels", list(kept), f"{shown}{', ...' if len(counts) > 6 else ''}{without}; any other is a faulty row"
    written = _written_counts(answers, seen)
    if aliases := {alias: label for alias, label in other_spellings(written).items() if label in kept}:
        told = ", ".join(f"{alias!a} {written[alias]:,}" for alias in list(aliases)[:6])
        yield "label_aliases", aliases, f"other spellings, taken as the same: {told}; if not, write them into labels"
    fewest = min(kept.values())
    fields = DataSettings.model_fields
    if fewest < fields["min_rows_per_class"].default:
        yield "min_rows_per_class", max(1, fewest // 2), f"the rarest label has {fewest} rows"
    if fewest / max(1, seen.rows) < 1.2 * fields["min_class_share"].default:
        share = _rounded_down(fewest / max(1, seen.rows) / 2)
        yield "min_class_share", share, f"the rarest label has {fewest / seen.rows:.2%} of the rows"


def _limits(answers: Answers, seen: Seen) -> Iterator[Line]:
    fields = DataSettings.model_fields
    text = seen.column(answers.input) if answers.kind == "text" else None
    if text and text.longest > (usual := fields["max_characters"].default):
        longest = min(1_000_000, math.ceil(text.longest / 1000) * 1000)
        yield "max_characters", longest, f"the usual limit is {usual:,}; the model reads the beginning only"
    if seen.shortest_side and seen.shortest_side < fields["min_side"].default:
        yield "min_side", seen.shortest_side, "the smallest picture that was looked at"
    if seen.seconds and seen.seconds[0] < fields["min_seconds"].default:
        yield "# min_seconds", seen.seconds[0], "the shortest sound; shorter ones than 0.1 s are faulty rows"
    if seen.seconds and seen.seconds[1] > fields["max_seconds"].default:
        longest_seconds = float(min(600, math.ceil(seen.seconds[1] * 1.1)))
        yield "max_seconds", longest_seconds, f"the longest sound that was looked at has {seen.seconds[1]:.1f} s"


def _adaptation_lines(answers: Answers, seen: Seen) -> Iterator[Line]:
    text = seen.column(answers.input) if answers.kind == "text" else None
    if text:
        tokens = TOKENS_PER_WORD * text.mean_words
        usual = LONG_TEXT_TOKENS[0]
        if tokens > usual / 2:
            fitting = next((length for length in LONG_TEXT_TOKENS if length >= 1.5 * tokens), LONG_TEXT_TOKENS[-1])
            yield (
                "max_tokens",
                fitting,
                f"texts have about {tokens:.0f} tokens on average; 128 are twice as fast or more",
            )
    if seen.seconds and seen.seconds[1] < 15:
        longest = float(max(1, math.ceil(seen.seconds[1])))
        yield "max_seconds", longest, f"no sound is longer than {seen.seconds[1]:.1f} s"
    if text:
        yield "runtime", "auto", "OpenVINO for many texts, where it is installed and answers as PyTorch does"
    yield "device", "auto", "a GPU where PyTorch finds one, else the processor"
    yield "precision", "auto", "bfloat16 where the device has instructions for it"


def _other_strategy(answers: Answers) -> str:
    """The first thing to try beside the default of the kind, as a comment."""
    if BY_KIND[answers.kind].get("strategy") == "feature_extraction":
        return "  # strategy: probe_then_fine_tune  # the head first, then everything: minutes in place of seconds"
    return "  # strategy: feature_extraction    # only the head: seconds in place of minutes, and a good first look"


def _line(key: str, value: object, reason: str) -> str:
    comment = f"# {spelt_out(' '.join(reason.split()))}" if reason else ""
    commented = key.startswith("# ")
    text = f"  {key}: {_as_yaml(value)}"
    beside = f"{text:<{34 if commented else 32}}  {comment}".rstrip()
    return beside if len(beside) <= LINE_CHARACTERS or not comment else f"  {comment}\n{text}"


def _as_yaml(value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"))
    text = text.removesuffix("\n").removesuffix("\n...").strip()
    if text.isprintable():
        return text
    # What cannot be seen or ends a line would put the rest into the file's next line, or outside of a comment.
    return yaml.safe_dump(value, default_flow_style=True, default_style='"', width=float("inf")).strip()


def _rounded_down(share: float) -> float:
    """Two digits that count, so that the limit stays below what it is made from."""
    if share <= 0:
        return 0.0
    digits = 1 - math.floor(math.log10(share))
    return float(math.floor(share * 10**digits) / 10**digits)


def model_name(source: Path) -> str:
    """A registry name made from a file's or folder's."""
    letters = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in source.stem.lower())
    name = "-".join(filter(None, letters.split("-")))[:60].strip("-")
    return name or "model"
