"""What a catalogue shows of an account: each published name once, with a look at its first samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from atdata_core.atmosphere import AtmosphereIndex
from atdata_core.atmosphere.labels import AccountLabels
from atdata_core.atmosphere.published_shards import PublishedShards
from atdata_core.atmosphere.record_format.parse import read_entry_record
from atdata_core.describing import DatasetDescription, describe_all
from atdata_core.errors import AtdataError, StorageError
from atdata_core.samples.schema import decode

from ..display.pictures import picture
from ..display.previews import COLUMNS, PICTURES, Tally, read_some, shapes, text_of

if TYPE_CHECKING:
    from datetime import datetime

    from atdata_core.atmosphere import AtmosphereClient, Record
    from atdata_core.common.byte_progress import Progress

AT_ONCE = 8
"""Datasets that are read at the same time."""


class FirstSamples(NamedTuple):
    """A look at the beginning of a dataset.

    ``rows`` hold the key of each sample, then a text for each of ``columns``; ``pictures`` are PNGs, by field, of
    all these samples side by side; ``shapes`` are those that arrays have in common.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    pictures: Mapping[str, bytes]
    shapes: Mapping[str, str]


@dataclass(frozen=True)
class PublishedDataset:
    """What a name of an account stands for.

    Attributes:
        name: The published name; of a record without one its at-uri.
        uri: Of the entry that the name leads to; without a label, of the newest.
        earlier: At-uris of the other entries of that name, the newest first.
        description: All that is known; None where the record cannot be read.
        samples: None where none can be read.
        problem: Why one of these cannot be read.
    """

    name: str
    uri: str
    earlier: Sequence[str] = ()
    description: DatasetDescription | None = None
    samples: FirstSamples | None = None
    problem: str | None = None


def published_datasets(client: AtmosphereClient, did: str, progress: Progress) -> list[PublishedDataset]:
    """All datasets of an account, in the order of their names; of each the first shard's beginning is read.

    Args:
        client: Logged in or not.
        did: The account.
        progress: Told after each dataset.

    Raises:
        ServiceError: The account's records cannot be listed.
    """
    named: dict[str, list[Record]] = {}
    told: dict[str, DatasetDescription | AtdataError] = {}
    for record, description in describe_all(did, client):
        told[record.uri] = description
        name = record.get("name")
        named.setdefault(name if isinstance(name, str) and name.strip() else record.uri, []).append(record)
    labels = AccountLabels(client, did)
    index = AtmosphereIndex(client)

    def read(name: str) -> PublishedDataset:
        *earlier, record = sorted(named[name], key=lambda each: _rank(each, name, labels))
        uris = [each.uri for each in reversed(earlier)]
        found, about = PublishedDataset(name, record.uri, uris), told[record.uri]
        if isinstance(about, AtdataError):
            return replace(found, problem=about.message)
        found = replace(found, description=about)
        try:
            return replace(found, samples=_first_samples(record, about, index))
        except AtdataError as error:
            return replace(found, problem=error.message)

    datasets: list[PublishedDataset] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for each in pool.map(read, sorted(named, key=in_order)):
            datasets.append(each)
            progress(len(datasets), len(named))
    return datasets


def in_order(name: str) -> tuple[str, str]:
    """What names and tags are sorted by: upper and lower case stand beside each other."""
    return name.casefold(), name


def _rank(record: Record, name: str, labels: AccountLabels) -> tuple[bool, tuple[datetime, str]]:
    """Higher of the entry that a name stands for. Where the name leads to none that is there, the newest."""
    return labels.is_current(name, record.uri) is True, record.created


def _first_samples(record: Record, description: DatasetDescription, index: AtmosphereIndex) -> FirstSamples:
    entry = read_entry_record(record.uri, record.cid, record.value, service_of=index.client.service_of)
    schema = description.schema
    if schema is None:
        schema = index.get_schema(entry.schema_ref)
    if not description.shards:
        raise StorageError("The record names no shards.", urls=[])
    url = description.shards[0].url
    # Of the beginning of a shard no digest is known.
    with closing(PublishedShards(entry.shards, verify=False).open_shard(url)) as stream:
        samples = read_some(stream, url, decode(schema), Tally(()))
    fields = [str(field["name"]) for field in schema["fields"]]
    columns = fields[:COLUMNS]
    rows = [[key, *(text_of(getattr(sample, name)) for name in columns)] for key, sample in samples]
    seen = [sample for _, sample in samples]
    return FirstSamples(columns, rows, dict(islice(_pictures(seen, fields), PICTURES)), shapes(seen, fields))


def _pictures(samples: Sequence[Any], fields: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for field in fields:
        png = picture([getattr(sample, field) for sample in samples])
        if png is not None:
            yield field, png
