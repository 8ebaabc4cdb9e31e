"""A Postgres of our own: Debian's programs, data in a folder of ours, on the loopback interface, with a password."""

import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from graftline.errors import GraftlineError, SettingsError
from graftline.flows.servers.services import Account, Service, StopSignal, as_account, require_alive

USER = "graftline"
# Where Debian puts the programs, which it leaves out of the path; the folder is named after the version.
DEBIAN = Path("/usr/lib/postgresql")
# The account that Debian's package makes: Postgres refuses to run as root.
ACCOUNT = "postgres"
# The address that programs of this machine use, and the only one on which the server listens.
HOST = "127.0.0.1"
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Postgres:
    """One cluster: where its data lie, on which port it listens, and what it is asked with."""

    folder: Path
    port: int
    password: str

    @property
    def environment(self) -> dict[str, str]:
        """What programs that ask it need: on a command line every user of the machine could read a password."""
        return {**os.environ, "PGPASSWORD": self.password}

    @property
    def command(self) -> list[str]:
        """Starts the server. It makes no socket in a folder: there whoever owns the folder would have to be trusted."""
        listening = ["-h", HOST, "-p", str(self.port), "-c", "unix_socket_directories="]
        return [program("postgres"), "-D", str(self.folder), *listening]

    def address(self, database: str, driver: str) -> str:
        """As SQLAlchemy takes it. It holds the password: for an environment, never for a command line or a log."""
        password = quote(self.password, safe="")
        return f"postgresql+{driver}://{USER}:{password}@{HOST}:{self.port}/{database}"

    def make(self) -> None:
        """Make the cluster, unless it is there: whoever asks it has to know the password, also on this machine.

        Raises: SettingsError where no Postgres is installed, or its account cannot reach the folder.
        """
        if (self.folder / "PG_VERSION").exists():
            self._require_its_version()
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        account = account_without_rights()
        if account is not None:
            os.chown(self.folder, account.user, account.group)
            _require_reachable(self.folder)
        self._initdb(account)

    def wait(self, server: Service, stop: StopSignal, seconds: float) -> None:
        """Wait until it answers. Raises: GraftlineError if it does not, or ends before."""
        deadline = time.monotonic() + seconds
        while not self._answers():
            require_alive([server])
            if time.monotonic() > deadline:
                raise GraftlineError(f"{server.title}: no answer within {seconds:.0f} s; see {server.log}")
            stop.pause(POLL_SECONDS)

    def add_databases(self, names: Sequence[str]) -> None:
        """Make those that are not there."""
        present = self._asked("psql", "-d", "postgres", "-tAc", "select datname from pg_database").split()
        for name in names:
            if name not in present:
                self._asked("createdb", name)

    def _initdb(self, account: Account | None) -> None:
        options = ["--auth=scram-sha-256", f"--username={USER}", "--encoding=UTF8", "--locale=C.UTF-8"]
        # The password comes through a pipe, so that it never lies in a file. /dev/stdin belongs to who opened the pipe.
        read, write = os.pipe()
        with os.fdopen(read) as asked, os.fdopen(write, "w") as answer:
            if account is not None:
                os.fchown(asked.fileno(), account.user, account.group)
            answer.write(f"{self.password}\n")
            answer.close()
            command = [program("initdb"), "-D", str(self.folder), *options, "--pwfile=/dev/stdin", "--data-checksums"]
            done = subprocess.run(  # noqa: S603 - the command is ours
                command, stdin=asked, capture_output=True, text=True, check=False, cwd="/", **as_account(account)
            )
        if done.returncode:
            raise GraftlineError(f"{self.folder}: Postgres could not be made ({_last_line(done.stderr)})")

    def _require_its_version(self) -> None:
        made_by = (self.folder / "PG_VERSION").read_text(encoding="utf-8").strip()
        if (here := version()) != made_by:
            raise SettingsError(
                f"{self.folder}: its data are of Postgres {made_by}, here is {here}; install postgresql-{made_by}, or"
                " move the data with pg_upgrade"
            )

    def _answers(self) -> bool:
        return not self._run("psql", "-d", "postgres", "-tAc", "select 1").returncode

    def _asked(self, name: str, *arguments: str) -> str:
        done = self._run(name, *arguments)
        if done.returncode:
            raise GraftlineError(f"Postgres in {self.folder}: {name} failed ({_last_line(done.stderr)})")
        return done.stdout

    def _run(self, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [program(name), "-h", HOST, "-p", str(self.port), "-U", USER, "-w", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)  # noqa: S603


def program(name: str) -> str:
    """The path of a program of Postgres, the newest that is installed.

    Raises: SettingsError if there is none.
    """
    versions = sorted(DEBIAN.glob("*/bin"), key=lambda folder: float(folder.parent.name))
    found = next((str(folder / name) for folder in reversed(versions) if (folder / name).exists()), shutil.which(name))
    if found is None:
        raise SettingsError(f"there is no {name} of Postgres on this machine; install it: apt-get install postgresql")
    return found


def version() -> str:
    """The major version of the installed Postgres, such as 15."""
    said = subprocess.run([program("postgres"), "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603
    return str(re.findall(r"\d+", said)[0])


def account_without_rights() -> Account | None:
    """Whom Postgres is started as where we are root, which it refuses; None where we are somebody else.

    Raises: SettingsError if Debian's account is missing.
    """
    if os.geteuid() != 0:
        return None
    try:
        found = pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise SettingsError(
            f"Postgres does not run as root, and there is no account {ACCOUNT}; run this as another user"
        ) from None
    return Account(found.pw_uid, found.pw_gid)


def _require_reachable(folder: Path) -> None:
    for parent in folder.resolve().parents:
        if not parent.stat().st_mode & 0o001:
            raise SettingsError(
                f"{folder}: {ACCOUNT}, as whom Postgres runs where you are root, may not enter {parent}; run this as"
                " another user, or name a folder that it can reach with --data"
            )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]
