"""Shards as they are written: the same bytes each time, and only what is read back."""

import io
import tarfile

import pytest

from atdata_core.errors import SampleError, ShardCorruptError
from atdata_core.shards.tar_samples import ShardWriter, read_samples
from tar_members import read_members

BLOCK = 512


def members(data: bytes) -> list[tuple[str, bytes]]:
    return list(read_members(io.BytesIO(data), url="x.tar"))


def samples(data: bytes) -> list[dict[str, bytes | str]]:
    return list(read_samples(io.BytesIO(data), url="x.tar"))


def shard(count: int = 3, size: int = 700) -> bytes:
    stream = io.BytesIO()
    with ShardWriter(stream) as writer:
        for number in range(count):
            writer.write({"msgpack": bytes([number]) * size})
    return stream.getvalue()


def test_the_same_samples_give_the_same_bytes():
    assert shard() == shard()


def test_a_written_shard_is_ustar_without_extended_headers():
    data = shard(2, 700)
    assert len(data) == 2 * (BLOCK + 1024) + 2 * BLOCK
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        infos = archive.getmembers()
    assert [info.name for info in infos] == ["000000000.msgpack", "000000001.msgpack"]
    for info in infos:
        assert info.pax_headers == {}
        assert (info.mtime, info.uid, info.gid, info.mode, info.type) == (0, 0, 0, 0o444, tarfile.REGTYPE)
    expected = tarfile.TarInfo("000000000.msgpack")
    expected.size, expected.mode = 700, 0o444
    assert data[:BLOCK] == expected.tobuf(tarfile.USTAR_FORMAT)


def test_a_writer_keeps_keys_counts_samples_and_bytes_and_continues_a_numbering():
    stream = io.BytesIO()
    with ShardWriter(stream, first=7) as writer:
        writer.write({"__key__": "train/a", "msgpack": b"x", "txt": "ü", "__url__": "left out"})
        writer.write({"msgpack": memoryview(b"y")})
    assert samples(stream.getvalue()) == [
        {"__key__": "train/a", "msgpack": b"x", "txt": "ü".encode()},
        {"__key__": "000000008", "msgpack": b"y"},
    ]
    assert writer.samples == 2
    assert writer.size == len(stream.getvalue())
    assert not stream.closed


@pytest.mark.parametrize("key", ["k" * 200, "ü" * 60, "folder/" * 30 + "k"])
def test_a_long_key_is_kept(key):
    stream = io.BytesIO()
    with ShardWriter(stream) as writer:
        writer.write({"__key__": key, "msgpack": b"x"})
    assert samples(stream.getvalue()) == [{"__key__": key, "msgpack": b"x"}]
    with tarfile.open(fileobj=io.BytesIO(stream.getvalue())) as archive:
        assert archive.getnames() == [f"{key}.msgpack"]


@pytest.mark.parametrize(
    "sample",
    [
        {"__key__": "a.b", "msgpack": b""},
        {"__key__": "", "msgpack": b""},
        {"__key__": "a\0", "msgpack": b""},
        {"__key__": "__a__/b", "msgpack": b""},
        {"__key__": "a", "MSGPACK": b""},
        {"__key__": "a", "msgpack": 5},
        {"__key__": "a", "x/y": b""},
        {"__key__": "a"},
        {"__key__": "first", "msgpack": b""},
    ],
)
def test_a_sample_that_would_not_be_read_back_is_not_written(sample):
    stream = io.BytesIO()
    with ShardWriter(stream) as writer:
        writer.write({"__key__": "first", "msgpack": b"1"})
        before = stream.tell()
        with pytest.raises(SampleError):
            writer.write(sample)
        assert stream.tell() == before
    assert len(samples(stream.getvalue())) == 1


def test_after_an_error_the_archive_has_no_end_and_no_reader_takes_it():
    stream = io.BytesIO()
    with pytest.raises(SampleError), ShardWriter(stream) as writer:  # noqa: PT012
        writer.write({"__key__": "a", "msgpack": b"x"})
        writer.write({"__key__": "a", "msgpack": b"x"})
    with pytest.raises(ShardCorruptError):
        members(stream.getvalue())
