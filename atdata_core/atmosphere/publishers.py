"""Publishing schemas and datasets without an index: the record and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from atdata_core.atmosphere.listings import is_last_page
from atdata_core.atmosphere.record_format.build import entry_record, schema_record
from atdata_core.atmosphere.record_format.lexicon import OLD_SCHEMA, check
from atdata_core.atmosphere.record_format.parse import read_schema_record
from atdata_core.atmosphere.record_format.record_keys import ENTRY, SCHEMA, AtUri, Publication, schema_rkey
from atdata_core.common.cid import entry_cid
from atdata_core.common.names import check_dataset_name
from atdata_core.common.urls import displayed, expand, refuse_credentials, scheme
from atdata_core.errors import (
    RecordChangedError,
    RecordNotFoundError,
    RefusedError,
    SchemaConflictError,
    SchemaError,
    SchemaNotFoundError,
    StorageError,
)
from atdata_core.protocols import ShardFacts
from atdata_core.samples.compatibility import compare, newest_with_fields
from atdata_core.samples.schema import decode, describe, full_name, schema_of
from atdata_core.shards.dataset import check_can_be_named
from atdata_core.shards.shard_facts import read_facts
from atdata_core.stores.data_store import as_data_store
from atdata_core.stores.opening import open_shard
from atdata_core.stores.s3.objects import S3Endpoint

if TYPE_CHECKING:
    from atdata_core.atmosphere.client import AtmosphereClient, Record

Listed = dict[str, Any]
"""How far an account's schemas were listed, and what other programs wrote there; a JSON object."""


def create_schema(local: dict[str, Any], client: AtmosphereClient) -> tuple[Record, bool]:
    """Write a schema record that was not found.

    Where only words differ from a rival's, a description for instance, the first ones stay.

    Returns:
        The record, and whether this call wrote it.

    Raises:
        SchemaConflictError: The same class and version is published with other fields.
        PreflightError: The network would refuse the record.
    """
    rkey = schema_rkey(full_name(local), local["version"])
    record = schema_record(local, created_at=client.now())
    check(SCHEMA, rkey, record, did=client.did)
    try:
        return client.create_once(SCHEMA, rkey, record)
    except RecordChangedError:
        # A rival was faster.
        found = client.find_record(SCHEMA, rkey)
        if found is None:
            raise
    _same_fields(local, found)
    return found, False


@dataclass(slots=True)
class Listing:
    """Schema records that were listed on the way.

    ``whole``: all that have a key of ours are among them. ``listed`` is worth keeping for the next time, None where
    nothing had to be listed.
    """

    records: list[Record] = field(default_factory=list["Record"])
    whole: bool = False
    listed: Listed | None = None


def find_schema(
    local: dict[str, Any],
    client: AtmosphereClient,
    recall: Callable[[], Listed | None] = lambda: None,
    listing: Listing | None = None,
    find: Callable[[str, str], Record | None] | None = None,
) -> Record | None:
    """The published record of a local schema, or None; raises ``SchemaConflictError``.

    Under its own key it costs one request, however many schemas there are. Else another program's record of
    the class and version is looked for, behind what ``recall`` says was listed before; ``listing`` takes what is
    seen then. ``find`` reads a record of the account, the client's by default.
    """
    rkey = schema_rkey(full_name(local), local["version"])
    found = (find or client.find_record)(SCHEMA, rkey) or _find_foreign(
        local, client, recall(), listing or Listing()
    )
    if found is not None:
        _same_fields(local, found)
    return found


def newest_schema(wanted: dict[str, Any], client: AtmosphereClient) -> Record | None:
    """The newest record of the own account for a class, among those with the fields of a local schema.

    None where the account has none of that class. One request for a hundred schemas.

    Raises:
        SchemaConflictError: All of them have other fields.
    """
    records: dict[str, Record] = {}
    published: dict[str, dict[str, Any]] = {}
    for record in client.iter_records(SCHEMA):
        try:
            schema = read_schema_record(record.value)
        except RefusedError:
            continue
        version, own = schema["version"], schema.get("module") == wanted.get("module")
        # Another program's record names no module; a key of ours is then that of a class without one.
        foreign = schema.get("module") is None and _rkey(record) != schema_rkey(schema["name"], version)
        if schema["name"] == wanted["name"] and (own or (foreign and version not in published)):
            records[version], published[version] = record, schema
    found = newest_with_fields(wanted, published.values(), where="The account has published")
    return None if found is None else records[found["version"]]


def _same_fields(local: dict[str, Any], published: Record) -> None:
    fields = compare(local, read_schema_record(published.value))
    if fields:
        name, version = full_name(local), local["version"]
        raise SchemaConflictError(
            f"{name} {version} is already published with other fields ({', '.join(fields)}): {published.uri}. "
            f"Publish the changed class under a new version: index.publish_schema({local['name']}, "
            'version="..."), and insert the dataset with that schema_ref.',
            name=name,
            version=version,
            fields=fields,
            type_name=name,
        )


def _find_foreign(
    local: dict[str, Any], client: AtmosphereClient, kept: Listed | None, listing: Listing
) -> Record | None:
    """The oldest record of the class and version under a key that is not ours.

    Where it is kept, the account's schemas are listed once; afterwards only what other programs added since.
    Their keys are TIDs, which begin with a digit for the next decades and grow, so the listing goes on behind
    the last one and stops at the first key that begins with a letter: ours do.
    """
    found = dict(kept["found"]) if kept else {}
    position: str | None = kept["cursor"] if kept else None
    last_tid, first = position, position is None
    for page, following in client.iter_pages(SCHEMA, cursor=position, reverse=True):
        listing.records += page
        for record in page:
            rkey = _rkey(record)
            if rkey[0].isdigit():
                last_tid = rkey
            _note(found, record, rkey)
        beyond = bool(page) and not _rkey(page[-1])[0].isdigit()
        listing.whole = is_last_page(page, following)
        if listing.whole or (beyond and not first):
            break
    # Without a TID the next listing starts at the first key again, and ends with its first page.
    listing.listed = {"cursor": last_tid or "0", "found": found}
    rkey = found.get(f"{local['name']}@{local['version']}")
    return None if rkey is None else client.find_record(SCHEMA, rkey)


def _note(found: dict[str, str], record: Record, rkey: str) -> None:
    name, version = record.value.get("name"), record.value.get("version")
    if not isinstance(name, str) or not isinstance(version, str):
        return
    about = record.value.get("metadata")
    module = cast("dict[str, Any]", about).get("module") if isinstance(about, dict) else None
    # A record that tells its module has a key of that name, which is asked for first. The key of the bare
    # name is that of a class without a module.
    if module is None and rkey != schema_rkey(name, version):
        found.setdefault(f"{name}@{version}", rkey)


def _rkey(record: Record) -> str:
    return record.uri.rpartition("/")[2]


class SchemaPublisher:
    """Publishes sample types as schema records of the account that is logged in."""

    def __init__(self, client: AtmosphereClient) -> None:
        self.client = client

    def publish(
        self,
        sample_type: type,
        *,
        name: str | None = None,
        version: str = "1.0.0",
        description: str | None = None,
        metadata: dict[str, Any] | None = None,
        rkey: str | None = None,
    ) -> AtUri:
        """Publish a sample type, or find the record that already describes it.

        Args:
            sample_type: A class made with ``@packable``.
            name: The class's, which the record has in any case.
            version: A semantic version.
            description: For people; None: the class's docstring.
            metadata: Of atdata 0.2; refused.
            rkey: Of atdata 0.2; refused.

        Returns:
            Its at-uri: the same one for the same class and version.

        Raises:
            RefusedError: Another name, metadata or a key: the record is found again, and its type rebuilt, by the
                class and its version alone.
            SchemaConflictError: That class and version is published with other fields.
            PreflightError: The network would refuse the record.
            NotLoggedInError: Nobody is logged in.
        """
        _refuse_key(rkey)
        if name not in (None, sample_type.__name__):
            raise RefusedError(
                f"The schema of {sample_type.__name__} cannot be published as {name!r}: readers rebuild the class "
                "by the name in its record. Leave out name, or rename the class.",
                name=name,
            )
        if metadata is not None:
            raise RefusedError(
                "A schema takes no metadata here: published again with others, it would not be the same record. "
                "Say it in description, or keep it with the dataset (publish_with_urls(..., metadata=...)).",
                name=sample_type.__name__,
            )
        local = schema_of(sample_type, version=version, description=description)
        record = find_schema(local, self.client) or create_schema(local, self.client)[0]
        return AtUri.parse(record.uri)


class DatasetPublisher:
    """Publishes datasets as entry records of the account that is logged in.

    The shards stay where they are; each is read once, for its digest.
    """

    def __init__(self, client: AtmosphereClient) -> None:
        self.client = client

    def publish(
        self,
        dataset: Any,
        *,
        name: str,
        schema_uri: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        license: str | None = None,
        auto_publish_schema: bool = True,
        schema_version: str | None = None,
        rkey: str | None = None,
    ) -> AtUri:
        """Publish a ``Dataset``, its schema first where ``schema_uri`` is not given.

        Every sample is decoded by the schema that the record names before anything is written.

        Args:
            dataset: A ``Dataset``.
            name: What it is published as.
            schema_uri: At-uri of its schema.
            description: For people.
            tags: For people.
            license: An SPDX identifier.
            auto_publish_schema: Off, ``schema_uri`` has to be given.
            schema_version: Of the schema that is found or published. None: the newest published one whose fields
                are those of the sample type; 1.0.0 where the account has none of that class.
            rkey: Of atdata 0.2; refused.

        Raises:
            SchemaConflictError: That version, or each one that there is, is published with other fields.
            SampleError: A sample is not what the schema says.
            StorageError: Its shards cannot be reached by others where they are.
            ShardMissingError, ShardForbiddenError, ShardCorruptError: One cannot be read.
            RefusedError: No ``schema_uri``, and ``auto_publish_schema`` is off; or it is no at-uri. Or its shards
                hold another type (``as_type``), or have names that only its source knows. Or a key was chosen.
            SchemaNotFoundError: (a ``KeyError``) there is no record at ``schema_uri``.
            SchemaError: The record there is no schema.
        """
        _refuse_key(rkey)
        if schema_uri is None and not auto_publish_schema:
            raise RefusedError(
                "A dataset needs the at-uri of its schema. Give schema_uri, or leave auto_publish_schema on."
            )
        check_dataset_name(name)
        check_can_be_named(dataset)
        schema: Record | None = None
        if schema_uri is not None:
            schema = self._given_schema(schema_uri)
        elif schema_version is None:
            schema = newest_schema(describe(dataset.sample_type), self.client)
        # What is published now describes the type of the dataset.
        sample_type = dataset.sample_type if schema is None else _sample_type(schema)
        facts = shard_facts(dataset.shard_list, sample_type, store=dataset.data_store)
        if schema is None:
            uri = str(SchemaPublisher(self.client).publish(dataset.sample_type, version=schema_version or "1.0.0"))
        else:
            uri = schema.uri
        return self._write(name, uri, facts, description, tags, license, dataset.metadata)

    def publish_with_urls(
        self,
        urls: Sequence[str],
        schema_uri: str,
        *,
        name: str,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        license: str | None = None,
        metadata: dict[Any, Any] | None = None,
        rkey: str | None = None,
    ) -> AtUri:
        """Publish shards by their URLs (brace patterns allowed); raises as ``publish`` does."""
        _refuse_key(rkey)
        check_dataset_name(name)
        schema = self._given_schema(schema_uri)
        facts = shard_facts(expand(urls), _sample_type(schema))
        return self._write(name, schema.uri, facts, description, tags, license, metadata)

    def _given_schema(self, schema_uri: str) -> Record:
        """A schema record that is there; its at-uri has the DID: the same one however it was given."""
        try:
            record = self.client.get_record(schema_uri)
        except RecordNotFoundError as error:
            raise SchemaNotFoundError(
                f"{error.message} It was given as the schema of a dataset: publish that with "
                "publish_schema(MySample), or leave it out.",
                ref=schema_uri,
            ) from None
        kind = record.value.get("$type")
        if kind not in (SCHEMA, OLD_SCHEMA):
            raise SchemaError(
                f"{schema_uri} is no schema record, its $type is {kind!r}. Give the at-uri that "
                "publish_schema(MySample) returns, or leave it out.",
                ref=schema_uri,
            )
        return record

    def _write(
        self,
        name: str,
        schema_uri: str,
        shards: Sequence[ShardFacts],
        description: str | None,
        tags: Sequence[str] | None,
        license: str | None,
        metadata: dict[Any, Any] | None,
    ) -> AtUri:
        """Write the entry record, or bring it up to date; the same name and data is the same record."""
        cid = entry_cid(schema_uri, [shard.url for shard in shards])
        rkey = Publication(self.client.did, name, cid).rkey
        record = entry_record(
            name=name,
            schema_uri=schema_uri,
            shards=shards,
            description=description,
            tags=tags,
            license=license,
            metadata=metadata,
            created_at=self.client.now(),
        )
        check(ENTRY, rkey, record, did=self.client.did)
        try:
            return AtUri.parse(self.client.create_once(ENTRY, rkey, record)[0].uri)
        except RecordChangedError:
            existing = self.client.find_record(ENTRY, rkey)
            if existing is None:
                raise
        record["createdAt"] = existing.value.get("createdAt") or record["createdAt"]
        check(ENTRY, rkey, record, did=self.client.did, swap=existing.cid)
        return AtUri.parse(self.client.replace(ENTRY, rkey, record, swap=existing.cid).uri)


def _refuse_key(rkey: str | None) -> None:
    if rkey is not None:
        raise RefusedError(
            f"The record key {rkey!r} cannot be chosen: the key is made of what is published, so that it is "
            "published once, however often it is tried. Leave out rkey; client.create_record(..., rkey=...) writes "
            "any record under any key.",
            rkey=rkey,
        )


def _sample_type(schema: Record) -> type:
    """The type that a published schema describes; raises ``SchemaError`` where none can be rebuilt."""
    return decode(read_schema_record(schema.value))


def shard_facts(urls: Sequence[str], sample_type: type, *, store: object | None = None) -> list[ShardFacts]:
    """Size, SHA-256 and number of samples of each shard, every sample decoded.

    Args:
        urls: Patterns expanded.
        sample_type: What the samples are, as the schema says that the record will name.
        store: The store that they lie in, for its credentials; the environment's by default.

    Raises:
        StorageError: A path of this machine, or a credential in a URL.
        SampleError: A shard has one that is not of that type; the error names both.
        ShardMissingError, ShardForbiddenError, ShardCorruptError: A shard cannot be read.
    """
    for url in urls:
        refuse_credentials(url)
        if scheme(url) == "file":
            raise StorageError(
                f"{displayed(url)} is a path of this machine, which nobody else can read. Insert the dataset into "
                "a local index and promote it with a data store (promote_to_atmosphere(..., data_store=...)).",
                urls=[url],
            )
    return [_facts(url, sample_type, store) for url in urls]


def _facts(url: str, sample_type: type, store: object | None) -> ShardFacts:
    with open_shard(url, store=store) as stream:
        facts = read_facts(url, stream, sample_type)
    # The endpoint that ``open_shard`` used.
    service = as_data_store(store).service or S3Endpoint.from_environment() if scheme(url) == "s3" else None
    return facts if service is None else replace(facts, endpoint=service.endpoint_url, region=service.region)
