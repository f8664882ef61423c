"""What shards hold besides samples, or in their place: read rightly, or refused by the name of the cause."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from webdataset.tariterators import group_by_keys, tar_file_expander

import atdata_core as atdata
from atdata_core.errors import SampleError, ShardCorruptError, ShardWarning
from atdata_core.shards.packed_samples import shard_records
from atdata_core.shards.tar_samples import ShardWriter, Strays, read_samples

DOUBLE = b"\0\5\26\7\0\2\0\0Mac OS X        " + bytes(90)
BLOCK = 512


@atdata.packable
class Word:
    text: str


def packed(text: str) -> bytes:
    return Word(text=text).packed


def member(name: str, content: bytes = b"", **changes: object) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for attribute, value in changes.items():
        setattr(info, attribute, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % BLOCK)


def words(*names: str) -> bytes:
    return b"".join(member(name, packed(name)) for name in names)


def shard(*texts: str) -> bytes:
    stream = io.BytesIO()
    with ShardWriter(stream) as writer:
        for text in texts:
            writer.write({"__key__": text, "msgpack": packed(text)})
    return stream.getvalue()


END = bytes(2 * BLOCK)


@pytest.fixture
def texts(tmp_path: Path):
    """The samples that a reader gives of a shard with these bytes."""

    def read(data: bytes) -> list[str]:
        path = tmp_path / "words.tar"
        path.write_bytes(data)
        return [sample.text for sample in atdata.Dataset[Word](str(path)).ordered()]

    return read


@pytest.mark.parametrize("folder", ["", "./", "train/", "a/b.c/"])
@pytest.mark.parametrize("after", [False, True])
def test_the_companions_that_macos_adds_are_passed_over(texts, folder: str, after: bool):
    keys = [f"{folder}{key}" for key in ("one", "two", "three")]
    data = b""
    for key in keys:
        parts = [member(f"{key.rpartition('/')[0] or '.'}/._{key.rpartition('/')[2]}.msgpack", DOUBLE)]
        parts.insert(0 if after else 1, words(f"{key}.msgpack"))
        data += b"".join(parts)
    data += member(f"{folder}.DS_Store", b"\0\0\0\1Bud1") + member(f"{folder}._.DS_Store", DOUBLE)
    data += member(f"__MACOSX/{folder}._one.msgpack", DOUBLE) + member(f"{folder}__MACOSX/seven.msgpack", b"x")
    assert texts(data + END) == [f"{key}.msgpack" for key in keys]
    strays = Strays()
    assert len(list(read_samples(io.BytesIO(data + END), url="x.tar", strays=strays))) == 3
    assert str(strays) == "7 of macOS (._*, .DS_Store, __MACOSX)"


def test_a_companion_between_the_files_of_a_sample_does_not_part_them():
    data = member("d/7.cls", b"4") + member("d/._7.msgpack", DOUBLE) + member("d/7.msgpack", b"m") + END
    assert list(read_samples(io.BytesIO(data), url="x.tar")) == [{"__key__": "d/7", "cls": b"4", "msgpack": b"m"}]


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.FIFOTYPE, "a FIFO"),
        (tarfile.CHRTYPE, "a character device"),
        (tarfile.BLKTYPE, "a block device"),
    ],
)
@pytest.mark.parametrize("name", ["two.msgpack", "train/two.MSGPACK"])
def test_a_sample_that_is_a_link_or_the_like_is_refused_by_name(texts, kind: bytes, named: str, name: str):
    data = words("one.msgpack") + member(name, type=kind, linkname="one.msgpack") + words("three.msgpack")
    with pytest.raises(ShardCorruptError, match=f"'{name}' is {named}"):
        texts(data + END)


def test_a_tar_of_hard_linked_files_is_refused_and_one_that_follows_the_advice_is_read(texts, tmp_path: Path):
    (tmp_path / "a.msgpack").write_bytes(packed("a"))
    os.link(tmp_path / "a.msgpack", tmp_path / "b.msgpack")
    os.symlink("a.msgpack", tmp_path / "c.msgpack")
    command = ["tar", "-C", str(tmp_path), "-cf", "-"]
    names = ["a.msgpack", "b.msgpack", "c.msgpack"]
    with pytest.raises(ShardCorruptError, match="--dereference --hard-dereference"):
        texts(subprocess.check_output([*command, *names]))
    assert texts(subprocess.check_output([*command, "--dereference", "--hard-dereference", *names])) == ["a"] * 3


@pytest.mark.parametrize("kind", [b"M", b"Q", b"A"])
def test_a_sample_of_a_kind_that_no_reader_knows_is_refused_by_name(texts, kind: bytes):
    with pytest.raises(ShardCorruptError, match=r"'two\.msgpack' is"):
        texts(words("one.msgpack") + member("two.msgpack", b"content", type=kind) + END)


def test_links_that_are_no_samples_are_warned_of_but_refused_where_files_beside_samples_are_asked_for(
    texts, tmp_path: Path
):
    data = words("one.msgpack") + member("one.jpg", type=tarfile.SYMTYPE, linkname="/pictures/one.jpg")
    data += member("latest", type=tarfile.LNKTYPE, linkname="one.msgpack") + words("two.msgpack") + END
    with pytest.warns(ShardWarning, match=r"2 of its files, first 'one\.jpg', are links .* --dereference") as told:
        assert texts(data) == ["one.msgpack", "two.msgpack"]
    assert len(told) == 1
    with pytest.raises(ShardCorruptError, match=r"'one\.jpg' is a symbolic link"):
        list(shard_records(str(tmp_path / "words.tar")))


@pytest.mark.parametrize("between", [0, 1, 188, BLOCK, 7 * BLOCK, 3 << 20])
def test_a_second_archive_in_the_same_file_is_refused_by_name(texts, between: int):
    first = shard("one", "two")
    with pytest.raises(ShardCorruptError, match=r"another archive \(cat a.tar b.tar\)"):
        texts(first + bytes(between) + shard("three"))
    assert texts(first + bytes(between)) == ["one", "two"]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_two_padded_archives_in_one_file_are_refused_and_joined_ones_are_read(texts, tmp_path: Path, form: int):
    paths = []
    for text in ("one", "two"):
        paths.append(tmp_path / f"{text}.tar")
        with tarfile.open(paths[-1], "w", format=form) as archive:
            info = tarfile.TarInfo(f"{text}.msgpack")
            info.size, info.mtime = len(packed(text)), 1.5 if form == tarfile.PAX_FORMAT else 1
            archive.addfile(info, io.BytesIO(packed(text)))
    with pytest.raises(ShardCorruptError, match="tar --concatenate"):
        texts(paths[0].read_bytes() + paths[1].read_bytes())
    subprocess.check_call(["tar", "--concatenate", "-f", *map(str, paths)])
    assert texts(paths[0].read_bytes()) == ["one", "two"]


def test_what_follows_the_end_and_is_no_archive_is_told_of(texts):
    with pytest.warns(ShardWarning, match="what follows its end is no archive, and is not read"):
        assert texts(shard("one") + b"\x1f\x8b compressed, or anything") == ["one"]


PAGES = {
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n": "a git-lfs pointer",
    b"/annex/objects/SHA256E-s42--0a1b.tar\n": "a git-annex pointer",
    b".git/annex/objects/9K/x1/MD5E-s7--0a1b.tar/MD5E-s7--0a1b.tar": "a git-annex pointer",
    b"../../.git/annex/objects/9K/x1/MD5E-s7--0a1b.tar": "a git-annex pointer",
    b"<!DOCTYPE html><title>502 Bad Gateway</title>": "no tar but an HTML page",
    b"\r\n<HTML><body>Sign in to continue": "no tar but an HTML page",
    b'\xef\xbb\xbf<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>': "no tar but XML",
    b"<Error><Code>NoSuchKey</Code></Error>": "no tar but XML",
    b'{"error": "unauthorized"}': "no tar but JSON",
    b"PK\3\4\x14\0": "a zip",
    b"\x1f\x8b\x08\0": "compressed",
    b"Not Found\n": "no tar but text",
    b"429: slow down\n": "no tar but text",
    "Zugriff verweigert: für diese Datei fehlt das Recht".encode(): "no tar but text",
    b'[{"message": "gone"}]': "no tar but JSON",
    b"<!-- cached --><body>Gateway Timeout": "no tar but HTML or XML",
    "<html><body>Anmeldung".encode("utf-16"): "no tar but an HTML page",
    b"\xfe\xff" + "<HTML>".encode("utf-16-be"): "no tar but an HTML page",
    b'\x04"M\x18\x64\x40': "compressed",
    b"7z\xbc\xaf\x27\x1c\0\4": "a 7z archive",
    b"\0": "no tar",
}


@pytest.mark.parametrize("size", [0, BLOCK - 1, 5 * BLOCK])
@pytest.mark.parametrize(("beginning", "named"), PAGES.items())
def test_a_file_that_is_no_tar_is_called_what_it_is(texts, beginning: bytes, named: str, size: int):
    data = beginning if beginning == b"\0" else beginning.ljust(size, b" ")
    with pytest.raises(ShardCorruptError, match=named):
        texts(data)


def test_an_empty_file_is_called_empty_and_a_torn_header_cut_short(texts):
    with pytest.raises(ShardCorruptError, match="it is empty"):
        texts(b"")
    with pytest.raises(ShardCorruptError, match="cut short or no tar: it has 300 bytes"):
        texts(shard("one")[:300])


def test_a_sample_above_a_gibibyte_is_named_before_it_is_read(tmp_path: Path):
    path, size = tmp_path / "large.tar", (1 << 30) + 1
    info = tarfile.TarInfo("night/sky.msgpack")
    info.size = size
    with path.open("wb") as file:
        file.write(words("one.msgpack") + info.tobuf())
        # A hole in the file: nothing of it lies on the disk.
        file.truncate(file.tell() + size + BLOCK - 1 + len(END))
    with pytest.raises(ShardCorruptError, match=r"'night/sky\.msgpack' in it claims 1,073,741,825 bytes.* split"):
        list(atdata.Dataset[Word](str(path)).ordered())


def test_a_key_with_a_dot_is_refused_by_name_where_no_sample_is_left(texts):
    with pytest.raises(SampleError, match=r"only 5\.msgpack, 75\.msgpack\. A key ends at the first dot"):
        texts(words("scan-0.5.msgpack", "scan-0.75.msgpack", "scan-1.msgpack") + END)


def test_a_key_with_a_dot_that_makes_one_sample_of_two_is_warned_of(texts):
    with pytest.warns(ShardWarning, match=r"a file like 'img\.v2\.msgpack' is no sample of its own"):
        assert texts(words("img.msgpack", "img.v2.msgpack", "other.msgpack") + END) == [
            "img.msgpack",
            "other.msgpack",
        ]


def test_keys_in_folders_whose_names_have_dots_are_read(texts):
    names = ["v1.2/one.msgpack", "v1.2/two.msgpack", "./v1.3/one.msgpack", "../two.msgpack", "/three.msgpack"]
    assert texts(words(*names) + END) == names


@pytest.mark.parametrize(
    "name", [".one.msgpack", ".msgpack", "v1.2/.one.msgpack", "__data__/one.msgpack", "__a__/b/C.MSGPACK"]
)
def test_samples_under_names_that_webdataset_skips_are_warned_of_once(texts, tmp_path: Path, name: str):
    data = words("a.msgpack", name, "b.msgpack", "._b.msgpack", name) + END
    archive = tar_file_expander([{"url": "", "stream": io.BytesIO(data)}])
    assert [each["__key__"] for each in group_by_keys(archive)] == ["a", "b"]
    for read in (texts, lambda _: list(shard_records(str(tmp_path / "words.tar")))):
        with pytest.warns(ShardWarning) as told:
            assert len(read(data)) == 2
        (warning,) = told
        assert f"words.tar: 2 of its files, first {name!r}, are no samples for webdataset" in str(warning.message)


def test_a_folder_that_is_a_link_is_warned_of(texts):
    data = words("one.msgpack") + member("train", type=tarfile.SYMTYPE, linkname="/data/train") + END
    with pytest.warns(ShardWarning, match="1 of its files, first 'train', are links"):
        assert texts(data) == ["one.msgpack"]
