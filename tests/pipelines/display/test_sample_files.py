import io
import itertools
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import atdata_core as atdata
from atdata_core.errors import PullError
from atdata_core.reading import PulledShard
from atdata_core.reading.pull_journal import FILE
from atdata_core.samples import DictSample
from atdata_core.shards.tar_samples import ShardWriter
from atdata_pipelines.display import sample_files as room
from atdata_pipelines.display.sample_files import sample_files
from libraries import library

parquet = library("pyarrow.parquet")


@atdata.packable
class Look:
    """A picture, the same as a JPEG, its brightness, a matrix that is none, and what a table holds."""

    image: NDArray[np.uint8]
    photo: bytes | None
    light: NDArray[np.float32]
    matrix: NDArray[np.float32]
    raw: bytes
    words: list[str]
    label: int


def jpeg():
    file = io.BytesIO()
    Image.new("RGB", (9, 7), "red").save(file, "JPEG")
    return file.getvalue()


def look(number, shape=(6, 5, 3)):
    image = np.random.default_rng(number).integers(0, 256, shape, np.uint8)
    return Look(
        image=image,
        photo=jpeg() if number else None,
        light=image[..., 0].astype(np.float32) / 255,
        matrix=np.full((4, 4), number + 2, np.float32),
        raw=b"\0" * number,
        words=["a"] * number,
        label=number,
    )


@pytest.fixture
def shard(tmp_path):
    def write(samples, name="looks.tar", sha256="1"):
        path = tmp_path / name
        with path.open("wb") as file, ShardWriter(file) as tar:
            for key, sample in samples.items():
                tar.write({**sample.as_wds, "__key__": key})
        return PulledShard("https://e.example/looks", path, path.stat().st_size, sha256, True, 0)

    return write


def files(folder):
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not name.endswith(FILE)}


def written(shards, folder, kind: type = Look):
    return sample_files(shards, "did:plc:1/looks", kind, folder, lambda done, total: None)


def test_pictures_become_files_in_full_size_and_the_rest_a_table(shard, tmp_path):
    folder = tmp_path / "samples"
    looks = {"a/0": look(0), "a/1": look(1)}
    [found] = written([shard(looks)], folder)
    assert (found.table, found.samples, found.pictures, found.left_out) == (folder / "looks.parquet", 2, 5, [])
    rows = parquet.read_table(found.table).to_pylist()
    for number, row in enumerate(rows):
        sample = looks[row["__key__"]]
        assert row["image"] == f"looks/image/a_{number}.png"
        assert np.array_equal(np.asarray(Image.open(folder / row["image"])), sample.image)
        # Brightness of 255 steps comes back as it was.
        assert np.array_equal(np.asarray(Image.open(folder / row["light"])), sample.image[..., 0])
        assert row["matrix"] == sample.matrix.tolist()
        assert (row["raw"], row["words"], row["label"]) == (sample.raw, sample.words, number)
    assert [row["photo"] for row in rows] == [None, "looks/photo/a_1.jpg"]
    assert (folder / "looks/photo/a_1.jpg").read_bytes() == jpeg()
    assert len(files(folder)) == 6


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 4)])
def test_grey_and_transparent_pictures_are_pictures_too(shape):
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(room.file_of(image)[1]))), image.squeeze())


def test_a_field_of_which_one_value_is_no_picture_stays_in_the_table(shard, tmp_path):
    looks = {"0": look(0), "1": look(1, (2, 2, 3))}
    [found] = written([shard(looks)], tmp_path / "samples")
    assert parquet.read_table(found.table)["image"].to_pylist() == [each.image.tolist() for each in looks.values()]
    assert files(tmp_path / "samples") == {"looks.parquet", "looks/photo/1.jpg"}


def test_hostile_keys_and_fields_stay_in_the_folder_and_apart(shard, tmp_path):
    keys = ["../../up", "../_/up", "a b", "a?b", "A_B", "k" * 90 + "\udcff", "CON", "nul/é"]
    samples = {key: DictSample({"../p": jpeg(), "": jpeg(), "n": [1, "a"], "none": {}}) for key in keys}
    folder = tmp_path / "samples"
    [found] = written([shard(samples, "..tar.tar")], folder, DictSample)
    rows = parquet.read_table(found.table).to_pylist()
    assert len({row["__key__"] for row in rows}) == len(keys)
    paths = {row[field] for row in rows for field in ("../p", "")}
    assert len({path.casefold() for path in paths}) == 2 * len(keys)
    assert all((folder / path).resolve().is_relative_to(folder) and (folder / path).is_file() for path in paths)
    assert files(tmp_path) == {"..tar.tar", "samples/..tar.parquet", *(f"samples/{path}" for path in paths)}
    assert sorted(found.left_out) == ["n", "none"]


def test_shards_of_one_stem_have_a_table_each(shard, tmp_path):
    shards = [shard({"0": look(0)}, name) for name in ("a.tar.tar", "a.TAR", "A.tar")]
    found = written([*shards], tmp_path / "samples")
    assert len({each.table.name.casefold() for each in found}) == 3


def test_again_nothing_is_written_but_of_a_shard_that_is_another(shard, tmp_path, monkeypatch):
    folder = tmp_path / "samples"
    first = shard({"0": look(0)}), shard({"1": look(1)}, "more.tar")
    found = written(first, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with monkeypatch.context() as patched:
        patched.setattr(room, "shard_records", None)
        assert written(first, folder) == found
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    changed = shard({"1": look(2)}, "more.tar", sha256="2")
    later = written([first[0], changed], folder)
    assert (later[0], later[1].sha256) == (found[0], "2")
    assert parquet.read_table(later[1].table)["label"].to_pylist() == [2]
    assert folder.joinpath("looks.parquet").stat().st_mtime_ns == before[folder / "looks.parquet"]


def test_an_interrupt_leaves_no_half_file_and_no_table_without_its_pictures(shard, tmp_path, monkeypatch):
    folder, whole = tmp_path / "samples", Path.open

    class Cut:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            self.file.write(data[:10])
            raise KeyboardInterrupt

    def cut(path, *how):
        file = whole(path, *how)
        return Cut(file) if path.name == "1.png.part" else file

    source = shard({"0": look(0), "1": look(1)})
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", cut)
        with pytest.raises(KeyboardInterrupt):
            written([source], folder)
    assert files(folder) == {"looks/image/0.png", "looks/light/0.png"}
    assert written([source], folder)[0].pictures == 5


def test_a_file_that_is_no_such_table_is_never_written_over(shard, tmp_path):
    folder = tmp_path / "samples"
    folder.mkdir()
    source, mine = shard({"0": look(0)}), folder / "looks.parquet"
    mine.write_text("mine")
    with pytest.raises(PullError, match=r"looks\.parquet is there, and is another file\. Move it away"):
        written([source], folder)
    assert mine.read_text() == "mine"


def test_a_folder_that_takes_no_files_is_named(shard, tmp_path):
    (tmp_path / "samples").write_text("a file")
    with pytest.raises(
        PullError, match=r"samples is a file, or is below one, and a folder is needed\. Move it away"
    ):
        written([shard({"0": look(0)})], tmp_path / "samples")


def test_a_shard_without_samples_is_a_table_without_rows(shard, tmp_path):
    [found] = written([shard({})], tmp_path / "samples")
    assert (found.samples, parquet.read_table(found.table).num_rows) == (0, 0)


def state(folder):
    """Of everything below: what it is, and what it holds."""
    return {
        path: (path.lstat().st_ino, path.is_symlink(), path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
    }


OWN = {
    "looks/image/0.png": "file",
    "looks/image/0.png.part": "link",
    "looks.parquet.part": "link",
    "looks.parquet": "broken link",
    "looks": "file",
    "looks/image": "file",
    "looks/light": "broken link",
    "looks/light/0.png": "folder",
    "looks.parquet.part/": "folder",
    FILE: "link",
}


@pytest.mark.parametrize("name", OWN)
def test_what_a_pull_did_not_make_is_named_and_stays_as_it_is(name, shard, tmp_path):
    folder, own = tmp_path / "samples", tmp_path / "diary.txt"
    own.write_text("mine")
    source = shard({"0": look(0)})
    laid = folder / name
    laid.parent.mkdir(parents=True)
    if OWN[name] == "file":
        laid.write_text("mine")
    elif OWN[name] == "folder":
        laid.mkdir()
    else:
        laid.symlink_to(own if OWN[name] == "link" else folder / "nothing")
    before = state(tmp_path)
    for _ in range(2):
        with pytest.raises(PullError) as caught:
            written([source], folder)
        assert caught.value.message.startswith(f"{laid} is there, and is another file. Move it away")
        assert before.items() <= state(tmp_path).items()
    assert not (folder / "looks.parquet").is_file()
    # Nothing is made of a shard that can have no table.
    assert not (folder / "looks").exists() or name.startswith("looks/") or name == "looks"
    laid.rmdir() if laid.is_dir() else laid.unlink()
    [found] = written([source], folder)
    assert (found.pictures, parquet.read_table(found.table).num_rows) == (2, 1)


def test_files_of_ones_own_beside_ours_are_not_taken_by_a_later_version(shard, tmp_path):
    folder = tmp_path / "samples"
    written([shard({"0": look(0)})], folder)
    # The next version has it, too.
    own = folder / "looks/image/1.png"
    own.write_text("mine")
    later = shard({"0": look(3), "1": look(1)}, sha256="2")
    with pytest.raises(PullError, match=r"image/1\.png is there, and is another file"):
        written([later], folder)
    assert own.read_text() == "mine"
    own.unlink()
    # Ours were moved elsewhere, and a link stands in their place.
    image = folder / "looks/image"
    image.rename(tmp_path / "photos")
    image.symlink_to(tmp_path / "photos")
    before = state(tmp_path / "photos")
    with pytest.raises(PullError, match=r"image/0\.png is there, and is another file"):
        written([later], folder)
    assert state(tmp_path / "photos") == before
    image.unlink()
    assert written([later], folder)[0].samples == 2
    # A table that was brought here is used, and stays, too.
    copied = tmp_path / "copied"
    copied.mkdir()
    (copied / "looks.parquet").write_bytes((folder / "looks.parquet").read_bytes())
    assert written([later], copied)[0].samples == 2
    with pytest.raises(PullError, match=r"looks\.parquet is there, and is another file"):
        written([shard({}, sha256="3")], copied)


def test_samples_may_be_a_link_to_a_folder_elsewhere(shard, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "samples").symlink_to(tmp_path / "disk")
    for sha256 in "12":
        written([shard({"0": look(0)}, sha256=sha256)], tmp_path / "samples")
    assert files(tmp_path / "disk") == {"looks.parquet", "looks/image/0.png", "looks/light/0.png"}


@pytest.mark.slow
def test_a_kill_at_any_note_of_the_journal_leaves_what_the_next_one_completes(shard, tmp_path):
    # Long: a process for each kill.
    program = """
import os, signal, sys
from pathlib import Path
from atdata_core.reading import PulledShard
from atdata_core.reading.pull_journal import PullJournal
from atdata_core.samples import DictSample
from atdata_pipelines.display.sample_files import sample_files
path, folder, sha256, left, when = sys.argv[1:]
left = int(left)
note = PullJournal.note
def noted(self, line):
    global left
    left -= 1
    if left == 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    note(self, line)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
PullJournal.note = noted
shard = PulledShard("https://e.example/looks", Path(path), 1, sha256, True, 0)
sample_files([shard], "did:plc:1/looks", DictSample, Path(folder), lambda done, total: None)
"""
    pictures = {f"looks/photo/{number}.jpg" for number in range(2)}
    source = shard({str(number): DictSample({"photo": jpeg()}) for number in range(2)})
    # Two notes a file, and as many where it is made again: those of the first picture and of the table.
    for last, when in itertools.product((1, 2, 5, 6), ("before", "after")):
        folder = tmp_path / f"{last}{when}"
        for sha256 in "12":
            command = [sys.executable, "-c", program, str(source.path), str(folder), sha256, str(last), when]
            killed = subprocess.run(command, env={**os.environ, "PYTHONPATH": ":".join(sys.path)}, check=False)
            assert killed.returncode == -signal.SIGKILL
            [found] = written([replace(source, sha256=sha256)], folder, DictSample)
            assert found.sha256 == sha256
            assert files(folder) == {"looks.parquet", *pictures}
            assert all((folder / picture).read_bytes() == jpeg() for picture in pictures)
