"""Runs of plain files are read as one by one, whatever the archive is, and wherever it is cut or damaged."""

import io
import tarfile
from unittest.mock import patch

import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from atdata_core.errors import ShardCorruptError
from atdata_core.shards import tar
from atdata_core.shards.tar_samples import ShardWriter, read_samples
from tar_members import read_members

BLOCK = 512


class Pieces(io.BytesIO):
    """Gives at most so many bytes at a time."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self.most = most

    def read(self, size: int = -1) -> bytes:
        return super().read(min(size, self.most) if size >= 0 else self.most)


def outcome(data: bytes, most: int = 1 << 20) -> tuple[list[tuple[str, bytes]], str | None]:
    """The members that come, and what is said of those that do not."""
    found = []
    try:
        for member in read_members(Pieces(data, most), url="x.tar"):
            found.append(member)
    except ShardCorruptError as error:
        return found, str(error)
    return found, None


def one_by_one(data: bytes) -> tuple[list[tuple[str, bytes]], str | None]:
    with patch.object(tar, "plain_files", lambda window, at, most: tar.Run([], [], at, cut=False)):
        return outcome(data)


def looked_at_closely(data: bytes) -> int:
    """Headers that were looked at one by one."""
    with patch.object(tar, "_parse_header", wraps=tar._parse_header) as parse:
        assert outcome(data)[1] is None
        return parse.call_count


def members(entries, form=tarfile.USTAR_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as file:
        for name, content, changes in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for attribute, value in changes.items():
                setattr(info, attribute, value)
            try:
                file.addfile(info, io.BytesIO(content))
            except ValueError:
                continue  # a name that this format has no room for
        return stream.getvalue()[: file.offset]


def archive(entries, form=tarfile.USTAR_FORMAT) -> bytes:
    return members(entries, form) + bytes(2 * BLOCK)


def sparse(content: bytes) -> bytes:
    """A member of GNU's first format of sparse files: ``content`` after a hole of 512 bytes."""
    block = bytearray(archive([("holes.bin", content, {})])[:BLOCK])
    block[156:157], block[257:265] = b"S", b"ustar  \0"
    block[386:398], block[398:410] = b"%011o\0" % BLOCK, b"%011o\0" % len(content)
    block[483:495] = b"%011o\0" % (BLOCK + len(content))
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + content + bytes(-len(content) % BLOCK)


PLAIN = st.tuples(
    st.text(st.sampled_from([*"abc./_ü"]), min_size=1, max_size=9), st.binary(max_size=30), st.just({})
)
LARGER = st.tuples(st.just("a.bin"), st.integers(0, 1700).map(bytes), st.just({}))
TIMED = st.tuples(st.just("t.bin"), st.binary(max_size=9), st.floats(0, 1e10).map(lambda time: {"mtime": time}))
ODD = st.sampled_from(
    [
        ("folder", b"", {"type": tarfile.DIRTYPE}),
        ("link", b"", {"type": tarfile.SYMTYPE, "linkname": "a"}),
        ("hard", b"", {"type": tarfile.LNKTYPE, "linkname": "b"}),
        ("old.bin", b"old", {"type": tarfile.AREGTYPE}),
        ("long/" * 30 + "a.bin", b"long", {}),
        ("p" * 60 + "/" + "n" * 80, b"two parts", {}),
        ("said.bin", b"said", {"pax_headers": {"comment": "a\nb = c", "SCHILY.xattr.user.a": "1"}}),
        ("renamed.bin", b"renamed", {"pax_headers": {"path": "another.bin"}}),
        ("owned.bin", b"owned", {"uid": 1 << 40, "uname": "ünal"}),
    ]
)
ENTRIES = st.lists(st.one_of(PLAIN, PLAIN, LARGER, TIMED, TIMED, ODD), max_size=12)
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


@st.composite
def archives(draw) -> bytes:
    """An archive of any format, with sparse files between its members."""
    form = draw(FORMATS)
    parts = [members(entries, form) for entries in draw(st.lists(ENTRIES, min_size=1, max_size=3))]
    return sparse(draw(st.binary(min_size=1, max_size=700))).join(parts) + bytes(2 * BLOCK)


def by_tarfile(data: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as file:
        return [(info.name, file.extractfile(info).read()) for info in file if info.isreg()]


@given(archives(), st.integers(1, 5000))
def test_any_archive_is_read_as_tarfile_reads_it(data, most):
    assert outcome(data, most) == outcome(data) == one_by_one(data) == (by_tarfile(data), None)


@given(archives(), st.data())
def test_what_is_cut_or_damaged_is_refused_at_the_same_place_as_one_by_one(data, choose):
    damaged = bytearray(data)
    for _ in range(choose.draw(st.integers(0, 2))):
        at = choose.draw(st.integers(0, len(data) - 1))
        damaged[at] ^= 1 << choose.draw(st.integers(0, 7))
    damaged = bytes(damaged[: choose.draw(st.integers(0, len(data)))])
    assert outcome(damaged) == one_by_one(damaged)


@pytest.mark.parametrize("at", [0, 99, 100, 124, 135, 148, 153, 156, 257, 329, 345, 511])
def test_a_bit_that_flips_in_any_header_of_a_run_is_noticed(at):
    data = archive([(f"{n:04d}.bin", b"x" * 100, {}) for n in range(200)])
    damaged = bytearray(data)
    damaged[150 * 2 * BLOCK + at] ^= 1
    found, error = outcome(bytes(damaged))
    assert found == outcome(data)[0][:150]
    assert "header is damaged" in error
    assert f"byte {150 * 2 * BLOCK}:" in error


def test_two_changes_that_cancel_out_in_a_sum_of_sixteen_bits_are_noticed():
    # 257 bytes more by 255 are 65,535 more; one more makes the sum the same modulo 2**16.
    data = bytearray(archive([("a.bin", b"", {}), ("b.bin", b"", {})]))
    data[BLOCK + 2 : BLOCK + 100] = b"\xff" * 98
    data[BLOCK + 157 : BLOCK + 257] = b"\xff" * 100
    data[BLOCK + 346 : BLOCK + 500] = b"\xff" * 154
    told = int(bytes(data[BLOCK + 148 : BLOCK + 154]), 8)
    assert sum(data[BLOCK : 2 * BLOCK]) > told + (1 << 16)
    assert "header is damaged" in outcome(bytes(data))[1]


def test_the_headers_of_shards_are_not_looked_at_one_by_one(tmp_path):
    samples = [{"__key__": f"{n:06d}", "msgpack": bytes(n % 700), "cls": b"1"} for n in range(4000)]
    with webdataset.TarWriter(str(tmp_path / "theirs.tar")) as sink:
        for sample in samples:
            sink.write(sample)
    with (tmp_path / "ours.tar").open("wb") as stream, ShardWriter(stream) as writer:
        for sample in samples:
            writer.write(sample)
    for name in ("theirs.tar", "ours.tar"):
        data = (tmp_path / name).read_bytes()
        assert [each["__key__"] for each in read_samples(io.BytesIO(data), url=name)] == [
            each["__key__"] for each in samples
        ]
        # The one after each of the first runs, which grow, and after each chunk of the stream; with pax headers.
        assert looked_at_closely(data) <= 2 * (6 + len(data) // (1 << 20))


def test_odd_members_in_between_do_not_make_the_others_be_walked_again_and_again():
    entries = [
        ("f.bin", b"x", {}) if n % 2 else (f"folder{n}", b"", {"type": tarfile.DIRTYPE}) for n in range(2000)
    ]
    data = archive(entries)
    walked = 0

    def counted(window, at, most):
        nonlocal walked
        places = real(window, at, most)
        walked += len(places[0])
        return places

    real = tar._walked
    with patch.object(tar, "_walked", counted):
        assert len(outcome(data)[0]) == 1000
    assert walked <= 2 * len(entries)


def test_large_files_are_read_into_what_is_given_out():
    """No byte of theirs is read that is then copied elsewhere."""

    class Counted(io.BytesIO):
        sizes: list[int]

        def read(self, size=-1):
            self.sizes.append(size)
            return super().read(size)

    size = 200_000
    stream = Counted(archive([(f"{n}.bin", bytes([n]) * size, {}) for n in range(20)]))
    stream.sizes = []
    assert [content[:1] for _, content in read_members(stream, url="x.tar")] == [bytes([n]) for n in range(20)]
    # The first ones came with the first chunk, before their size was known.
    assert stream.sizes.count(size) >= 13


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT])
def test_names_that_say_something_behind_a_zero_are_read_up_to_it(form):
    data = bytearray(archive([(f"{n}.bin", b"x", {}) for n in range(5)], form))
    header = data[2 * 2 * BLOCK : 2 * 2 * BLOCK + BLOCK]
    header[0:9] = b"a.b\0c.bin"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data[2 * 2 * BLOCK : 2 * 2 * BLOCK + BLOCK] = header
    assert [name for name, _ in outcome(bytes(data))[0]] == ["0.bin", "1.bin", "a.b", "3.bin", "4.bin"]
