"""Records as they are found on the network, from this library and from the others in the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from atdata_core.atmosphere.record_format.json_fields import Fields, shown
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, OLD_ENTRY, OLD_SCHEMA, SCHEMA, AtUri
from atdata_core.atmosphere.record_format.record_metadata import unpack_metadata
from atdata_core.atmosphere.record_format.storage import PublishedShard, read_storage
from atdata_core.atmosphere.xrpc import blobs
from atdata_core.errors import AtdataError, RefusedError, SchemaError
from atdata_core.samples.schema import from_field_list, from_json_schema

# What stands beside the JSON Schema in the flattened form.
_NOT_JSON_SCHEMA = ("$type", "draft", "content", "arrayFormatVersions", "schemaBody")


@dataclass(frozen=True, slots=True)
class AtmosphereIndexEntry:
    """A published dataset.

    ``schema_ref`` is the at-uri of its schema record; ``data_urls`` are the shards' URLs, in order
    (``s3://bucket/key`` for S3, whose endpoint ``shards`` tells). ``tags`` is empty where there are none.
    """

    name: str
    schema_ref: str
    data_urls: list[str]
    metadata: dict[Any, Any] | None
    uri: str
    cid: str
    description: str | None = None
    tags: list[str] = field(default_factory=list[str])
    license: str | None = None
    shards: tuple[PublishedShard, ...] = ()
    created_at: str | None = None


def read_entry_record(
    uri: str, cid: str, value: dict[str, Any], *, service_of: Callable[[str], str] | None = None
) -> AtmosphereIndexEntry:
    """An entry record, of the present or the older collection.

    Args:
        uri: Its at-uri.
        cid: Its CID.
        value: Its body, as a PDS gives it.
        service_of: Gives the URL of the PDS of a DID; asked only for records whose shards are blobs.

    Raises:
        RefusedError: It is no entry record, or malformed.
        MetadataError: Its metadata is unreadable.
    """
    _expect(uri, value, (ENTRY, OLD_ENTRY), "dataset")
    fields = Fields(value, uri)

    def blob_url(blob: str) -> str:
        did = AtUri.parse(uri).authority
        if service_of is None:
            raise RefusedError(f"The shards of {uri} are blobs, and the PDS that holds them is not known.", uri=uri)
        return blobs.url_of(service_of(did), did, blob)

    shards = read_storage(fields.object("storage"), blob_url)
    return AtmosphereIndexEntry(
        name=fields.text("name"),
        schema_ref=fields.text("schemaRef"),
        data_urls=[shard.url for shard in shards],
        metadata=unpack_metadata(value.get("metadata")),
        uri=uri,
        cid=cid,
        description=fields.optional_text("description"),
        tags=fields.texts("tags") if value.get("tags") is not None else [],
        license=fields.optional_text("license"),
        shards=tuple(shards),
        created_at=fields.optional_text("createdAt"),
    )


def label_target(value: Mapping[str, Any]) -> str | None:
    """The at-uri that a label points at, as its body tells it; None where it tells none."""
    target = value.get("datasetUri")
    return target if isinstance(target, str) else None


def read_schema_record(value: dict[str, Any]) -> dict[str, Any]:
    """A schema record in the form that the local index keeps.

    Three forms are read: the lexicon's (JSON Schema in ``content``), the flattened one of atdata 0.4 and
    later, and the list of fields of atdata 0.2.

    Returns:
        ``{name, version, fields, description, createdAt}``, and ``module`` where the record tells it.

    Raises:
        SchemaError: It is no schema record, or malformed.
    """
    try:
        _expect("This record", value, (SCHEMA, OLD_SCHEMA), "schema")
        fields = Fields(value, f"The schema {shown(value.get('name'))}")
        local = _old(fields) if value["$type"] == OLD_SCHEMA else _present(fields)
    except SchemaError:
        raise
    except AtdataError as error:
        raise SchemaError(error.message, type_name=shown(value.get("name")), field=None) from None
    local["createdAt"] = value.get("createdAt")
    metadata: Any = value.get("metadata")
    module: Any = cast("dict[str, Any]", metadata).get("module") if isinstance(metadata, dict) else None
    if isinstance(module, str):
        local["module"] = module
    return local


def _present(record: Fields) -> dict[str, Any]:
    later: Any = record.values.get("atdataSchemaVersion", record.values.get("$atdataSchemaVersion", 1))
    if later != 1:
        raise record.malformed("atdataSchemaVersion", f"{shown(later)} is later than this version of the library")
    body = record.object("schema")
    for inner in ("content", "schemaBody"):
        if isinstance(body.values.get(inner), dict):
            json_schema = body.object(inner).values
            break
    else:
        json_schema = {key: item for key, item in body.values.items() if key not in _NOT_JSON_SCHEMA}
    return from_json_schema(
        json_schema,
        name=record.text("name"),
        version=record.text("version"),
        description=record.optional_text("description"),
    )


def _old(record: Fields) -> dict[str, Any]:
    return from_field_list(
        [field.values for field in record.objects("fields")],
        name=record.text("name"),
        version=record.text("version"),
        description=record.optional_text("description"),
    )


def _expect(what: str, value: dict[str, Any], kinds: tuple[str, ...], name: str) -> None:
    kind = value.get("$type")
    if kind in kinds:
        return
    target = label_target(value)
    hint = f" It is a label; its dataset is {target}." if kind == LABEL and target is not None else ""
    raise RefusedError(f"{what} is no {name} record: its $type is {shown(kind)}.{hint}", uri=what)
