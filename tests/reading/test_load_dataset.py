"""``load_dataset``: one line for whatever names a dataset."""

import http.server
import io
import os
import re
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex
from atdata_core.atmosphere.record_format.record_keys import ENTRY, SCHEMA
from atdata_core.errors import (
    EntryNotFoundError,
    RecordNotFoundError,
    RefusedError,
    ShardChangedError,
    ShardMissingError,
    StorageError,
)
from atdata_core.local import LocalIndex, Repo, S3DataStore
from atdata_core.promote import promote_to_atmosphere
from atdata_core.shards.splits import splits_of
from atdata_core.shards.tar_samples import ShardWriter
from atdata_core.stores.s3.objects import S3Endpoint


@atdata.packable
class Cell:
    image: NDArray[np.uint8]
    label: int


def tar(start=0, count=5):
    stream = io.BytesIO()
    with ShardWriter(stream) as shard:
        for number in range(start, start + count):
            shard.write({"__key__": f"{number:06d}", "msgpack": Cell(np.full(4, number, np.uint8), number).packed})
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory; ``folder(name, ...)`` writes tars of five samples each."""
    monkeypatch.chdir(tmp_path)

    def write(*names):
        for number, name in enumerate(names):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tar(5 * number))
        return tmp_path

    return write


@pytest.fixture
def store(folder, environ, s3, bucket):
    """Keep a dataset of three shards in the lab's index."""

    def insert(name="cells", *, metadata=None, schema=True):
        root = folder("0.tar", "1.tar", "2.tar")
        dataset = atdata.Dataset[Cell](f"{root}/{{0..2}}.tar")
        Repo(s3_credentials=s3, hive_path=f"{bucket}/lab", redis=LocalIndex().redis).insert(
            dataset, name=name, maxcount=5, metadata=metadata
        )
        if schema:
            LocalIndex().publish_schema(Cell, version="1.0.0")
        return LocalIndex().get_entry_by_name(name)

    return insert


@pytest.fixture
def client(environ, pds, account):
    client = AtmosphereClient(pds.url)
    client.login(account.handle, account.password)
    return client


@pytest.fixture
def publish(store, client, box, s3, bucket, monkeypatch):
    """Publish a dataset, and leave nothing of the lab in the environment; its at-uri."""

    def promote(name="cells", **said):
        public = S3DataStore(s3, bucket=bucket, public_url=f"{box.public_url}/{bucket}")
        uri = promote_to_atmosphere(store(name, **said), LocalIndex(), client, data_store=public)
        for variable in ("ATDATA_REDIS_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(variable)
        return uri

    return promote


def labels(dataset):
    return [sample.label for sample in dataset]


def test_a_published_dataset_is_read_by_name_and_at_uri_in_one_line(publish, account):
    uri = publish("lab/cells")
    for where in (uri, f"@{account.handle}/lab/cells", f"@{account.did}/lab/cells"):
        dataset = atdata.load_dataset(where)
        assert labels(dataset) == list(range(15))
        assert len(dataset) == 15
    assert (dataset.sample_type.__name__, dataset.sample_type is Cell) == ("Cell", False)
    assert atdata.load_dataset(uri, sample_type=Cell).head(1)[0] == Cell(np.zeros(4, np.uint8), 0)
    (own,) = [AtmosphereIndex(AtmosphereClient()).get_dataset(f"@{account.handle}/lab/cells")]
    assert (own.uri, own.samples) == (uri, 15)


def test_a_changed_shard_is_told_before_the_first_sample_where_all_is_read_at_once(publish, s3, client):
    uri = publish()
    url = client.get_record(uri).value["storage"]["shards"][1]["url"]
    bucket, key = url.split("/")[3:4][0], "/".join(url.split("/")[4:])
    service = S3Endpoint.from_credentials(s3).client
    data = bytearray(service.get_object(Bucket=bucket, Key=key)["Body"].read())
    data[data.index(b"label") + 5] ^= 1
    service.put_object(Bucket=bucket, Key=key, Body=bytes(data))
    with pytest.raises(ShardChangedError):
        atdata.load_dataset(uri, streaming=False)
    with pytest.raises(ShardChangedError):
        list(atdata.load_dataset(uri))
    assert len(list(atdata.load_dataset(uri, verify=False))) == 15


def test_without_a_published_schema_samples_are_dict_samples(publish, client, caplog):
    uri = publish()
    client.delete_record(next(iter(client.iter_records(SCHEMA))).uri)
    dataset = atdata.load_dataset(uri)
    assert dataset.sample_type is atdata.DictSample
    assert [sample["label"] for sample in dataset][:3] == [0, 1, 2]
    assert "read as DictSample" in caplog.text


def test_splits_that_the_metadata_tell_are_a_dataset_dict(publish, account):
    publish(metadata={"splits": {"train": [0, 1], "test": 2}})
    where = f"@{account.handle}/cells"
    found = atdata.load_dataset(where)
    assert isinstance(found, atdata.DatasetDict)
    assert {name: labels(each) for name, each in found.items()} == {
        "train": list(range(10)),
        "test": list(range(10, 15)),
    }
    assert (found.num_shards, found.streaming) == ({"train": 2, "test": 1}, True)
    assert labels(atdata.load_dataset(where, split="test")) == list(range(10, 15))
    with pytest.raises(ValueError, match=rf"Split 'tst' not found: {where} has train, test\. Near it: test"):
        atdata.load_dataset(where, split="tst")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"train": ["train-0.tar"], "test": ["nothing-*.tar"]}, r"no shard is 'nothing-\*\.tar'"),
        ({"train": [0], "test": [3]}, "no shard is 3"),
        ({"train": [0], "test": [-1]}, "no shard is -1"),
        ({"train": []}, "a split has no shards"),
        ({"train": True}, "no shard is True"),
        ({"train": {"a": 0}}, "no shard is {'a': 0}"),
        ({"": [0]}, "'' is no name of a split"),
        ({7: [0]}, "7 is no name of a split"),
    ],
)
def test_splits_in_metadata_that_cannot_be_are_told_of_and_all_shards_read(told, said, caplog):
    assert splits_of(["a/train-0.tar", "a/test-0.tar"], {"splits": told}) == {}
    assert re.search(f"ignored, and all shards read as one dataset: {said}", caplog.text)


def test_a_shard_that_metadata_name_twice_is_read_once_and_other_words_tell_nothing(caplog):
    shards = ["a/train-0.tar", "a/test-0.tar"]
    assert splits_of(shards, {"splits": {"all": [1, 1, "test-*", 0]}}) == {"all": shards[::-1]}
    by_name = {"train": shards[:1], "test": shards[1:]}
    assert [splits_of(shards, {"splits": told}) for told in (["train", "test"], {}, None)] == [by_name] * 3
    assert not caplog.text


def test_a_dataset_of_the_lab_is_read_from_its_index(store):
    store()
    dataset = atdata.load_dataset("@local/cells")
    assert labels(dataset) == list(range(15))
    assert len(dataset) == 15
    assert labels(atdata.load_dataset("@local/cells", split="train", index=LocalIndex())) == list(range(15))
    with pytest.raises(EntryNotFoundError, match=r"has no dataset 'cels'.*Near it: cells"):
        atdata.load_dataset("@local/cels")
    store("foreign", schema=False)
    store("parts", metadata={"splits": {"train": [0, 1], "test": [2]}})
    assert {name: len(part) for name, part in atdata.load_dataset("@local/parts").items()} == {
        "train": 10,
        "test": 5,
    }


def test_what_is_not_published_is_told_with_what_is_near(publish, account, client):
    uri = publish()
    with pytest.raises(KeyError, match=r"nothing under the name 'cell'.*Near it: cells"):
        atdata.load_dataset(f"@{account.handle}/cell")
    with pytest.raises(RecordNotFoundError, match="No account has the handle"):
        atdata.load_dataset("@nobody.test/cells")
    with pytest.raises(RefusedError, match="Write @handle/name"):
        atdata.load_dataset("@cells")
    with pytest.raises(EntryNotFoundError):
        atdata.load_dataset(f"at://{account.did}/{ENTRY}/3jzfcijpj2z2a")
    with pytest.raises(RefusedError, match="is no dataset record"):
        atdata.load_dataset(next(iter(client.iter_records(SCHEMA))).uri)
    assert uri


@pytest.mark.parametrize(
    "where", ["c-0.tar", "c-*.tar", "c-{0..1}.tar", "c-?.tar", ".", "{c}-0.tar", "./c-[01].tar", "file"]
)
def test_tars_are_read_by_path_folder_glob_and_braces(folder, where):
    root = folder("{c}-0.tar") if where.startswith("{") else folder("c-0.tar", "c-1.tar")
    where = (root / "c-0.tar").as_uri() if where == "file" else where
    dataset = atdata.load_dataset(where, Cell)
    count = 5 if where.endswith("-0.tar") else 10
    assert labels(dataset) == list(range(count))
    assert [sample["label"] for sample in atdata.load_dataset(where).head(2)] == [0, 1]


def test_a_pattern_of_folders_is_of_all_that_are_below(folder):
    folder("s/0.tar", "s/a/1.tar", "s/a/b/2.tar")
    assert labels(atdata.load_dataset("s/**/*.tar", Cell)) == list(range(15))


@pytest.mark.parametrize("odd", ["a{0..1}[x]?*#%20::b", "@local", "c-*", "{a"])
def test_a_path_is_the_file_or_folder_of_exactly_this_name(folder, odd):
    folder(f"{odd}.tar", "c-0.tar", "a0x.tar", f"{odd}/train-0.tar", f"{odd}/x/c-1.tar")
    for path, first in ((Path(f"{odd}.tar"), 0), (Path(odd), 15), (Path(odd, "x").absolute(), 20)):
        assert labels(atdata.load_dataset(path, Cell)) == list(range(first, first + 5))
    found = atdata.load_dataset(Path(odd), Cell, data_files={"a": "**/c-{1..1}.tar", "b": "train-0.tar", "c": "x"})
    assert {name: labels(each)[0] for name, each in found.items()} == {"a": 20, "b": 15, "c": 20}
    with pytest.raises(ShardMissingError, match=r"no file 'c-\?\.tar'"):
        atdata.load_dataset(Path("c-?.tar"))


def test_tars_are_read_by_http_and_s3_urls(folder, environ, s3, bucket):
    root = folder("c-0.tar", "c-1.tar")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=os.fspath(root))
    handler.log_message = None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert labels(atdata.load_dataset(f"http://127.0.0.1:{server.server_port}/c-{{0..1}}.tar", Cell)) == list(
            range(10)
        )
        server.shutdown()
    S3Endpoint.from_credentials(s3).client.put_object(Bucket=bucket, Key="c.tar", Body=tar())
    assert labels(atdata.load_dataset(f"s3://{bucket}/c.tar", Cell)) == list(range(5))
    with pytest.raises(StorageError, match=r"a \* is understood in paths of this machine only"):
        atdata.load_dataset(f"s3://{bucket}/*.tar")
    with pytest.raises(StorageError, match="scheme 'gs' is not understood"):
        atdata.load_dataset("gs://bucket/c.tar")


def test_names_of_files_and_folders_tell_splits(folder):
    folder("a/train-0.tar", "a/train-1.tar", "a/dev-0.tar", "b/train/0.tar", "b/test/0.tar", "test/0.tar")
    found = atdata.load_dataset("a", Cell)
    assert {name: labels(each) for name, each in found.items()} == {
        "validation": list(range(10, 15)),
        "train": list(range(10)),
    }
    assert found.sample_type is Cell
    assert list(atdata.load_dataset("a/{train-{0..1},dev-0}.tar")) == ["train", "validation"]
    assert atdata.load_dataset("b", Cell).num_shards == {"test": 1, "train": 1}
    # One folder is where the data lie, and no split.
    assert isinstance(atdata.load_dataset("test"), atdata.Dataset)
    for split in ("train", "test"):
        assert atdata.load_dataset("test", split=split).shard_list == ["test/0.tar"]
    with pytest.raises(RefusedError, match="Split 'validation' not found: test has train, test"):
        atdata.load_dataset("test", split="validation")
    told = atdata.load_dataset("a", Cell, data_files={"x": "train-{0..1}.tar", "y": ["dev-0.tar"]}, streaming=False)
    assert ({name: len(each) for name, each in told.items()}, told.streaming) == ({"x": 10, "y": 5}, False)


def test_what_is_read_at_once_has_a_length_and_needs_the_files_no_more(folder):
    root = folder("c-0.tar", "c-1.tar")
    dataset = atdata.load_dataset("c-*.tar", Cell, streaming=False)
    for number in range(2):
        (root / f"c-{number}.tar").unlink()
    assert len(dataset) == 10
    assert labels(dataset) == labels(dataset) == list(range(10))


def test_a_path_that_is_not_there_is_told_with_what_is_near(folder):
    folder("cells-0.tar").joinpath("empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"There is no file 'cels-0\.tar'\. Near it: cells-0\.tar"):
        atdata.load_dataset("cels-0.tar")
    with pytest.raises(ShardMissingError, match=r"no tar \(\*\.tar\) in the folder empty.*Name the folder"):
        atdata.load_dataset("empty")
    with pytest.raises(ShardMissingError, match=r"written with an @: @lab\.example\.org/digits"):
        atdata.load_dataset("lab.example.org/digits")
    with pytest.raises(ShardMissingError, match=r"'none-\*\.tar'"):
        atdata.load_dataset("none-*.tar")


def test_files_of_splits_are_found_by_patterns_and_a_typo_is_told_at_once(folder):
    folder("a/x-0.tar", "a/x-1.tar", "a/y.tar")
    found = atdata.load_dataset(Path("a"), Cell, data_files={"train": "x-*.tar", "test": ["y.tar"]})
    assert {name: labels(each) for name, each in found.items()} == {
        "train": list(range(10)),
        "test": list(range(10, 15)),
    }
    with pytest.raises(ShardMissingError, match=r"no file 'a/z\.tar'"):
        atdata.load_dataset("a", data_files={"train": "x-*.tar", "test": "z.tar"})
    with pytest.raises(TypeError, match=r"such as {'train': 'a-\*\.tar'}, and is 'x-0\.tar'"):
        atdata.load_dataset("a", data_files="x-0.tar")


def test_what_names_nothing_is_refused_with_what_does(folder):
    folder("x-0.tar")
    assert labels(atdata.load_dataset(Path(), Cell)) == list(range(5))
    for where in (None, 7, b"x-0.tar", ["x-0.tar"]):
        with pytest.raises(TypeError, match=r"as text or a pathlib\.Path, not"):
            atdata.load_dataset(where)
    for where in ("", "  "):
        with pytest.raises(RefusedError, match=r"Use '\.' for the tars of the folder"):
            atdata.load_dataset(where)
    assert atdata.load_dataset("x-0.tar").head(0) == []
    with pytest.raises(RefusedError, match=r"head\(\) takes how many samples"):
        atdata.load_dataset("x-0.tar").head(-1)
