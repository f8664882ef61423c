"""The reader against ``tarfile`` and webdataset, on archives that neither of us chose."""

import io
import tarfile
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext, group_by_keys, tar_file_iterator

from atdata_core.errors import ShardCorruptError
from atdata_core.shards.tar_samples import Alone, ShardWriter, read_samples, sample_runs
from tar_members import read_members

CHARACTERS = st.sampled_from([*"ab./_-A ü日"])
NAMES = st.one_of(
    st.text(CHARACTERS, min_size=1, max_size=12),
    st.text(CHARACTERS, min_size=90, max_size=300),
    st.builds(
        lambda folder, name: "/".join([*folder, name]),
        st.lists(st.just("folder" * 5), max_size=8),
        st.text("ab.", min_size=1),
    ),
)
KINDS = st.sampled_from(
    [tarfile.REGTYPE] * 6 + [tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]
)
MEMBERS = st.tuples(
    NAMES,
    st.binary(max_size=40) | st.integers(500, 1600).map(lambda n: b"x" * n),
    KINDS,
    st.integers(0, 2**33) | st.floats(0, 1e10),
    st.dictionaries(st.sampled_from(["comment", "SCHILY.xattr.user.a"]), st.text("a=\n日", max_size=9), max_size=2),
)
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def written(entries, form) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, content, kind, mtime, extra in entries:
            # With a slash at its end, the old kind of file would be a directory that has content.
            info = tarfile.TarInfo(name.replace("/", "-") if kind == tarfile.AREGTYPE else name)
            info.type, info.mtime, info.pax_headers = kind, mtime, extra
            if form != tarfile.PAX_FORMAT:
                info.mtime = int(mtime)
            if info.isreg():
                info.size = len(content)
            else:
                info.linkname = name[::-1]
            try:
                archive.addfile(info, io.BytesIO(content))
            except ValueError:
                continue  # a name that this format has no room for
    return stream.getvalue()


def by_tarfile(data: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [(info.name, archive.extractfile(info).read()) for info in archive if info.isreg()]


@given(st.lists(MEMBERS, max_size=6), FORMATS)
def test_the_reader_agrees_with_tarfile(entries, form):
    data = written(entries, form)
    assert list(read_members(io.BytesIO(data), url="x.tar")) == by_tarfile(data)


@given(st.lists(MEMBERS, max_size=5), FORMATS, st.data())
def test_a_damaged_archive_is_read_as_tarfile_reads_it_or_refused(entries, form, data):
    archive = bytearray(written(entries, form))
    for _ in range(data.draw(st.integers(1, 3))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = list(read_members(io.BytesIO(bytes(archive)), url="x.tar"))
    except ShardCorruptError:
        return
    assert found == by_tarfile(bytes(archive))


@given(st.lists(st.tuples(NAMES, st.binary(max_size=5)), max_size=8))
def test_samples_are_grouped_as_webdataset_groups_them_without_the_companions_of_macos(files):
    data = written([(name, content, tarfile.REGTYPE, 0, {}) for name, content in files], tarfile.PAX_FORMAT)
    try:
        found = tar_file_iterator(
            io.BytesIO(data), select_files=lambda name: not name.rpartition("/")[2].startswith("._")
        )
        members = ({**member, "__url__": ""} for member in found)
        theirs = [{k: v for k, v in each.items() if k != "__url__"} for each in group_by_keys(members)]
    except ValueError:
        theirs = None
    try:
        ours = list(read_samples(io.BytesIO(data), url="x.tar"))
    except ShardCorruptError:
        ours = None
    assert ours == theirs


def samples_of(runs):
    """The samples that come, and whether an error does then; how many of them came without being taken apart."""
    found, alone = [], 0
    try:
        for run in runs:
            if isinstance(run, Alone):
                alone += len(run.keys)
                run = [{"__key__": key, "msgpack": data} for key, data in zip(run.keys, run.contents, strict=True)]
            found += run
    except ShardCorruptError:
        return found, True, alone
    return found, False, alone


PACKED = st.sampled_from("abcdefgh").map("{}.msgpack".format)
OTHERS = st.sampled_from(
    [
        "a.json",
        "b.MSGPACK",
        "c",
        ".msgpack",
        "_d.msgpack",
        "__e__.msgpack",
        "f.x.msgpack",
        "g/h.msgpack",
        "i.msgpack.",
    ]
)
NAMES_IN_RUNS = st.lists(st.lists(PACKED, max_size=4) | st.lists(OTHERS, max_size=1), max_size=8)


# Some of the names are ones that webdataset skips.
@pytest.mark.filterwarnings("ignore::atdata_core.errors.ShardWarning")
@settings(max_examples=500)
@given(NAMES_IN_RUNS.map(lambda runs: list(chain.from_iterable(runs))))
def test_samples_of_one_file_each_are_the_same_when_they_are_not_taken_apart(names):
    entries = [(name, b"%d" % place, tarfile.REGTYPE, 0, {}) for place, name in enumerate(names)]
    data = written(entries, tarfile.USTAR_FORMAT)
    together = samples_of(sample_runs(io.BytesIO(data), url="x.tar", alone="msgpack"))
    assert together[:2] == samples_of(sample_runs(io.BytesIO(data), url="x.tar"))[:2]
    if len(set(names)) == len(names) >= 3 and all(name[1:] == ".msgpack" for name in names):
        # The first one tells that this is a tar, and the last one may go on.
        assert together[2] == len(names) - 2


@given(st.lists(st.tuples(NAMES, st.binary(max_size=600)), max_size=6, unique_by=lambda each: each[0]))
def test_what_is_written_is_read_by_everybody(files):
    stream = io.BytesIO()
    expected = []
    with ShardWriter(stream) as writer:
        for name, content in files:
            key = base_plus_ext(f"{name}.msgpack")[0]
            if key == name and not name.startswith("__"):
                writer.write({"__key__": key, "msgpack": content})
                expected.append((f"{key}.msgpack", content))
    assert by_tarfile(stream.getvalue()) == expected
    assert list(read_members(io.BytesIO(stream.getvalue()), url="x.tar")) == expected


def as_the_format_says(files: list[tuple[str, bytes]]) -> bytes:
    """The archive that ``tarfile`` makes of these names and contents: ustar where that has room."""
    parts = []
    for name, content in files:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o444
        fits = len(name.encode()) <= 100
        header = info.tobuf(tarfile.USTAR_FORMAT if fits else tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        parts += [header, content, bytes(-len(content) % 512)]
    return b"".join([*parts, bytes(1024)])


KEYS = st.text(st.sampled_from([*"ab_-A ü日/"]), min_size=1, max_size=130).filter(
    lambda key: base_plus_ext(f"{key}.x") == (key, "x") and not key.startswith("__")
)
SUFFIXES = st.sampled_from(["msgpack", "txt", "seg.png", "ü", "json"])
SAMPLES = st.lists(
    st.tuples(KEYS, st.dictionaries(SUFFIXES, st.binary(max_size=600), min_size=1, max_size=3)),
    max_size=5,
    unique_by=lambda each: each[0],
)


@given(SAMPLES)
def test_samples_are_written_byte_for_byte_as_the_format_says_and_read_back_by_webdataset(entries):
    stream = io.BytesIO()
    with ShardWriter(stream) as writer:
        for key, files in entries:
            writer.write({"__key__": key, **files})
    data = stream.getvalue()
    names = [(f"{key}.{suffix}", files[suffix]) for key, files in entries for suffix in sorted(files)]
    assert data == as_the_format_says(names)
    assert writer.size == len(data)
    members = ({**member, "__url__": ""} for member in tar_file_iterator(io.BytesIO(data)))
    theirs = [{k: v for k, v in each.items() if k != "__url__"} for each in group_by_keys(members)]
    assert theirs == [{"__key__": key, **files} for key, files in entries]
