"""Open a shard, or look at it, wherever it lies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from ..common.urls import displayed, local_path, parse_s3, scheme
from ..errors import CredentialsError, ShardForbiddenError, ShardMissingError, StorageError
from ..protocols import ShardStat
from .derived import implements

if TYPE_CHECKING:
    from .s3.objects import S3Endpoint

__all__ = ["open_shard", "stat_shard"]

R = TypeVar("R")
Permit = Callable[[str, Path], Path]
"""Of a URL and the file that it stands for the file that may be read; raises where it may not."""


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
            from .http import open_web

            return open_web(url, guarded=guarded)
        case "file":
            return _from_disk(url, guarded, permit, lambda path: path.open("rb"))


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
            from .http import stat_web

            return stat_web(url, guarded=guarded)
        case "file":
            return _from_disk(url, guarded, permit, lambda path: ShardStat(size=path.stat().st_size))


def _read_url(url: str, store: object | None) -> str:
    if store is not None and hasattr(store, "read_url"):
        return cast("Any", store).read_url(url)
    return url


def _from_s3(url: str, act: Callable[[S3Endpoint, str, str], R]) -> R:
    from .s3.objects import S3Endpoint

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
        raise StorageError(
            f"{shown} is a path on the publisher's machine. Ask the publisher for a copy behind s3:// or https://.",
            urls=[shown],
        )
    try:
        path = local_path(url)
        if permit is not None:
            path = permit(url, path)
        if path.is_dir():
            raise StorageError(f"{shown} is a directory. Name the tars in it.", urls=[shown])
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
