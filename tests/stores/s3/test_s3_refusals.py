"""S3 services and buckets that ask for something, or turn a request away: it is given, or named for what it is."""

from __future__ import annotations

import hashlib
import io
import re
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from email.utils import formatdate
from urllib.parse import urlsplit

import botocore.auth
import httpx
import pytest

from atdata_core.errors import CredentialsError, ServiceRefusedError, ShardForbiddenError
from atdata_core.local import S3DataStore
from atdata_core.stores.opening import open_shard, stat_shard
from atdata_core.stores.s3 import upload
from atdata_core.stores.s3.objects import S3Endpoint
from faulty.edge import Edge, Rule, Tally
from faulty.messages import Answer
from faulty.s3_services import Always, InRegion, ObjectLock, RequesterPays, VirtualHosted, refusal

DATA = b"shard" * 1000


@pytest.fixture
def edge(s3: dict[str, str]) -> Iterator[Edge]:
    with Edge({"s3": s3["AWS_ENDPOINT"]}) as running:
        yield running


@pytest.fixture
def credentials(s3: dict[str, str], edge: Edge) -> dict[str, str]:
    """Keys with a session token, which the server takes no notice of."""
    return {**s3, "AWS_ENDPOINT": edge.urls["s3"], "AWS_SESSION_TOKEN": "token" * 8}


@pytest.fixture
def store(credentials: dict[str, str], bucket: str) -> S3DataStore:
    return S3DataStore(credentials, bucket=bucket)


@pytest.fixture
def url(store: S3DataStore) -> str:
    """A shard that is there."""
    return put(store, "here.tar", DATA)


def put(store: S3DataStore, name: str, data: bytes) -> str:
    return store.put_shard(name, io.BytesIO(data), size=len(data), sha256=hashlib.sha256(data).hexdigest())


def refused(store: S3DataStore, url: str, error: type[Exception]) -> set[str]:
    """What each way to ask for a shard, or to write one, is refused with."""
    messages: set[str] = set()
    for act in (
        lambda: store.stat_shard(url),
        lambda: store.open_shard(url),
        lambda: put(store, "new.tar", b"new"),
        store._require_bucket,
    ):
        with pytest.raises(error) as caught:
            act()
        messages.add(re.sub(r"s3://\S+", "URL", str(caught.value)))
    return messages


# -- what is asked for is given ------------------------------------------------------------------------------------


def test_a_bucket_with_object_lock_takes_shards_of_every_size(
    edge: Edge, store: S3DataStore, monkeypatch: pytest.MonkeyPatch
):
    # As if the parts of an object of unknown size were the smallest that S3 takes: a test of less than a second.
    for name in ("SINGLE", "PART"):
        monkeypatch.setattr(upload, name, 5 << 20)
    edge.rule = ObjectLock()
    put(store, "small.tar", DATA)
    large = bytes(range(256)) * (9 << 12)
    put(store, "large.tar", large)
    with upload.S3Upload(store.endpoint, store.bucket, "unknown.tar") as unknown:
        unknown.write(large)
        unknown.commit()
    for name in ("large.tar", "unknown.tar"):
        with store.open_shard(store.shard_url(name)) as stream:
            assert stream.read() == large


@pytest.mark.parametrize("status", [301, 400])
def test_the_region_that_a_service_names_is_followed_once(edge: Edge, store: S3DataStore, url: str, status: int):
    edge.rule = rule = InRegion("eu-central-1", status=status)
    assert store.stat_shard(url).size == len(DATA)
    with store.open_shard(url) as stream:
        assert stream.read() == DATA
    put(store, "more.tar", b"more")
    assert rule.turned_away <= 2


def test_a_requester_pays_bucket_is_read_by_whoever_says_that_he_pays(
    edge: Edge, credentials: dict[str, str], store: S3DataStore, url: str, monkeypatch: pytest.MonkeyPatch
):
    edge.rule = RequesterPays()
    with pytest.raises(ShardForbiddenError, match="AWS_REQUEST_PAYER=requester"):
        store.stat_shard(url)
    payer = S3DataStore({**credentials, "AWS_REQUEST_PAYER": "requester"}, bucket=store.bucket)
    assert payer.stat_shard(url).size == len(DATA)
    assert httpx.get(payer.read_url(url)).content == DATA
    large = bytes(9 << 20)
    with payer.open_shard(put(payer, "large.tar", large)) as stream:
        assert stream.read() == large
    monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
    for name, value in credentials.items():
        monkeypatch.setenv(name.replace("AWS_ENDPOINT", "ATDATA_S3_ENDPOINT"), value)
    assert stat_shard(url).size == len(DATA)
    monkeypatch.setenv("AWS_REQUEST_PAYER", "me")
    with pytest.raises(CredentialsError, match="AWS_REQUEST_PAYER is 'me'"):
        stat_shard(url)


@pytest.fixture
def virtual(
    moto_s3: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[VirtualHosted, dict[str, str]]]:
    """A service at ``s3.test`` that takes virtual-hosted addresses only, and keys for it."""
    find = socket.getaddrinfo

    def found(host: str, *more: object, **options: object):
        return find("127.0.0.1" if str(host).endswith("s3.test") else host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", found)
    rule = VirtualHosted(moto_s3["AWS_ENDPOINT"])
    S3Endpoint.from_credentials(moto_s3).client.create_bucket(Bucket="virtual-bucket")
    with Edge({"s3": moto_s3["AWS_ENDPOINT"]}, rule) as edge:
        yield rule, {**moto_s3, "AWS_ENDPOINT": f"http://s3.test:{urlsplit(edge.urls['s3']).port}"}


def test_a_service_that_takes_virtual_hosted_addresses_only_is_named_so_and_used_so(virtual):
    rule, credentials = virtual
    with pytest.raises(ServiceRefusedError, match="AWS_S3_ADDRESSING_STYLE=virtual"):
        put(S3DataStore(credentials, bucket="virtual-bucket"), "a.tar", DATA)
    rule.hosts.clear()
    store = S3DataStore({**credentials, "AWS_S3_ADDRESSING_STYLE": "virtual"}, bucket="virtual-bucket")
    with store.open_shard(put(store, "a.tar", DATA)) as stream:
        assert stream.read() == DATA
    store.endpoint.client.put_object_acl(Bucket="virtual-bucket", Key="a.tar", ACL="public-read")
    # Who looks without keys, as strangers do, addresses it the same way.
    assert S3Endpoint.anonymous_at(credentials["AWS_ENDPOINT"]).stat("virtual-bucket", "a.tar").size == len(DATA)
    assert rule.hosts == {"virtual-bucket.s3.test"}


def test_the_addressing_style_of_the_aws_configuration_holds(virtual, tmp_path, monkeypatch):
    rule, credentials = virtual
    config = tmp_path / "config"
    config.write_text("[default]\ns3 =\n  addressing_style = virtual\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    put(S3DataStore(credentials, bucket="virtual-bucket"), "b.tar", DATA)
    assert rule.hosts == {"virtual-bucket.s3.test"}


def test_an_addressing_style_that_is_none_is_refused(s3: dict[str, str]):
    with pytest.raises(CredentialsError, match="'dns' is no addressing style"):
        S3DataStore({**s3, "AWS_S3_ADDRESSING_STYLE": "dns"}, bucket="some-bucket")


# -- what turns a request away is named ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refusal(400, "ExpiredToken", "The provided token has expired."), "session token .* has expired"),
        (refusal(403, "ExpiredTokenException"), "session token .* has expired"),
        (refusal(400, "InvalidToken", "malformed"), "AWS_SESSION_TOKEN belongs to"),
        (refusal(403, "RequestTimeTooSkewed", "too large"), "the clock of this machine differs"),
        (refusal(400, "AuthorizationHeaderMalformed", "expecting 'eu-north-1'"), "is in the region eu-north-1"),
        (refusal(400, "AuthorizationHeaderMalformed", "wrong", Region="sa-east-1"), "is in the region sa-east-1"),
        (
            refusal(301, "PermanentRedirect", "use it", Endpoint="some-bucket.s3.ap-south-1.amazonaws.com"),
            r"is in the region ap-south-1 \(301.*names the address some-bucket\.s3\.ap-south-1",
        ),
    ],
)
def test_a_refusal_of_a_head_says_what_one_of_a_get_says(edge, store, url, answer, said):
    edge.rule = Always(answer)
    messages = refused(store, url, CredentialsError)
    assert len(messages) == 1
    assert re.search(said, messages.pop())


def test_a_head_without_a_reason_is_followed_by_one_get(edge: Edge, store: S3DataStore, url: str):
    class Noted(Always, Tally):
        def __init__(self) -> None:
            Always.__init__(self, refusal(400, "ExpiredToken"))
            self.calls = []

        def asked(self, call):
            Tally.asked(self, call)
            return Always.asked(self, call)

    # botocore itself looks for a region after such an answer, unless it has the one that it is told.
    edge.rule = rule = Noted()
    with pytest.raises(CredentialsError):
        store.stat_shard(url)
    assert [call.method for call in rule.calls if call.method != "HEAD"] == ["GET"]


def test_a_clock_that_is_behind_is_told_though_the_service_blames_the_keys(edge, store, url, monkeypatch):
    off = 3 * 3600
    edge.rule = Always(refusal(403, "SignatureDoesNotMatch"), date=formatdate(time.time() + off, usegmt=True))
    (message,) = refused(store, url, CredentialsError)
    assert re.search(
        r"SignatureDoesNotMatch\): the clock .* differs from its own \(10,[78]\d\d s behind\)", message
    )
    assert "AWS_SECRET_ACCESS_KEY" not in message
    edge.rule = Always(refusal(403, "SignatureDoesNotMatch"))
    with pytest.raises(ShardForbiddenError, match="AWS_SECRET_ACCESS_KEY") as caught:
        store.stat_shard(url)
    assert "clock" not in str(caught.value)


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_real_service_that_refuses_a_wrong_clock_is_understood(store, url, monkeypatch, hours):
    now, signed = time.time, botocore.auth.get_current_datetime
    monkeypatch.setattr("atdata_core.stores.s3.s3_errors.time.time", lambda: now() + hours * 3600)
    monkeypatch.setattr(
        botocore.auth,
        "get_current_datetime",
        lambda *given, **more: signed(*given, **more) + timedelta(hours=hours),
    )
    messages = refused(store, url, CredentialsError)
    assert all(("s ahead)" if hours > 0 else "s behind)") in message for message in messages)


def test_a_redirect_that_names_no_region_is_not_followed_for_ever(edge: Edge, store: S3DataStore, url: str):
    edge.rule = rule = Always(refusal(301, "Moved"))
    with pytest.raises(ServiceRefusedError, match="301"):
        store.stat_shard(url)
    assert rule.turned_away < 10


def test_a_public_shard_is_read_with_an_expired_token(edge, credentials, url, monkeypatch):
    class Public(Rule):
        def asked(self, call):
            if "authorization" in call.headers:
                return refusal(400, "ExpiredToken")
            return Answer(200, {"content-length": str(len(DATA))}, DATA)

    edge.rule = Public()
    for name, value in credentials.items():
        monkeypatch.setenv(name.replace("AWS_ENDPOINT", "ATDATA_S3_ENDPOINT"), value)
    with open_shard(url) as stream:
        assert stream.read() == DATA
