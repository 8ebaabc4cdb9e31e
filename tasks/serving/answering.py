"""A registered model that answers many inputs, in a process of its own that loads it once."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, cast

from graftline.digests import tensors_sha256
from graftline.errors import RegistryRefusedError, SettingsError
from graftline.models.outputs import Outputs
from graftline.settings import Kind
from graftline.settings.adaptation import Runtime
from graftline.tasks.serving import answering_process, from_source
from graftline.tasks.serving.earlier_forms import has_earlier_forms, warn_of_earlier_forms
from graftline.wording import shortened

# Where MLflow puts the adapted model inside of a registered one.
ADAPTED = Path("artifacts") / "model"
SHOWN_CHARACTERS = 300
# A thread that is done sleeps until the others are. By default it turns in a loop, and where anything else computes,
# threads that turn take the processor from one that has work: a small model then answered a tenth of the rows.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(frozen=True)
class RegisteredModel:
    """The files of a registered version, proven to be what was registered."""

    what: str
    """Its name in a sentence."""
    folder: Path
    kind: Kind
    outputs: Outputs
    runtime: Runtime = "torch"
    """What computes its answers."""


def open_registered(
    what: str, folder: Path, weights_sha256: str | None, *, runtime: Runtime = "torch"
) -> RegisteredModel:
    """The version in a folder as MLflow holds it. Raises: RegistryRefusedError unless its weights have this digest.

    OpenVINO computes answers to texts only. Raises: SettingsError if it is asked for others, or not installed.
    """
    from safetensors import SafetensorError

    from graftline.models.folders import load_classifier, load_preprocessor

    adapted = folder / ADAPTED
    if weights_sha256 is None or not adapted.is_dir():
        raise RegistryRefusedError(
            f"{what}: was not registered by `graftline adapt`, which notes the digest of its weights; name a version"
            " that was (`graftline models` lists them)"
        )
    try:
        model, reading = load_classifier(adapted), load_preprocessor(adapted).reading
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:  # cut files, in a library's words
        said = shortened(" ".join(str(error).split()), SHOWN_CHARACTERS)
        raise RegistryRefusedError(
            f"{what}: its files cannot be loaded ({said}), expected them as registered; restore {folder} from a backup"
        ) from None
    if (found := tensors_sha256(dict(model.state_dict()))) != weights_sha256:
        raise RegistryRefusedError(
            f"{what}: its weights have digest {found[:12]}, expected {weights_sha256[:12]} as registered: they were"
            f" changed since; restore {folder} from a backup, or use another version"
        )
    if has_earlier_forms(folder):
        warn_of_earlier_forms(what)
    if runtime == "openvino":
        require_openvino(what, reading.kind)
    return RegisteredModel(what, folder, reading.kind, model.outputs, runtime)


def require_openvino(what: str, kind: Kind) -> None:
    """Refuse what OpenVINO is not for, or not there for. Raises: SettingsError."""
    if kind != "text":
        raise SettingsError(
            f"--runtime openvino: {what} reads {kind} files, expected a model for texts: nothing else was faster with"
            " it; leave the option out"
        )
    if find_spec("openvino") is None:
        raise SettingsError(
            '--runtime openvino: OpenVINO is not installed; run pip install "graftline[openvino]", or leave it out'
        )


class Answering:
    """A running model."""

    def __init__(self, model: RegisteredModel, process: "subprocess.Popen[str]", said: IO[str]) -> None:
        self._model, self._process, self._said = model, process, said

    def ask(self, inputs: Sequence[str]) -> list[dict[str, Any]]:
        """For each input the columns of the model's answer, or `error`; media are base64 texts.

        Raises: RegistryRefusedError if the process ended; SettingsError if the runtime cannot run the model.
        """
        if not inputs:
            return []
        to, back = cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)
        try:
            to.write(json.dumps(list(inputs)) + "\n")
            to.flush()
        except BrokenPipeError:
            pass  # what it said is told below
        line = back.readline()
        if not line:
            raise self._ended()
        answered: list[dict[str, Any]] = json.loads(line)
        return answered

    def _ended(self) -> RegistryRefusedError | SettingsError:
        code = self._process.wait()
        self._said.seek(0)
        last = (self._said.read().strip().splitlines() or ["no message"])[-1]
        what, runtime = self._model.what, self._model.runtime
        if code == answering_process.UNFIT:
            # In the words of the model's own code, whose setting and advice are not those of this command.
            why = last.removeprefix(f"runtime {runtime}: ").rpartition("; ")[0] or last
            return SettingsError(
                f"--runtime {runtime}: {what} cannot be asked with it ({shortened(why, SHOWN_CHARACTERS)}); leave the"
                " option out"
            )
        return RegistryRefusedError(
            f"{what}: the process that answers ended with {code} ({shortened(last, SHOWN_CHARACTERS)}); mend its cause"
            " and run again"
        )


@contextmanager
def answering(model: RegisteredModel, *, threads: int) -> Iterator[Answering]:
    """The model in a process of its own, with its own code, as long as the block runs."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            # As a file and not as a module, with no folder of ours on the path: graftline is the model's to import.
            [
                *(sys.executable, "-P", from_source.__file__, str(model.folder)),
                *(answering_process.__file__, str(model.folder), str(threads), model.runtime),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            encoding="utf-8",
            env={**WAITING, **os.environ},
        )
        try:
            yield Answering(model, process, said)
        finally:
            # It may be in the middle of an answer.
            process.kill()
            process.communicate()
