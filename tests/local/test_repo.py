from __future__ import annotations

import dataclasses
import hashlib
import io
import shutil
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atdata_core import Dataset
from atdata_core.common.urls import expand, parse_s3
from atdata_core.errors import (
    DatasetNameError,
    MetadataError,
    NoDataUrlsError,
    SampleError,
    ServiceUnavailableError,
    ShardCorruptError,
    ShardMissingError,
    ShardWarning,
    StorageError,
    StrayFilesError,
    StrayFilesWarning,
)
from atdata_core.local import Repo
from atdata_core.shards.packed_samples import shard_records
from atdata_core.shards.tar_samples import ShardWriter
from own_stores import FolderStore

MakeDataset = Callable[..., Dataset[Any]]


@pytest.fixture
def repo(s3: dict[str, str], bucket: str, client: Any) -> Repo:
    return Repo(s3_credentials=s3, hive_path=f"{bucket}/hive", redis=client)


def objects(repo: Repo) -> list[str]:
    answer = repo.data_store.endpoint.client.list_objects_v2(Bucket=repo.data_store.bucket)
    return [each["Key"] for each in answer.get("Contents", [])]


def test_inserted_samples_can_be_read_at_once_with_their_keys_in_order(repo: Repo, make_dataset: MakeDataset):
    entry, stored = repo.insert(make_dataset(5, shards=2), name="digits", maxcount=4)

    assert [sample.label for sample in stored.ordered()] == list(range(10))
    assert len(stored.shard_list) == 3
    assert entry.data_urls == [stored.url]
    assert expand(entry.data_urls) == stored.shard_list
    assert repo.index.get_entry_by_name("digits") == entry


def test_every_shard_has_a_claim_that_its_bytes_bear_out(repo: Repo, make_dataset: MakeDataset):
    entry, stored = repo.insert(make_dataset(5), name="digits", maxcount=2)

    claims = repo.index.shard_claims(entry.cid)
    assert list(claims) == stored.shard_list
    for url, claim in claims.items():
        with repo.data_store.open_shard(url) as shard:
            data = shard.read()
        assert (claim.size, claim.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert claim.md5 == claim.etag == hashlib.md5(data, usedforsecurity=False).hexdigest()
        assert claim.endpoint == repo.data_store.endpoint.endpoint_url
    assert [claim.samples for claim in claims.values()] == [2, 2, 1]


def test_the_same_samples_give_the_same_bytes_with_and_without_a_local_cache(repo: Repo, make_dataset: MakeDataset):
    ds = make_dataset(6, shards=2)
    plain, _ = repo.insert(ds, name="plain")
    cached, _ = repo.insert(ds, name="cached", cache_local=True)

    assert plain.cid != cached.cid
    assert [claim.sha256 for claim in repo.index.shard_claims(plain.cid).values()] == [
        claim.sha256 for claim in repo.index.shard_claims(cached.cid).values()
    ]


def test_the_entry_carries_its_store_but_does_not_keep_it(repo: Repo, make_dataset: MakeDataset):
    entry, _ = repo.insert(make_dataset(), name="digits")

    assert entry.data_store is repo.data_store
    assert repo.index.get_entry_by_name("digits").data_store is None
    assert "minioadmin" not in repr(entry) + repr(repo) + repr(repo.data_store)


def test_metadata_is_kept_beside_the_shards_and_in_the_index(repo: Repo, make_dataset: MakeDataset, tmp_path: Any):
    metadata = {"big": 2**60, 3: [b"\x00", 0.1, None]}
    entry, stored = repo.insert(with_metadata(make_dataset(), metadata, tmp_path), name="digits")

    assert entry.metadata == metadata
    assert repo.index.get_entry_by_name("digits").metadata == metadata
    assert (
        Dataset[stored.sample_type](
            stored.url, metadata_url=stored.metadata_url, data_store=repo.data_store
        ).metadata
        == metadata
    )
    assert any(key.startswith("hive/metadata/atdata-metadata--") for key in objects(repo))


def test_shards_of_one_sample_with_the_same_key_stay_two_samples(repo: Repo, make_dataset: MakeDataset):
    ds = make_dataset(1)
    twice = Dataset[ds.sample_type]([ds.url, ds.url])  # type: ignore[name-defined]

    _, stored = repo.insert(twice, name="twice")

    assert len(list(stored.ordered())) == 2


def test_a_shard_larger_than_one_request_is_written_in_parts(repo: Repo, tmp_path: Any):
    import numpy as np

    from atdata_core.shards.tar_samples import ShardWriter

    class_of = make_big()
    path = tmp_path / "big.tar"
    with path.open("wb") as stream, ShardWriter(stream) as writer:
        for number in range(5):
            writer.write({"msgpack": class_of(data=np.full(8 << 20, number, np.uint8)).packed})

    entry, stored = repo.insert(Dataset[class_of](str(path)), name="big")  # type: ignore[valid-type]

    (claim,) = repo.index.shard_claims(entry.cid).values()
    assert claim.size == path.stat().st_size
    assert claim.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert claim.etag == repo.data_store.stat_shard(claim.url).etag
    assert [int(sample.data[0]) for sample in stored.ordered()] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["", "a...b", "line\nbreak", "x" * 201, "a/../b", "\ud800"])
def test_a_name_that_cannot_be_published_leaves_nothing(repo: Repo, make_dataset: MakeDataset, name: str):
    with pytest.raises(DatasetNameError, match="A name has 1 to 200 bytes"):
        repo.insert(make_dataset(), name=name)
    assert objects(repo) == []


def test_metadata_that_cannot_be_kept_leaves_nothing(repo: Repo, make_dataset: MakeDataset, tmp_path: Any):
    with pytest.raises(MetadataError, match="100,000 are allowed"):
        repo.insert(with_metadata(make_dataset(), {"text": "x" * 100_001}, tmp_path), name="digits")
    assert objects(repo) == []


def write_with_files(path: Any, sample_type: Any, count: int) -> Dataset[Any]:
    """Samples of which every second one has files beside it."""
    with path.open("wb") as stream, ShardWriter(stream) as writer:
        for number in range(count):
            files = files_of(number) if number % 2 else {}
            writer.write_files(f"trip/{number:03d}", {"msgpack": sample_type(text=f"{number}").packed, **files})
    return Dataset[sample_type](str(path))


def files_of(number: int) -> dict[str, bytes]:
    return {
        "jpg": b"\xff\xd8\xff\xe0" + bytes([number]) * 700,
        "seg.png": b"",
        "_meta": b"hidden",
        "json": b'{"number": %d}' % number,
        "msgpack.sig": b"\0" * 512,
    }


@pytest.mark.parametrize("cache_local", [False, True])
def test_files_beside_samples_are_kept_byte_for_byte_and_are_no_samples(
    repo: Repo, tmp_path: Any, cache_local: bool
):
    word = make_word()
    ds = write_with_files(tmp_path / "trips.tar", word, 7)

    entry, stored = repo.insert(ds, name="trips", maxcount=3, cache_local=cache_local)

    records = [record for url in stored.shard_list for record in shard_records(url, store=repo.data_store)]
    assert [record.pop("__key__") for record in records] == [f"trip/{number:03d}" for number in range(7)]
    assert [word.from_bytes(record.pop("msgpack")).text for record in records] == [f"{n}" for n in range(7)]
    assert records == [files_of(number) if number % 2 else {} for number in range(7)]
    assert [sample.text for sample in stored.ordered()] == [f"{number}" for number in range(7)]
    claims = list(repo.index.shard_claims(entry.cid).values())
    assert [claim.samples for claim in claims] == [3, 3, 1]
    # What the schema says nothing of was not checked against it.
    assert [claim.schema is None for claim in claims] == [True, True, False]

    again, _ = repo.insert(stored, name="again", maxcount=3)
    assert [each.sha256 for each in repo.index.shard_claims(again.cid).values()] == [c.sha256 for c in claims]


def test_an_insert_with_files_beside_samples_warns_that_it_cannot_be_promoted_so(repo: Repo, tmp_path: Any):
    word = make_word()
    with pytest.warns(StrayFilesWarning) as told:
        repo.insert(write_with_files(tmp_path / "trips.tar", word, 5), name="trips")
    [said] = [str(each.message) for each in told]
    assert "10 files beside its samples (" in said
    assert "2 .jpg" in said
    assert "cannot be promoted" in said
    assert "make what they hold fields of the sample type, or take them out of the tars" in said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        repo.insert(write_with_files(tmp_path / "plain.tar", word, 1), name="plain")


def test_what_belongs_to_no_sample_is_told_by_suffix_and_count_and_left_out(repo: Repo, tmp_path: Any):
    word = make_word()
    path = tmp_path / "words.tar"
    files = {"README": b"read", "a.msgpack": word(text="a").packed, "a.txt": b"kept", "._a.txt": b"\0\5\26\7"}
    write_tar(path, {**files, "__index__/all.csv": b"1", "NOTES": b""})
    told = r"words\.tar: 4 of its files belong to no sample \(2 without a suffix, 1 of macOS .*, 1 \.csv\), .*READ"
    with pytest.warns(ShardWarning, match=told):
        _, stored = repo.insert(Dataset[word](str(path)), name="words")  # type: ignore[valid-type]
    [record] = shard_records(stored.shard_list[0], store=repo.data_store)
    assert sorted(record) == ["__key__", "msgpack", "txt"]


def test_a_file_beside_a_sample_that_is_a_link_is_refused_and_leaves_nothing(repo: Repo, tmp_path: Any):
    word = make_word()
    path = tmp_path / "words.tar"
    write_tar(path, {"a.msgpack": word(text="a").packed, "b.msgpack": word(text="b").packed}, link="b.png")
    with pytest.raises(ShardCorruptError, match=r"'b\.png' is a hard link"):
        repo.insert(Dataset[word](str(path)), name="words", maxcount=1)  # type: ignore[valid-type]
    assert objects(repo) == []


class Keeping(FolderStore):
    """One that copies the tar as it is."""

    keeps_files = True

    def write_shards(self, ds: Any, *, prefix: str, **_: Any) -> list[str]:
        self.folder.mkdir()
        shutil.copy(ds.url, self.folder / "kept.tar")
        return [f"{self.url}/kept.tar"]


def test_a_store_of_ones_own_that_loses_files_beside_samples_is_refused_by_suffix_and_count(
    repo: Repo, tmp_path: Any
):
    word, index = make_word(), repo.index
    ds = write_with_files(tmp_path / "trips.tar", word, 5)
    index.data_store = FolderStore(tmp_path / "own", "https://data.example.org")
    with pytest.raises(StrayFilesError, match=r"FolderStore.write_shards .* 10 files .*2 \.jpg") as raised:
        index.insert_dataset(ds, name="trips")
    assert raised.value.facts["suffixes"] == {f".{suffix}": 2 for suffix in files_of(0)}
    assert index.list_datasets() == []
    # Nothing was written that nobody would take away.
    assert not (tmp_path / "own").exists()

    plain = write_with_files(tmp_path / "plain.tar", word, 1)
    assert len(index.insert_dataset(plain, name="plain").data_urls) == 1
    index.data_store = lying = FolderStore(tmp_path / "lying", "https://data.example.org")
    lying.keeps_files = True  # type: ignore[attr-defined]
    with pytest.raises(StrayFilesError, match=r"FolderStore.write_shards .* 10 files"):
        index.insert_dataset(ds, name="trips")
    index.data_store = Keeping(tmp_path / "kept", "https://data.example.org")
    with pytest.warns(StrayFilesWarning, match=r"10 files beside its samples .* cannot be promoted"):
        index.insert_dataset(ds, name="trips")
    shutil.rmtree(tmp_path / "kept")
    assert index.insert_dataset(ds, name="trips").data_urls == ["https://data.example.org/kept.tar"]


def test_a_missing_bucket_is_named_before_anything_is_read(
    s3: dict[str, str], client: Any, make_dataset: MakeDataset
):
    repo = Repo(s3_credentials=s3, hive_path="no-such-bucket/hive", redis=client)
    with pytest.raises(ShardMissingError, match=r"no bucket 'no-such-bucket' at .*Create it"):
        repo.insert(make_dataset(), name="digits")
    assert repo.index.list_datasets() == []


def test_a_damaged_source_leaves_neither_shards_nor_an_entry(repo: Repo, make_dataset: MakeDataset):
    ds = make_dataset(5, shards=2)
    last = ds.shard_list[-1]
    with open(last, "rb+") as stream:
        stream.truncate(1536 * 3)

    with pytest.raises(ShardCorruptError, match=r"data-001\.tar"):
        repo.insert(ds, name="digits", maxcount=2)
    assert objects(repo) == []
    assert repo.index.list_datasets() == []


def test_samples_of_another_type_are_refused(repo: Repo, make_dataset: MakeDataset):
    ds = make_dataset()
    with pytest.raises(SampleError, match=r"data-000\.tar.*0-0000"):
        repo.insert(Dataset[make_big()](ds.url), name="digits")  # type: ignore[misc]
    assert objects(repo) == []


def test_a_dataset_without_samples_is_refused(repo: Repo, make_dataset: MakeDataset):
    with pytest.raises(NoDataUrlsError, match="no samples"):
        repo.insert(make_dataset(0), name="empty")
    assert objects(repo) == []


def test_when_redis_is_down_nothing_is_written_to_s3(s3: dict[str, str], bucket: str, make_dataset: MakeDataset):
    import redis

    repo = Repo(s3_credentials=s3, hive_path=bucket, redis=redis.Redis(port=1, retry=None))
    with pytest.raises(ServiceUnavailableError, match=r"localhost:1 .*ATDATA_REDIS_URL"):
        repo.insert(make_dataset(), name="digits")
    assert objects(repo) == []


def test_when_redis_goes_away_midway_the_shards_are_removed(
    repo: Repo, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
):
    def gone(*_: Any) -> None:
        import redis

        raise redis.ConnectionError("gone")

    monkeypatch.setattr(repo.index.redis, "eval", gone)
    with pytest.raises(ServiceUnavailableError):
        repo.insert(make_dataset(), name="digits", maxcount=2)
    assert objects(repo) == []


@pytest.mark.parametrize("hive_path", ["", "/", "bucket/{a,b}"])
def test_a_hive_path_that_names_no_place_is_refused(s3: dict[str, str], hive_path: str):
    with pytest.raises(StorageError, match="hive_path"):
        Repo(s3_credentials=s3, hive_path=hive_path)


def test_a_repo_takes_its_place_by_position_and_tells_it(s3: dict[str, str], bucket: str, client: Any):
    repo = Repo(s3, f"{bucket}/hive/deep", client)
    assert (repo.s3_credentials, repo.hive_path, repo.hive_bucket) == (s3, Path(bucket, "hive", "deep"), bucket)
    assert repo.index.redis is client
    assert not any(secret in repr(repo) for secret in (s3["AWS_ACCESS_KEY_ID"], s3["AWS_SECRET_ACCESS_KEY"]))


def test_a_repo_without_credentials_is_an_index_that_takes_no_shards(
    s3: dict[str, str], client: Any, make_dataset: MakeDataset
):
    repo = Repo(redis=client)
    assert (repo.s3_credentials, repo.hive_path, repo.hive_bucket) == (None, None, None)
    assert repo.index.list_datasets() == []
    with pytest.raises(StorageError, match="S3 credentials required"):
        repo.insert(make_dataset(), name="digits")
    with pytest.raises(StorageError, match="Must specify hive path"):
        Repo(s3)


def test_the_whole_bucket_can_be_the_hive(s3: dict[str, str], bucket: str, client: Any, make_dataset: MakeDataset):
    entry, _ = Repo(s3_credentials=s3, hive_path=bucket, redis=client).insert(make_dataset(), name="digits")
    where, key = parse_s3(entry.data_urls[0])
    assert where == bucket
    assert key.startswith("atdata--")


def make_big() -> Any:
    import numpy as np

    import atdata_core

    @atdata_core.packable
    class Big:
        data: atdata_core.samples.NDArray[np.uint8]

    return Big


def make_word() -> Any:
    import atdata_core

    @atdata_core.packable
    class Word:
        text: str

    return Word


def write_tar(path: Any, files: dict[str, bytes], link: str | None = None) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.LNKTYPE, next(iter(files))
            archive.addfile(member)


def with_metadata(ds: Dataset[Any], metadata: dict[Any, Any], folder: Any) -> Dataset[Any]:
    import msgpack

    path = folder / "metadata.msgpack"
    path.write_bytes(msgpack.packb(metadata))
    return Dataset[ds.sample_type](ds.url, metadata_url=str(path))


def test_an_entry_can_be_copied_under_another_name_without_changing_its_cid(repo: Repo, make_dataset: MakeDataset):
    entry, _ = repo.insert(make_dataset(), name="digits")
    assert dataclasses.replace(entry, name="numbers").cid == entry.cid
