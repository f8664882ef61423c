"""Taking back into the index what the account has published, after the index was lost.

A record tells the schema, the shards with their digests, the name and the values of a dataset. Which entry it was
made from stands in its key alone, as a digest: the entry is found by making the keys of those that it can be. So a
dataset that is taken back has the entry that it had, and is published as before, not once more.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...atmosphere.published_shards import PublishedShards
from ...atmosphere.record_format.parse import (
    AtmosphereIndexEntry,
    label_target,
    read_entry_record,
    read_schema_record,
)
from ...atmosphere.record_format.record_keys import ENTRY, LABEL, Publication, label_rkey
from ...common.cid import entry_cid
from ...common.names import near
from ...common.urls import expand, literal
from ...errors import AtdataError, EntryNotFoundError, ServiceError, StorageError
from ...local.entry import LocalDatasetEntry
from ...protocols import ShardFacts
from ...samples.schema import full_name, schema_ref
from ..copies.layout import copied_as
from ..records.published_names import Versions, is_promoted, versions_of

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record
    from ...local.local_index import LocalIndex

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Recovered:
    """A record of the account, and the entry that was made from it; ``problem`` says why there is none."""

    uri: str
    name: str
    cid: str | None = None
    problem: str | None = None


def recover(index: LocalIndex, client: AtmosphereClient, names: Collection[str] = ()) -> list[Recovered]:
    """Take back into the index what the account published from here and the index does not have.

    The entry that the label of a name points at becomes the current one. Shards are where they are published: of
    copies that is where they were copied to. Nothing is written to the network, and the ledger is left to
    ``reconcile``.

    Args:
        index: The local index.
        client: A client that is logged in.
        names: Published names. All by default, but those that were deleted from this very index.

    Returns:
        What was taken back, and what could not be and why, oldest first. Records of other programs are left alone.

    Raises:
        EntryNotFoundError: The account has published nothing under one of the names.
        ServiceError: The index or the PDS does not answer. What was taken back stays; run again.
    """
    did = client.did
    labels = {label.uri: label_target(label.value) for label in client.iter_records(LABEL)}
    records = [record for record in client.iter_records(ENTRY) if is_promoted(record, did)]
    known = {str(record.value.get("name")) for record in records}
    for name in names:
        if name not in known:
            raise EntryNotFoundError(
                f"The account has published nothing from here as {name!r}.{near(name, sorted(known))}", ref=name
            )
    versions = Versions(versions_of(index), did)

    def is_current(record: Record) -> bool:
        label = f"at://{did}/{LABEL}/{label_rkey(did, str(record.value.get('name')))}"
        return labels.get(label) == record.uri

    # The one that the label points at comes last, and so is the current one.
    records.sort(key=lambda record: (is_current(record), record.created))
    found: list[Recovered] = []
    for record in records:
        name = str(record.value.get("name"))
        if (names and name not in names) or versions.of(record, None) is not None:
            continue
        try:
            if (cid := _taken_back(record, index, client, named=bool(names))) is not None:
                found.append(Recovered(record.uri, name, cid))
        except ServiceError:
            raise
        except (AtdataError, KeyError) as error:
            problem = error.message if isinstance(error, AtdataError) else str(error)
            found.append(Recovered(record.uri, name, problem=problem))
    return found


def _taken_back(record: Record, index: LocalIndex, client: AtmosphereClient, *, named: bool) -> str | None:
    """Keeps the entry of a record in the index; its CID. None: its owner deleted it, and it is not ``named``."""
    published = read_entry_record(record.uri, record.cid, record.value, service_of=client.service_of)
    schema = read_schema_record(client.get_record(published.schema_ref).value)
    for name, cid, reference, urls in _candidates(published, schema):
        if Publication(client.did, published.name, cid).rkey == record.uri.rpartition("/")[2]:
            if not named and index.was_deleted(name, cid):
                return None
            # The schema first: an entry without it waits.
            index.add_schema(schema)
            entry = LocalDatasetEntry(name, reference, urls, published.metadata, cid=cid)
            index.register(entry, claims=_claims(published))
            return cid
    raise StorageError(
        f"{record.uri} does not tell which entry it was made from. Insert the dataset again under the name "
        f"{published.name!r}; retract then removes the record that is left.",
        urls=[],
    )


def _candidates(
    published: AtmosphereIndexEntry, schema: Mapping[str, Any]
) -> Iterator[tuple[str, str, str, list[str]]]:
    """What the entry of a record can have been: dataset, CID, schema reference and URLs."""
    named, version = schema["name"], schema["version"]
    references = dict.fromkeys(
        [
            schema_ref(schema),
            f"local://schemas/{named}@{version}",
            f"atdata://local/schema/{named}@{version}",
            f"atdata://local/sampleSchema/{named}@{version}",
            f"atdata://local/schema/{full_name(schema)}@{version}",
        ]
    )
    urls = [literal(url) for url in published.data_urls]
    copied = copied_as(published.data_urls[0]) if published.data_urls else None
    if copied is not None:
        yield copied[0] or published.name, copied[1], schema_ref(schema), urls
    for reference in references:
        for given in _as_given(published.data_urls):
            yield published.name, entry_cid(reference, given), reference, given


def _as_given(urls: Sequence[str]) -> Iterator[list[str]]:
    """Data URLs of an entry that stand for these: one by one, or as one pattern with a running number."""
    yield [*urls]
    escaped = [literal(url) for url in urls]
    if escaped != [*urls]:
        yield escaped
    if len(urls) < 2:
        return
    for match in _NUMBER.finditer(urls[0]):
        start, stop = match.span()
        last = urls[-1][start : len(urls[-1]) - (len(urls[0]) - stop)]
        pattern = f"{urls[0][:start]}{{{match.group()}..{last}}}{urls[0][stop:]}"
        with suppress(StorageError):
            if last.isdigit() and expand([pattern]) == [*urls]:
                yield [pattern]


def _claims(published: AtmosphereIndexEntry) -> list[ShardFacts]:
    """What the record says of its shards, with the sizes that are found there; of one that is not, nothing."""
    shards = PublishedShards(published.shards)
    facts: list[ShardFacts] = []
    for shard in published.shards:
        if shard.sha256 is None:
            continue
        with suppress(AtdataError):
            stat = shards.stat_shard(shard.url)
            facts.append(
                ShardFacts(
                    shard.url, stat.size, shard.sha256, etag=stat.etag, endpoint=shard.endpoint, region=shard.region
                )
            )
    return facts
