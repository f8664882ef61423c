"""All that is known of a published dataset, from its entry record, its schema and its labels."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from ..atmosphere.atmosphere_index import AtmosphereIndex
from ..atmosphere.labels import AccountLabels
from ..atmosphere.listings import Record, moment
from ..atmosphere.record_format.lexicon import OLD_ENTRY
from ..atmosphere.record_format.parse import expanded, read_entry_record
from ..atmosphere.record_format.record_keys import ENTRY, AtUri
from ..common.licenses import license_address
from ..common.plurals import number_of
from ..common.urls import parse_s3
from ..errors import AtdataError, RefusedError, SchemaNotFoundError, StorageError
from ..samples.described_fields import DescribedField, described_fields

if TYPE_CHECKING:
    from datetime import datetime

    from ..atmosphere.client import AtmosphereClient
    from ..atmosphere.record_format.parse import AtmosphereIndexEntry, PublishedShard
    from ..common.citation import Creator

_log = logging.getLogger("atdata_core")
_SHA256 = re.compile("[0-9a-f]{64}")
_MOST = 100_000
"""Shards that are described; a pattern of a few characters may stand for more than there is room for."""


@dataclass(frozen=True, slots=True)
class DescribedShard:
    """A shard of a dataset.

    Attributes:
        name: Of its file, one of its own among the shards.
        url: As the record has it: ``https://...``, or ``s3://bucket/key``.
        address: Where a browser finds it, if anybody may read it.
        sha256: Lower-case hex; None where the record does not tell.
        size: Bytes; None where the record does not tell.
    """

    name: str
    url: str
    address: str
    sha256: str | None
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDescription:
    """A published dataset. What nobody told is None or empty.

    Attributes:
        name: As it is published.
        uri: At-uri of the entry record, with the DID.
        cid: Of the entry record.
        did: Of the account.
        handle: Of the account, as the account's DID document has it.
        version: That of the newest label with a version which points at it.
        current: Whether its name leads to it, as for ``AtmosphereIndex.get_dataset``; None where it leads nowhere.
        description: For people.
        keywords: Tags and keywords, each once.
        license: As it was given, an SPDX identifier for instance.
        license_address: Where that license stands on the SPDX list.
        creators: In the order in which they are cited.
        doi: ``10.5281/zenodo.1234567``, without an address before it.
        citation: How it wants to be cited, in words.
        homepage: The address of its own page.
        language: Tags of BCP 47.
        created_at: When it was published, in the words of the record, whatever they are: see ``published``.
        schema_uri: At-uri of its schema record.
        schema: The schema in the form of the local index; None where its record is not there, or unreadable.
        fields: Of the schema, in order.
        shapes: Of array fields, as the record tells them: lengths, None for any.
        shards: In order.
        samples: Of all shards.
        bytes: Of all shards.
        metadata: The entry's own, whatever that is.
    """

    name: str
    uri: str
    cid: str
    did: str
    handle: str | None
    version: str | None
    current: bool | None
    description: str | None
    keywords: tuple[str, ...]
    license: str | None
    license_address: str | None
    creators: tuple[Creator, ...]
    doi: str | None
    citation: str | None
    homepage: str | None
    language: tuple[str, ...]
    created_at: str | None
    schema_uri: str
    schema: Mapping[str, Any] | None
    fields: tuple[DescribedField, ...]
    shapes: Mapping[str, tuple[int | None, ...]]
    shards: tuple[DescribedShard, ...]
    samples: int | None
    bytes: int | None
    metadata: Mapping[Any, Any] | None

    @property
    def where(self) -> str:
        """What to open it by: ``@handle/name`` where that leads to it, else the at-uri."""
        return f"@{self.handle}/{self.name}" if self.handle and self.current else self.uri

    @property
    def published(self) -> datetime | None:
        """When it was published, in UTC; None where the record says no time."""
        return moment(self.created_at)

    @property
    def summary(self) -> str:
        """The description, else what the record tells in a sentence."""
        if self.description:
            return self.description
        count = "An unknown number of samples" if self.samples is None else number_of(self.samples, "sample")
        names = ", ".join(field.name for field in self.fields)
        with_fields = f" with the {'field' if len(self.fields) == 1 else 'fields'} {names}" if names else ""
        return (
            f"{count}{with_fields} in {number_of(len(self.shards), 'shard')}, published on the AT Protocol network."
        )

    def shape_of(self, field: DescribedField) -> tuple[int | None, ...] | None:
        """The shape of a field's arrays, by the schema or the record; None where neither tells."""
        return field.shape or self.shapes.get(field.name)


def describe(where: str, client: AtmosphereClient) -> DatasetDescription:
    """Describe one published dataset; no login is needed.

    Args:
        where: As ``AtmosphereIndex.get_dataset`` takes it: an at-uri, for instance.
        client: Logged in or not.

    Raises:
        EntryNotFoundError: There is no such dataset.
        RefusedError: What is there is no dataset.
    """
    index = AtmosphereIndex(client)
    entry = index.get_dataset(where)
    account = _Account(index, AtUri.parse(entry.uri).authority)
    return account.described(entry)


def describe_all(repo: str, client: AtmosphereClient) -> Iterator[tuple[Record, DatasetDescription | AtdataError]]:
    """Describe every dataset of an account (DID or handle), its labels and schemas read once.

    Beside each record stands its description, or why there is none.

    Raises:
        RecordNotFoundError: There is no such account.
        ServiceError: The account's records cannot be listed.
    """
    account = _Account(AtmosphereIndex(client), client.did_of(repo))
    for collection in (ENTRY, OLD_ENTRY):
        for record in client.iter_records(collection, repo=account.did):
            yield record, account.told(record)


class _Account:
    """What the datasets of an account share: its handle, its labels, its schemas."""

    def __init__(self, index: AtmosphereIndex, did: str) -> None:
        self._index = index
        self.did = index.client.did_of(did)
        self._handle = index.client.handle_of(self.did)
        self._schemas: dict[str, dict[str, Any] | None] = {}
        self._labels = AccountLabels(index.client, self.did)

    def told(self, record: Record) -> DatasetDescription | AtdataError:
        """The description of an entry record, or why there is none."""
        service_of = self._index.client.service_of
        try:
            return self.described(read_entry_record(record.uri, record.cid, record.value, service_of=service_of))
        except AtdataError as error:
            return error

    def described(self, entry: AtmosphereIndexEntry) -> DatasetDescription:
        schema = self._schema(entry.schema_ref)
        return DatasetDescription(
            name=entry.name,
            uri=entry.uri,
            cid=entry.cid,
            did=self.did,
            handle=self._handle,
            version=self._labels.version_of(entry.uri),
            current=self._labels.is_current(entry.name, entry.uri),
            description=entry.description,
            keywords=tuple(dict.fromkeys((*entry.tags, *entry.keywords))),
            license=entry.license,
            license_address=license_address(entry.license),
            creators=entry.creators,
            doi=entry.doi,
            citation=entry.citation,
            homepage=entry.homepage,
            language=entry.language,
            created_at=entry.created_at,
            schema_uri=entry.schema_ref,
            schema=schema,
            fields=() if schema is None else described_fields(schema),
            shapes=entry.content.shapes,
            shards=_shards(entry.shards),
            samples=entry.samples,
            bytes=entry.size,
            metadata=entry.metadata,
        )

    def _schema(self, ref: str) -> dict[str, Any] | None:
        if ref not in self._schemas:
            try:
                self._schemas[ref] = self._index.get_schema(ref)
            except (SchemaNotFoundError, RefusedError) as error:
                _log.warning("described without its fields: %s", error)
                self._schemas[ref] = None
        return self._schemas[ref]


def _shards(named: Sequence[PublishedShard]) -> tuple[DescribedShard, ...]:
    shards = expanded(named, most=_MOST)
    names = [_file_name(shard.url, number) for number, shard in enumerate(shards)]
    if len(set(names)) < len(names):
        names = [f"{number:06d}-{name}" for number, name in enumerate(names)]
    return tuple(
        DescribedShard(name, shard.url, _address(shard), _digest(shard.sha256), shard.size)
        for name, shard in zip(names, shards, strict=True)
    )


def _digest(given: str | None) -> str | None:
    """What another program wrote as a digest may be anything."""
    return given if given is not None and _SHA256.fullmatch(given) else None


def _file_name(url: str, number: int) -> str:
    """Also of a URL that nobody understands."""
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
    except ValueError:
        return f"{number:06d}.tar"
    if parts.path.endswith("/xrpc/com.atproto.sync.getBlob"):
        return f"{query.get('cid', [f'{number:06d}'])[0]}.tar"
    # In the key of an object nothing has a meaning.
    return PurePosixPath(url if url[:5].lower() == "s3://" else unquote(parts.path)).name or f"{number:06d}.tar"


def _address(shard: PublishedShard) -> str:
    """Objects of AWS have addresses that everybody knows; those of another service lie below its endpoint."""
    try:
        bucket, key = parse_s3(shard.url)
    except StorageError:
        return shard.url
    service = f"s3.{shard.region}.amazonaws.com" if shard.region else "s3.amazonaws.com"
    key = quote(key, errors="replace")
    if shard.endpoint is None and "." not in bucket:
        return f"https://{bucket}.{service}/{key}"
    return f"{(shard.endpoint or f'https://{service}').rstrip('/')}/{bucket}/{key}"
