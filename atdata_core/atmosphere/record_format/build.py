"""The records that this library writes. Reading them is ``parse.py``'s."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from atdata_core.atmosphere.record_format.parse import (
    AtmosphereIndexEntry,
    read_entry_record,
    read_schema_record,
)
from atdata_core.atmosphere.record_format.record_keys import ENTRY, JSON_SCHEMA_FORMAT, LABEL, SCHEMA
from atdata_core.atmosphere.record_format.record_metadata import pack_metadata, to_field, unpack_metadata
from atdata_core.atmosphere.record_format.storage import PublishedShard, storage_of
from atdata_core.protocols import ShardFacts
from atdata_core.samples.json_schema import to_json_schema
from atdata_core.samples.metadata import refuse_secrets

__all__ = [
    "ENTRY",
    "LABEL",
    "SCHEMA",
    "AtmosphereIndexEntry",
    "PublishedShard",
    "entry_record",
    "label_record",
    "pack_metadata",
    "read_entry_record",
    "read_schema_record",
    "schema_record",
    "storage_of",
    "unpack_metadata",
]

_NDARRAY_SHIM = re.compile(r"/atdata-ndarray-bytes/(\d+\.\d+\.\d+)#")


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

    Raises:
        NoDataUrlsError: No shards.
        StorageError: The shards do not lie in one place that others can reach.
        MetadataError: The metadata cannot be packed, is too large, or something would publish a secret.
    """
    record: dict[str, Any] = {
        "$type": ENTRY,
        "name": name,
        "schemaRef": schema_uri,
        "storage": storage_of(shards),
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
    said = {"name": name, "description": description, "tags": tags, "license": license}
    refuse_secrets({**said, "metadata": metadata})
    return record


def label_record(*, name: str, dataset_uri: str, version: str | None, created_at: str) -> dict[str, Any]:
    """The label of a name: it points at an entry record."""
    record = {"$type": LABEL, "name": name, "datasetUri": dataset_uri, "createdAt": created_at}
    if version is not None:
        record["version"] = version
    return record


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
