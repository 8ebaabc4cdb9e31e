"""The reference of a champion: its held-out rows as they would stand in the log of what is served."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

from graftline.answers.facts import facts_of
from graftline.answers.tasks import TASKS
from graftline.compute.threads import thread_count
from graftline.data.targets import labels_in
from graftline.files import write_json
from graftline.settings import Settings, Task
from graftline.tasks.data.accepted_rows import questions, raw_inputs, read_split, split_targets
from graftline.tasks.registry.manifest import judged_files
from graftline.tasks.registry.named import NamedVersion
from graftline.tasks.serving.trial import score_in_fresh_process
from graftline.tasks.step_folders import produce
from graftline.tasks.watching.held_out import HeldOutRows
from graftline.tasks.workspace import Workspace
from graftline.transfer.two_samples import Vectors, median_distance
from graftline.watching.looks import Rows

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from graftline.evaluation.metrics import Floats

STEP, ABOUT, ROWS = "watch_reference", "reference.json", "rows.npz"
# Of a model that answers numbers: a row counts as right if it is no farther off than so many of the held-out ones.
NEAR_SHARE = 0.8


@dataclass(frozen=True)
class About:
    """What the numbers of the reference mean."""

    model: str
    version: int
    run_id: str
    task: Task
    labels: tuple[str, ...]
    separator: str
    """Stands between the labels of one row."""
    facts: tuple[str, ...]
    bandwidth: float
    promised: float
    """How good the held-out rows are on average: of single labels the accuracy, of several the share of labels that are
    right, of numbers the share that is near enough."""
    near: float | None
    """How far off a number may be to count as right."""
    rows: int
    test_sha256: str
    note: str = ""
    """Why the rows are not those that the version was judged on, if they are not."""

    def right(self, answers: Sequence[str], labels: Sequence[str]) -> "Floats":
        """How good each answer is, between 0 and 1: (rows,)."""
        return np.array([self._right(answer, label) for answer, label in zip(answers, labels, strict=True)], float)

    def _right(self, answer: str, label: str) -> float:
        if self.task == "single_label":
            return float(answer == label)
        if self.task == "regression":
            return float(abs(float(answer) - float(label)) <= float(self.near or 0))
        given, true = set(json.loads(answer)), set(labels_in(label, self.separator))
        return 1 - len((given ^ true) & set(self.labels)) / max(1, len(self.labels))


@dataclass(frozen=True, eq=False)
class Reference:
    """The held-out rows of a champion."""

    about: About
    rows: Rows
    right: "Floats"
    """How good each answer is: (rows,)."""


def reference_of(workspace: Workspace, settings: Settings, held_out: HeldOutRows, version: NamedVersion) -> Reference:
    """Ask the version itself, in a process of its own with its own code, for these rows.

    Raises: RegistryRefusedError if it does not answer; ChangedFilesError if its files are others than were judged.
    """

    def build(folder: Path) -> None:
        reference = _asked(workspace, settings, held_out, version)
        write_json(folder / ABOUT, TypeAdapter(About).dump_python(reference.about, mode="json"))
        (folder / ROWS).write_bytes(packed(reference.rows, right=reference.right))

    data = held_out.data
    folder = produce(
        workspace,
        STEP,
        depends_on={
            "model": version.model, "version": version.number, "weights": version.weights_sha256,
            "run_id": version.version.run_id, "data": data.sha256, "test": data.test_sha256, "note": held_out.note,
        },
        code=("graftline.tasks.watching.reference",),
        libraries=("torch", "transformers", "numpy"),
        build=build,
    )  # fmt: skip
    return read_reference(folder.path)


def read_reference(folder: Path) -> Reference:
    """The reference that lies in a folder."""
    about = TypeAdapter(About).validate_json((folder / ABOUT).read_bytes())
    rows, others = unpacked((folder / ROWS).read_bytes())
    return Reference(about, rows, others["right"])


def logged_rows(table: "pa.Table", about: About, width: int | None) -> Rows:
    """Rows of the log as numbers, with features only where all of them have some of this width."""
    answers = table["answer"].to_pylist()
    facts = [dict(one or ()) for one in table["facts"].to_pylist()]
    vectors = table["features"].to_pylist()
    known = width is not None and all(one is not None and len(one) == width for one in vectors)
    numbers = np.array([float("nan") if one is None else one for one in table["confidence"].to_pylist()], float)
    return Rows(
        _as_columns(facts, about.facts),
        _given(answers, about),
        np.array([float(one) for one in answers]) if about.task == "regression" else numbers,
        _half(np.array(vectors, dtype=np.float32)).astype(np.float32) if known and vectors else None,
    )


def packed(rows: Rows, **others: "Floats | np.ndarray[Any, Any]") -> bytes:
    """Rows as the bytes of an npz file."""
    parts: dict[str, Any] = {name: value for name, value in vars(rows).items() if value is not None}
    if rows.features is not None:
        parts["features"] = _half(rows.features)
    content = io.BytesIO()
    parts.update(others)
    np.savez_compressed(content, **parts)
    return content.getvalue()


def _half(vectors: Vectors) -> "NDArray[np.float16]":
    """In half of the bytes: a day's rows and the held-out ones lose the same digits, and neither becomes infinite."""
    most = np.finfo(np.float16).max
    return vectors.clip(-most, most).astype(np.float16)


def unpacked(content: bytes) -> "tuple[Rows, Mapping[str, np.ndarray[Any, Any]]]":
    """The rows, and what else was packed with them."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        parts = {name: file[name] for name in file.files}
    features = parts.pop("features", None)
    rows = Rows(
        parts.pop("facts"),
        parts.pop("answers"),
        parts.pop("confidence"),
        None if features is None else features.astype(np.float32),
    )
    return rows, parts


def _asked(workspace: Workspace, settings: Settings, held_out: HeldOutRows, version: NamedVersion) -> Reference:
    place, data = held_out.workspace, held_out.data
    files = judged_files(workspace, version.model, version.number)
    threads = thread_count(settings.adaptation.threads)
    asked = questions(place, data, "test")
    scored = score_in_fresh_process(workspace, version.uri, asked, threads=threads, files=files, with_vectors=True)
    predictions, labels = scored.predictions, tuple(scored.labels)
    answered = TASKS[scored.task].outputs.answered(predictions, labels)
    answers = _as_logged(scored.task, answered)
    facts = [facts_of(raw, data.kind) for raw in raw_inputs(place, data, "test")]
    names = tuple(sorted(set().union(*facts)))
    near = _near(predictions, split_targets(data, "test").numpy()) if scored.task == "regression" else None
    about = About(
        version.model, version.number, str(version.version.run_id), scored.task, labels, data.label_separator, names,
        1.0 if scored.vectors is None else median_distance(scored.vectors), 0.0, near, len(answers), data.test_sha256,
        held_out.note,
    )  # fmt: skip
    right = about.right(answers, read_split(data, "test", ["target"])["target"])
    about = TypeAdapter(About).validate_python({**asdict(about), "promised": float(right.mean())})
    # As the log keeps it: what differs in later digits alone would be another confidence than any that is served.
    confidence = predictions[:, 0] if scored.task == "regression" else predictions.max(1).astype(np.float32)
    vectors = None if scored.vectors is None else _half(scored.vectors).astype(np.float32)
    return Reference(about, Rows(_as_columns(facts, names), _given(answers, about), confidence, vectors), right)


def _as_logged(task: Task, answered: Mapping[str, Sequence[Any]]) -> list[str]:
    if task == "single_label":
        return [str(one) for one in answered["label"]]
    if task == "multi_label":
        return [json.dumps(list(one), ensure_ascii=False) for one in answered["labels"]]
    return [repr(float(one)) for one in answered["value"]]


def _near(predictions: "Floats", targets: "np.ndarray[Any, Any]") -> float:
    return float(np.quantile(np.abs(predictions[:, 0] - targets.reshape(len(predictions), -1)[:, 0]), NEAR_SHARE))


def _as_columns(facts: Sequence[Mapping[str, float]], names: Sequence[str]) -> "Floats":
    return np.array([[row.get(name, float("nan")) for name in names] for row in facts], float).reshape(
        len(facts), len(names)
    )


def _given(answers: Sequence[str], about: About) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Which labels each row was answered with: (rows, labels)."""
    if about.task == "regression":
        return np.zeros((len(answers), 0), dtype=bool)
    given = [{answer} if about.task == "single_label" else set(json.loads(answer)) for answer in answers]
    return np.array([[label in one for label in about.labels] for one in given], bool).reshape(
        len(answers), len(about.labels)
    )
