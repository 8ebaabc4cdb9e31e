"""What stands beside a judged version, each by a digest that its record holds."""

from collections.abc import Iterator, Mapping
from hashlib import sha256

from graftline.tasks.registry.records import WITH_RUN, Record
from graftline.tasks.registry.versions import (
    BARRED,
    CHECKED,
    DATA_VERSION,
    QUESTION,
    REASONS,
    RIVAL,
    RUN_KEY,
    VERDICT,
)

# Tags that Graftline notes on a version. SERVING is how it does as a server, noted because it is measured once; GROUPS
# how many groups its held-out rows are of, with data.group.
SERVING, GROUPS, PREDICTIONS_SHA256, TEST_SHA256, SPLIT_SHA256, POLICY_SHA256, AXES = (
    "graftline.serving",
    "graftline.groups",
    "graftline.predictions_sha256",
    "graftline.test_sha256",
    "graftline.split_sha256",
    "graftline.policy_sha256",
    "graftline.axes",
)
# Those that stand there before the verdict. Verdict, reasons and the digest of the weights stand in the record itself.
BEFORE = (
    RUN_KEY,
    QUESTION,
    CHECKED,
    RIVAL,
    DATA_VERSION,
    BARRED,
    PREDICTIONS_SHA256,
    TEST_SHA256,
    SPLIT_SHA256,
    SERVING,
    GROUPS,
)
# They are written after the record, so a kill may have come between.
AFTER = (POLICY_SHA256, AXES)
# In front of the name of a tag, and of a file that MLflow keeps with the version's run.
TAG, FILE = "tag ", "file "
# What says the verdict is made anew once a person has answered, by whoever's run it is.
PAGES = ("verdict.json", "report.html")


def bound_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The digests of the tags that later decisions rest on. One that is not there is not named, and so may not come."""
    return {f"{TAG}{name}": text_sha256(tags[name]) for name in (*BEFORE, *AFTER) if name in tags}


def bound_files(files: Mapping[str, bytes]) -> dict[str, str]:
    """The digests of files that MLflow keeps with the version's run."""
    return {f"{FILE}{name}": sha256(content).hexdigest() for name, content in files.items()}


def names_of_files(bound: Mapping[str, str] | None) -> tuple[str, ...]:
    """The names of the files that a record binds."""
    return tuple(name.removeprefix(FILE) for name in bound or () if name.startswith(FILE))


def bound_but_pages(bound: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """What is bound still when a person has answered: the pages then say something else."""
    return bound and {name: digest for name, digest in bound.items() if name.removeprefix(FILE) not in PAGES}


def text_sha256(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def tag_faults(record: Record, tags: Mapping[str, str], *, carried_out: bool) -> Iterator[str]:
    """The tags of a version that are not what they were when the record of its verdict was carried out."""
    if record.form >= WITH_RUN and carried_out:
        said = {VERDICT: record.verdict, REASONS: "\n".join(record.reasons)}
        yield from (f"{name} was changed" for name, value in said.items() if tags.get(name) != value)
    if record.bound is None:
        return
    for name in (*BEFORE, *AFTER):
        was, value = record.bound.get(f"{TAG}{name}"), tags.get(name)
        if value is None and was is not None and name not in AFTER:
            yield f"{name} was removed"
        elif value is not None and was is None:
            yield f"{name} was added"
        elif value is not None and was != text_sha256(value):
            yield f"{name} was changed"
