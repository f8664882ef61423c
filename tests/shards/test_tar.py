"""Shards as tars: read exactly, and refused when cut or damaged."""

import gzip
import io
import tarfile

import pytest

from atdata_core.errors import ShardCorruptError, ShardError
from atdata_core.shards.tar_samples import ShardWriter, Strays, read_samples, sample_runs
from tar_members import read_members

URL = "s3://bucket/data-000000.tar"
BLOCK = 512


def members(data: bytes) -> list[tuple[str, bytes]]:
    return list(read_members(io.BytesIO(data), url=URL))


def samples(data: bytes) -> list[dict[str, bytes | str]]:
    return list(read_samples(io.BytesIO(data), url=URL))


def tar(files: list[tuple[str, bytes]], **options: object) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", **options) as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def shard(count: int = 3, size: int = 700) -> bytes:
    stream = io.BytesIO()
    with ShardWriter(stream) as writer:
        for number in range(count):
            writer.write({"msgpack": bytes([number]) * size})
    return stream.getvalue()


class Trickle(io.RawIOBase):
    """Gives a few bytes at a time, as a socket may."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def read(self, size: int = -1) -> bytes:
        given, self.rest = self.rest[:97], self.rest[97:]
        return given


def test_a_shard_that_is_cut_anywhere_is_refused():
    data = shard(2, 700)
    assert len(members(data)) == 2
    for length in range(len(data)):
        with pytest.raises(ShardCorruptError, match=r"data-000000\.tar") as caught:
            members(data[:length])
        assert caught.value.url == URL
        assert caught.value.offset <= length
    assert isinstance(caught.value, ShardError | ValueError)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_foreign_tar_that_is_cut_between_members_is_refused(form):
    data = tar([(f"{'long/' * 30}{n}.txt", b"x" * 300) for n in range(3)], format=form)
    end = len(data.rstrip(b"\0")) // BLOCK * BLOCK + BLOCK
    for length in range(BLOCK, end + BLOCK, BLOCK):
        with pytest.raises(ShardCorruptError):
            members(data[:length])
    assert len(members(data)) == 3


def test_a_stream_that_gives_few_bytes_at_a_time_is_read_whole():
    data = shard(5, 2000)
    assert list(read_members(Trickle(data), url=URL)) == members(data)


def test_the_stream_is_read_to_its_end():
    stream = io.BytesIO(shard() + b"trailing bytes")
    assert len(list(read_members(stream, url=URL))) == 3
    assert stream.read() == b""


def test_any_changed_byte_of_a_header_is_noticed():
    data = bytearray(shard(1, 10))
    for at in range(BLOCK):
        damaged = bytes(data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :])
        # Blanks and zeros around the checksum's digits say the same.
        if at not in (154, 155):
            with pytest.raises(ShardCorruptError):
                members(damaged)


def test_data_after_a_lone_block_of_zeros_is_not_dropped_silently():
    one, two = shard(1), shard(1)
    with pytest.raises(ShardCorruptError, match="end mark"):
        members(one[: -2 * BLOCK] + bytes(BLOCK) + two)


@pytest.mark.parametrize("size", [b"77777777777\0", b"\x80" + b"\0" * 4 + b"\x7f" + b"\xff" * 6, b"\xff" * 12])
def test_a_claimed_size_allocates_nothing(size):
    header = bytearray(shard(1, 10)[:BLOCK])
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(ShardCorruptError):
        members(bytes(header) + bytes(100))


def test_a_pax_size_that_is_claimed_allocates_nothing():
    info = tarfile.TarInfo("a.txt")
    info.pax_headers = {"size": "9" * 18}
    with pytest.raises(ShardCorruptError, match="are the most"):
        members(info.tobuf(tarfile.PAX_FORMAT) + bytes(2048))


def test_a_file_that_is_too_large_for_memory_is_refused_before_its_bytes_come():
    class Endless(io.RawIOBase):
        sent = 0

        def read(self, size=-1):
            self.sent += size
            return header if self.sent == size else bytes(size)

    info = tarfile.TarInfo("a.msgpack")
    info.size = 10 << 30
    header = info.tobuf(tarfile.GNU_FORMAT)
    stream = Endless()
    with pytest.raises(ShardCorruptError, match=r"claims 10,737,418,240 bytes"):
        list(read_members(stream, url="big.tar"))
    assert stream.sent < 1 << 22


@pytest.mark.parametrize("body", [b"nonsense", b"99999 path=x\n", b"5 x\n", b"11 path=abc", b"0 a=b\n", b" a=b\n"])
def test_damaged_pax_records_are_refused(body):
    info = tarfile.TarInfo("PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, len(body)
    data = info.tobuf(tarfile.USTAR_FORMAT) + body.ljust(BLOCK, b"\0") + shard(1)
    with pytest.raises(ShardCorruptError, match="pax"):
        members(data)


def test_an_extended_header_without_a_member_is_refused():
    info = tarfile.TarInfo("PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 0
    with pytest.raises(ShardCorruptError):
        members(info.tobuf(tarfile.USTAR_FORMAT) + bytes(2 * BLOCK))


def test_what_is_no_tar_is_said_to_be_none():
    with pytest.raises(ShardCorruptError, match="no tar"):
        members(b"<html>" * 200)
    with pytest.raises(ShardCorruptError, match="compressed"):
        members(gzip.compress(shard(50, 3000), compresslevel=0))
    with pytest.raises(ShardCorruptError, match="it is empty"):
        members(b"")


def test_links_and_folders_are_passed_over():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"odd{kind.decode()}.txt")
            info.type, info.linkname = kind, "target/" * 40
            archive.addfile(info)
        info = tarfile.TarInfo("a.txt")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    assert members(stream.getvalue()) == [("a.txt", b"abc")]


def test_a_sparse_file_is_read_with_its_holes():
    # The old GNU form: one piece of 512 bytes at 1,024 in a file of 2,048.
    header = bytearray(shard(1, BLOCK)[:BLOCK])
    header[156:157] = b"S"
    header[257:265] = b"ustar  \0"
    header[386:398], header[398:410] = b"%011o\0" % 1024, b"%011o\0" % BLOCK
    header[483:495] = b"%011o\0" % 2048
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    body = b"x" * BLOCK
    data = bytes(header) + body + bytes(2 * BLOCK)
    assert members(data) == [("000000000.msgpack", bytes(1024) + body + bytes(512))]
    header[483:495] = b"%011o\0" % (1 << 32)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(ShardCorruptError, match="sparse"):
        members(bytes(header) + body + bytes(2 * BLOCK))


def test_files_are_grouped_into_samples_as_webdataset_groups_them():
    data = tar(
        [
            ("__meta__/about.txt", b""),
            ("train/0.jpg", b"a"),
            ("train/0.CLS", b"b"),
            ("readme", b""),
            ("train/1.seg.png", b"c"),
            (".hidden", b""),
            ("train/0.jpg", b"d"),
        ]
    )
    assert samples(data) == [
        {"__key__": "train/0", "jpg": b"a", "cls": b"b"},
        {"__key__": "train/1", "seg.png": b"c"},
        {"__key__": "train/0", "jpg": b"d"},
    ]


def test_a_sample_with_two_files_of_one_suffix_is_named():
    with pytest.raises(ShardCorruptError, match="'a' has two files 'txt'") as caught:
        samples(tar([("a.txt", b"1"), ("a.TXT", b"2")]))
    assert caught.value.key == "a"


def test_secrets_in_the_url_of_a_damaged_shard_stay_secret():
    url = "https://user:hunter2@host/a.tar?X-Amz-Signature=hunter2"
    with pytest.raises(ShardCorruptError) as caught:
        list(read_members(io.BytesIO(b""), url=url))
    assert "hunter2" not in f"{caught.value} {caught.value.facts}"


@pytest.mark.parametrize("kinds", ["LL", "xx", "xL", "Lx", "xLx"])
def test_of_several_extended_headers_before_one_member_the_first_counts(kinds):
    data = b""
    for number, kind in enumerate(kinds):
        name = f"from-{number}.bin"
        body = f"{len(name) + 9} path={name}\n".encode() if kind == "x" else name.encode() + b"\0"
        info = tarfile.TarInfo("header")
        info.type, info.size = kind.encode(), len(body)
        data += info.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512)
    info = tarfile.TarInfo("plain.bin")
    info.size = 3
    data += info.tobuf(tarfile.USTAR_FORMAT) + b"abc" + bytes(509 + 1024)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = [(member.name, archive.extractfile(member).read()) for member in archive]
    assert list(read_members(io.BytesIO(data), url=URL)) == expected == [("from-0.bin", b"abc")]


def test_files_that_are_no_sample_are_counted_and_the_first_one_is_named():
    names = ["a.msgpack", "README", "b.msgpack", "c.MSGPACK", "c.json", "__meta__/x.msgpack", "d.x.msgpack", ".key"]
    data = tar([(name, b"") for name in [*names, "folder/e.msgpack"]])
    strays = Strays()
    assert len(list(read_samples(io.BytesIO(data), url=URL, strays=strays))) == 5
    assert (strays.count, strays.first) == (5, "README")


def test_a_shard_of_samples_and_a_folder_has_no_strays():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    data = stream.getvalue()[:BLOCK] + tar([(f"folder/{number}.msgpack", b"") for number in range(40)])
    strays = Strays()
    assert len(list(read_samples(io.BytesIO(data), url=URL, strays=strays))) == 40
    assert strays == Strays()


@pytest.mark.parametrize(("suffix", "count", "first"), [("msgpack", 0, ""), ("txt", 30, "000.txt")])
def test_strays_are_counted_where_samples_are_not_taken_apart_as_well(suffix: str, count: int, first: str):
    data = tar([(f"{number:03}.{suffix}", b"") for number in range(30)])
    strays = Strays()
    list(sample_runs(io.BytesIO(data), url=URL, alone=suffix, strays=strays))
    assert strays == Strays(count, first)


def test_zeros_without_end_after_an_archive_are_told():
    class Zeros:
        taken = 0

        def read(self, size):
            self.taken += size
            return bytes(size)

    device = Zeros()
    with pytest.raises(ShardCorruptError, match="zeros follow its end"):
        list(read_samples(device, url="a.tar"))
    assert device.taken < 80_000_000
