"""S3: the service that shards are read from, and the bucket that copies go to."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx
from botocore.exceptions import ClientError

from atdata_core.common.retry_after import its_time
from atdata_core.common.urls import expand, parse_s3
from atdata_core.errors import (
    AtdataError,
    CredentialsError,
    MetadataError,
    PrivateAddressError,
    ServiceUnavailableError,
    ShardForbiddenError,
    ShardMissingError,
)
from atdata_core.local import LocalIndex, S3DataStore
from atdata_core.local.registry import Position
from atdata_core.stores.http_transport import environment_transport
from atdata_core.stores.private_addresses import check_public
from atdata_core.stores.s3.objects import S3Endpoint

from ...config.account_blobs import AccountBlobs
from ...config.resources import AtprotoResource, DestinationResource, ShardS3Resource
from .check import CheckResult, Known, fail, ok, warn

FIRST = 3
"""Datasets whose first shard is looked at."""
FOLDER = "atdata-doctor"
"""Where the object is put that tells whether the bucket may be written."""

_BAD_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"}
_KEYS = "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN, AWS_PROFILE)."


def look_at_service(known: Known) -> Iterable[CheckResult]:
    """Whether it answers, and takes the keys."""
    endpoint = ShardS3Resource().endpoint()
    if endpoint is None:
        yield ok("neither ATDATA_S3_ENDPOINT nor keys are set: shards in S3 are read from AWS as anybody")
        return
    known.reading = _brief(endpoint, known)
    sent = time.time()
    try:
        with known.reading.errors(""):
            reply = _raw(known.reading)
    except ShardForbiddenError:
        yield fail(f"{endpoint.name}: there are no keys", _KEYS)
        return
    except ServiceUnavailableError:
        yield fail(f"{endpoint.name} does not answer", "Check ATDATA_S3_ENDPOINT, and that the service runs.")
        return
    known.heard(endpoint.name, sent, its_time(_headers(reply)))
    yield _finding_of(endpoint, reply)


def _raw(endpoint: S3Endpoint) -> Mapping[str, Any]:
    """The answer to a request that needs no bucket, be it a refusal."""
    try:
        return endpoint.client.list_buckets()
    except ClientError as error:
        return error.response


def _headers(reply: Mapping[str, Any]) -> Mapping[str, str]:
    return reply.get("ResponseMetadata", {}).get("HTTPHeaders", {})


def _finding_of(endpoint: S3Endpoint, reply: Mapping[str, Any]) -> CheckResult:
    code = str(reply.get("Error", {}).get("Code", ""))
    status = reply.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _BAD_KEYS:
        return fail(f"{endpoint.name} does not accept the keys ({code})", _KEYS)
    if code == "RequestTimeTooSkewed":
        return fail(f"{endpoint.name} says that the clocks differ too much", "See clock.")
    if status >= 500 or code.isdecimal():
        return fail(
            f"{endpoint.name} answered {status}, not as an S3 service does",
            "Check ATDATA_S3_ENDPOINT: it is the address of the S3 API, not that of a console or a website.",
        )
    return ok(f"{endpoint.name} answers" + (f" ({code} for a list of all buckets)" if code else ""))


def look_at_shards(known: Known) -> Iterable[CheckResult]:
    """Whether the first shards of the first datasets can be read."""
    assert known.index is not None
    endpoint = known.reading or _brief(S3Endpoint.anonymous_at(None), known)
    keys: dict[str, list[str]] = {}
    for bucket, key in map(parse_s3, _first_shards(known.index)):
        keys.setdefault(bucket, []).append(key)
    for bucket, several in keys.items():
        # One dataset that is broken is no fault of the surroundings: another one of the bucket may be read.
        found = [_readable(endpoint, bucket, key) for key in several]
        yield next((finding for finding in found if finding.state == "ok"), found[0])
    if not keys:
        yield ok("no shards in S3 among the first datasets of the index")


def _first_shards(index: LocalIndex) -> Iterator[str]:
    found, _ = index.news(Position(), events=1, names=FIRST)
    for entry in found.values():
        if not isinstance(entry, MetadataError):
            yield from [url for url in expand(entry.data_urls)[:1] if url.startswith("s3://")]


def _readable(endpoint: S3Endpoint, bucket: str, key: str) -> CheckResult:
    try:
        try:
            endpoint.stat(bucket, key)
        except (ShardForbiddenError, CredentialsError) as refusal:
            # As the library does: these keys may be for another account, and the shard public.
            try:
                _without_keys(endpoint).stat(bucket, key)
            except ShardForbiddenError:
                return fail(refusal.message, f"{_KEYS} Allow s3:GetObject.")
    except ShardMissingError as error:
        if error.key is None:
            return fail(error.message)
        return warn(error.message, "The bucket is there; this dataset cannot be promoted.")
    return ok(f"the bucket {bucket} can be read (s3://{bucket}/{key})")


def look_at_destination(known: Known) -> Iterable[CheckResult]:
    """Whether copies can be written, read, removed, and read anonymously."""
    reading = ShardS3Resource().endpoint()
    if isinstance(DestinationResource().store(reading, AtprotoResource()), AccountBlobs):
        yield ok("ATDATA_PUBLISH_TO=pds: shards become blobs of the account")
        return
    store = DestinationResource().bucket_store(reading)
    if store is None:
        yield ok("ATDATA_PUBLISH_BUCKET is not set: shards stay where they are, and their URLs are published")
        return
    store.endpoint = endpoint = _brief(store.endpoint, known)
    client, bucket, key = endpoint.client, store.bucket, f"{FOLDER}/{uuid4().hex}.txt"
    what = f"{bucket} at {endpoint.name}"
    sent = time.time()
    try:
        with endpoint.errors(bucket):
            reply = client.list_objects_v2(Bucket=bucket, MaxKeys=1)
            known.heard(endpoint.name, sent, its_time(_headers(reply)))
    except ShardForbiddenError:
        yield warn(f"{what} may not be listed: what no record names is not found", "Allow s3:ListBucket.")
    with endpoint.errors(bucket, key):
        # With a digest, which a bucket with Object Lock asks for.
        client.put_object(Bucket=bucket, Key=key, Body=key.encode(), ChecksumAlgorithm="SHA256")
    try:
        with endpoint.errors(bucket, key):
            found = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        if found != key.encode():
            yield fail(f"{what} gives other bytes than were written", "Look at what stands before it.")
        else:
            yield ok(f"{what} can be written and read")
        yield replace(_read_anonymously(store, key, known), check="public url")
    finally:
        yield from _removed(store, key, what)


def _removed(store: S3DataStore, key: str, what: str) -> Iterator[CheckResult]:
    try:
        with store.endpoint.errors(store.bucket, key):
            store.endpoint.client.delete_object(Bucket=store.bucket, Key=key)
    except AtdataError:
        yield warn(
            f"{what}: {key} could not be removed, nor could copies that are taken back",
            "Allow s3:DeleteObject, and remove that object.",
        )


def _read_anonymously(store: S3DataStore, key: str, known: Known) -> CheckResult:
    """What becomes of an object for those who have no keys."""
    if store.public_url is None:
        what = f"{store.bucket} at {store.endpoint.name}"
        try:
            _without_keys(store.endpoint).stat(store.bucket, key)
        except (ShardForbiddenError, ShardMissingError):
            mend = "Let everybody read it (s3:GetObject), or set ATDATA_PUBLISH_PUBLIC_URL to where they can."
            return warn(f"{what} cannot be read anonymously", mend)
        return ok(f"{what} can be read anonymously")
    try:
        found = _fetched(store.shard_url(key), known, most=len(key) + 1)
    except AtdataError as error:
        return fail(error.message, _PUBLIC)
    if found != key.encode():
        return fail(f"{store.public_url} does not serve what lies in {store.bucket}", _PUBLIC)
    try:
        check_public(store.public_url, environment=False)
    except PrivateAddressError as error:
        return warn(f"{store.public_url} leads to {error.host}, which only this network reaches", _PUBLIC)
    return ok(f"{store.public_url} serves the bucket to anybody")


_PUBLIC = (
    "ATDATA_PUBLISH_PUBLIC_URL is the address to which a key of the bucket is added, such as "
    "https://data.example.org/bucket; it has to be readable without keys."
)


def _fetched(url: str, known: Known, *, most: int) -> bytes:
    """The first bytes at a URL; raises ``ServiceUnavailableError`` where there are none."""
    try:
        with (
            httpx.Client(transport=environment_transport(), timeout=known.answer, follow_redirects=True) as client,
            client.stream("GET", url) as answer,
        ):
            if answer.status_code == 200:
                return next(answer.iter_bytes(most), b"")
            reason = f"answers {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        reason = f"cannot be read ({error or type(error).__name__})"
    raise ServiceUnavailableError(f"{url} {reason} where an object was just written.", service=url, status=None)


def _brief(endpoint: S3Endpoint, known: Known) -> S3Endpoint:
    return replace(endpoint, attempts=1, timeout=known.answer)


def _without_keys(endpoint: S3Endpoint) -> S3Endpoint:
    return replace(endpoint, access_key=None, secret_key=None, session_token=None, anonymous=True)
