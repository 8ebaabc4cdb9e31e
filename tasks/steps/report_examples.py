"""The examples of a report: held-out rows with what they hold, found again by their names."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from graftline.errors import DataRefusedError
from graftline.pages.answers_shown import AnswersShown
from graftline.pages.media_shown import image_address, sound_address
from graftline.pages.report import ExampleRow, ExampleRows
from graftline.settings import Kind
from graftline.tasks.data.accepted_rows import ValidatedData, batches_of_split, streamed_inputs
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.evaluation.examples import Answer, Example, Examples
    from graftline.models.preprocessing import Raw

# With the figures beside it a page stays under 3 MB, and every browser and mail program opens it.
MOST_MEDIA_CHARACTERS = 2_000_000


def example_rows(
    workspace: Workspace, data: ValidatedData, examples: "Examples | None", shown: AnswersShown
) -> list[ExampleRows]:
    """The groups that have rows; of images and sounds as many are shown as fit onto a page."""
    if examples is None:
        return []
    wanted = {example.row_id for group in examples.groups for example in group.shown}
    ids = (name for some in batches_of_split(data, "test", ["row_id"]) for name in some["row_id"])
    named = zip(ids, streamed_inputs(workspace, data, "test"), strict=True)
    raws = {name: raw for name, raw in named if name in wanted}
    media = PageMedia(data, MOST_MEDIA_CHARACTERS)
    return [
        ExampleRows(
            shown.groups[group.name],
            group.rows,
            [_row(example, raws, media) for example in group.shown],
        )
        for group in examples.groups
        if group.shown
    ]


class PageMedia:
    """Images and sounds for one page, which has only so much room."""

    def __init__(self, data: ValidatedData, room_characters: int) -> None:
        encoders: dict[Kind, Callable[[bytes], str]] = {
            "image": partial(image_address, sample_bits=data.sample_bits),
            "audio": sound_address,
        }
        self._encode = encoders.get(data.kind)
        self._room_characters = room_characters

    def address(self, raw: "Raw") -> tuple[str | None, str | None]:
        """The data address, or why there is none."""
        from graftline.models.media import Medium

        if self._encode is None or not isinstance(raw, Medium):
            return None, None
        try:
            address = self._encode(raw.read())
        except (ValueError, DataRefusedError):
            return None, "the file cannot be read any more"
        if len(address) > self._room_characters:
            return None, "left out: the page would be too large"
        self._room_characters -= len(address)
        return address, None


def _row(example: "Example", raws: "Mapping[str, Raw]", media: PageMedia) -> ExampleRow:
    raw = raws[example.row_id]
    address, missing = media.address(raw)
    name = raw if isinstance(raw, str) else str(getattr(raw, "name", ""))
    return ExampleRow(
        example.row_id, name, address, missing, example.target, _said(example.ours), _said(example.theirs)
    )


def _said(answer: "Answer") -> str:
    return answer.said if answer.probability is None else f"{answer.said} ({answer.probability:.0%})"
