"""The records that this library writes. Reading them is ``parse.py``'s."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from atdata_core.atmosphere.record_format.content_metadata import ContentMetadata
from atdata_core.atmosphere.record_format.lexicon import (
    ENTRY,
    JSON_SCHEMA_FORMAT,
    LABEL,
    SCHEMA,
    STORAGE_BLOBS,
    STORAGE_HTTP,
    STORAGE_S3,
)
from atdata_core.atmosphere.record_format.parse import blob_at, blob_cid
from atdata_core.atmosphere.record_format.record_metadata import to_field
from atdata_core.common.urls import displayed, parse_s3, refuse_credentials, scheme
from atdata_core.errors import NoDataUrlsError, StorageError
from atdata_core.protocols import ShardFacts
from atdata_core.samples.json_schema import to_json_schema
from atdata_core.samples.metadata import refuse_secrets

_NDARRAY_SHIM = re.compile(r"/atdata-ndarray-bytes/(\d+\.\d+\.\d+)#")

ADVICE = (
    "Give a data store, so that the shards are copied to one place that others can reach: "
    "data_store=S3DataStore(...), or ATDATA_PUBLISH_BUCKET in the pipeline."
)

BLOB_TYPE = "application/x-tar"
"""What the lexicon wants a shard to be that is a blob."""


def schema_record(local_schema: dict[str, Any], *, created_at: str) -> dict[str, Any]:
    """The schema record of a local schema.

    It holds the JSON Schema twice: in ``content``, where the lexicon wants it, and flattened beside it,
    where atdata 0.4 to 0.7 reads it.

    Args:
        local_schema: As ``schema_of`` gives it.
        created_at: As ``timestamp`` gives it.

    Raises:
        SchemaError: The schema cannot be expressed.
        MetadataError: Its description would publish a secret.
    """
    refuse_secrets({"the description of the schema": local_schema.get("description")})
    content = to_json_schema(local_schema)
    versions = _array_formats(content)
    record: dict[str, Any] = {
        "$type": SCHEMA,
        "name": local_schema["name"],
        "version": local_schema["version"],
        "schemaType": "jsonSchema",
        "schema": {
            "$type": JSON_SCHEMA_FORMAT,
            "draft": "draft-07",
            "content": content,
            **({"arrayFormatVersions": versions} if versions else {}),
            **_flattened(content),
        },
        "createdAt": created_at,
    }
    if local_schema.get("description"):
        record["description"] = local_schema["description"]
    if local_schema.get("module"):
        record["metadata"] = {"module": local_schema["module"]}
    return record


def entry_record(
    *,
    name: str,
    schema_uri: str,
    shards: Sequence[ShardFacts],
    description: str | None,
    tags: Sequence[str] | None,
    license: str | None,
    metadata: dict[Any, Any] | None,
    created_at: str,
    did: str | None = None,
    content: ContentMetadata | None = None,
    content_schema: str | None = None,
) -> dict[str, Any]:
    """The entry record of a publication. Values that are None or empty are left out.

    Args:
        name: The published name.
        schema_uri: At-uri of the schema record, with a DID.
        shards: As they can be read by others, in order.
        description: For people, searched.
        tags: For people, searched and filtered.
        license: SPDX identifier or URL.
        metadata: Whatever msgpack can hold.
        created_at: As ``timestamp`` gives it.
        did: Of the account: shards at the addresses of its blobs are named as such.
        content: What it is cited and found by, and what its shards hold.
        content_schema: At-uri of the schema record of that.

    Raises:
        NoDataUrlsError: No shards.
        StorageError: The shards do not lie in one place that others can reach.
        MetadataError: The metadata cannot be packed, is too large, or something would publish a secret.
    """
    record: dict[str, Any] = {
        "$type": ENTRY,
        "name": name,
        "schemaRef": schema_uri,
        "storage": storage_of(shards, did),
        "size": _size(shards),
        "createdAt": created_at,
    }
    if description:
        record["description"] = description
    if tags:
        record["tags"] = list(tags)
    if license:
        record["license"] = license
    if metadata is not None:
        record["metadata"] = to_field(metadata)
    if content is not None and (told := content.to_json()):
        record["contentMetadata"] = told
        if content.is_described and content_schema is not None:
            record["metadataSchemaRef"] = content_schema
    said = {"name": name, "description": description, "tags": tags, "license": license}
    said["content"] = record.get("contentMetadata")
    refuse_secrets({**said, "metadata": metadata})
    return record


def label_record(*, name: str, dataset_uri: str, version: str | None, created_at: str) -> dict[str, Any]:
    """The label of a name: it points at an entry record."""
    record = {"$type": LABEL, "name": name, "datasetUri": dataset_uri, "createdAt": created_at}
    if version is not None:
        record["version"] = version
    return record


def storage_of(shards: Sequence[ShardFacts], did: str | None = None) -> dict[str, Any]:
    """``storageS3`` for ``s3://``, ``storageHttp`` for ``http(s)://``, each shard with its SHA-256.

    Shards at the addresses of blobs of the account ``did`` are ``storageBlobs``.

    Raises:
        NoDataUrlsError: There are no shards.
        StorageError: Local paths, several buckets, endpoints or schemes, credentials in a URL, or a shard
            without a digest.
    """
    if not shards:
        raise NoDataUrlsError("There are no shards to publish. Insert the dataset with data first.", name=None)
    kinds: set[str] = set()
    for shard in shards:
        kind = scheme(shard.url)
        if kind != "s3":  # of these it is asked where the bucket is read
            refuse_credentials(shard.url)
        if not shard.sha256:
            raise StorageError(
                f"No digest is known of {displayed(shard.url)}, and a record never holds a placeholder. "
                "Read the shard first.",
                urls=[displayed(shard.url)],
            )
        if kind == "file":
            local = [displayed(each.url) for each in shards if scheme(each.url) == "file"]
            raise StorageError(
                f"{local[0]} is a path of this machine, which nobody else can read. {ADVICE}", urls=local
            )
        if did is not None and blob_at(shard.url, did) == blob_cid(shard.sha256):
            kind = "blobs"
        kinds.add("http" if kind == "https" else kind)
    if len(kinds) > 1:
        raise StorageError(
            f"The shards lie in several kinds of places ({', '.join(sorted(kinds))}); a record names one. {ADVICE}",
            urls=[displayed(shard.url) for shard in shards],
        )
    if kinds == {"s3"}:
        return _storage_s3(shards)
    if kinds == {"blobs"}:
        return {"$type": STORAGE_BLOBS, "blobs": [_blob(shard) for shard in shards]}
    return {
        "$type": STORAGE_HTTP,
        "shards": [{"url": shard.url, "checksum": _checksum(shard)} for shard in shards],
    }


def _storage_s3(shards: Sequence[ShardFacts]) -> dict[str, Any]:
    named = [parse_s3(shard.url) for shard in shards]
    for endpoint in {shard.endpoint for shard in shards if shard.endpoint}:
        refuse_credentials(endpoint)
    places = {(bucket, shard.endpoint, shard.region) for (bucket, _), shard in zip(named, shards, strict=True)}
    if len(places) > 1:
        shown = sorted(
            f"{bucket} at {endpoint or 'AWS'} {region or ''}".strip() for bucket, endpoint, region in places
        )
        raise StorageError(
            f"The shards lie in several buckets or endpoints ({', '.join(shown)}); a record names one. {ADVICE}",
            urls=[shard.url for shard in shards],
        )
    ((bucket, endpoint, region),) = places
    return {
        "$type": STORAGE_S3,
        "bucket": bucket,
        **({} if region is None else {"region": region}),
        **({} if endpoint is None else {"endpoint": endpoint}),
        "shards": [
            {"key": key, "checksum": _checksum(shard)} for (_, key), shard in zip(named, shards, strict=True)
        ],
    }


def _blob(shard: ShardFacts) -> dict[str, Any]:
    ref = {"$link": blob_cid(shard.sha256)}
    blob = {"$type": "blob", "ref": ref, "mimeType": BLOB_TYPE, "size": shard.size}
    return {"blob": blob, "checksum": _checksum(shard)}


def _checksum(shard: ShardFacts) -> dict[str, str]:
    return {"algorithm": "sha256", "digest": shard.sha256}


def _size(shards: Sequence[ShardFacts]) -> dict[str, int]:
    size = {"bytes": sum(shard.size for shard in shards), "shards": len(shards)}
    counts = [shard.samples for shard in shards if shard.samples is not None]
    return {"samples": sum(counts), **size} if len(counts) == len(shards) else size


def _flattened(content: dict[str, Any]) -> dict[str, Any]:
    """``type``, ``properties`` and ``required`` as atdata 0.4 to 0.7 reads them.

    That reader takes the fields in the order in which a PDS gives them (shorter names first) and cannot
    make a class where an optional field comes before a required one. Such a field is called required here;
    ``content`` tells the truth.
    """
    properties: dict[str, Any] = content["properties"]
    required = set(content.get("required", ()))
    order = sorted(properties, key=lambda name: (len(name.encode()), name.encode()))
    last = max((order.index(name) for name in required), default=-1)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if order.index(name) <= last],
    }


def _array_formats(content: dict[str, Any]) -> dict[str, str]:
    """Version of the array format that the fields refer to; empty where no field is an array."""
    versions = _NDARRAY_SHIM.findall(json.dumps(content["properties"]))
    return {"ndarrayBytes": max(versions)} if versions else {}
