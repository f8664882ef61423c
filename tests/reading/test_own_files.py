"""What a pull did not make it never touches, whatever was there before, comes meanwhile or is left by a kill."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atdata_core.atmosphere.published_shards import PublishedShards
from atdata_core.errors import PullError
from atdata_core.reading import pull
from atdata_core.reading.pull_journal import FILE, PullJournal
from atdata_core.stores.shard_streams import ResumableRead
from shard_server import ShardServer


class Killed(BaseException):
    """Nothing of a pull runs after it."""


def killed(uri: str, folder: Path, where: type, name: str) -> None:
    """Pull, and end where a method is called."""

    def kill(*_: object, **__: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, name, kill)
        with pytest.raises(Killed):
            pull(uri, folder)


@pytest.fixture
def version(server: ShardServer, tar: Callable[..., bytes], publish: Callable[..., str]) -> Callable[[int], str]:
    """Publish the dataset with other bytes in its one file; the at-uri."""
    return lambda number: publish({server.put("/a.tar", tar(number)): tar(number)})


def refused(uri: str, folder: Path, name: str = "a.tar") -> None:
    """Twice: what was refused once is not ours the next time."""
    for _ in range(2):
        with pytest.raises(PullError) as caught:
            pull(uri, folder)
        assert (
            f"{folder / name} is there, and is another file. Move it away, or name another" in caught.value.message
        )


@pytest.mark.parametrize("link", [False, True], ids=["file", "link"])
@pytest.mark.parametrize("before", [False, True], ids=["first", "again"])
def test_a_file_that_was_found_is_used_and_never_replaced_by_a_later_version(
    link: bool,
    before: bool,
    version: Callable[[int], str],
    server: ShardServer,
    publish: Callable[..., str],
    tar: Callable[..., bytes],
    tmp_path: Path,
):
    folder, path = tmp_path / "here", tmp_path / "here" / "a.tar"
    folder.mkdir()
    uri = version(1)
    if before:
        pull(uri, folder)
        path.unlink()
        # Once it is seen gone, what comes there is nobody's but its owner's.
        killed(uri, folder, PublishedShards, "transfer")
    if link:
        path.symlink_to(tmp_path / "own.tar")
    path.write_bytes(tar(1))
    there = path.lstat().st_ino
    assert pull(uri, folder).shards[0].fetched == 0
    os.utime(path, (1, 1))
    assert pull(uri, folder).shards[0].fetched == 0
    refused(version(2), folder)
    assert (path.lstat().st_ino, path.read_bytes()) == (there, tar(1))
    # It is none of an earlier version either.
    assert pull(publish({server.put("/b.tar", tar(2)): tar(2)}), folder).left == ()
    (folder / "b.tar").unlink()
    path.unlink()
    for number in (3, 4):
        pull(version(number), folder)
        assert files(folder) == {"a.tar": tar(number)}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != FILE}


def no_links(*_: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
@pytest.mark.parametrize("name", ["a.tar", "a.tar.part"])
def test_a_file_that_comes_while_a_pull_is_under_way_stays_as_it_is(
    name: str,
    links: bool,
    version: Callable[[int], str],
    tar: Callable[..., bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    uri, own = version(1), tmp_path / name
    # A part is made as soon as the server has answered.
    where, what = (PublishedShards, "transfer") if name == "a.tar.part" else (ResumableRead, "take")
    real = getattr(where, what)

    def meanwhile(*args: Any) -> Any:
        own.write_bytes(b"mine")
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(where, what, meanwhile)
        refused(uri, tmp_path, name)
    assert own.read_bytes() == b"mine"
    own.unlink()
    # Nothing is fetched again of what had come.
    assert pull(uri, tmp_path).shards[0].fetched == (0 if name == "a.tar" else len(tar(1)))
    pull(version(2), tmp_path)
    assert files(tmp_path) == {"a.tar": tar(2)}


@pytest.mark.parametrize("where", [(PullJournal, "found"), (Path, "unlink")], ids=["before the note", "after it"])
def test_a_kill_while_a_file_gets_its_name_leaves_it_ours_and_no_part(
    where: tuple[type, str], version: Callable[[int], str], tar: Callable[..., bytes], tmp_path: Path
):
    uri = version(1)
    killed(uri, tmp_path, *where)
    assert files(tmp_path).keys() == {"a.tar", "a.tar.part"}
    assert pull(uri, tmp_path).shards[0].fetched == 0
    assert files(tmp_path) == {"a.tar": tar(1)}
    pull(version(2), tmp_path)
    assert files(tmp_path) == {"a.tar": tar(2)}


def test_a_part_stays_ours_where_the_file_before_it_was_taken_away(
    version: Callable[[int], str], tar: Callable[..., bytes], tmp_path: Path
):
    pull(version(1), tmp_path)
    uri = version(2)
    killed(uri, tmp_path, PullJournal, "publish")
    assert files(tmp_path) == {"a.tar": tar(1), "a.tar.part": tar(2)}
    (tmp_path / "a.tar").unlink()
    assert pull(uri, tmp_path).shards[0].fetched == 0
    assert files(tmp_path) == {"a.tar": tar(2)}


def test_a_part_that_was_taken_away_as_of_other_bytes_is_nobodys_afterwards(
    version: Callable[[int], str], server: ShardServer, tar: Callable[..., bytes], tmp_path: Path
):
    uri = version(1)
    server.put("/a.tar", tar(2))
    with pytest.raises(PullError, match="does not hold the bytes"):
        pull(uri, tmp_path)
    (tmp_path / "a.tar.part").write_bytes(b"mine")
    refused(uri, tmp_path, "a.tar.part")
    assert files(tmp_path) == {"a.tar.part": b"mine"}


def test_a_journal_that_is_somebodys_own_is_not_written_to(version: Callable[[int], str], tmp_path: Path):
    folder, own = tmp_path / "here", tmp_path / "diary.txt"
    folder.mkdir()
    own.write_text("mine")
    journal = folder / FILE
    for lay in (
        lambda: journal.symlink_to(own),
        lambda: journal.symlink_to(tmp_path / "nothing"),
        journal.mkdir,
        lambda: os.mkfifo(journal),
    ):
        lay()
        refused(version(1), folder, FILE)
        journal.rmdir() if journal.is_dir() else journal.unlink()
    assert {path.name for path in tmp_path.iterdir()} == {"here", "diary.txt"}
    assert (own.read_text(), files(folder)) == ("mine", {})
