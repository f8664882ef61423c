"""Two writers of one key: what was there first stays, where the server can see to that; else it is found out."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any

import pytest

from atdata_core.errors import ShardConflictError
from atdata_core.local import S3DataStore

SMALL, LARGE = 1000, 33 << 20


@pytest.fixture(params=["rclone", "moto"])
def service(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def store(service: str, request: pytest.FixtureRequest) -> S3DataStore:
    if service == "rclone":
        return S3DataStore(request.getfixturevalue("s3"), bucket=request.getfixturevalue("bucket"))
    made = S3DataStore(request.getfixturevalue("moto_s3"), bucket=f"conditional-{id(request)}")
    made.endpoint.client.create_bucket(Bucket=made.bucket)
    return made


class Overtaken(io.BytesIO):
    """A source during whose reading a rival writes."""

    def __init__(self, data: bytes, rival: Callable[[], Any]) -> None:
        super().__init__(data)
        self.rival = rival

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() == 0:
            self.rival()
        return super().read(size)


def put_while(store: S3DataStore, data: bytes, rivals: bytes) -> str:
    def write() -> None:
        store.endpoint.client.put_object(Bucket=store.bucket, Key="a.tar", Body=rivals)

    sha256 = hashlib.sha256(data).hexdigest()
    return store.put_shard("a.tar", Overtaken(data, write), size=len(data), sha256=sha256)


def content(store: S3DataStore) -> bytes:
    return store.endpoint.client.get_object(Bucket=store.bucket, Key="a.tar")["Body"].read()


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["at once", "in parts"])
def test_a_rivals_other_bytes_are_not_written_over_where_the_server_can_tell(
    store: S3DataStore, service: str, size: int
):
    data, rivals = b"a" * size, b"b" * size
    if service == "moto":
        with pytest.raises(ShardConflictError, match=r"a\.tar"):
            put_while(store, data, rivals)
        assert content(store) == rivals
        assert store.endpoint.client.list_multipart_uploads(Bucket=store.bucket).get("Uploads") is None
    else:
        # rclone takes no notice of the condition: the rival finds out when it proves its copy.
        url = put_while(store, data, rivals)
        with pytest.raises(ShardConflictError):
            store.prove_shard(url, size=size, sha256=hashlib.sha256(rivals).hexdigest())


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["at once", "in parts"])
def test_a_rivals_same_bytes_are_as_good_as_ours(store: S3DataStore, size: int):
    data = b"a" * size
    assert put_while(store, data, data) == store.shard_url("a.tar")
    assert content(store) == data


def test_a_server_without_conditional_writes_is_written_to_without(moto_s3: dict[str, str]):
    from botocore.awsrequest import AWSResponse

    store = S3DataStore({**moto_s3, "AWS_REGION": "eu-west-1"}, bucket="unconditional")
    client = store.endpoint.client
    client.create_bucket(Bucket="unconditional", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    asked: list[bool] = []

    class Raw(io.BytesIO):
        def stream(self, *_: Any, **__: Any) -> Any:
            return iter([self.getvalue()])

    def not_implemented(request: Any, **_: Any) -> AWSResponse | None:
        if request.method != "PUT":
            return None
        asked.append("If-None-Match" in request.headers)
        return AWSResponse(request.url, 501, {}, Raw()) if asked[-1] else None

    client.meta.events.register("before-send.s3.PutObject", not_implemented)
    try:
        data = b"a" * SMALL
        store.put_shard("a.tar", io.BytesIO(data), size=SMALL, sha256=hashlib.sha256(data).hexdigest())
    finally:
        client.meta.events.unregister("before-send.s3.PutObject", not_implemented)
    assert content(store) == data
    assert asked == [True, False]
