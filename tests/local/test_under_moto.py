"""Stores under moto's ``mock_aws``, as unit tests of users have it: what is sent never leaves the process."""

import hashlib
import io
from pathlib import Path

import boto3
import numpy as np
import pytest
from moto import mock_aws
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereClient
from atdata_core.local import LocalIndex, Repo, S3DataStore
from atdata_core.promote import promote_to_atmosphere
from atdata_core.shards.tar_samples import ShardWriter

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
MIB = 1 << 20


@atdata.packable
class Scan:
    volume: NDArray[np.float64]
    number: int


@pytest.fixture
def bucket(monkeypatch):
    for name in ("ATDATA_S3_ENDPOINT", "AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        boto3.client("s3", region_name="us-east-1", **keys).create_bucket(Bucket="mocked-bucket")
        yield "mocked-bucket"


def shard(folder: Path, count: int, values: int) -> str:
    path = folder / "scans-000000.tar"
    with path.open("wb") as stream, ShardWriter(stream) as writer:
        for number in range(count):
            writer.write(Scan(volume=np.full(values, number, np.float64), number=number).as_wds)
    return str(path)


# Shards of one request, and one of several parts.
@pytest.mark.parametrize(("count", "values"), [(3, 4), (10, 500_000)])
def test_a_dataset_is_inserted_and_read_under_mock_aws(bucket, tmp_path, client, count, values):
    repo = Repo(s3_credentials=KEYS, hive_path=f"{bucket}/hive", redis=client)
    given = atdata.Dataset[Scan](shard(tmp_path, count, values))
    entry, inserted = repo.insert(given, name="mocked")
    assert all(url.startswith(f"s3://{bucket}/hive") for url in entry.data_urls)
    assert [sample.number for sample in inserted.ordered()] == list(range(count))
    assert LocalIndex(client).get_entry_by_name("mocked").data_urls == entry.data_urls


@pytest.mark.parametrize("size", [0, 1000, 8 * MIB, 20 * MIB + 7])
def test_a_shard_is_copied_byte_for_byte_under_mock_aws(bucket, size):
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    store = S3DataStore(KEYS, bucket=bucket)
    proof = store.put_shard("copy.tar", io.BytesIO(data), size=size, sha256=hashlib.sha256(data).hexdigest())
    assert str(getattr(proof, "url", proof)) == f"s3://{bucket}/copy.tar"
    with store.open_shard(f"s3://{bucket}/copy.tar") as stream:
        assert stream.read() == data


@pytest.mark.parametrize("copied", [False, True])
def test_a_whole_promotion_works_under_mock_aws(bucket, tmp_path, client, pds, account, copied):
    repo = Repo(s3_credentials=KEYS, hive_path=f"{bucket}/hive", redis=client)
    entry, _ = repo.insert(atdata.Dataset[Scan](shard(tmp_path, 3, 4)), name="mocked")
    index = LocalIndex(client, data_store=repo.data_store)
    index.publish_schema(Scan)
    atmosphere = AtmosphereClient(pds.url)
    atmosphere.login(account.handle, account.password)
    store = S3DataStore(KEYS, bucket=bucket, prefix="copies") if copied else None
    uri = promote_to_atmosphere(entry, index, atmosphere, data_store=store)
    assert promote_to_atmosphere(entry, index, atmosphere, data_store=store) == uri
    value = atmosphere.get_record(uri).value
    [claim] = index.shard_claims(entry.cid).values()
    [published] = value["storage"]["shards"]
    assert value["storage"]["bucket"] == bucket
    assert published["checksum"]["digest"] == claim.sha256
    with mock_object(bucket, published["key"]) as body:
        assert hashlib.sha256(body.read()).hexdigest() == claim.sha256


def mock_object(bucket, key):
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    return boto3.client("s3", region_name="us-east-1", **keys).get_object(Bucket=bucket, Key=key)["Body"]
