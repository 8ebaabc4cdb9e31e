"""Writes the reference of settings, policy and command line into docs/reference/, from the code itself.

Run: .venv/bin/python scripts/write_reference.py. A test says when the pages are stale.
"""

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

import typer

from graftline.flows.cli import VERBS, app
from graftline.settings.compute import COMPUTE, Compute
from graftline.settings.description import EMPTY, REQUIRED, SettingDescription, described, described_settings
from graftline.settings.serving import SERVING, Serving
from graftline.verdict.policy import POLICY, Policy
from graftline.watching.retraining import RETRAINING, RetrainingPolicy

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
WIDTH = 120
# The words that stand for code in a docstring: keys, values, files and paths, options.
CODE = re.compile(
    r"(?<![\w`/:.-])"
    r"([a-z]{2,}[\w/-]*(?:[._]\w+|/)+(?:/[\w./-]*)?(?:=\w+)?|--[a-z-]+|blocks\[\S+)"
    r"(?![\w`])"
)
# What Markdown would take for itself.
SPECIAL = re.compile(r"([\\*_\[\]<>#])")
WRITTEN = "*Written by `scripts/write_reference.py` from the code; change it there.*"


def pages() -> Mapping[str, str]:
    """Every page that is written from the code, by its file's name."""
    return {
        "settings.md": settings_page(),
        "policy.md": policy_page(),
        "serving.md": serving_page(),
        "retraining.md": retraining_page(),
        "compute.md": compute_page(),
        "command-line.md": command_line_page(),
    }


def settings_page() -> str:
    """Every setting of `params.yaml`, section by section."""
    sections = groupby(described_settings(), key=lambda setting: setting.key.partition(".")[0])
    return _page(
        "Settings",
        "Every key of `params.yaml`. `--set section.key=value` changes one of them for one run.",
        (line for name, settings in sections for line in (f"## {name}", "", *_entries(settings))),
    )


def policy_page() -> str:
    """Every key of the policy."""
    return _page(
        "Policy",
        f"Every key of `{POLICY}`. How the verdict follows from them is"
        " [explained](../explanation/verdict.md); what to set first says"
        " [a page of its own](../how-to/policy-and-approval.md).",
        _entries(described(Policy)),
    )


def serving_page() -> str:
    """Every key of the settings of a server."""
    return _page(
        "Serving",
        f"Every key of `{SERVING}`, which [`graftline serve`](../how-to/serve.md) reads. Without the file the defaults"
        " count.",
        _entries(described(Serving)),
    )


def retraining_page() -> str:
    """Every key of the retraining policy."""
    return _page(
        "Retraining policy",
        f"Every key of `{RETRAINING}`. What is watched, and how a policy is tried on the past, says"
        " [a page of its own](../how-to/watch.md).",
        _entries(described(RetrainingPolicy)),
    )


def compute_page() -> str:
    """Every key of the settings that say where parallel work is done."""
    return _page(
        "Compute",
        f"Every key of `{COMPUTE}`. What a cluster does, and what its machines must see, says"
        " [a page of its own](../how-to/cluster.md). Without the file the defaults count.",
        _entries(described(Compute)),
    )


def command_line_page() -> str:
    """Every verb with its arguments and options, in the order of `graftline --help`."""
    return _page(
        "Command line",
        "`graftline VERB`. Exit codes and what `--json` prints stand in [result as JSON](result-json.md).",
        (line for panel, verbs in VERBS.items() for line in (f"## {panel}", "", *_verbs(verbs))),
    )


def _page(title: str, lead: str, body: Iterable[str]) -> str:
    return "\n".join([f"# {title}", "", _wrapped(lead), "", WRITTEN, "", *body]).rstrip() + "\n"


def _entries(settings: Iterable[SettingDescription]) -> Iterator[str]:
    for setting in settings:
        yield from (f"### {setting.key}", "", _wrapped(_facts(setting)), "")
        if setting.meaning:
            yield from (_wrapped(_marked_up(setting.meaning)), "")


def _facts(setting: SettingDescription) -> str:
    """Type, range and default in one line."""
    words = {REQUIRED: REQUIRED, EMPTY: "empty by default"}
    default = words.get(setting.default, f"default `{setting.default}`")
    # A range that is a choice says what its type is.
    shown = [f"`{setting.range}`"] if setting.type == "choice" else [setting.type, _range(setting.range)]
    return " · ".join(filter(None, [*shown, default]))


def _range(text: str) -> str:
    return f"`{text}`" if "^" in text or "|" in text else text


def _verbs(verbs: Iterable[Callable[..., None]]) -> Iterator[str]:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group's
    for verb in verbs:
        command = commands[verb.__name__.replace("_", "-").strip("-")]
        arguments = [_metavar(one) for one in command.params if one.param_type_name == "argument"]
        yield from (f"### {command.name}", "", "```sh")
        yield from (" ".join(["graftline", str(command.name), *arguments, "[OPTIONS]"]), "```", "")
        yield from (_wrapped(_marked_up(" ".join(str(command.help).split()))), "")
        yield from (f"- {_wrapped(_parameter(one), indent='  ')}" for one in command.params if one.name != "help")
        yield ""


def _metavar(argument: typer.core.TyperArgument) -> str:
    name = str(argument.name).upper()
    return name if argument.required else f"[{name}]"


def _parameter(parameter: typer.core.TyperArgument | typer.core.TyperOption) -> str:
    """An argument or option with its meaning and default."""
    named = _metavar(parameter) if isinstance(parameter, typer.core.TyperArgument) else ", ".join(parameter.opts)
    default = parameter.default
    notes = [REQUIRED] if parameter.required and named.startswith("-") else []
    if default not in (None, False, ...) and not callable(default):
        notes.append(f"default `{default}`")
    end = f" ({'; '.join(notes)})" if notes else ""
    return f"`{named}`: {_marked_up(' '.join((parameter.help or '').split()).rstrip('.'))}{end}"


def _marked_up(text: str) -> str:
    """Plain text as Markdown: what is code stands in code, and nothing else is taken for a mark."""
    parts = re.split(r"(`[^`]*`)", CODE.sub(r"`\1`", text))
    return "".join(part if part.startswith("`") else SPECIAL.sub(r"\\\1", part) for part in parts)


def _wrapped(text: str, *, indent: str = "") -> str:
    return textwrap.fill(
        text, WIDTH - len(indent), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in pages().items():
        (FOLDER / name).write_text(page, encoding="utf-8")
        print(FOLDER / name)
