"""What the store in S3 does beyond what every data store has to do (tests/stores/test_data_stores.py)."""

from __future__ import annotations

import hashlib
import io
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from atdata_core import Dataset, packable
from atdata_core.errors import (
    CredentialsError,
    NoDataUrlsError,
    ServiceUnavailableError,
    ShardChangedError,
    ShardConflictError,
    ShardForbiddenError,
    ShardMissingError,
    StorageError,
)
from atdata_core.local import S3DataStore
from atdata_core.shards.packed_samples import shard_records
from atdata_core.shards.tar_samples import ShardWriter


@packable
class Vector:
    """A vector and its number."""

    values: NDArray[np.float32]
    number: int


@pytest.fixture
def moto_bucket(moto_s3: dict[str, str]) -> str:
    name = f"bucket-{secrets.token_hex(6)}"
    S3DataStore(moto_s3, bucket=name).endpoint.client.create_bucket(Bucket=name)
    return name


def in_s3(service: str, request: pytest.FixtureRequest) -> S3DataStore:
    credentials, bucket = {"rclone": ("s3", "bucket"), "moto": ("moto_s3", "moto_bucket")}[service]
    return S3DataStore(request.getfixturevalue(credentials), bucket=request.getfixturevalue(bucket), prefix="lab")


@pytest.fixture(params=["rclone", "moto"])
def service(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def s3_store(service: str, request: pytest.FixtureRequest) -> S3DataStore:
    return in_s3(service, request)


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Dataset[Vector]]:
    def make(count: int = 5) -> Dataset[Vector]:
        path = tmp_path / "source.tar"
        with path.open("wb") as stream, ShardWriter(stream) as writer:
            for number in range(count):
                sample: Any = Vector(values=np.full(4, number, np.float32), number=number)
                writer.write({"__key__": f"key-{number}", "msgpack": sample.packed})
        return Dataset[Vector](str(path))

    return make


MakeDataset = Callable[..., Dataset[Vector]]


def put(store: Any, name: str, data: bytes, *, size: int | None = None, sha256: str | None = None) -> str:
    return store.put_shard(
        name,
        io.BytesIO(data),
        size=len(data) if size is None else size,
        sha256=digest(data) if sha256 is None else sha256,
    )


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_written_shards_hold_the_samples_in_order(s3_store: S3DataStore, make_dataset: MakeDataset):
    urls = s3_store.write_shards(make_dataset(5), prefix="vectors", maxcount=2)

    assert len(urls) == len(set(urls)) == 3
    assert [sample.number for sample in Dataset[Vector](urls, data_store=s3_store).ordered()] == [0, 1, 2, 3, 4]


def test_written_shards_hold_the_files_beside_the_samples(s3_store: S3DataStore, tmp_path: Path):
    path = tmp_path / "source.tar"
    files = {"flac": b"fLaC" * 300, "en.txt": "Grüße".encode()}
    with path.open("wb") as stream, ShardWriter(stream) as writer:
        for number in range(3):
            sample: Any = Vector(values=np.full(4, number, np.float32), number=number)
            writer.write({"__key__": f"key-{number}", "msgpack": sample.packed, **files})
    written = s3_store.write_shards_with_facts(Dataset[Vector](str(path)), prefix="spoken", maxcount=2)
    assert [shard.samples for shard in written] == [2, 1]
    records = [record for shard in written for record in shard_records(shard.url, store=s3_store)]
    assert [{name: record[name] for name in files} for record in records] == [files] * 3
    urls = s3_store.write_shards(Dataset[Vector]([shard.url for shard in written], data_store=s3_store), prefix="2")
    assert [sorted(record) for record in shard_records(urls[0], store=s3_store)] == [sorted(records[0])] * 3


def test_a_dataset_without_samples_leaves_nothing(s3_store: S3DataStore, make_dataset: MakeDataset):
    with pytest.raises(NoDataUrlsError):
        s3_store.write_shards(make_dataset(0), prefix="vectors")


def put_large(store: S3DataStore, data: bytes, sha256: str) -> str:
    return store.put_shard("large.tar", io.BytesIO(data), size=len(data), sha256=sha256)


def test_a_large_shard_is_written_in_parts_and_proved(s3_store: S3DataStore, service: str):
    data = b"0123456789abcdef" * (35 << 16)
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()

    with pytest.raises(ShardChangedError):
        put_large(s3_store, data, "0" * 64)
    assert s3_store.endpoint.client.list_multipart_uploads(Bucket=s3_store.bucket).get("Uploads") is None
    url = put_large(s3_store, data, digest(data))

    proof = s3_store.prove_shard(url, size=len(data), sha256=digest(data), md5=md5)
    assert proof == {"rclone": "etag md5", "moto": "read back"}[service]


def test_the_cheapest_proof_is_taken(s3_store: S3DataStore, service: str):
    url = put(s3_store, "a.tar", b"data")
    md5 = hashlib.md5(b"data", usedforsecurity=False).hexdigest()

    best = s3_store.prove_shard(url, size=4, sha256=digest(b"data"), md5=md5)
    assert best == {"rclone": "etag md5", "moto": "server sha256"}[service]
    without_md5 = s3_store.prove_shard(url, size=4, sha256=digest(b"data"))
    assert without_md5 == {"rclone": "read back", "moto": "server sha256"}[service]


def test_a_digest_that_the_uploader_claimed_is_no_proof(s3: dict[str, str], bucket: str):
    import base64

    store = S3DataStore(s3, bucket=bucket)
    claimed = base64.b64encode(hashlib.sha256(b"what it says").digest()).decode()
    store.endpoint.client.put_object(Bucket=bucket, Key="a.tar", Body=b"what it has.", ChecksumSHA256=claimed)

    assert store.stat_shard(f"s3://{bucket}/a.tar").sha256 is None
    with pytest.raises(ShardConflictError):
        store.prove_shard(f"s3://{bucket}/a.tar", size=12, sha256=digest(b"what it says"))


def test_the_facts_are_those_of_the_bytes(s3_store: S3DataStore, make_dataset: MakeDataset):
    for facts in s3_store.write_shards_with_facts(make_dataset(5), prefix="v", maxcount=3):
        with s3_store.open_shard(facts.url) as stream:
            data = stream.read()
        assert (facts.size, facts.sha256) == (len(data), digest(data))
        assert facts.etag == s3_store.stat_shard(facts.url).etag
        assert facts.endpoint == s3_store.endpoint.endpoint_url


def test_shards_lie_below_the_prefix_and_are_never_the_same(s3_store: S3DataStore, make_dataset: MakeDataset):
    first, second = (s3_store.write_shards(make_dataset(1), prefix="/v/")[0] for _ in range(2))
    assert first != second
    assert first.startswith(f"s3://{s3_store.bucket}/lab/v/data--")
    assert first.endswith("--000000.tar")


def test_a_missing_bucket_is_named_with_a_way_to_make_it(s3_store: S3DataStore, make_dataset: MakeDataset):
    s3_store.bucket = "not-there"
    url = s3_store.shard_url("a.tar")
    for act in (
        lambda: s3_store.write_shards(make_dataset(), prefix="v"),
        lambda: put(s3_store, "a.tar", b"data"),
        lambda: s3_store.prove_shard(url, size=1, sha256="0" * 64),
        s3_store.require_place,
        lambda: s3_store.open_shard(url),
        lambda: s3_store.stat_shard(url),
    ):
        with pytest.raises(ShardMissingError, match=r"no bucket 'not-there' at http://127.*aws s3 mb"):
            act()


def test_a_signed_url_reads_the_shard_and_the_store_never_shows_its_keys(s3_store: S3DataStore):
    url = put(s3_store, "a b.tar", b"data")
    assert httpx.get(s3_store.read_url(url)).content == b"data"
    assert s3_store.endpoint.secret_key not in repr(s3_store) + repr(s3_store.endpoint) + url


def test_a_public_url_names_the_shards_and_leads_back_to_the_bucket(
    s3_store: S3DataStore, make_dataset: MakeDataset
):
    s3_store.public_url = "https://data.example/files"
    (written,) = s3_store.write_shards(make_dataset(2), prefix="my set")
    assert written.startswith("https://data.example/files/lab/my%20set/data--")
    assert [sample.number for sample in Dataset[Vector](written, data_store=s3_store).ordered()] == [0, 1]

    url = put(s3_store, "promoted/ü%{a,b}/a.tar", b"data")
    assert url == "https://data.example/files/lab/promoted/%C3%BC%25%7Ba,b%7D/a.tar"
    assert s3_store.prove_shard(url, size=4, sha256=digest(b"data")) is not None
    assert s3_store.stat_shard(f"s3://{s3_store.bucket}/lab/promoted/ü%{{a,b}}/a.tar").size == 4
    assert s3_store.read_url(f"s3://{s3_store.bucket}/lab/a.tar") == "https://data.example/files/lab/a.tar"


def test_wrong_keys_are_forbidden_and_not_shown(s3: dict[str, str], bucket: str, make_dataset: MakeDataset):
    good = S3DataStore(s3, bucket=bucket)
    url = put(good, "a.tar", b"data")
    bad = S3DataStore({**s3, "AWS_SECRET_ACCESS_KEY": "hunter2hunter2"}, bucket=bucket)
    for act in (
        lambda: bad.open_shard(url),
        lambda: bad.stat_shard(url),
        lambda: put(bad, "b.tar", b"data"),
        lambda: bad.write_shards(make_dataset(), prefix="v"),
    ):
        with pytest.raises(ShardForbiddenError, match=r"AWS_ACCESS_KEY_ID.*or ATDATA_PUBLISH_\*") as refusal:
            act()
        assert "hunter2" not in str(refusal.value) + repr(refusal.value.facts)


def test_a_service_that_is_down_is_named(make_dataset: MakeDataset):
    credentials = {
        "AWS_ENDPOINT": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
    }
    store = S3DataStore(credentials, bucket="some-bucket")
    with pytest.raises(ServiceUnavailableError, match=r"http://127\.0\.0\.1:1 did not answer") as down:
        store.write_shards(make_dataset(), prefix="v")
    assert down.value.transient


def test_credentials_come_from_a_file_too(s3: dict[str, str], bucket: str, tmp_path: Path):
    path = tmp_path / "creds.env"
    path.write_text("".join(f'{name}="{value}"\n' for name, value in s3.items()))
    for given in (path, str(path)):
        store = S3DataStore(given, bucket=bucket)
        assert store.endpoint == S3DataStore(s3, bucket=bucket).endpoint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"no credentials file .*creds\.env"),
        ("AWS_ACCESS_KEY_ID=a\n", "AWS_SECRET_ACCESS_KEY missing"),
        ("AWS_ACCESS_KEY_ID=\nAWS_SECRET_ACCESS_KEY=\n", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY missing"),
        (
            "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\nAWS_ENDPOINT=localhost:9000",
            "AWS_ENDPOINT: .* is a URL",
        ),
        ("AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\nAWS_ENDPOINT=http://u:hunter2@h", "carries credentials"),
    ],
)
def test_unusable_credentials_say_what_is_wrong(tmp_path: Path, text: str | None, message: str):
    path = tmp_path / "creds.env"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CredentialsError, match=message) as refusal:
        S3DataStore(path, bucket="b")
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(("bucket", "public_url"), [("", None), ("a/b", None), ("b", "ftp://h")])
def test_a_place_that_is_none_is_refused(s3: dict[str, str], bucket: str, public_url: str | None):
    with pytest.raises(StorageError):
        S3DataStore(s3, bucket=bucket, public_url=public_url)
