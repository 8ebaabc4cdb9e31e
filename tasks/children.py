"""Processes that end with this one, also when it is killed: nothing of ours outlives who asked for it."""

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

# Reads until this process says that all is well, or is no more. `sleep` in place of `wait`: they are not its children.
KEEPER = """
trap '' INT TERM HUP QUIT
read -r done && exit
kill -s TERM -- "$1"
tries=75
while [ $tries -gt 0 ] && kill -s 0 -- "$1" 2>/dev/null; do sleep 0.2; tries=$((tries - 1)); done
kill -s KILL -- "$1"
"""
# Removes when this process says so or is no more, and is by then no child of it: Ray kills those of its workers.
REMOVER = """
trap '' INT TERM HUP QUIT
exec 3<&0
{ read -r done <&3; exec rm -rf -- "$@"; } &
"""
LOOK_SECONDS = 1.0


@contextmanager
def ending_with_us(target: int) -> Iterator[None]:
    """While the block runs, a process, or a group (its id negative), is asked to end if we die, and killed after 15 s.

    By a shell that waits at a pipe: the kernel's own signal at a parent's death reaches no grandchildren, and setting
    it between fork and exec is not safe where there are threads.
    """
    keeper = subprocess.Popen(  # noqa: S603 - ours, and the target is a number
        ["/bin/sh", "-c", KEEPER, "graftline-keeper", str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is not for it
    )
    try:
        yield
    finally:
        with suppress(BrokenPipeError):  # somebody killed it
            keeper.communicate(b"done\n")


@contextmanager
def removed_with_us(*paths: Path) -> Iterator[None]:
    """What is left at these paths when the block ends, or this process does however it does, goes then."""
    with subprocess.Popen(  # noqa: S603 - ours, and the paths are
        ["/bin/sh", "-c", REMOVER, "graftline-remover", *map(str, paths)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as shell:
        shell.wait()  # until it has left another one behind
        yield


def run_child(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    seconds: float | None = None,
    keep_errors: bool = False,
    look: Callable[[int], None] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end and keep what it prints; it ends with us.

    `look` is told its id every second, and may raise to end it.
    Raises: subprocess.TimeoutExpired.
    """
    process = subprocess.Popen(  # noqa: S603 - the command is ours
        command,
        cwd=folder,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if keep_errors else None,
        text=True,
    )
    with process, ending_with_us(process.pid):
        try:
            said, complained = _heard(process, seconds, look)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, said, complained)


def _heard(
    process: "subprocess.Popen[str]", seconds: float | None, look: Callable[[int], None] | None
) -> tuple[str, str]:
    while look is not None:
        with suppress(subprocess.TimeoutExpired):  # what was read until then is kept
            return process.communicate(timeout=LOOK_SECONDS)
        look(process.pid)
    return process.communicate(timeout=seconds)
