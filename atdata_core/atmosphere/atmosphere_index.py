"""The atmosphere as an index: datasets and schemas that anybody published."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from atdata_core.atmosphere.labels import AccountLabels, resolve
from atdata_core.atmosphere.published_shards import PublishedShards
from atdata_core.atmosphere.publishers import DatasetPublisher, SchemaPublisher
from atdata_core.atmosphere.record_format.lexicon import OLD_ENTRY, OLD_SCHEMA
from atdata_core.atmosphere.record_format.parse import (
    AtmosphereIndexEntry,
    read_entry_record,
    read_schema_record,
)
from atdata_core.atmosphere.record_format.record_keys import ENTRY, SCHEMA
from atdata_core.common.urls import literal
from atdata_core.errors import EntryNotFoundError, RecordNotFoundError, RefusedError, SchemaNotFoundError
from atdata_core.samples.schema import decode

if TYPE_CHECKING:
    from atdata_core.atmosphere.client import AtmosphereClient, Record
    from atdata_core.shards.dataset import Dataset

_log = logging.getLogger("atdata_core")
_T = TypeVar("_T")


class AtmosphereIndex:
    """Datasets and schemas on the network; reading them needs no login.

    Args:
        client: Logged in or not; writes need a login.
    """

    def __init__(self, client: AtmosphereClient) -> None:
        self.client = client

    @property
    def data_store(self) -> None:
        """None: published shards lie where their records say."""
        return None

    # -- datasets ---------------------------------------------------------------------------------

    def insert_dataset(
        self,
        ds: Any,
        *,
        name: str,
        schema_ref: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        license: str | None = None,
    ) -> AtmosphereIndexEntry:
        """Publish a dataset whose shards others can already read.

        Each shard is read once, for its digest, and every sample decoded by the schema that the record names:
        that at ``schema_ref`` (an at-uri), else the newest one that the account has published with the fields of
        the sample type. Where it has none of that class, version 1.0.0 is published.

        Raises:
            SampleError: A sample is not what the schema says.
            StorageError: The shards cannot be reached by others where they are.
            SchemaNotFoundError, SchemaError: ``schema_ref`` names no record, or one that is no schema.
            SchemaConflictError: The account has published that class with other fields only; the error names
                the call that publishes these.
            PreflightError, NotLoggedInError: See the errors.
        """
        uri = DatasetPublisher(self.client).publish(
            ds, name=name, schema_uri=schema_ref, description=description, tags=tags, license=license
        )
        return self.get_dataset(str(uri))

    def get_dataset(self, where: str) -> AtmosphereIndexEntry:
        """A published dataset, by what ``labels.resolve`` takes: an at-uri, which may name a handle, or its name.

        ``@handle/name`` and ``@did:.../name`` are what the label of that name points at now, and
        ``@handle/name@version`` is what the label of that version does.

        Raises:
            EntryNotFoundError: (a ``KeyError``) no such name or record; names near it are told.
            RecordNotFoundError: (a ``KeyError``) no such account.
            RefusedError: (a ``ValueError``) malformed at-uri, another kind of record, or a malformed one.
        """
        uri = resolve(self.client, where)
        try:
            record = self.client.get_record(uri)
        except RecordNotFoundError as error:
            raise EntryNotFoundError(error.message, ref=where) from None
        return self._entry(record)

    def open_dataset(
        self, where: str | AtmosphereIndexEntry, *, sample_type: type | None = None, verify: bool = True
    ) -> Dataset[Any]:
        """A published dataset, ready to read by anybody: no login, no keys.

        The sample type is rebuilt from the published schema, where none is given. Shards come from the addresses in
        the record; private ones are refused unless they are configured.

        Args:
            where: As for ``get_dataset``, or an entry that this or ``list_datasets`` gave.
            sample_type: A class of one's own with the same fields.
            verify: Compare each shard with the digest in the record while it is read. Other bytes raise
                ``ShardChangedError`` at the end of that shard, after its samples.

        Raises:
            EntryNotFoundError, RecordNotFoundError, RefusedError: As ``get_dataset``.
            SchemaNotFoundError: The record of its schema is not there.
            SchemaError: No type can be rebuilt from the schema.
        """
        from atdata_core.shards.dataset import Dataset

        entry = self.get_dataset(where) if isinstance(where, str) else where
        seen_as: Any = sample_type or self.decode_schema(entry.schema_ref)
        reader = PublishedShards(entry.shards, verify=verify)
        patterns = [shard.url if shard.pattern else literal(shard.url) for shard in entry.shards]
        return Dataset[seen_as](patterns, data_store=reader, count=entry.samples)

    def list_datasets(self, repo: str | None = None) -> list[AtmosphereIndexEntry]:
        """The datasets of a repository (DID or handle), the own one by default.

        ``current`` tells of each whether the label of its name points at it. Records that cannot be read are left
        out, with a warning in the log.
        """
        labels = AccountLabels(self.client, repo or self.client.did)

        def read(record: Record) -> AtmosphereIndexEntry:
            return self._entry(record, current=labels.is_current(str(record.get("name")), record.uri))

        return list(self._readable((ENTRY, OLD_ENTRY), repo, read))

    def _entry(self, record: Record, *, current: bool | None = None) -> AtmosphereIndexEntry:
        return read_entry_record(
            record.uri, record.cid, record.value, service_of=self.client.service_of, current=current
        )

    # -- schemas ----------------------------------------------------------------------------------

    def publish_schema(self, sample_type: type, *, version: str = "1.0.0", description: str | None = None) -> str:
        """Publish a sample type, or find it; its at-uri.

        Raises:
            SchemaConflictError: That class and version is published with other fields.
        """
        return str(SchemaPublisher(self.client).publish(sample_type, version=version, description=description))

    def get_schema(self, ref: str) -> dict[str, Any]:
        """The schema at an at-uri, in the form of the local index, with ``uri`` and ``cid``.

        Raises:
            SchemaNotFoundError: (a ``KeyError``) no such record.
            SchemaError: (a ``ValueError``) another kind of record, or a malformed one.
        """
        try:
            record = self.client.get_record(ref)
        except RecordNotFoundError as error:
            raise SchemaNotFoundError(error.message, ref=ref) from None
        return _schema(record)

    def list_schemas(self, repo: str | None = None) -> list[dict[str, Any]]:
        """The schemas of a repository, as ``get_schema`` gives them; unreadable ones are left out."""
        return list(self._readable((SCHEMA, OLD_SCHEMA), repo, _schema))

    def decode_schema(self, ref: str) -> type:
        """A sample type rebuilt from a published schema; raises as ``get_schema`` does."""
        return decode(self.get_schema(ref))

    def _readable(self, collections: Sequence[str], repo: str | None, read: Callable[[Record], _T]) -> Iterator[_T]:
        for collection in collections:
            for record in self.client.iter_records(collection, repo=repo):
                try:
                    yield read(record)
                except RefusedError as error:
                    _log.warning("left out %s: %s", record.uri, error)


def _schema(record: Record) -> dict[str, Any]:
    return {**read_schema_record(record.value), "uri": record.uri, "cid": record.cid}
