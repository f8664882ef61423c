"""Publishing schemas and datasets without an index: the record and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from atdata_core.atmosphere.record_format.build import entry_record, read_schema_record
from atdata_core.atmosphere.record_format.lexicon import check
from atdata_core.atmosphere.record_format.record_keys import ENTRY, OLD_SCHEMA, SCHEMA, AtUri, entry_rkey
from atdata_core.atmosphere.schema_records import newest_schema, publish_schema
from atdata_core.common.cid import entry_cid
from atdata_core.common.names import check_dataset_name
from atdata_core.common.urls import displayed, expand, refuse_credentials, scheme
from atdata_core.errors import (
    RecordChangedError,
    RecordNotFoundError,
    RefusedError,
    SchemaError,
    SchemaNotFoundError,
    StorageError,
)
from atdata_core.protocols import ShardFacts
from atdata_core.samples.schema import decode, describe, schema_of
from atdata_core.shards.shard_facts import read_facts
from atdata_core.stores.opening import open_shard

if TYPE_CHECKING:
    from atdata_core.atmosphere.client import AtmosphereClient, Record
    from atdata_core.stores.s3.objects import S3Endpoint


class SchemaPublisher:
    """Publishes sample types as schema records of the account that is logged in."""

    def __init__(self, client: AtmosphereClient) -> None:
        self.client = client

    def publish(self, sample_type: type, *, version: str = "1.0.0", description: str | None = None) -> AtUri:
        """Publish a sample type, or find the record that already describes it.

        Returns:
            Its at-uri: the same one for the same class and version.

        Raises:
            SchemaConflictError: That class and version is published with other fields.
            PreflightError: The network would refuse the record.
            NotLoggedInError: Nobody is logged in.
        """
        local = schema_of(sample_type, version=version, description=description)
        return AtUri.parse(self.publish_local(local).uri)

    def publish_local(self, local: dict[str, Any]) -> Record:
        """Publish a schema in the local form; raises as ``publish`` does."""
        return publish_schema(local, self.client)[0]


class DatasetPublisher:
    """Publishes datasets as entry records of the account that is logged in.

    The shards stay where they are; each is read once, for its digest.
    """

    def __init__(self, client: AtmosphereClient) -> None:
        self.client = client
        self._schemas = SchemaPublisher(client)

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
    ) -> AtUri:
        """Publish a ``Dataset``, its schema first where ``schema_uri`` is not given.

        Every sample is decoded by the schema that the record names before anything is written.

        Args:
            dataset: A ``Dataset``.
            name: What it is published as.
            schema_uri: At-uri of its schema.
            description, tags, license: For people.
            auto_publish_schema: Off, ``schema_uri`` has to be given.
            schema_version: Of the schema that is found or published. None: the newest published one whose fields
                are those of the sample type; 1.0.0 where the account has none of that class.

        Raises:
            SchemaConflictError: That version, or each one that there is, is published with other fields.
            SampleError: A sample is not what the schema says.
            StorageError: Its shards cannot be reached by others where they are.
            ShardMissingError, ShardForbiddenError, ShardCorruptError: One cannot be read.
            RefusedError: No ``schema_uri``, and ``auto_publish_schema`` is off; or it is no at-uri.
            SchemaNotFoundError: (a ``KeyError``) there is no record at ``schema_uri``.
            SchemaError: The record there is no schema.
        """
        if schema_uri is None and not auto_publish_schema:
            raise RefusedError(
                "A dataset needs the at-uri of its schema. Give schema_uri, or leave auto_publish_schema on."
            )
        check_dataset_name(name)
        schema: Record | None = None
        if schema_uri is not None:
            schema = self._settled(schema_uri)
        elif schema_version is None:
            schema = newest_schema(describe(dataset.sample_type), self.client)
        # What is published now describes the type of the dataset.
        sample_type = dataset.sample_type if schema is None else _sample_type(schema)
        facts = survey(dataset.shard_list, sample_type, store=dataset.data_store)
        uri = (
            self._schemas.publish(dataset.sample_type, version=schema_version or "1.0.0")
            if schema is None
            else AtUri.parse(schema.uri)
        )
        return AtUri.parse(
            self._write(
                facts,
                str(uri),
                name=name,
                description=description,
                tags=tags,
                license=license,
                metadata=dataset.metadata,
            ).uri
        )

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
    ) -> AtUri:
        """Publish shards by their URLs (brace patterns allowed); raises as ``publish`` does."""
        check_dataset_name(name)
        schema = self._settled(schema_uri)
        facts = survey(expand(urls), _sample_type(schema))
        return AtUri.parse(
            self._write(
                facts,
                str(AtUri.parse(schema.uri)),
                name=name,
                description=description,
                tags=tags,
                license=license,
                metadata=metadata,
            ).uri
        )

    def _settled(self, schema_uri: str) -> Record:
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
        shards: Sequence[ShardFacts],
        schema_uri: str,
        *,
        name: str,
        description: str | None,
        tags: Sequence[str] | None,
        license: str | None,
        metadata: dict[Any, Any] | None,
    ) -> Record:
        """Write the entry record, or bring it up to date; the same name and data is the same record."""
        cid = entry_cid(schema_uri, [shard.url for shard in shards])
        rkey = entry_rkey(self.client.did, name, cid)
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
            return self.client.create_once(ENTRY, rkey, record)[0]
        except RecordChangedError:
            existing = self.client.find_record(ENTRY, rkey)
            if existing is None:
                raise
        record["createdAt"] = existing.value.get("createdAt") or record["createdAt"]
        check(ENTRY, rkey, record, did=self.client.did, swap=existing.cid)
        return self.client.replace(ENTRY, rkey, record, swap=existing.cid)


def _sample_type(schema: Record) -> type:
    """The type that a published schema describes; raises ``SchemaError`` where none can be rebuilt."""
    return decode(read_schema_record(schema.value))


def survey(urls: Sequence[str], sample_type: type, *, store: object | None = None) -> list[ShardFacts]:
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
    endpoint = _endpoint(store) if scheme(url) == "s3" else None
    return facts if endpoint is None else replace(facts, endpoint=endpoint.endpoint_url, region=endpoint.region)


def _endpoint(store: object | None) -> S3Endpoint | None:
    """The endpoint that ``open_shard`` used."""
    from atdata_core.stores.s3.objects import S3Endpoint

    own: Any = getattr(store, "endpoint", None)
    return own if isinstance(own, S3Endpoint) else S3Endpoint.from_environment()
