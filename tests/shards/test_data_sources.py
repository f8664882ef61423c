"""Sources: a dataset reads the shards that an object lists and opens."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import msgpack
import pytest

import atdata_core as atdata
from atdata_core import Dataset, DataSource, S3Source, URLSource
from atdata_core.common.urls import expand
from atdata_core.errors import CredentialsError, RefusedError, ShardNotListedError, StorageError
from atdata_core.shards.tar_samples import ShardWriter
from atdata_core.stores.s3.objects import S3Endpoint


@atdata.packable
class Row:
    n: int


def tar(*numbers: int) -> bytes:
    stream = io.BytesIO()
    with ShardWriter(stream) as writer:
        for n in numbers:
            writer.write({**Row(n=n).as_wds, "__key__": f"{n:03d}"})
    return stream.getvalue()


class InMemory:
    """Somebody's own source: names that are no URLs."""

    def __init__(self) -> None:
        self.tars = {"first": tar(1, 2), "second {0..9}": tar(3)}

    @property
    def shards(self) -> Any:
        return ((name, self.open_shard(name)) for name in self.tars)

    def list_shards(self) -> list[str]:
        return list(self.tars)

    def open_shard(self, shard_id: str, /) -> io.BytesIO:
        return io.BytesIO(self.tars[shard_id])


def test_a_dataset_reads_what_a_source_lists(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(tar(1, 2))
    (tmp_path / "b.tar").write_bytes(tar(3))
    (tmp_path / "about").write_bytes(msgpack.packb({"by": "me"}))
    pattern = f"{tmp_path}/{{a,b}}.tar"
    for source in (URLSource(pattern), URLSource([f"{tmp_path}/a.tar", f"{tmp_path}/b.tar"]), InMemory()):
        assert isinstance(source, DataSource)
        ds = Dataset[Row](source, f"{tmp_path}/about")
        assert ds.source is source
        assert ds.shard_list == list(ds.shards) == source.list_shards() == expand(ds.url)
        assert [sample.n for sample in ds] == [1, 2, 3]
        assert [sample.n for sample in pickle.loads(pickle.dumps(ds)).ordered()] == [1, 2, 3]
        assert ds.metadata == {"by": "me"}
        for name, stream in source.shards:
            with stream:
                assert name in source.list_shards()
                assert stream.read(1)
    assert Dataset[Row](url=pattern).source == URLSource(pattern)
    with pytest.raises(ShardNotListedError, match=r"Shard not found: c\.tar"):
        URLSource(pattern).open_shard("c.tar")
    for given in ({}, {"source": pattern, "url": pattern}):
        with pytest.raises(TypeError, match="needs its shards"):
            Dataset[Row](**given)


def test_objects_of_a_bucket_are_read_with_the_keys_of_their_source(s3: dict[str, str], bucket: str):
    keys = ["rows/x{0..1}.tar", "rows/y.tar"]
    for key, data in zip(keys, (tar(1), tar(2)), strict=True):
        S3Endpoint.from_credentials(s3).client.put_object(Bucket=bucket, Key=key, Body=data)
    urls = [f"s3://{bucket}/{key}" for key in keys]
    named = {"access_key": s3["AWS_ACCESS_KEY_ID"], "secret_key": s3["AWS_SECRET_ACCESS_KEY"]}
    source = S3Source.from_credentials(s3, bucket, keys)
    assert source == S3Source.from_urls(urls, endpoint=s3["AWS_ENDPOINT"], **named)
    ds = Dataset[Row](source)
    assert (ds.source, ds.shard_list, source.shard_list) == (source, urls, urls)
    assert [sample.n for sample in pickle.loads(pickle.dumps(ds)).ordered()] == [1, 2]
    assert [source.stat_shard(url).size for url, _ in source.shards] == [len(tar(1)), len(tar(2))]
    assert not any(secret in repr(source) for secret in named.values())
    with pytest.raises(ShardNotListedError, match="Shard not found"):
        source.open_shard(f"s3://{bucket}/another.tar")
    with pytest.raises(CredentialsError, match="AWS_SECRET_ACCESS_KEY missing"):
        S3Source(bucket, keys, access_key="K").open_shard(urls[0])
    with pytest.raises(StorageError, match="cannot take shards"):
        source.write_shards(ds, prefix="p")


def test_keys_of_this_machine_are_used_at_the_address_of_a_source(
    s3: dict[str, str], bucket: str, monkeypatch: pytest.MonkeyPatch
):
    S3Endpoint.from_credentials(s3).client.put_object(Bucket=bucket, Key="a.tar", Body=tar(1))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, s3[name])
    there = S3Source(bucket, ["a.tar"], endpoint=s3["AWS_ENDPOINT"])
    assert [sample.n for sample in Dataset[Row](there)] == [1]
    assert S3Source(bucket, ["a.tar"]).service is None
    monkeypatch.setenv("ATDATA_S3_ENDPOINT", s3["AWS_ENDPOINT"])
    assert [sample.n for sample in Dataset[Row](S3Source(bucket, ["a.tar"]))] == [1]


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        ([], "cannot be empty"),
        (["https://bucket/a.tar"], "Not an S3 URL"),
        (["s3://bucket"], "s3://bucket/key"),
        (["s3://one/a.tar", "s3://two/a.tar"], "same bucket"),
    ],
)
def test_urls_that_are_not_of_one_bucket_are_refused(urls: list[str], message: str):
    with pytest.raises(RefusedError, match=message):
        S3Source.from_urls(urls)
