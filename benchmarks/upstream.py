"""What the package `atdata` does in Redis: the peer of our lookups, and the programs that write beside us.

There is no index by name: a hash per entry, found by a scan over all keys, and read one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgpack

from atdata_core.common.cid import entry_cid

PREFIX = "LocalDatasetEntry:"
_REF = "local://schemas/lab.Sample@1.0.0"
_PIPELINE = 5_000


class Entry(NamedTuple):
    """A dataset as upstream's hash holds it."""

    name: str
    schema_ref: str
    data_urls: list[str]

    @property
    def cid(self) -> str:
        """What its key ends in."""
        return entry_cid(self.schema_ref, self.data_urls)


def entry(number: int) -> Entry:
    """One of many entries."""
    return Entry(f"dataset-{number:06d}", _REF, [f"s3://bucket/{number:06d}.tar"])


def write(client: Any, entries: Iterable[Entry]) -> None:
    """Write entries as upstream does, some thousands at once."""
    pipe = client.pipeline(transaction=False)
    for number, each in enumerate(entries, 1):
        values = {"name": each.name, "schema_ref": each.schema_ref, "cid": each.cid}
        pipe.hset(PREFIX + each.cid, mapping={**values, "data_urls": msgpack.packb(each.data_urls)})
        if number % _PIPELINE == 0:
            pipe.execute()
    pipe.execute()


def entries(client: Any) -> Iterator[Entry]:
    """All entries, as upstream's `entries` gives them."""
    for key in client.scan_iter(match=f"{PREFIX}*"):
        values = client.hgetall(key)
        yield Entry(values[b"name"].decode(), values[b"schema_ref"].decode(), msgpack.unpackb(values[b"data_urls"]))


def get_entry_by_name(client: Any, name: str) -> Entry:
    """The entry of a name, as upstream finds it."""
    for each in entries(client):
        if each.name == name:
            return each
    raise KeyError(name)
