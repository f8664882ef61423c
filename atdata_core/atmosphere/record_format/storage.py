"""Where an entry's shards lie: the ``storage`` object of its record, written and read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from atdata_core.atmosphere.record_format.json_fields import Fields
from atdata_core.atmosphere.record_format.record_keys import STORAGE_HTTP, STORAGE_S3
from atdata_core.atmosphere.xrpc import blobs
from atdata_core.common.urls import displayed, parse_s3, refuse_credentials, scheme
from atdata_core.errors import NoDataUrlsError, StorageError
from atdata_core.protocols import ShardFacts

ADVICE = (
    "Give a data store, so that the shards are copied to one place that others can reach: "
    "data_store=S3DataStore(...), or ATDATA_PUBLISH_BUCKET in the pipeline."
)


@dataclass(frozen=True, slots=True)
class PublishedShard:
    """A shard as a record names it.

    ``sha256`` is lower-case hex, None where the record gives none. ``endpoint`` and ``region`` belong to
    ``s3://`` URLs. ``url`` is meant as it stands, braces too; only in records of the oldest kind it may be
    a ``pattern``.
    """

    url: str
    sha256: str | None = None
    endpoint: str | None = None
    region: str | None = None
    pattern: bool = False


# -- writing --------------------------------------------------------------------------------------


def storage_of(shards: Sequence[ShardFacts]) -> dict[str, Any]:
    """``storageS3`` for ``s3://``, ``storageHttp`` for ``http(s)://``, each shard with its SHA-256.

    Raises:
        NoDataUrlsError: There are no shards.
        StorageError: Local paths, several buckets, endpoints or schemes, credentials in a URL, or a shard
            without a digest.
    """
    if not shards:
        raise NoDataUrlsError("There are no shards to publish. Insert the dataset with data first.", name=None)
    urls = [shard.url for shard in shards]
    for shard in shards:
        refuse_credentials(shard.url)
        if shard.endpoint is not None:
            refuse_credentials(shard.endpoint)
        if not shard.sha256:
            raise StorageError(
                f"No digest is known of {displayed(shard.url)}, and a record never holds a placeholder. "
                "Read the shard first.",
                urls=[displayed(shard.url)],
            )
    kinds = {"http" if scheme(url) in ("http", "https") else scheme(url) for url in urls}
    if "file" in kinds:
        local = [displayed(url) for url in urls if scheme(url) == "file"]
        raise StorageError(
            f"{local[0]} is a path of this machine, which nobody else can read. {ADVICE}", urls=local
        )
    if len(kinds) > 1:
        raise StorageError(
            f"The shards lie in several kinds of places ({', '.join(sorted(kinds))}); a record names one. {ADVICE}",
            urls=[displayed(url) for url in urls],
        )
    if kinds == {"http"}:
        return {
            "$type": STORAGE_HTTP,
            "shards": [{"url": shard.url, "checksum": _checksum(shard)} for shard in shards],
        }
    return _storage_s3(shards)


def _storage_s3(shards: Sequence[ShardFacts]) -> dict[str, Any]:
    places = {(parse_s3(shard.url)[0], shard.endpoint, shard.region) for shard in shards}
    if len(places) > 1:
        shown = sorted(
            f"{bucket} at {endpoint or 'AWS'} {region or ''}".strip() for bucket, endpoint, region in places
        )
        raise StorageError(
            f"The shards lie in several buckets or endpoints ({', '.join(shown)}); a record names one. {ADVICE}",
            urls=[shard.url for shard in shards],
        )
    ((bucket, endpoint, region),) = places
    storage: dict[str, Any] = {"$type": STORAGE_S3, "bucket": bucket}
    if region is not None:
        storage["region"] = region
    if endpoint is not None:
        storage["endpoint"] = endpoint
    storage["shards"] = [{"key": parse_s3(shard.url)[1], "checksum": _checksum(shard)} for shard in shards]
    return storage


def _checksum(shard: ShardFacts) -> dict[str, str]:
    return {"algorithm": "sha256", "digest": shard.sha256}


# -- reading --------------------------------------------------------------------------------------


def read_storage(storage: Fields, blob_url: Callable[[str], str]) -> list[PublishedShard]:
    """The shards that a ``storage`` object names, whichever program wrote it.

    Args:
        storage: The object.
        blob_url: Where a blob's CID is downloaded.

    Raises:
        RefusedError: It is malformed or of an unknown kind.
    """
    kind = storage.text("$type").rpartition(".")[2]
    readers: Mapping[str, Callable[[], Iterator[PublishedShard]]] = {
        "storageHttp": lambda: _http(storage),
        "storageS3": lambda: _s3(storage),
        "storageBlobs": lambda: _blobs(storage, blob_url),
        "storageExternal": lambda: (PublishedShard(url, pattern=True) for url in storage.texts("urls")),
    }
    if kind not in readers:
        raise storage.malformed("$type", f"{kind!r} is a kind of storage that this version does not know")
    return list(readers[kind]())


def _http(storage: Fields) -> Iterator[PublishedShard]:
    for shard in storage.objects("shards"):
        yield PublishedShard(shard.text("url"), _sha256(shard))


def _s3(storage: Fields) -> Iterator[PublishedShard]:
    bucket, endpoint, region = (
        storage.text("bucket"),
        storage.optional_text("endpoint"),
        storage.optional_text("region"),
    )
    for shard in storage.objects("shards"):
        yield PublishedShard(f"s3://{bucket}/{shard.text('key')}", _sha256(shard), endpoint, region)


def _blobs(storage: Fields, blob_url: Callable[[str], str]) -> Iterator[PublishedShard]:
    for item in storage.objects("blobs"):
        # The oldest records hold the reference itself.
        blob = item.object("blob") if "blob" in item.values else item
        cid = blob.object("ref").text("$link")
        yield PublishedShard(blob_url(cid), _sha256(item) or blobs.sha256_of(cid))


def _sha256(shard: Fields) -> str | None:
    """The digest, where there is a SHA-256: other programs write ``none`` and an empty digest."""
    checksum: Any = shard.values.get("checksum")
    if not isinstance(checksum, dict):
        return None
    fields = cast("dict[str, Any]", checksum)
    digest = fields.get("digest")
    if fields.get("algorithm") != "sha256" or not isinstance(digest, str):
        return None
    return digest.lower()
