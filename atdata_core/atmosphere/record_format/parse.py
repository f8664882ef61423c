"""Records as they are found on the network, from this library and from the others in the field."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast
from urllib.parse import parse_qs, urlencode, urlsplit

import libipld

from atdata_core.atmosphere.record_format.content_metadata import ContentMetadata
from atdata_core.atmosphere.record_format.lexicon import OLD_ENTRY, OLD_SCHEMA
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA, AtUri
from atdata_core.atmosphere.record_format.record_metadata import unpack_metadata
from atdata_core.common.citation import Creator
from atdata_core.common.urls import MAX_SHARDS, expand
from atdata_core.errors import AtdataError, RecordChangedError, RefusedError, SchemaError
from atdata_core.samples.json_schema import from_json_schema
from atdata_core.samples.schema import from_field_list

# https://github.com/multiformats/multicodec/blob/master/table.csv
_RAW, _SHA256 = 0x55, 0x12
_GET_BLOB = "/xrpc/com.atproto.sync.getBlob"
# What stands beside the JSON Schema in the flattened form.
_NOT_JSON_SCHEMA = ("$type", "draft", "content", "arrayFormatVersions", "schemaBody")


@dataclass(frozen=True, slots=True)
class PublishedShard:
    """A shard as a record names it.

    ``sha256`` is lower-case hex and ``size`` in bytes, each None where the record gives none. ``endpoint`` and
    ``region`` belong to ``s3://`` URLs. ``url`` is meant as it stands, braces too; only in records of the oldest
    kind it may be a ``pattern``.
    """

    url: str
    sha256: str | None = None
    endpoint: str | None = None
    region: str | None = None
    pattern: bool = False
    size: int | None = None


@dataclass(frozen=True, slots=True, init=False)
class AtmosphereIndexEntry:
    """A published dataset.

    ``schema_ref`` is the at-uri of its schema record; ``data_urls`` are the shards' URLs, in order
    (``s3://bucket/key`` for S3, whose endpoint ``shards`` tells). ``tags`` is empty where there are none.
    ``samples`` and ``size`` (bytes) are those of the whole dataset, None where the record does not tell them.
    ``content`` is what it is cited and found by, also by name: ``creators``, ``doi``, ``citation``, ``homepage``,
    ``keywords``, ``language``.
    ``current`` is told by listings: whether the label of its name points at it (False: at another entry); None
    where there is no such label, or none was looked at.
    """

    name: str
    schema_ref: str
    data_urls: list[str]
    metadata: dict[Any, Any] | None
    uri: str
    cid: str
    description: str | None
    tags: list[str]
    license: str | None
    shards: tuple[PublishedShard, ...]
    created_at: str | None
    samples: int | None
    size: int | None
    content: ContentMetadata
    current: bool | None = field(compare=False)

    def __init__(
        self,
        uri: str,
        record: dict[str, Any],
        *,
        cid: str = "",
        service_of: Callable[[str], str] | None = None,
        current: bool | None = None,
    ) -> None:
        """Read the body of a record, which may lack fields; raises as ``read_entry_record`` does."""
        fields = Fields(record, uri)

        def blob_url(blob: str) -> str:
            did = AtUri.parse(uri).authority
            if service_of is None:
                raise RefusedError(
                    f"The shards of {uri} are blobs, and the PDS that holds them is not known.", uri=uri
                )
            return blob_address(service_of(did), did, blob)

        shards = read_storage(fields.object("storage"), blob_url) if record.get("storage") else []
        metadata = unpack_metadata(record.get("metadata"))
        content = ContentMetadata.of_record(record, metadata)
        if len(content.shard_sizes) == len(shards):
            shards = [replace(shard, size=size) for shard, size in zip(shards, content.shard_sizes, strict=True)]
        size: Any = record.get("size")
        totals = cast("dict[str, Any]", size) if isinstance(size, dict) else {}
        values = {
            "name": fields.optional_text("name") or "",
            "schema_ref": fields.optional_text("schemaRef") or "",
            "data_urls": [shard.url for shard in shards],
            "metadata": metadata,
            "uri": uri,
            "cid": cid,
            "description": fields.optional_text("description"),
            "tags": fields.texts("tags") if record.get("tags") is not None else [],
            "license": fields.optional_text("license"),
            "shards": tuple(shards),
            "created_at": fields.optional_text("createdAt"),
            **{name: _count(totals.get(key)) for name, key in (("samples", "samples"), ("size", "bytes"))},
            "content": content,
            "current": current,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def creators(self) -> tuple[Creator, ...]:
        """Who made it, in the order in which they are cited."""
        return self.content.creators

    @property
    def doi(self) -> str | None:
        """``10.5281/zenodo.1234567``, without an address before it."""
        return self.content.doi

    @property
    def citation(self) -> str | None:
        """How it wants to be cited, in words."""
        return self.content.citation

    @property
    def homepage(self) -> str | None:
        """The address of its own page."""
        return self.content.homepage

    @property
    def keywords(self) -> tuple[str, ...]:
        """Keywords, which are also among the tags as far as there is room."""
        return self.content.keywords

    @property
    def language(self) -> tuple[str, ...]:
        """Tags of BCP 47."""
        return self.content.language


def read_entry_record(
    uri: str,
    cid: str,
    value: dict[str, Any],
    *,
    service_of: Callable[[str], str] | None = None,
    current: bool | None = None,
) -> AtmosphereIndexEntry:
    """An entry record, of the present or the older collection.

    Args:
        uri: Its at-uri.
        cid: Its CID.
        value: Its body, as a PDS gives it.
        service_of: Gives the URL of the PDS of a DID; asked only for records whose shards are blobs.
        current: Whether the label of its name points at it, where that is known.

    Raises:
        RefusedError: It is no entry record, or malformed.
        MetadataError: Its metadata is unreadable.
    """
    _expect(uri, value, (ENTRY, OLD_ENTRY), "dataset")
    fields = Fields(value, uri)
    for needed in ("name", "schemaRef"):
        fields.text(needed)
    fields.object("storage").text("$type")
    return AtmosphereIndexEntry(uri, value, cid=cid, service_of=service_of, current=current)


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


# -- two records compared --------------------------------------------------------------------------


def differing_fields(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of the fields in which two records differ, ``createdAt`` aside, in alphabetical order."""
    names = (one.keys() | other.keys()) - {"createdAt"}
    return sorted(
        name
        for name in names
        if (name in one) != (name in other) or _canonical(one.get(name)) != _canonical(other.get(name))
    )


def changed(did: str, collection: str, rkey: str, fields: list[str]) -> RecordChangedError:
    """The error of a record that is another one than was expected; ``fields`` names what differs, if known."""
    uri = f"at://{did}/{collection}/{rkey}"
    what = f"differs in {', '.join(fields)}" if fields else "is another one than was last seen"
    return RecordChangedError(
        f"The record at {uri} {what}; it was left as it is. Read it and decide: "
        "take it over, or publish under another name.",
        uri=uri,
        fields=fields,
    )


def _canonical(value: Any) -> Any:
    """JSON with one spelling of ``$bytes``: a PDS gives base64 back without its padding."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        if fields.keys() == {"$bytes"}:
            return {"$bytes": str(fields["$bytes"]).rstrip("=")}
        return {key: _canonical(item) for key, item in fields.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in cast("list[Any]", value)]
    return value


# -- where the shards lie --------------------------------------------------------------------------


def read_storage(storage: Fields, blob_url: Callable[[str], str]) -> list[PublishedShard]:
    """The shards that a ``storage`` object names, whichever program wrote it.

    Args:
        storage: The object.
        blob_url: Where a blob's CID is downloaded.

    Raises:
        RefusedError: It is malformed or of an unknown kind.
    """
    kind = storage.text("$type").rpartition(".")[2]
    if kind == "storageHttp":
        return [PublishedShard(shard.text("url"), _sha256(shard)) for shard in storage.objects("shards")]
    if kind == "storageS3":
        where, endpoint = f"s3://{storage.text('bucket')}", storage.optional_text("endpoint")
        region = storage.optional_text("region")
        return [
            PublishedShard(f"{where}/{shard.text('key')}", _sha256(shard), endpoint, region)
            for shard in storage.objects("shards")
        ]
    if kind == "storageBlobs":
        return [_blob(item, blob_url) for item in storage.objects("blobs")]
    if kind == "storageExternal":
        return [PublishedShard(url, pattern=True) for url in storage.texts("urls")]
    raise storage.malformed("$type", f"{kind!r} is a kind of storage that this version does not know")


def expanded(shards: Iterable[PublishedShard], *, most: int = MAX_SHARDS) -> list[PublishedShard]:
    """The shards one by one: instead of a pattern all that it stands for, of which no more is known.

    Raises:
        StorageError: A pattern is malformed, or stands for more than ``most``.
    """
    found: list[PublishedShard] = []
    for shard in shards:
        left = most - len(found)
        found += map(PublishedShard, expand([shard.url], most=left)) if shard.pattern else [shard]
    return found


def _blob(item: Fields, blob_url: Callable[[str], str]) -> PublishedShard:
    # The oldest records hold the reference itself.
    blob = item.object("blob") if "blob" in item.values else item
    cid = blob.object("ref").text("$link")
    size = _count(blob.values.get("size"))
    return PublishedShard(blob_url(cid), _sha256(item) or blob_sha256(cid), size=size)


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


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


def blob_address(service: str, did: str, cid: str) -> str:
    """Where anybody can download a blob."""
    return f"{service}{_GET_BLOB}?{urlencode({'did': did, 'cid': cid})}"


def blobs_of(did: str) -> str:
    """What the place of an account's blobs is called, for people and in the ledger."""
    return f"blobs of {did}"


def blob_at(url: str, did: str) -> str | None:
    """The CID of the blob of an account that a URL is the address of, on whatever host; None for another URL."""
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
    except ValueError:
        return None
    if parts.path != _GET_BLOB or query.get("did") != [did]:
        return None
    return query.get("cid", [None])[0]


def blob_cid(sha256: str) -> str:
    """The CID of a blob whose bytes have this SHA-256 (hex)."""
    cid = bytes((1, _RAW, _SHA256, 32)) + bytes.fromhex(sha256)
    return "b" + base64.b32encode(cid).decode().lower().rstrip("=")


def blob_sha256(cid: str) -> str | None:
    """The SHA-256 (hex) of a blob's bytes, which its CID holds; None for a CID of another kind."""
    try:
        found: Any = libipld.decode_cid(cid)
    except ValueError:
        return None
    multihash = found["hash"]
    if found["codec"] != _RAW or multihash["code"] != _SHA256:
        return None
    return bytes(multihash["digest"]).hex()


# -- fields of somebody else's JSON ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fields:
    """An object inside a record; ``where`` says which, for errors: ``at://... storage.shards[0]``."""

    values: dict[str, Any]
    where: str

    def text(self, name: str) -> str:
        """A text that must be there."""
        value = self.values.get(name)
        if not isinstance(value, str):
            raise self.malformed(name, "a text is needed")
        return value

    def optional_text(self, name: str) -> str | None:
        """A text, or None where there is none."""
        return None if self.values.get(name) is None else self.text(name)

    def texts(self, name: str) -> list[str]:
        """A list of texts that must be there."""
        found: list[str] = []
        for item in self._list(name):
            if not isinstance(item, str):
                raise self.malformed(name, "a list of texts is needed")
            found.append(item)
        return found

    def object(self, name: str) -> Fields:
        """An object that must be there."""
        value = self.values.get(name)
        if not isinstance(value, dict):
            raise self.malformed(name, "an object is needed")
        return Fields(cast("dict[str, Any]", value), f"{self.where} {name}")

    def objects(self, name: str) -> list[Fields]:
        """A list of objects that must be there."""
        found: list[Fields] = []
        for position, item in enumerate(self._list(name)):
            if not isinstance(item, dict):
                raise self.malformed(f"{name}[{position}]", "an object is needed")
            found.append(Fields(cast("dict[str, Any]", item), f"{self.where} {name}[{position}]"))
        return found

    def malformed(self, name: str, problem: str) -> RefusedError:
        """The error for one field."""
        return RefusedError(
            f"{self.where}: `{name}` cannot be read: {problem}. Ask the publisher to mend the record.",
            where=self.where,
            field=name,
        )

    def _list(self, name: str) -> list[Any]:
        value = self.values.get(name)
        if not isinstance(value, list):
            raise self.malformed(name, "a list is needed")
        return cast("list[Any]", value)


def shown(value: object) -> str:
    """A value for an error: a short text or number as it is, of anything else its kind."""
    if isinstance(value, str):
        return repr(value if len(value) <= 100 else f"{value[:100]}...")
    if value is None or (isinstance(value, int) and abs(value) < 2**64):
        return repr(value)
    return type(value).__name__
