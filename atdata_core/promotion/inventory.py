"""What an entry of the index names, its shards and its schema, and the publication that it becomes."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable
from typing import Any

from ..atmosphere.record_format.record_keys import Publication
from ..common.cid import entry_cid
from ..common.names import check_dataset_name
from ..common.urls import displayed, expand, refuse_credentials
from ..errors import EntryNotFoundError, NoDataUrlsError, SchemaNotFoundError, StorageError
from ..protocols import AbstractIndex, DeletionKeeper, IndexEntry

Progress = Callable[[int, int], None]
"""Called after each shard with how many are done and how many there are."""


def cid_of(entry: IndexEntry) -> str:
    """The CID of an entry, of whatever index: its own, else made from schema and URLs."""
    return getattr(entry, "cid", None) or entry_cid(entry.schema_ref, entry.data_urls)


def refuse_deleted(entry: IndexEntry, index: AbstractIndex) -> None:
    """Raise ``EntryNotFoundError`` where an entry is one that its owner deleted from the index."""
    cid = cid_of(entry)
    if isinstance(index, DeletionKeeper) and index.was_deleted(entry.name, cid):
        raise EntryNotFoundError(
            f"The entry {cid} of dataset {entry.name!r} was deleted from the index, so it is not promoted. Insert "
            f"the dataset again, or promote what the name has now: index.get_entry_by_name({entry.name!r}).",
            ref=entry.name,
        )


MOST_SHARDS = 10_000
"""More than fit in a record of a million bytes, some 6,000; more are refused before any is looked at."""


def read_schema(entry: IndexEntry, index: AbstractIndex) -> dict[str, Any]:
    """The local schema record of an entry; ``SchemaNotFoundError`` names what to publish."""
    try:
        return index.get_schema(entry.schema_ref)
    except SchemaNotFoundError:
        raise
    except KeyError as error:
        raise SchemaNotFoundError(
            f"The index has no schema {entry.schema_ref}, which dataset {entry.name!r} needs. "
            "Publish it there first: index.publish_schema(SampleType, version=...).",
            ref=entry.schema_ref,
        ) from error


def shard_urls(entry: IndexEntry) -> list[str]:
    """The URLs of an entry's shards, patterns expanded.

    Raises ``NoDataUrlsError`` where there are none, ``StorageError`` where one stands twice or carries
    credentials.
    """
    urls = expand(entry.data_urls, most=MOST_SHARDS) if entry.data_urls else []
    if not urls:
        raise NoDataUrlsError(
            f"Dataset {entry.name!r} has no data URLs, so there is nothing to publish. "
            "Insert it again with its shards: repo.insert(dataset, name=...).",
            name=entry.name,
        )
    for url in entry.data_urls:
        refuse_credentials(url)
    if len(set(urls)) != len(urls):
        twice = next(url for url, times in Counter(urls).items() if times > 1)
        raise StorageError(
            f"Dataset {entry.name!r} names the shard {displayed(twice)} twice. "
            "Insert it again with each shard once.",
            urls=[twice],
        )
    return urls


def accept_command(dataset: str) -> str:
    """The command that shows what changed in a dataset and makes it the claim, as it is typed."""
    return f"atdata-pipelines accept {shlex.quote(dataset)}"


def publication_of(entry: IndexEntry, cid: str, did: str, name: str | None) -> Publication:
    """The publication of an entry under its own or another name; ``DatasetNameError``."""
    published = entry.name if name is None else name
    check_dataset_name(published)
    return Publication(did, published, cid)
