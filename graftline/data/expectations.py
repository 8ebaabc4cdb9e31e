"""The expectations of the data, as data: the suite follows from the settings, and Great Expectations decides it."""

from dataclasses import replace

from graftline.data.domains import columns_of_domain
from graftline.data.expectation import BETWEEN, IN_SET, NOT_NULL, NULL, UNIQUE, Asset, Expectation, of_row
from graftline.data.row_facts import FURTHER, further_role, named_columns
from graftline.data.row_names import printable
from graftline.data.tables import NAME_TYPES, NAME_TYPES_IN_WORDS, TEXT_TYPES
from graftline.data.target_kind import TargetKind
from graftline.data.team_columns import fit_name
from graftline.settings import DataSettings
from graftline.wording import shown

TWINS_SHARE = "twins_share"


def expectations_for(settings: DataSettings, targets: TargetKind) -> tuple[Expectation, ...]:
    """Everything that must hold of data with these settings, whose targets are of this kind."""
    return (
        *_of_the_header(settings, targets),
        *_of_the_rows(settings, targets),
        *_of_targets(settings, targets, "classes"),
        *_of_the_set(settings),
        *_of_targets(settings, targets, "set"),
        *(one for name in targets.further for one in of_further_target(name, settings, targets)),
    )


def _of_the_header(settings: DataSettings, targets: TargetKind) -> list[Expectation]:
    # Data sets on model hubs hold a file's content in the table.
    held = "text" if settings.kind == "text" else "text, the path of each file: write contents to files"
    types_of = {"input": (TEXT_TYPES, held), "target": (targets.column_types, targets.column_holds)}
    types_of |= {further_role(name): (kind.column_types, kind.column_holds) for name, kind in targets.further.items()}
    expectations = []
    for role, column in (named_columns(settings, targets) | columns_of_domain(settings)).items():
        types, kind = types_of.get(role, (NAME_TYPES, NAME_TYPES_IN_WORDS))
        expectations += [
            Expectation(
                f"{role}_column_present",
                "header",
                "set",
                "ExpectColumnToExist",
                f"the table has the column {shown(column)} that data.{_setting_of(role)} names",
                printable(column),
            ),
            Expectation(
                f"{role}_column_type",
                "header",
                "set",
                IN_SET,
                f"the column {shown(column)} holds {kind}",
                printable(column),
                {"value_set": list(types)},
            ),
        ]
    return expectations


def _setting_of(role: str) -> str:
    return "targets" if role.startswith(FURTHER) else role


def _of_the_rows(settings: DataSettings, targets: TargetKind) -> list[Expectation]:
    roles = list(named_columns(settings, targets))
    inputs = {"text": _of_texts, "image": _of_images, "audio": _of_sounds}[settings.kind](settings)
    return [
        Expectation("row_readable", "lines", "row", NULL, "every row can be read", "fault"),
        *(of_row(f"{role}_present", role, NOT_NULL, f"no {role} is missing{_said_instead(role, settings)}")
          for role in roles if not _may_be_empty(role, targets)),
        *([of_row("some_target_present", "targets.missing", NULL, "no row lacks every target")]
          if targets.further else []),
        *inputs,
        *(of_row(f"{role}_clean", f"{role}.unclean", NULL,
               f"every {role} is valid Unicode without control characters or direction overrides") for role in roles),
        *_of_targets(settings, targets, "rows"),
        of_row("id_unique", "id", UNIQUE, "no two rows have the same id"),
        *([of_row("no_conflict", "conflict", NULL, "no input stands there twice with different labels")]
          if targets.may_conflict else []),
    ]  # fmt: skip


def _may_be_empty(role: str, targets: TargetKind) -> bool:
    return role[:6] == "slice." or role.startswith(FURTHER) or (role == "target" and bool(targets.further))


def _said_instead(role: str, settings: DataSettings) -> str:
    is_list = role == "target" and settings.task == "multi_label"
    return f" (a row that has none of the labels says {settings.label_separator!a} alone)" if is_list else ""


def _of_texts(settings: DataSettings) -> list[Expectation]:
    longest = settings.max_characters
    return [
        of_row("input_not_blank", "input.visible", BETWEEN, "every input shows at least one character", min_value=1),
        of_row("input_length", "input.characters", BETWEEN, f"no input is longer than {longest:,} characters",
               max_value=longest),
    ]  # fmt: skip


def _of_images(settings: DataSettings) -> list[Expectation]:
    return [
        of_row("file_there", "input.absent", NULL, "every file lies below data/ and can be read"),
        of_row("input_decodable", "input.undecodable", NULL,
               f"every file is a whole PNG, JPEG or WebP image of at most {settings.max_pixels:,} pixels"),
        of_row("image_side", "input.side", BETWEEN, f"no image has a side shorter than {settings.min_side:,} pixels",
               min_value=settings.min_side),
        of_row("image_not_constant", "input.constant", NULL, "every image shows something"),
    ]  # fmt: skip


def _of_sounds(settings: DataSettings) -> list[Expectation]:
    shortest, longest = settings.min_seconds, settings.max_seconds
    return [
        of_row("file_there", "input.absent", NULL, "every file lies below data/ and can be read"),
        of_row("input_decodable", "input.undecodable", NULL, "every file is a whole WAV, FLAC, OGG or MP3 sound"),
        of_row("sound_length", "input.seconds", BETWEEN, f"every sound lasts {shortest:g} to {longest:g} seconds",
               min_value=shortest, max_value=longest),
        of_row("sound_not_silent", "input.silent", NULL,
               f"every sound moves further than {settings.silence_level:g} of full scale from its middle"),
    ]  # fmt: skip


def _of_the_set(settings: DataSettings) -> list[Expectation]:
    return [
        Expectation("has_rows", "set", "set", BETWEEN, "the table has rows", "read", {"min_value": 1}),
        Expectation("has_accepted_rows", "set", "set", BETWEEN, "some rows are fit", "accepted", {"min_value": 1}),
        Expectation("quarantined_share", "set", "set", BETWEEN,
                    f"at most {settings.max_quarantined:.2%} of the rows are faulty (data.max_quarantined)",
                    "quarantined_share", {"max_value": settings.max_quarantined}),
        Expectation(TWINS_SHARE, "set", "set", BETWEEN,
                    f"at most {settings.max_twins:.2%} of the held-out rows repeat, or nearly repeat, a row that a"
                    " model learns from (data.max_twins)",
                    TWINS_SHARE, {"max_value": settings.max_twins}),
    ]  # fmt: skip


def _of_targets(settings: DataSettings, targets: TargetKind, asset: Asset) -> list[Expectation]:
    return [expectation for expectation in targets.expected(settings) if expectation.asset == asset]


def of_further_target(name: str, settings: DataSettings, targets: TargetKind) -> list[Expectation]:
    """What is expected of a target beside the first one, as of that, under names and columns of its own.

    Those of its classes and of the set look at tables of this target alone.
    """
    own = []
    for one in targets.further[name].expected(settings.of_target(name)):
        named = replace(one, name=f"{fit_name(name)}_{one.name}", meaning=f"{shown(name)}: {one.meaning}")
        if one.asset == "rows":
            own.append(replace(named, column=(one.column or "").replace("target", further_role(name), 1)))
        else:
            own.append(replace(named, target=name))
    return own
