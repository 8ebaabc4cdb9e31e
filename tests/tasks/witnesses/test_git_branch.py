"""A branch elsewhere keeps receipts; nothing of the project or the user runs, is asked or is shown with it."""

import socket
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from graftline.errors import ServerAwayError
from graftline.tasks.witnesses import git_branch
from graftline.tasks.witnesses.git_branch import BRANCHES, GitWitness
from graftline.tasks.witnesses.named import Witnesses
from graftline.tasks.witnesses.receipts import Receipt
from tests.support.servers import free_ports
from tests.support.witnesses import add_commit, bare_repository, run_git

MODEL = "reviews"
BRANCH = f"{BRANCHES}/{MODEL}"
RECEIPTS = [Receipt(MODEL, number, f"{number}" * 64) for number in range(1, 6)]


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    return bare_repository(tmp_path / "witness.git")


def give(address: str, receipts: list[Receipt], root: Path = Path("/nowhere")) -> None:
    with GitWitness(address, root).asked(MODEL) as testimony:
        testimony.add(receipts)


def held(address: str, root: Path = Path("/nowhere")) -> tuple[list[Receipt], list[str]]:
    with GitWitness(address, root).asked(MODEL) as testimony:
        return sorted(testimony.receipts), list(testimony.faults)


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_receipts_are_added_to_those_before(tmp_path: Path, object_format: str) -> None:
    remote = bare_repository(tmp_path / "witness.git", object_format=object_format)
    if object_format == "sha256":  # of an empty repository its kind is not to be seen
        run_git(remote, "update-ref", BRANCH, run_git(remote, "commit-tree", run_git(remote, "mktree"), "-m", ""))
    assert held(str(remote)) == ([], [])
    give(str(remote), RECEIPTS[:1])
    give(str(remote), RECEIPTS[1:])
    assert held(str(remote)) == (RECEIPTS, [])
    assert held("witness.git", root=tmp_path) == (RECEIPTS, [])
    assert held(remote.as_uri()) == (RECEIPTS, [])


def test_another_branch_whose_name_ends_alike_is_not_taken_for_it(remote: Path) -> None:
    give(str(remote), RECEIPTS[:1])
    run_git(remote, "update-ref", f"refs/heads/x/{BRANCH}", BRANCH)
    run_git(remote, "update-ref", "-d", BRANCH)
    assert held(str(remote)) == ([], [])


def test_who_may_not_push_by_force_cannot_take_a_receipt_back(remote: Path, tmp_path: Path) -> None:
    give(str(remote), RECEIPTS[:1])
    give(str(remote), RECEIPTS[1:])
    clone = tmp_path / "clone"
    run_git(tmp_path, "clone", "--quiet", "--bare", str(remote), str(clone))
    for refspec in (f"+{BRANCH}~1:{BRANCH}", f":{BRANCH}"):
        with pytest.raises(subprocess.CalledProcessError) as refused:
            run_git(clone, "push", "--force", str(remote), refspec)
        assert "den" in refused.value.stderr  # denying non-fast-forward; deletion prohibited
    assert held(str(remote)) == (RECEIPTS, [])


def test_a_second_receipt_of_a_record_hides_none(remote: Path) -> None:
    give(str(remote), RECEIPTS[:2])
    other = Receipt(MODEL, 2, "f" * 64)
    add_commit(remote, BRANCH, other.line)
    assert held(str(remote)) == ([*RECEIPTS[:2], other], [])


@pytest.mark.parametrize(
    ("message", "said"),
    [("no receipt", "holds 'no receipt', which is no receipt"),
     (Receipt("another", 1, "a" * 64).line, "holds a receipt of the model 'another'"),
     ('{"model":"reviews","number":"1","sha256":"' + "a" * 64 + '"}', "which is no receipt")],
)  # fmt: skip
def test_what_else_somebody_wrote_there_is_told(remote: Path, message: str, said: str) -> None:
    give(str(remote), RECEIPTS[:1])
    add_commit(remote, BRANCH, message)
    receipts, (fault,) = held(str(remote))
    assert receipts == RECEIPTS[:1]
    assert said in fault


def test_two_who_add_at_once_do_not_overwrite_each_other(remote: Path) -> None:
    with GitWitness(str(remote), remote).asked(MODEL) as testimony:
        give(str(remote), RECEIPTS[:1])
        with pytest.raises(ServerAwayError, match="push failed"):
            testimony.add(RECEIPTS[1:2])
    assert held(str(remote))[0] == RECEIPTS[:1]


def test_no_hook_and_no_repository_of_the_user_has_a_say(
    remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks, ran = tmp_path / "hooks", tmp_path / "ran"
    hooks.mkdir()
    (hooks / "pre-push").write_text(f"#!/bin/sh\ntouch {ran}\nexit 1\n")
    (hooks / "pre-push").chmod(0o755)
    configuration = tmp_path / "gitconfig"
    configuration.write_text(f"[core]\n\thooksPath = {hooks}\n[init]\n\ttemplateDir = {tmp_path}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(configuration))
    run_git(tmp_path, "init", "--quiet", "project")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "project" / ".git"))
    give(str(remote), RECEIPTS[:1])
    monkeypatch.undo()
    assert held(str(remote)) == (RECEIPTS[:1], [])
    assert run_git(tmp_path / "project", "count-objects").startswith("0 objects")
    assert not ran.exists()


def test_a_password_is_not_shown_and_nobody_is_asked_for_one() -> None:
    (port,) = free_ports(1)
    witness = GitWitness(f"http://ada:ses%40me@127.0.0.1:{port}/team/witness.git", Path())
    with pytest.raises(ServerAwayError, match="ls-remote failed") as away, witness.asked(MODEL):
        pass
    told = f"{away.value} {witness!r} {witness.where(MODEL)}"
    assert f"http://127.0.0.1:{port}/team/witness.git" in told
    assert not [secret for secret in ("ada", "ses%40me", "ses@me") if secret in told]


def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_branch, "SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        witness = GitWitness(f"http://127.0.0.1:{silent.getsockname()[1]}/witness.git", Path())
        with pytest.raises(ServerAwayError, match="no answer within 1 seconds"), witness.asked(MODEL):
            pass


def test_an_address_that_is_nowhere_is_told(tmp_path: Path) -> None:
    with pytest.raises(ServerAwayError, match=r"^git .*/origin: ls-remote failed .* a URL or a path"):
        held("origin", root=tmp_path)


@pytest.mark.parametrize("address", ["", "--upload-pack=touch x", "-x", "ext::sh -c true", "a\nb"])
def test_an_address_that_is_an_option_or_a_command_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="is no address of a git repository"):
        Witnesses(git=(address,))
