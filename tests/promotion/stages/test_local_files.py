"""Files of this machine that somebody else named in Redis, and files in shards that are no samples."""

import io
import os
import tarfile

import msgpack
import numpy as np
import pytest

import atdata_core as atdata
from atdata_core.atmosphere.record_format.record_keys import ENTRY
from atdata_core.common.cid import entry_cid
from atdata_core.errors import (
    LocalFileError,
    PreflightError,
    SampleError,
    ShardCorruptError,
    ShardMissingError,
    ShardWarning,
    StorageError,
    StrayFilesError,
)
from atdata_core.promote import plan_promotion, promote_many, promote_to_atmosphere
from atdata_core.promotion.inventory import read_schema
from atdata_core.promotion.operations.accept import changes_of
from atdata_core.promotion.stages.copy_stage import copy_shards
from atdata_core.promotion.stages.inventory_stage import take_inventory
from atdata_core.protocols import ShardFacts
from atdata_core.state.facts import Inventory
from atdata_core.state.index_state import state_of

FOLDERS = "ATDATA_LOCAL_FOLDERS"


@atdata.packable
class Word:
    """Samples of another kind than points."""

    text: str


@pytest.fixture
def by_stranger(lab, point_type):
    """An entry as another program writes it to Redis: upstream's hash, and nothing beside it."""
    ref = lab.index.publish_schema(point_type)

    def write(*urls, name="theirs"):
        cid = entry_cid(ref, list(urls))
        values = {"name": name, "schema_ref": ref, "cid": cid, "data_urls": msgpack.packb(list(urls))}
        lab.index.redis.hset(f"LocalDatasetEntry:{cid}", mapping=values)
        return lab.index.get_entry(cid)

    return write


@pytest.fixture
def refused(lab, atmosphere, store, list_keys):
    """The error for which a dataset is promoted by no way at all, with nothing written anywhere."""

    def attempt(entry, kind):
        with pytest.raises(kind) as raised:
            promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
        with pytest.raises(kind):
            promote_to_atmosphere(entry, lab.index, atmosphere.client)
        with pytest.raises(kind):
            plan_promotion(entry, lab.index, atmosphere.client, data_store=store)
        [outcome] = promote_many([entry], lab.index, atmosphere.client, data_store=store)
        assert isinstance(outcome.error, kind)
        assert atmosphere.counts == [0, 0, 0]
        assert list_keys(store.bucket) == []
        return raised.value

    return attempt


@pytest.fixture
def pack(tmp_path, point_type):
    """A tar with points, and with whatever else: by name, a content."""

    def write(name="a.tar", *, points=3, **others):
        path = tmp_path / name
        with tarfile.open(path, "w") as archive:
            files = {f"{number:06d}.msgpack": None for number in range(points)} | others
            for number, (each, content) in enumerate(files.items()):
                if content is None:
                    content = point_type(at=np.zeros(4, np.float32), label=number).packed
                member = tarfile.TarInfo(each)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return str(path)

    return write


@pytest.mark.parametrize(
    "url",
    ["/etc/passwd", "file:///etc/hostname", "FILE:///etc/passwd", "/proc/self/environ", "/etc/{passwd,hostname}"],
)
def test_a_file_that_a_stranger_named_is_not_read(by_stranger, refused, url):
    error = refused(by_stranger(url), LocalFileError)
    assert error.facts["name"] == "theirs"
    assert all(
        words in error.message for words in ("theirs", "/etc" if "etc" in url else "/proc", FOLDERS, "add_entry")
    )


def test_nothing_is_read_where_one_of_the_shards_is_such_a_file(lab, by_stranger, refused, pack):
    good = next(iter(lab.insert("ours").data_urls)).replace("{000000..000002}", "000000")
    entry = by_stranger(good, pack())
    refused(entry, LocalFileError)
    assert lab.index.shard_claims(entry.cid) == {}


def test_whether_such_a_file_is_there_is_not_told(by_stranger, refused, tmp_path):
    refused(by_stranger(str(tmp_path / "gone.tar")), LocalFileError)


def test_opening_an_entry_of_the_index_does_not_name_its_files(lab, by_stranger, refused, pack, point_type):
    entry = by_stranger(pack())
    dataset = atdata.Dataset[point_type](lab.index.get_dataset("theirs").data_urls)
    assert len(list(dataset.ordered())) == 3
    refused(entry, LocalFileError)


def test_no_other_stage_reads_such_a_file(lab, by_stranger, store, list_keys, pack):
    entry = by_stranger(pack())
    with pytest.raises(LocalFileError):
        changes_of(entry, lab.index)
    schema = read_schema(entry, lab.index)
    facts = (ShardFacts(entry.data_urls[0], 1, "0" * 64),)
    inventory = Inventory(entry.name, entry.cid, entry.schema_ref, schema, facts, ("read",))
    with pytest.raises(LocalFileError):
        copy_shards(entry, inventory, lab.index, state_of(lab.index).ledger, data_store=store)
    assert list_keys(store.bucket) == []


def test_what_this_process_has_registered_is_published(lab, atmosphere, store, by_stranger, pack, point_type):
    path = pack()
    by_stranger(path)
    entry = lab.index.add_entry(atdata.Dataset[point_type](path), name="ours")
    promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    assert atmosphere.records(ENTRY)[0].value["size"]["samples"] == 3


def test_a_file_in_a_folder_that_the_configuration_names_is_published(
    lab, atmosphere, store, by_stranger, pack, tmp_path, monkeypatch
):
    entry = by_stranger("file://" + pack())
    monkeypatch.setenv(FOLDERS, f"/somewhere/else{os.pathsep}{tmp_path}")
    promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    assert atmosphere.records(ENTRY)[0].value["size"]["samples"] == 3


def test_a_link_into_the_named_folder_is_as_good_as_the_file(
    lab, by_stranger, pack, tmp_path, tmp_path_factory, monkeypatch
):
    pack()
    link = tmp_path_factory.mktemp("links") / "data"
    link.symlink_to(tmp_path)
    monkeypatch.setenv(FOLDERS, str(link))
    found = take_inventory(by_stranger(str(link / "a.tar")), lab.index, state_of(lab.index).ledger)
    assert found.samples == 3


@pytest.mark.parametrize("way", ["link", "folder link", "dots", "elsewhere", "relative folder"])
def test_what_leads_out_of_the_named_folder_is_refused(
    by_stranger, refused, pack, tmp_path, tmp_path_factory, monkeypatch, way
):
    secret = pack()
    folder = tmp_path_factory.mktemp("named")
    monkeypatch.setenv(FOLDERS, str(folder))
    path = folder / "a.tar"
    if way == "link":
        path.symlink_to(secret)
    elif way == "folder link":
        (folder / "more").symlink_to(tmp_path)
        path = folder / "more" / "a.tar"
    elif way == "dots":
        path = f"{folder}/../{tmp_path.name}/a.tar"
    elif way == "elsewhere":
        # Its name begins as that of the folder.
        monkeypatch.setenv(FOLDERS, str(tmp_path)[:-1])
        path = secret
    else:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv(FOLDERS, ".")
        path = secret
    refused(by_stranger(str(path)), LocalFileError)


def test_devices_pipes_and_what_the_kernel_makes_are_no_data_whatever_is_named(
    by_stranger, refused, tmp_path, monkeypatch
):
    monkeypatch.setenv(FOLDERS, "/")
    os.mkfifo(tmp_path / "pipe.tar")
    for path in ("/proc/self/environ", "/dev/zero", "/sys/kernel/mm", str(tmp_path / "pipe.tar")):
        refused(by_stranger(path), LocalFileError)
    refused(by_stranger(str(tmp_path)), StorageError)


def test_a_file_that_is_named_but_not_there_is_missing(by_stranger, refused, tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDERS, str(tmp_path))
    refused(by_stranger(str(tmp_path / "gone.tar")), ShardMissingError)


class Mapped:
    """Somebody's own store, which has for each web address a file."""

    def __init__(self, folder):
        self.folder = folder

    def write_shards(self, ds, *, prefix):
        raise NotImplementedError

    def read_url(self, url):
        return self.folder + url.removeprefix("https://data.example.org")

    def supports_streaming(self):
        return True


@pytest.mark.parametrize("url", ["https://data.example.org/a.tar", "/a.tar"])
def test_a_url_that_a_store_takes_for_a_file_is_a_file(lab, by_stranger, refused, pack, tmp_path, monkeypatch, url):
    pack()
    lab.index.data_store = Mapped(str(tmp_path))
    entry = by_stranger(url)
    refused(entry, LocalFileError)
    if url.startswith("https"):
        monkeypatch.setenv(FOLDERS, str(tmp_path))
        assert take_inventory(entry, lab.index, state_of(lab.index).ledger).samples == 3


@pytest.mark.parametrize(
    ("files", "count", "first"),
    [
        ({"id_rsa": b"-----BEGIN OPENSSH PRIVATE KEY-----"}, 1, "id_rsa"),
        ({"keys/id_rsa.pem": b"key", "keys/id_rsa.pub": b"key"}, 2, "keys/id_rsa.pem"),
        ({"000001.jpg": b"picture"}, 1, "000001.jpg"),
        ({"__meta__/notes.json": b"{}", ".ssh": b"key"}, 2, "__meta__/notes.json"),
    ],
)
@pytest.mark.parametrize("points", [0, 2])
def test_a_shard_with_files_that_are_no_samples_is_refused_by_name(
    lab, refused, pack, s3_put, point_type, files, count, first, points
):
    url = s3_put(pack(points=points, **files))
    entry = lab.index.add_entry(atdata.Dataset[point_type](url), name="stray")
    lab.index.publish_schema(point_type)
    error = refused(entry, StrayFilesError)
    assert (error.facts["count"], error.facts["first"]) == (count, first)
    assert all(words in error.message for words in (url, first, "Repo.insert"))
    [problem] = changes_of(entry, lab.index).problems
    assert isinstance(problem.problem, StrayFilesError)


def test_what_lies_behind_the_archive_or_is_of_a_strange_kind_is_refused(lab, refused, pack, s3_put, point_type):
    lab.index.publish_schema(point_type)
    behind = pack("behind.tar")
    with open(behind, "ab") as file, open(pack("second.tar"), "rb") as second:
        file.write(second.read())
    odd = pack("odd.tar", points=1)
    with tarfile.open(odd, "a") as archive:
        member = tarfile.TarInfo("volume")
        member.size, member.type = 3, b"Q"
        archive.addfile(member, io.BytesIO(b"key"))
    entry = lab.index.add_entry(atdata.Dataset[point_type](s3_put(behind)), name="odd")
    assert "another archive" in refused(entry, ShardCorruptError).message
    entry = lab.index.add_entry(atdata.Dataset[point_type](s3_put(odd)), name="odd")
    assert refused(entry, StrayFilesError).facts["first"] == "volume"


def test_samples_of_another_type_are_refused(lab, refused, pack, s3_put, point_type):
    lab.index.publish_schema(point_type)
    url = s3_put(pack(**{"000009.msgpack": Word(text="no point").packed}))
    refused(lab.index.add_entry(atdata.Dataset[point_type](url), name="words"), SampleError)


def test_an_empty_shard_is_told_and_no_reason_to_refuse(lab, pack, s3_put, point_type):
    lab.index.publish_schema(point_type)
    urls = [s3_put(pack("full.tar")), s3_put(pack("empty.tar", points=0))]
    entry = lab.index.add_entry(atdata.Dataset[point_type](urls), name="half")
    for looks in (("read", "read"), ("etag", "etag")):
        found = take_inventory(entry, lab.index, state_of(lab.index).ledger)
        assert found.warnings == (f"{urls[1]} holds no samples.",)
        assert found.looks == looks


def test_inserting_such_a_dataset_anew_leaves_out_what_belongs_to_no_sample(lab, atmosphere, pack, point_type):
    lab.index.publish_schema(point_type)
    path = pack(**{"id_rsa": b"key", "._000002.msgpack": b"\0\5\26\7"})
    with pytest.warns(ShardWarning, match=r"2 of its files belong to no sample \(1 without a suffix, 1 of macOS"):
        entry, _ = lab.repo.insert(atdata.Dataset[point_type](path), name="clean")
    promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert atmosphere.records(ENTRY)[0].value["size"]["samples"] == 3


def test_files_that_repo_insert_has_kept_beside_samples_are_not_published_on_its_claim(
    lab, refused, pack, point_type
):
    lab.index.publish_schema(point_type)
    path = pack(**{"000002.jpg": b"picture", "000002.json": b"{}"})
    entry, _ = lab.repo.insert(atdata.Dataset[point_type](path), name="pictures")
    [claim] = lab.index.shard_claims(entry.cid).values()
    assert (claim.samples, claim.schema) == (3, None)
    error = refused(entry, StrayFilesError)
    assert (error.facts["count"], error.facts["suffixes"]) == (2, {".jpg": 1, ".json": 1})
    assert "2 files that are no samples (1 .jpg, 1 .json)" in error.message


@pytest.fixture
def s3_put(lab):
    """Upload a file; its URL."""

    def put(path):
        client, key = lab.repo.data_store.endpoint.client, os.path.basename(path)
        client.upload_file(path, lab.bucket, key)
        return f"s3://{lab.bucket}/{key}"

    return put


def test_more_shards_than_a_record_has_room_for_are_refused_before_any_is_looked_at(by_stranger, refused):
    """There is no such bucket: whoever looked would say so."""
    error = refused(by_stranger("s3://no-such-bucket/part-{0000..7999}.tar"), PreflightError)
    assert "8,000 shards" in str(error)
