"""A folder and a bucket keep small files alike: each name is written once, by one writer, or replaced knowingly."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from graftline.errors import ServerAwayError, SettingsError
from graftline.tasks.state.bucket import open_bucket
from graftline.tasks.state.folder import Folder
from graftline.tasks.state.room import NoPlainFileError, Room
from tests.support.servers import S3Server, client_of, free_ports, running_s3

WRITERS, BUCKET = 16, "rooms"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as running:
        # That of the server's own option comes a moment after its first answer.
        client_of(running).create_bucket(Bucket=BUCKET)
        yield running


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.full)])
def room(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    if request.param == "folder":
        return Folder(tmp_path / "not" / "yet")
    reach_server(request, monkeypatch)
    return open_bucket(f"s3://{BUCKET}/below/{tmp_path.name}")


def reach_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    running: S3Server = request.getfixturevalue("server")
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)


def test_what_was_written_is_read_and_listed(room: Room) -> None:
    assert (room.read("a"), room.names()) == (None, [])
    assert room.write_once("b", b"two")
    assert room.write_once("a.json", "ü\n".encode())
    kept = room.read("a.json")
    assert kept is not None
    assert kept.content == "ü\n".encode()
    assert room.names() == ["a.json", "b"]


def test_a_name_is_written_once(room: Room) -> None:
    assert room.write_once("a", b"first")
    assert not room.write_once("a", b"second")
    assert (kept := room.read("a")) is not None
    assert kept.content == b"first"


def test_of_many_writers_at_once_one_is_told_that_it_was_the_first(room: Room) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        won = list(pool.map(lambda number: room.write_once("a", str(number).encode()), range(WRITERS)))
    assert won.count(True) == 1
    assert (kept := room.read("a")) is not None
    assert kept.content == str(won.index(True)).encode()
    assert room.names() == ["a"]


def test_a_file_is_replaced_only_while_it_is_the_one_that_was_read(room: Room) -> None:
    assert not room.replace("a", b"nothing to replace", known='"0"')
    assert room.replace("a", b"first")
    kept = room.read("a")
    assert kept is not None
    assert room.replace("a", b"second", known=kept.mark)
    assert not room.replace("a", b"third", known=kept.mark)
    assert (there := room.read("a")) is not None
    assert there.content == b"second"
    assert room.replace("a", b"fourth")


def test_of_many_who_replace_what_they_read_one_does(room: Room) -> None:
    room.write_once("a", b"old")
    kept = room.read("a")
    assert kept is not None
    with ThreadPoolExecutor(WRITERS) as pool:
        won = list(pool.map(lambda number: room.replace("a", b"%d" % number, known=kept.mark), range(WRITERS)))
    assert won.count(True) == 1


def lead_elsewhere(path: Path) -> None:
    path.with_name("other").write_text("content")
    path.symlink_to(path.with_name("other"))


@pytest.mark.parametrize("make", [lead_elsewhere, Path.mkdir, os.mkfifo], ids=["link", "folder", "pipe"])
def test_what_is_no_plain_file_is_not_read(tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(tmp_path / "a")
    with pytest.raises(NoPlainFileError, match="a: is no plain file"):
        Folder(tmp_path).read("a")


def test_a_killed_writer_leaves_a_draft_that_is_no_file_of_the_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    room = Folder(tmp_path)
    monkeypatch.setattr("os.link", killed)
    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        room.write_once("a", b"half")
    monkeypatch.undo()
    assert (room.names(), room.read("a"), room.has_drafts()) == ([], None, True)
    room.remove_drafts()
    assert not list(tmp_path.iterdir())


@pytest.mark.full
def test_a_server_that_refuses_or_is_away_is_told_in_a_sentence_without_a_secret(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    reach_server(request, monkeypatch)
    with pytest.raises(SettingsError, match=r"^s3://nowhere/a: the S3 server refuses \(HTTP 404 NoSuchBucket\); corr"):
        open_bucket("s3://nowhere/a").names()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-secret")
    with pytest.raises(SettingsError, match="HTTP 403 SignatureDoesNotMatch") as refused:
        open_bucket("s3://rooms/a").names()
    assert "a-wrong-secret" not in str(refused.value)
    (port,) = free_ports(1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://ada:sesame@127.0.0.1:{port}")
    with pytest.raises(ServerAwayError, match=r"that AWS_ENDPOINT_URL names does not answer \(Endp") as away:
        open_bucket("s3://rooms/a").names()
    assert "sesame" not in str(away.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "no address")
    with pytest.raises(SettingsError, match="the endpoint is no address"):
        open_bucket("s3://rooms/a").names()


def test_without_credentials_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(SettingsError, match="NoCredentialsError"):
        open_bucket("s3://rooms/a").names()


@pytest.mark.parametrize("address", ["s3://", "s3:///a", "s3://a?b/c", "http://host/a", "s3://rooms/a b", "-s3://a"])
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="expected s3://BUCKET/PREFIX"):
        open_bucket(address)
