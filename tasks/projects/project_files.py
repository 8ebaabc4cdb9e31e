"""The files of a project that is to begin, beside its settings."""

import lzma
import shutil
import tarfile
from importlib.resources import files
from pathlib import Path

from graftline.errors import SettingsError
from graftline.files import write_atomically
from graftline.settings import DATA_FOLDER, Kind
from graftline.tasks.projects.brought_data import holds_nothing
from graftline.tasks.tracking.requirements import LOCK, print_requirements
from graftline.verdict.policy import POLICY

SERVER, PREFECT, DVC_STAGE = "mlflow/server.yaml", "prefect.yaml", "dvc.yaml"
CODE_FOLDERS = "      - graftline\n      - tasks\n      - flows\n"
REVIEWS = "reviews"

POLICY_TEXT = """\
# What a candidate must show before it becomes champion. What is not set here has its default, explained in
# graftline/verdict/policy.py; the digest of all of it stands with every decision.
wanted_difference: 0.02        # the improvement that is worth finding; row counts are computed for it
# {words}
# `scratch` in this list, the same architecture from random weights, takes as long again as the training.
baselines: [{baselines}]
# floors: {{{floor}}}     # the lowest held-out score of a champion, once you know what is good enough
# limits: {{p95_milliseconds: 100, memory_megabytes: 2000}}   # of the model as a server
# approval_within_hours: 24      # hold a good verdict until a person has said yes
"""


def write_project_files(root: Path, *, kind: Kind, floor: str, folder: str) -> list[str]:
    """Write what is missing. Returns: what was done, a line for each file."""
    texts = kind == "text"
    words = ", the words alone (tfidf)" if texts else ""
    policy = POLICY_TEXT.format(
        words=f"Better than the most frequent answer{words} and a head on the frozen base model.",
        baselines="tfidf, frozen_head" if texts else "frozen_head",
        floor=floor,
    )
    beaten = "the majority, the words alone and the frozen head" if texts else "the majority and the frozen head"
    return [
        write_new(root / POLICY, policy, f"the verdict's policy: better than {beaten}"),
        *_common_files(root, folder),
    ]


def write_reviews(root: Path) -> list[str]:
    """Write the project of the film reviews: its data, settings, policy and lock. Returns: a line for each."""
    done = [_write_review_data(root)]
    for name, template, what in (
        ("params.yaml", "reviews_params.yaml", "the settings of the film reviews"),
        (POLICY, "reviews_promotion.yaml", "the verdict's policy, with floors"),
        ("base_models.lock", "reviews_base_models.lock", "the bytes of all-MiniLM-L6-v2"),
    ):
        done.append(write_new(root / name, _template(template), what))
    return [*done, *_common_files(root, DATA_FOLDER)]


def write_new(path: Path, content: str, what: str) -> str:
    """Write a file that is not there yet. Returns: what was done."""
    name = f"{path.parent.name}/{path.name}" if path.parent.name == "mlflow" else path.name
    if path.exists():
        return f"{name}: is there already; kept"
    write_atomically(path, content)
    return f"{name}: {what}"


def _common_files(root: Path, folder: str) -> list[str]:
    stage = _template("dvc.yaml")
    assert CODE_FOLDERS in stage
    # A project of one's own holds no code: the versions of all that is installed stand for it.
    stage = stage.replace(CODE_FOLDERS, f"      - {LOCK}\n").replace(f"      - {DATA_FOLDER}\n", f"      - {folder}\n")
    lines = [
        write_new(root / SERVER, _template("server.yaml"), "how `graftline up` starts MLflow"),
        write_new(root / PREFECT, _template("prefect.yaml"), "the deployments on Prefect's page"),
        write_new(root / DVC_STAGE, stage, "the same run as a stage, for `dvc repro` and `dvc exp`"),
    ]
    if not (root / LOCK).exists():
        lines.append(write_new(root / LOCK, print_requirements(), "the versions of all that is installed here"))
    else:
        lines.append(f"{LOCK}: is there already; kept")
    return lines


def _write_review_data(root: Path) -> str:
    folder = root / DATA_FOLDER
    archive = files("graftline.tasks.projects") / "templates" / "reviews_data.tar.xz"
    if (folder / "reviews.csv").exists():
        return f"{DATA_FOLDER}/reviews.csv: is there already; kept"
    if not holds_nothing(folder):
        raise SettingsError(
            f"{DATA_FOLDER}/: holds other things, or is no folder, where the demo's data are to lie; run `graftline"
            " init --demo` in an empty folder"
        )
    partial = root / f".{DATA_FOLDER}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    with archive.open("rb") as packed, lzma.open(packed) as opened, tarfile.open(fileobj=opened) as archived:
        archived.extractall(partial, filter="data")
    partial.rename(folder)
    return f"{DATA_FOLDER}/: 10,568 film reviews with their labels (Hutto and Gilbert 2014, MIT)"


def _template(name: str) -> str:
    return (files("graftline.tasks.projects") / "templates" / name).read_text(encoding="utf-8")
