"""Receipts as commits of a branch in a git repository elsewhere, to which is only ever added."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

from graftline.errors import ServerAwayError
from graftline.tasks.children import ending_with_us
from graftline.tasks.tracking.addresses import password_in, without_password
from graftline.tasks.witnesses.receipts import Receipt, parse_receipt
from graftline.wording import ERROR_CHARACTERS, shortened

# A branch, since that is what forges protect.
BRANCHES = "refs/heads/graftline/history"
SHA256_CHARACTERS = 64
# Of each of three commands; who waits for the lock meanwhile gives up after a minute.
SECONDS = 10
# As in an address of the form HOST:PATH, and unlike a path of this machine.
REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|[^/]+:")
# What git finds in the environment where it is called from a hook of another repository.
OF_ANOTHER_REPOSITORY = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE", "GIT_REPLACE_REF_BASE", "GIT_PREFIX",
    "GIT_QUARANTINE_PATH", "GIT_CONFIG_PARAMETERS",
)  # fmt: skip
ENVIRONMENT = {
    "LC_ALL": "C",
    # Nobody sits here who could answer.
    "GIT_TERMINAL_PROMPT": "0",
    "SSH_ASKPASS_REQUIRE": "never",
    "GCM_INTERACTIVE": "never",
    # Not `ext`, by which an address is a command.
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
    "GIT_AUTHOR_NAME": "Graftline",
    "GIT_AUTHOR_EMAIL": "graftline",
    "GIT_COMMITTER_NAME": "Graftline",
    "GIT_COMMITTER_EMAIL": "graftline",
}
# Neither hooks nor signatures of whoever runs this.
CONFIGURATION = ("-c", "core.hooksPath=/dev/null", "-c", "log.showSignature=false", "-c", "push.gpgSign=false")


@dataclass(frozen=True)
class GitWitness:
    """A branch of which each commit's message holds the receipts that came with it."""

    address: str = field(repr=False)
    """A URL, HOST:PATH, or a path, which begins at the project's folder."""
    root: Path

    def where(self, model: str) -> str:
        return f"git {without_password(self.address)} {BRANCHES}/{model}"

    @contextmanager
    def asked(self, model: str) -> Iterator["GitTestimony"]:
        branch = f"{BRANCHES}/{model}"
        # In a repository of its own: no configuration and no hook of the project has a say.
        with TemporaryDirectory(prefix="graftline-witness-") as folder:
            git = _Git(Path(folder), self._full_address)
            listed = git.asked("ls-remote", "--", git.address, branch).splitlines()
            # It lists names that end alike, too.
            tip = next((line.partition("\t")[0] for line in listed if line.partition("\t")[2] == branch), "")
            kind = "sha256" if len(tip) == SHA256_CHARACTERS else "sha1"
            git.asked("init", "--quiet", "--bare", "--template=", f"--object-format={kind}", folder)
            if tip:
                git.asked("fetch", "--quiet", "--no-tags", "--", git.address, f"{branch}:refs/heads/kept")
                tip = git.asked("rev-parse", "--verify", "refs/heads/kept").strip()
            messages = git.asked("log", "-z", "--format=%B", tip) if tip else ""
            yield _testimony(git, self.where(model), model, branch, tip, messages)

    @property
    def _full_address(self) -> str:
        return self.address if REMOTE.match(self.address) else str(self.root / Path(self.address).expanduser())


@dataclass(frozen=True)
class GitTestimony:
    git: "_Git"
    branch: str
    tip: str
    receipts: Sequence[Receipt]
    faults: Sequence[str]
    weakness: str | None = None
    """A server does not tell whether it refuses forced pushes."""

    def add(self, receipts: Sequence[Receipt]) -> None:
        tree = self.git.asked("mktree").strip()
        message = "".join(f"{receipt.line}\n" for receipt in receipts)
        parent = ["-p", self.tip] if self.tip else []
        commit = self.git.asked("commit-tree", tree, *parent, told=message).strip()
        # Without a plus sign: where somebody else was first, it is refused.
        self.git.asked("push", "--quiet", "--no-verify", "--", self.git.address, f"{commit}:{self.branch}")


def _testimony(git: "_Git", where: str, model: str, branch: str, tip: str, messages: str) -> GitTestimony:
    receipts, faults = [], []
    for line in filter(None, messages.replace("\0", "\n").splitlines()):
        try:
            receipt = parse_receipt(line)
        except ValueError:
            faults.append(f"{where} holds {shortened(line, ERROR_CHARACTERS)!r}, which is no receipt")
            continue
        if receipt.model == model:
            receipts.append(receipt)
        else:
            faults.append(f"{where} holds a receipt of the model {shortened(receipt.model, ERROR_CHARACTERS)!r}")
    return GitTestimony(git, branch, tip, receipts, faults)


@dataclass(frozen=True)
class _Git:
    folder: Path
    address: str = field(repr=False)

    def asked(self, *arguments: str, told: str = "") -> str:
        """What git prints. Raises: ServerAwayError if it fails, or does not end in time."""
        program = which("git")
        if program is None:
            raise self._failed(arguments[0], "there is no git on this machine")
        process = subprocess.Popen(  # noqa: S603
            [program, *CONFIGURATION, *arguments],
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if name not in OF_ANOTHER_REPOSITORY} | ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # no terminal to ask at, and a group to end as a whole
        )
        with process, ending_with_us(-process.pid):
            try:
                said, complained = process.communicate(told, timeout=SECONDS)
            except BaseException as error:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise self._failed(arguments[0], f"no answer within {SECONDS} seconds") from None
                raise
        if process.returncode:
            raise self._failed(arguments[0], complained)
        return said

    def _failed(self, verb: str, complained: str) -> ServerAwayError:
        lines = [line for line in complained.splitlines() if line.strip() and not line.startswith("hint:")]
        said = " ".join(" ".join(lines).split())
        for secret in _secrets_in(self.address):
            said = said.replace(secret, "...")
        return ServerAwayError(
            f"git {without_password(self.address)}: {verb} failed ({shortened(said, ERROR_CHARACTERS)}); correct the"
            " address, a URL or a path, or the access to it, or try again later"
        )


def _secrets_in(address: str) -> list[str]:
    """What stands before the @ of an address, as it is written and as it is meant."""
    held, shown = password_in(address), without_password(address)
    if held is None:
        return []
    scheme = shown.partition("://")[0]
    written = address.removeprefix(f"{scheme}://").removesuffix(shown.removeprefix(f"{scheme}://"))
    return [secret for secret in (written.rstrip("@"), held[1]) if secret]
