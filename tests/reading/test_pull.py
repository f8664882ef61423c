"""A published dataset comes into a folder once, and true, whatever breaks off, fills up or lies."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atdata_core.atmosphere.record_format.parse import PublishedShard
from atdata_core.atmosphere.record_format.record_keys import ENTRY
from atdata_core.errors import (
    EntryNotFoundError,
    PrivateAddressError,
    PullError,
    ServiceUnavailableError,
    ShardChangedError,
    ShardMissingError,
    StorageError,
)
from atdata_core.reading import Pulled, pull
from atdata_core.reading.pull import file_names
from atdata_core.reading.pull_journal import PullJournal
from atdata_core.shards.dataset import Dataset
from atdata_core.stores.s3.objects import S3Endpoint
from faulty.edge import Edge, Tally
from shard_server import ShardServer


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def fetched(found: Pulled) -> list[int]:
    return [shard.fetched for shard in found.shards]


@pytest.fixture
def shards(server: ShardServer, tar: Callable[..., bytes]) -> dict[str, bytes]:
    """Three shards on the web, by their URLs."""
    return {server.put(f"/data/{n}.tar", tar(n)): tar(n) for n in range(3)}


def test_shards_of_the_web_come_checked_and_the_second_time_nothing_is_fetched(
    shards: dict[str, bytes], publish: Callable[..., str], server: ShardServer, tmp_path: Path, measurement: type
):
    uri, told = publish(shards), []
    found = pull(uri, tmp_path / "new" / "digits", progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert (found.name, found.uri, found.left) == ("digits", uri, ())
    assert [shard.path.name for shard in found.shards] == ["0.tar", "1.tar", "2.tar"]
    assert files(found.folder) == {f"{n}.tar": data for n, data in enumerate(shards.values())}
    assert fetched(found) == [len(data) for data in shards.values()]
    numbers = [sample.number for sample in Dataset[measurement](f"{found.folder}/{{0..2}}.tar")]
    assert numbers == [0, 1, 2]
    again = pull(uri, found.folder)
    assert fetched(again) == [0, 0, 0]
    assert [replace(shard, fetched=0) for shard in found.shards] == list(again.shards)
    assert len(server.asked) == 3
    # Also where nothing but the files is there any more: they are read, and not fetched.
    (found.folder / ".atdata-pull.jsonl").unlink()
    assert fetched(pull(uri, found.folder)) == [0, 0, 0]
    assert len(server.asked) == 3


def test_objects_and_blobs_come_as_web_pages_do(
    publish: Callable[..., str],
    publisher: Any,
    tar: Callable[..., bytes],
    s3: dict[str, str],
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    with Edge({"s3": s3["AWS_ENDPOINT"]}, tally := Tally()) as edge:
        monkeypatch.setenv("ATDATA_S3_ENDPOINT", edge.urls["s3"])
        for n in range(2):
            S3Endpoint.from_credentials(s3).client.put_object(Bucket=bucket, Key=f"x/{n}.tar", Body=tar(n))
        objects = publish({f"s3://{bucket}/x/{n}.tar": tar(n) for n in range(2)}, endpoint=edge.urls["s3"])
        found = pull(objects, tmp_path / "objects")
        assert files(found.folder) == {"0.tar": tar(0), "1.tar": tar(1)}
        assert len(tally.at("s3", "GET")) == 2
        assert fetched(pull(objects, found.folder)) == [0, 0]
        assert len(tally.calls) == 2
    storage = {
        "$type": "science.alt.dataset.storageBlobs",
        "blobs": [{"blob": publisher.upload_blob(tar(n))} for n in range(2)],
    }
    record = {**publisher.get_record(objects).value, "storage": storage}
    blobs = str(publisher.create_record(ENTRY, record, validate=False))
    found = pull(blobs, tmp_path / "blobs")
    assert files(found.folder) == {"digits-000000.tar": tar(0), "digits-000001.tar": tar(1)}
    assert all(shard.checked for shard in found.shards)


BREAKS = {
    "goes on": ({}, 100_000),
    "no etag": ({"etag": ""}, 0),
    "a weak etag": ({"etag": 'W/"a"'}, 0),
    "no parts": ({"ranges": False}, 0),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_part_goes_on_where_the_server_can_and_else_begins_again(
    how: str, server: ShardServer, tar: Callable[..., bytes], publish: Callable[..., str], tmp_path: Path
):
    (known, at), data = BREAKS[how], tar(1, 300_000)
    url = server.put("/a.tar", data, cut=100_000, **known)
    # Once it has broken off, it breaks off again at once, until somebody mends it.
    server.passed = lambda: setattr(server.files["/a.tar"], "status", 503)
    with pytest.raises(PullError, match=r"1 of 1 shards of 'digits' did not come: .*cannot be read now") as caught:
        pull(publish({url: data}), tmp_path)
    assert isinstance(caught.value.__cause__, ServiceUnavailableError)
    assert files(tmp_path).keys() == {"a.tar.part"}
    assert files(tmp_path)["a.tar.part"] == data[:100_000]
    server.passed = lambda: None
    server.put("/a.tar", data, **known)
    before = server.sent["/a.tar"]
    found = pull(publish({url: data}), tmp_path)
    assert files(tmp_path) == {"a.tar": data}
    assert fetched(found) == [len(data) - at]
    assert server.asked[-1].at == at
    # What gives no parts is asked for one, and then whole.
    assert server.sent["/a.tar"] - before == len(data) - at or how == "no parts"


def test_a_server_that_says_no_length_and_knows_no_head_is_read_by_its_bytes(
    server: ShardServer, tar: Callable[..., bytes], publish: Callable[..., str], tmp_path: Path
):
    data = tar(1, 300_000)
    bare = {"length": False, "etag": "", "head": False, "ranges": False}
    url = server.put("/a.tar", data, cut=100_000, **bare)
    uri = publish({url: data})
    # Where it ends is told by its digest alone.
    with pytest.raises(PullError, match="does not hold the bytes that its record promises"):
        pull(uri, tmp_path)
    assert files(tmp_path) == {}
    server.put("/a.tar", data, **bare)
    assert fetched(pull(uri, tmp_path)) == [len(data)]
    assert files(tmp_path) == {"a.tar": data}


def test_a_part_of_an_object_goes_on_too(
    server: ShardServer, tar: Callable[..., bytes], publish: Callable[..., str], tmp_path: Path
):
    data = tar(1, 3_000_000)
    server.put("/bucket/a.tar", data, cut=1_500_000)
    server.passed = lambda: setattr(server.files["/bucket/a.tar"], "status", 503)
    uri = publish({"s3://bucket/a.tar": data}, endpoint=f"http://{server.place}")
    with pytest.raises(PullError):
        pull(uri, tmp_path)
    assert files(tmp_path) == {"a.tar.part": data[:1_500_000]}
    server.passed = lambda: None
    server.put("/bucket/a.tar", data)
    assert fetched(pull(uri, tmp_path)) == [len(data) - 1_500_000]
    assert server.asked[-1].at == 1_500_000
    assert server.sent["/bucket/a.tar"] == len(data)
    assert files(tmp_path) == {"a.tar": data}


def test_a_part_of_other_bytes_is_not_gone_on_with(
    server: ShardServer, tar: Callable[..., bytes], publish: Callable[..., str], tmp_path: Path
):
    data, other = tar(1, 300_000), tar(2, 300_000)
    for etags in (('"one"', '"two"'), ('"same"', '"same"')):
        folder = tmp_path / etags[1].strip('"')
        url = server.put("/a.tar", other, cut=100_000, etag=etags[0])
        server.passed = lambda: setattr(server.files["/a.tar"], "status", 503)
        uri = publish({url: data})
        with pytest.raises(PullError):
            pull(uri, folder)
        assert (folder / "a.tar.part").read_bytes() == other[:100_000]
        server.passed = lambda: None
        server.put("/a.tar", data, etag=etags[1])
        pull(uri, folder)
        assert files(folder) == {"a.tar": data}


def test_bytes_that_are_not_the_promised_ones_get_no_name_and_the_others_come(
    shards: dict[str, bytes], server: ShardServer, tar: Callable[..., bytes], publish: Callable[..., str], tmp_path
):
    good = server.files["/data/1.tar"]
    server.put("/data/1.tar", tar(9))
    del server.files["/data/2.tar"]
    uri = publish(shards)
    with pytest.raises(PullError, match=r"2 of 3 shards of 'digits' did not come: .* So did 1 more\.") as caught:
        pull(uri, tmp_path)
    assert isinstance(caught.value.__cause__, ShardChangedError | ShardMissingError)
    assert "does not hold the bytes that its record promises" in caught.value.failed[list(shards)[1]]
    assert files(tmp_path).keys() == {"0.tar"}
    server.files["/data/1.tar"] = good
    server.put("/data/2.tar", tar(2))
    assert fetched(pull(uri, tmp_path))[0] == 0
    assert list(files(tmp_path).values()) == [*shards.values()] or len(files(tmp_path)) == 3


def test_a_file_that_was_changed_is_found_out_and_fetched_again(
    shards: dict[str, bytes], server: ShardServer, publish: Callable[..., str], tmp_path: Path
):
    uri = publish(shards)
    pull(uri, tmp_path)
    damaged = bytearray((tmp_path / "1.tar").read_bytes())
    damaged[600] ^= 1
    (tmp_path / "1.tar").write_bytes(damaged)
    (tmp_path / "2.tar").touch()
    found = pull(uri, tmp_path)
    assert [count > 0 for count in fetched(found)] == [False, True, False]
    assert files(tmp_path) == {f"{n}.tar": data for n, data in enumerate(shards.values())}


def test_a_file_of_somebody_elses_or_of_another_dataset_stays_as_it_is(
    shards: dict[str, bytes], server: ShardServer, tar: Callable[..., bytes], publish: Callable[..., str], tmp_path
):
    (tmp_path / "0.tar").write_bytes(b"mine")
    uri = publish(shards)
    with pytest.raises(PullError, match=r"0\.tar is there, and is another file\. Move it away"):
        pull(uri, tmp_path)
    assert files(tmp_path)["0.tar"] == b"mine"
    (tmp_path / "0.tar").unlink()
    pull(uri, tmp_path)
    other = publish({server.put("/other/1.tar", tar(7)): tar(7)}, name="letters")
    with pytest.raises(PullError, match=r"1\.tar is there, and is another file"):
        pull(other, tmp_path)
    assert files(tmp_path)["1.tar"] == tar(1)
    # A later version of the same dataset takes its place, and what it has no more is told.
    later = publish({server.put("/later/1.tar", tar(8)): tar(8)})
    assert pull(later, tmp_path).left == (tmp_path / "0.tar", tmp_path / "2.tar")
    assert files(tmp_path)["1.tar"] == tar(8)


def test_a_part_that_the_journal_does_not_know_is_somebodys_own(
    server: ShardServer, tar: Callable[..., bytes], publish: Callable[..., str], tmp_path: Path
):
    folder, data = tmp_path / "here", tar(1)
    uri = publish({server.put("/a.tar", data): data})
    folder.mkdir()
    own, part = tmp_path / "thesis", folder / "a.tar.part"
    own.write_bytes(b"mine")
    refused = r"a\.tar(\.part)? is there, and is another file\. Move it away"
    # As they are, whole, and links to what is there and to nothing.
    for lay in (
        lambda: part.write_bytes(b"mine"),
        lambda: part.write_bytes(data),
        lambda: part.symlink_to(own),
        lambda: part.symlink_to(tmp_path / "nothing"),
        lambda: (folder / "a.tar").symlink_to(tmp_path / "nothing"),
    ):
        lay()
        [laid] = folder.glob("a.tar*")
        before = laid.lstat()
        with pytest.raises(PullError, match=refused):
            pull(uri, folder)
        assert [*folder.glob("a.tar*")] == [laid]
        assert (laid.lstat().st_ino, laid.lstat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        laid.unlink()
    assert server.asked == []
    # One that it did know is the next one's no more, once the shard is there.
    pull(uri, folder)
    (folder / "a.tar").unlink()
    part.symlink_to(own)
    with pytest.raises(PullError, match=refused):
        pull(uri, folder)
    part.unlink()
    part.write_bytes(b"mine")
    with pytest.raises(PullError, match=refused):
        pull(uri, folder)
    assert (own.read_bytes(), part.read_bytes()) == (b"mine", b"mine")
    assert not (tmp_path / "nothing").exists()


def test_names_of_a_hostile_record_stay_in_the_folder():
    urls = [
        "https://e.example/a/..%2F..%2F..%2Fescape.tar",
        "s3://bucket/x/../../escape.tar",
        "https://e.example/..%5C..%5Cback.tar",
        "https://e.example/.hidden.tar",
        "https://e.example/%00%1b%5B31m%E2%80%AE.tar",
        "https://e.example/ESCAPE.TAR",
        "https://e.example/c.tar.part",
        "https://e.example/c.tar",
        "https://e.example/.atdata-pull.jsonl",
        f"https://e.example/{'n' * 5000}.tar",
        "https://[::/broken.tar",
        "https://e.example/download?file=a.tar",
        "pipe:rm -rf x.tar",
    ]
    names = file_names([PublishedShard(url) for url in urls], "../lab/di gits")
    assert names[:4] == ["escape.tar", "000001-escape.tar", "_.._back.tar", "hidden.tar"]
    assert names[5:9] == ["000005-ESCAPE.TAR", "_lab_di_gits-000006.tar", "c.tar", "_lab_di_gits-000008.tar"]
    assert len(names[9]) == 200
    assert names[9].endswith("n.tar")
    assert names[10:12] == ["_lab_di_gits-000010.tar", "_lab_di_gits-000011.tar"]
    every = [*names, *(f"{name}.part" for name in names)]
    assert len({name.casefold() for name in every}) == len(every)
    assert all(Path(name).name == name and name.isprintable() and not name.startswith(".") for name in names)


def test_what_a_record_should_not_name_is_refused_and_what_is_not_there_is_said(
    shards: dict[str, bytes],
    publish: Callable[..., str],
    publisher: Any,
    server: ShardServer,
    environ: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    (tmp_path / "secret.tar").write_bytes(b"secret")
    record = dict(publisher.get_record(publish(shards)).value)
    record["storage"] = {**record["storage"], "shards": [{"url": f"file://{tmp_path}/secret.tar"}]}
    with pytest.raises(PullError, match="is a path on the publisher's machine") as caught:
        pull(str(publisher.create_record(ENTRY, record, validate=False)), tmp_path / "new")
    assert isinstance(caught.value.__cause__, StorageError)
    monkeypatch.setenv("ATDATA_ALLOW_PRIVATE", environ["ATDATA_ALLOW_PRIVATE"])
    with pytest.raises(PullError, match="private") as caught:
        pull(publish(shards), tmp_path / "new")
    assert isinstance(caught.value.__cause__, PrivateAddressError)
    assert server.asked == []
    assert files(tmp_path / "new") == {}
    with pytest.raises(EntryNotFoundError):
        pull(f"{publish(shards)}-none", tmp_path / "none")
    assert not (tmp_path / "none").exists()


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_folder_that_is_full_or_cannot_be_written_is_said_and_the_part_goes_on(
    server: ShardServer, tar: Callable[..., bytes], publish: Callable[..., str], tmp_path: Path
):
    data = {server.put(f"/{n}.tar", tar(n, 150_000)): tar(n, 150_000) for n in range(100)}
    uri = publish(data)
    with (
        no_file_larger_than(100_000),
        pytest.raises(PullError, match=r"cannot be written: File too large\. Make room"),
    ):
        pull(uri, tmp_path / "full")
    parts = files(tmp_path / "full")
    assert all(name.endswith(".part") and len(part) <= 100_000 for name, part in parts.items())
    # The first one tells: the others are not begun any more.
    assert len(parts) < 100
    found = pull(uri, tmp_path / "full")
    assert sum(fetched(found)) == sum(map(len, data.values())) - sum(map(len, parts.values()))
    (tmp_path / "file").write_text("no folder")
    for place in ("file", "file/below"):
        with pytest.raises(PullError, match=f"{place} is a file, or is below one, and a folder is needed"):
            pull(uri, tmp_path / place)


def test_one_process_at_a_time_pulls_into_a_folder(
    shards: dict[str, bytes], publish: Callable[..., str], tmp_path: Path
):
    with (
        PullJournal(tmp_path, "").opened(),
        pytest.raises(PullError, match=f"Another process pulls into {tmp_path}. Wait"),
    ):
        pull(publish(shards), tmp_path)


def test_ctrl_c_ends_it_and_leaves_parts_that_go_on(
    server: ShardServer, tar: Callable[..., bytes], publish: Callable[..., str], tmp_path: Path
):
    class Interrupts:
        def __call__(self, done: int, total: int, /) -> None: ...

        def passed(self, shard: str, count: int, size: int | None, /) -> None:
            raise KeyboardInterrupt

    data = {server.put(f"/{n}.tar", tar(n, 3_000_000)): tar(n, 3_000_000) for n in range(3)}
    uri = publish(data)
    with pytest.raises(KeyboardInterrupt):
        pull(uri, tmp_path, progress=Interrupts())
    parts = files(tmp_path)
    assert sum(map(len, parts.values())) < 9_000_000
    found = pull(uri, tmp_path)
    assert sum(fetched(found)) == sum(map(len, data.values())) - sum(map(len, parts.values()))


def test_a_journal_that_is_damaged_costs_a_look_at_the_files_and_nothing_else(
    shards: dict[str, bytes], publish: Callable[..., str], server: ShardServer, tmp_path: Path
):
    uri = publish(shards)
    pull(uri, tmp_path)
    journal = tmp_path / ".atdata-pull.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b'\xff{"file": 1}\n[]\n' + json.dumps({"file": "1.tar", "x": 2}).encode() + lines[-1][:30])
    for _ in range(2):
        assert fetched(pull(uri, tmp_path)) == [0, 0, 0]
    assert len(server.asked) == 3
