"""Open a shard, or look at it, wherever it lies: once, one after the other, or as somebody who has no key."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast

from ..common.urls import displayed, local_path, parse_s3, scheme
from ..errors import CredentialsError, ShardForbiddenError, ShardMissingError, StorageError
from ..protocols import ShardStat, strong_etag
from .http import FIRST_BYTES, PROBE_SECONDS, first_bytes, open_web, stat_web, transfer_web
from .local_files import refuse_special
from .private_addresses import check_public
from .s3.objects import S3Endpoint
from .shard_streams import PartRead, ResumableRead

F = TypeVar("F", bound=Callable[..., object])
R = TypeVar("R")
Permit = Callable[[str, Path], Path]
"""Of a URL and the file that it stands for the file that may be read; raises where it may not."""


def derived(method: F) -> F:
    """Mark a method of a base class: it stands in until a store has one of its own."""
    method.__dict__["derived"] = True
    return method


def implements(store: object, method: str) -> bool:
    """Whether a store, of whatever class, has a method of its own."""
    found = getattr(store, method, None)
    return callable(found) and not getattr(found, "derived", False)


def open_shard(
    url: str, *, store: object | None = None, guarded: bool = False, permit: Permit | None = None
) -> BinaryIO:
    """The bytes of a shard, as they arrive. Close it.

    Args:
        url: A path, ``file://``, ``http(s)://`` or ``s3://``; anything that ``store`` understands.
        store: Whose credentials to use. One with ``open_shard`` opens it; one with ``read_url`` names the
            URL to open. Without a store, S3 is asked with the environment's keys, then anonymously.
        guarded: The URL comes from the network: no file of this machine, no private address.
        permit: Asked before a file of this machine is looked at.

    Raises:
        ShardMissingError: There is no such file, object or bucket.
        ShardForbiddenError: It may not be read with what is configured.
        StorageError: The URL is not understood.
        PrivateAddressError: Guarded, and the URL leads to a private network.
        ServiceError: The server did not answer as it should; ``transient`` says whether it may later.
    """
    if implements(store, "open_shard"):
        return cast("Any", store).open_shard(url)
    url = _read_url(url, store)
    match scheme(url):
        case "s3":
            return _from_s3(url, lambda endpoint, bucket, key: endpoint.open(bucket, key))
        case "http" | "https":
            return open_web(url, guarded=guarded)
        case "file":
            return _from_disk(url, guarded, permit, lambda path: io.BufferedReader(_File(path, url)))


def transfer_guarded(url: str, part: PartRead | None = None) -> ResumableRead:
    """The bytes of a shard of the web, from where a part of it ends if the server goes on there.

    Nothing is fetched ahead. Raises as ``open_shard`` does of a URL that is guarded.
    """
    if scheme(url) == "file":
        raise _of_publisher(displayed(url))
    return transfer_web(url, guarded=True, part=part)


def stat_shard(
    url: str, *, store: object | None = None, guarded: bool = False, permit: Permit | None = None
) -> ShardStat:
    """Size, and ETag and digest where the server keeps them, without the bytes.

    Arguments and errors as for ``open_shard``. A local file has no ETag.
    """
    if implements(store, "stat_shard"):
        return cast("Any", store).stat_shard(url)
    url = _read_url(url, store)
    match scheme(url):
        case "s3":
            return _from_s3(url, lambda endpoint, bucket, key: endpoint.stat(bucket, key))
        case "http" | "https":
            return stat_web(url, guarded=guarded)
        case "file":
            return _from_disk(url, guarded, permit, lambda path: ShardStat(size=path.stat().st_size))


def _read_url(url: str, store: object | None) -> str:
    if store is not None and hasattr(store, "read_url"):
        return cast("Any", store).read_url(url)
    return url


def _from_s3(url: str, act: Callable[[S3Endpoint, str, str], R]) -> R:
    bucket, key = parse_s3(url)
    configured = S3Endpoint.from_environment()
    if configured is None:
        return act(S3Endpoint.anonymous_at(None), bucket, key)
    try:
        return act(configured, bucket, key)
    except (ShardForbiddenError, CredentialsError) as refusal:
        # These keys may be for another account, and the shard public.
        anonymous = S3Endpoint.anonymous_at(configured.endpoint_url, configured.region)
        try:
            return act(anonymous, bucket, key)
        except (ShardForbiddenError, CredentialsError):
            raise refusal from None


def _from_disk(url: str, guarded: bool, permit: Permit | None, act: Callable[[Path], R]) -> R:
    shown = displayed(url)
    if guarded:
        raise _of_publisher(shown)
    try:
        path = local_path(url)
        if permit is not None:
            path = permit(url, path)
        if path.is_dir():
            raise StorageError(f"{shown} is a directory. Name the tars in it.", urls=[shown])
        refuse_special(shown, path)
        return act(path)
    except (FileNotFoundError, NotADirectoryError):
        raise ShardMissingError(
            f"There is no file {shown}. Check the path, or the directory it is relative to.", url=shown
        ) from None
    except PermissionError:
        raise ShardForbiddenError(f"The file {shown} may not be read. Change its permissions.", url=shown) from None
    except (OSError, ValueError) as why:
        if isinstance(why, StorageError):
            raise
        raise StorageError(f"{shown} cannot be opened: {why}. Check the path.", urls=[shown]) from None


def _of_publisher(shown: str) -> StorageError:
    return StorageError(
        f"{shown} is a path on the publisher's machine. Ask the publisher for a copy behind s3:// or https://.",
        urls=[shown],
    )


class _File(io.FileIO):
    """A file of this machine; a disk or a mount that fails while it is read is an error of ours."""

    def __init__(self, path: Path, url: str) -> None:
        super().__init__(path)
        self._url = url

    def readinto(self, buffer: Any, /) -> int:
        return self._read(super().readinto, buffer)

    def readall(self) -> bytes:
        return self._read(super().readall)

    def _read(self, read: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return read(*arguments)
        except OSError as why:
            shown = displayed(self._url)
            raise StorageError(
                f"{shown} cannot be read on: {why}. Check the disk or the mount that it lies on.", urls=[shown]
            ) from None


class Probe(NamedTuple):
    """What a server says of a whole shard when its first bytes are asked for; None: it does not say."""

    size: int | None
    etag: str | None


def probe(url: str, endpoint: str | None = None, region: str | None = None, *, inside: bool = False) -> Probe:
    """Ask for the first bytes of a shard (``s3://`` or ``http(s)://``), once, as somebody who has no key.

    Args:
        url: The shard.
        endpoint: The S3 service of an ``s3://`` URL; None is AWS.
        region: Its region.
        inside: Anonymous readers share our private network. Else a private address is none that they can reach, a
            configured one neither, except those that ``ATDATA_ALLOW_PRIVATE`` lists.

    Raises:
        PrivateAddressError: Only this network reaches it.
        ShardForbiddenError, ShardMissingError: An anonymous reader is turned away, or told that it is not there.
        StorageError: The URL is not understood.
        ServiceError: The server did not answer as it should.
    """
    if scheme(url) == "s3":
        return _probe_s3(url, endpoint, region, inside)
    return _of_headers(first_bytes(url, guarded=not inside))


def _probe_s3(url: str, endpoint: str | None, region: str | None, inside: bool) -> Probe:
    bucket, key = parse_s3(url)
    if endpoint is not None and not inside:
        check_public(endpoint, environment=False)
    anonymous = S3Endpoint.anonymous_at(endpoint, region, timeout=PROBE_SECONDS)
    with anonymous.errors(bucket, key):
        answer: dict[str, Any] = anonymous.client.get_object(Bucket=bucket, Key=key, Range=FIRST_BYTES)
    answer["Body"].close()
    return _of_headers(answer["ResponseMetadata"]["HTTPHeaders"])


def _of_headers(headers: Mapping[str, str]) -> Probe:
    """From the headers of an answer, lower-case names."""
    etag = strong_etag(headers.get("etag"))
    if "content-encoding" in headers:
        return Probe(None, etag)
    part = re.fullmatch(r"bytes \d+-\d+/(\d+)", headers.get("content-range", ""))
    # Without a range this is the whole shard: some servers know no parts.
    whole = headers.get("content-length", "") if "content-range" not in headers else ""
    return Probe(int(part[1]) if part else int(whole) if whole.isdecimal() else None, etag)
