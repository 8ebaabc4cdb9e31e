"""`graftline settings [KEY]`: each setting with its type, range, default and meaning."""

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from pydantic import BaseModel, JsonValue

from graftline.errors import SettingsError
from graftline.settings.compute import COMPUTE, Compute
from graftline.settings.description import EMPTY, REQUIRED, SettingDescription, described, described_settings
from graftline.settings.notifications import NOTIFICATIONS, Notifications
from graftline.settings.serving import SERVING, Serving
from graftline.verdict.policy import POLICY, Policy
from graftline.watching.retraining import RETRAINING, RetrainingPolicy
from graftline.wording import nearest

# Lines longer than this are hard to read, however wide the terminal is.
WIDTH = 100
INDENT = "    "
# What other files of a project hold, by the name that this verb has for it.
FILES: Mapping[str, tuple[str, type[BaseModel]]] = {
    "policy": (POLICY, Policy),
    "serving": (SERVING, Serving),
    "retraining": (RETRAINING, RetrainingPolicy),
    "notifications": (NOTIFICATIONS, Notifications),
    "compute": (COMPUTE, Compute),
}


def settings(key: str | None = None) -> dict[str, JsonValue]:
    """All settings, those of the section `key`, or that one; those of other files by the names in `FILES`.

    A plain function: it reads nothing but Graftline itself. Raises: SettingsError with the nearest key.
    """
    known = [*described_settings(), *(one for name, (_, form) in FILES.items() for one in described(form, name))]
    shown = [setting for setting in known if _belongs(setting.key, key)]
    if not shown:
        raise SettingsError(f"settings {key}: {_unknown(str(key), [setting.key for setting in known])}")
    return {"settings": [asdict(setting) for setting in shown], "summary": _printed(shown, key)}


def _belongs(name: str, key: str | None) -> bool:
    if key is None:
        return name.partition(".")[0] not in FILES
    return name == key or name.startswith(f"{key}.")


def _unknown(key: str, names: Sequence[str]) -> str:
    known = [*sorted({name.rpartition(".")[0] for name in names}), *names]
    meant = nearest(key, known) or nearest(key, [name.rpartition(".")[2] for name in known])
    alike = [name for name in known if name == meant or name.endswith(f".{meant}")]
    hint = f"did you mean {' or '.join(alike)}?" if alike else "`graftline settings` shows all"
    return f"there is no such setting or section; {hint}"


def _printed(shown: Sequence[SettingDescription], key: str | None) -> str:
    blocks = [_block(setting) for setting in shown]
    if key is None:
        others = ", ".join(f"{file} by `graftline settings {name}`" for name, (file, _) in FILES.items())
        blocks.append(f"Each stands in params.yaml. Other files are explained: {others}.")
    return "\n\n".join(blocks)


def _block(setting: SettingDescription) -> str:
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 0)).columns) - len(INDENT)
    kind = f"{setting.type}: {setting.range}" if setting.range else setting.type
    stands = setting.default if setting.default in (REQUIRED, EMPTY) else f"default {setting.default}"
    lines = textwrap.wrap(f"{kind} ({stands})", width) + textwrap.wrap(setting.meaning, width)
    return "\n".join([setting.key, *(INDENT + line for line in lines)])
