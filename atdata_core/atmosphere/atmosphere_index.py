"""The atmosphere as an index: datasets and schemas that anybody published."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from atdata_core.atmosphere.published_shards import PublishedShards
from atdata_core.atmosphere.publishers import DatasetPublisher, SchemaPublisher
from atdata_core.atmosphere.record_format.lexicon import OLD_ENTRY, OLD_SCHEMA
from atdata_core.atmosphere.record_format.parse import (
    AtmosphereIndexEntry,
    label_target,
    read_entry_record,
    read_schema_record,
)
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA, AtUri, label_rkey
from atdata_core.common.names import near
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

    def get_dataset(self, ref: str) -> AtmosphereIndexEntry:
        """The dataset at an at-uri, which may name a handle.

        Raises:
            EntryNotFoundError: (a ``KeyError``) no such record.
            RefusedError: (a ``ValueError``) malformed at-uri, another kind of record, or a malformed one.
        """
        try:
            record = self.client.get_record(ref)
        except RecordNotFoundError as error:
            raise EntryNotFoundError(error.message, ref=ref) from None
        return self._entry(record)

    def open_dataset(self, at_uri: str, *, sample_type: type | None = None, verify: bool = True) -> Dataset[Any]:
        """A published dataset, ready to read by anybody: no login, no keys.

        The sample type is rebuilt from the published schema, where none is given. Shards come from the addresses in
        the record; private ones are refused unless they are configured.

        Args:
            at_uri: Of the entry record.
            sample_type: A class of one's own with the same fields.
            verify: Compare each shard with the digest in the record while it is read. Other bytes raise
                ``ShardChangedError`` at the end of that shard, after its samples.

        Raises:
            EntryNotFoundError, SchemaNotFoundError: The record, or that of its schema, is not there.
            SchemaError: No type can be rebuilt from the schema.
        """
        from atdata_core.shards.dataset import Dataset

        entry = self.get_dataset(at_uri)
        seen_as: Any = sample_type or self.decode_schema(entry.schema_ref)
        reader = PublishedShards(entry.shards, verify=verify)
        patterns = [shard.url if shard.pattern else literal(shard.url) for shard in entry.shards]
        return Dataset[seen_as](patterns, data_store=reader)

    def list_datasets(self, repo: str | None = None) -> list[AtmosphereIndexEntry]:
        """The datasets of a repository (DID or handle), the own one by default.

        Records that cannot be read are left out, with a warning in the log.
        """
        return list(self._readable((ENTRY, OLD_ENTRY), repo, self._entry))

    def _entry(self, record: Record) -> AtmosphereIndexEntry:
        return read_entry_record(record.uri, record.cid, record.value, service_of=self.client.service_of)

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


def find_label(client: AtmosphereClient, did: str, name: str) -> Record | None:
    """The label of a name in an account; None where there is none.

    Under its own key it costs one request. Else the account's labels are listed: another program's label of
    that name has a key that says nothing.
    """
    found = _by_key(client, did, name)
    return found or next((label for label in client.iter_records(LABEL, repo=did) if _is_of(label, name)), None)


def find_published(client: AtmosphereClient, repo: str, name: str) -> str:
    """The at-uri that the label of a name points at.

    Args:
        client: Logged in or not.
        repo: DID or handle of the account.
        name: The published name.

    Raises:
        EntryNotFoundError: (a ``KeyError``) the account has no such label; names near it are told.
        RecordNotFoundError: There is no such account.
    """
    did = client.did_of(repo)
    label = find_label(client, did, name)
    uri = None if label is None else label_target(label.value)
    if uri is not None:
        return uri
    names = {str(each.value.get("name")) for each in client.iter_records(LABEL, repo=did)}
    raise EntryNotFoundError(
        f"{repo} has published nothing under the name {name!r}.{near(name, sorted(names))} A dataset without a "
        "label is found by its at-uri alone.",
        ref=name,
    )


class Labelled(NamedTuple):
    """What the label of a name points at. ``ours``: the key is the one that this program gives such a label."""

    uri: str
    ours: bool


def all_labelled(client: AtmosphereClient, repo: str) -> dict[str, Labelled]:
    """What an account has published by its labels without a version, by name; one request for a hundred of them.

    Of two labels of a name the one counts that ``find_label`` finds.
    """
    did = client.did_of(repo)
    found: dict[str, Labelled] = {}
    for label in client.iter_records(LABEL, repo=did):
        name, uri = label.value.get("name"), label_target(label.value)
        if isinstance(name, str) and uri is not None and _is_of(label, name):
            labelled = Labelled(uri, AtUri.parse(label.uri).rkey == label_rkey(did, name))
            if labelled.ours or name not in found:
                found[name] = labelled
    return found


def _by_key(client: AtmosphereClient, did: str, name: str) -> Record | None:
    try:
        label = client.read_at_home(AtUri(did, LABEL, label_rkey(did, name)))
    except RecordNotFoundError:
        return None
    return label if _is_of(label, name) else None


def _is_of(label: Record, name: str) -> bool:
    return label.value.get("name") == name and label.value.get("version") is None
