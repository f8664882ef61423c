"""What people do with the datasets of a lab, in any order, and what must be true after each step.

``DailyLife`` does seeded steps and keeps beside them what people expect. That is written from the rules for people
(``docs/reference/values.md``), not from the code.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import redis
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex
from atdata_core.atmosphere.listings import Record
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, Publication, label_rkey
from atdata_core.errors import AtdataError, EntryNotFoundError, RefusedError
from atdata_core.local import LocalIndex, Repo, S3DataStore
from atdata_core.promote import promote_many, promote_to_atmosphere
from atdata_core.promotion.operations.reconcile import reconcile
from atdata_core.promotion.operations.recover import recover
from atdata_core.promotion.operations.retract import plan_retraction, retract
from atdata_core.promotion.operations.status import status_of
from atdata_core.promotion.verify.verification import verify_dataset
from atdata_core.shards.tar_samples import ShardWriter
from atdata_core.state.index_state import state_of

NAMES = tuple(f"set-{number}" for number in range(10))
FIELDS = ("description", "tags", "license")
SAID_LICENSES = ("CC0-1.0", "CC-BY-4.0", "")
METADATA_LICENSES = ("MIT", "Apache-2.0")
WEIGHTS = {
    "insert": 5, "promote": 6, "promote_from_a_shell_without_a_store": 4, "say": 3, "say_where": 1,
    "insert_another_type": 1, "delete": 2, "lose_redis": 1, "lose_the_ledger": 1, "retract_it": 2,
    "reconcile_all": 1, "promote_all": 2,
}  # fmt: skip


@atdata.packable
class Cell:
    """A cell."""

    at: NDArray[np.float32]
    number: int


@atdata.packable
class Wide:
    """Another class."""

    number: int
    note: str


@dataclass
class Expected:
    """What people expect of a record, and of the entry that it was made from.

    ``own`` was said of it, ``inherited`` of its name before. ``copied``: its shards lie in the public store;
    ``own_urls_public``: so do the entry's own, since it was taken back from there.
    """

    name: str
    cid: str
    numbers: list[int]
    metadata: dict[str, Any]
    own: dict[str, Any] = field(default_factory=dict)
    inherited: dict[str, Any] = field(default_factory=dict)
    alive: bool = False
    copied: bool = False
    own_urls_public: bool = False

    @property
    def said(self) -> dict[str, Any]:
        """What people said of the name, for the entries that follow."""
        return {**self.inherited, **self.own}

    @property
    def values(self) -> dict[str, Any]:
        """What stands in the record; what is empty is absent."""
        found = {**self.inherited, **self.metadata, **self.own}
        return {name: found[name] for name in FIELDS if found.get(name)}

    @property
    def public(self) -> bool:
        """Whether anonymous readers can read it."""
        return self.copied or self.own_urls_public


@dataclass
class Place:
    """Where a lab has everything: services, buckets, an empty Redis database, a folder."""

    pds_url: str
    s3: Mapping[str, str]
    public_url: str
    lab_bucket: str
    public_bucket: str
    redis_url: str
    folder: Path


class DailyLife:
    """A lab with ten names and an account of its own."""

    def __init__(self, seed: int, place: Place) -> None:
        self.random = random.Random(seed)
        handle, password = f"user-{secrets.token_hex(6)}.test", secrets.token_urlsafe(12)
        made = {"handle": handle, "password": password, "email": f"{handle}@example.com"}
        httpx.post(f"{place.pds_url}/xrpc/com.atproto.server.createAccount", json=made).raise_for_status()
        self.client = AtmosphereClient(place.pds_url)
        self.client.login(handle, password)
        self.place = place
        self.redis = redis.Redis.from_url(place.redis_url)
        self.redis.flushdb()
        prefix = secrets.token_hex(6)
        self.lab = S3DataStore(place.s3, bucket=place.lab_bucket, prefix=prefix)
        public_url = f"{place.public_url}/{place.public_bucket}"
        self.store = S3DataStore(place.s3, bucket=place.public_bucket, prefix=prefix, public_url=public_url)
        self.repo = Repo(s3_credentials=place.s3, hive_path=f"{place.lab_bucket}/{prefix}", redis=self.redis)
        self.steps: list[str] = []
        self.entries: dict[str, dict[str, Expected]] = {name: {} for name in NAMES}
        """What the index has, by name and CID, oldest first."""
        self.records: dict[tuple[str, str], Expected] = {}
        self.last: dict[str, Expected] = {}
        """The last publication of each name that the ledger knows of."""
        self.keeps: dict[str, bool] = {}
        self.known: set[str] = set()
        """Names whose last publication the ledger knows."""
        self.held: set[str] = set()
        self.refused: set[str] = set()
        self.read: set[str] = set()
        self.number = 0

    @property
    def index(self) -> LocalIndex:
        """The index, as another process of the lab opens it."""
        return LocalIndex(self.redis, data_store=self.lab)

    # -- what people do ---------------------------------------------------------------------------

    def step(self) -> None:
        """Somebody does something; then everything is looked at."""
        act = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        # Few names, so that much happens to each of them.
        name = NAMES[min(int(self.random.expovariate(0.5)), len(NAMES) - 1)]
        self.steps.append(f"{act} {name}")
        getattr(self, act)(name)
        self.look()

    def insert(self, name: str, sample_type: type = Cell) -> None:
        """New data, sometimes with a license of their own."""
        self.number += 3
        numbers = list(range(self.number, self.number + 3))
        metadata = {"license": self.random.choice(METADATA_LICENSES)} if self.random.random() < 0.3 else {}
        path = self.place.folder / f"{secrets.token_hex(6)}.tar"
        with path.open("wb") as file, ShardWriter(file) as shard:
            for each in numbers:
                cell = Cell(at=np.full(4, each, np.float32), number=each)
                sample = cell if sample_type is Cell else Wide(number=each, note=f"of {each}")
                shard.write({**sample.as_wds, "__key__": f"{each:06d}"})
        self.index.publish_schema(sample_type, version="1.0.0")
        entry, _ = self.repo.insert(atdata.Dataset[sample_type](str(path)), name=name, maxcount=2)
        if metadata:
            self.index.add_entry(atdata.Dataset[sample_type](entry.data_urls), name=name, metadata=metadata)
        self.entries[name][entry.cid] = Expected(name, entry.cid, numbers, metadata)
        self.refused.discard(name)

    def insert_another_type(self, name: str) -> None:
        """After a newer version of the schema, with the same fields."""
        self.index.publish_schema(Cell, version="1.0.0")
        self.index.publish_schema(Cell, version=f"1.{self.number + 1}.0")
        self.insert(name, self.random.choice([Cell, Wide]))

    def promote(self, name: str) -> None:
        """From a shell or a schedule where the public bucket is configured."""
        self._promote(name, self.store)

    def promote_from_a_shell_without_a_store(self, name: str) -> None:
        """From a shell that knows of no bucket, often with another license."""
        self._promote(name, None, **self._words())

    def say(self, name: str) -> None:
        """Other values, where the bucket is configured."""
        self._promote(name, self.store, **self._words())

    def say_where(self, name: str) -> None:
        """The index's own URLs, in so many words; or the end of that."""
        store = self.random.choice([None, self.store])
        self._promote(name, store, keep_urls=self.random.random() < 0.6)

    def promote_all(self, name: str) -> None:
        """The bulk of a schedule, with a bucket or without one."""
        store = self.random.choice([None, self.store])
        names = [each for each in NAMES if self.entries[each] and each not in self.held]
        entries = [self.index.get_dataset(each) for each in names]
        for each, outcome in zip(
            names, promote_many(entries, self.index, self.client, data_store=store), strict=True
        ):
            self._promoted(each, outcome.cid, store, {}, outcome.error)

    def delete(self, name: str) -> None:
        """As other programs do, or by our own command."""
        if not self.entries[name]:
            return
        if self.random.random() < 0.5:
            self.index.remove(name)
            self.entries[name].clear()
        else:
            current = list(self.entries[name])[-1]
            self.redis.delete(f"LocalDatasetEntry:{current}")
            del self.entries[name][current]
        self.refused.discard(name)

    def lose_the_ledger(self, name: str) -> None:
        """Everything that promotions remember."""
        for key in self.redis.scan_iter("atdata:ledger:*"):
            self.redis.delete(key)
        self._forget()

    def lose_redis(self, name: str) -> None:
        """All of it; then the lab takes back what was published."""
        self.redis.flushdb()
        self._forget()
        found = recover(self.index, self.client)
        assert all(each.problem is None for each in found), [each.problem for each in found]
        self.entries = {each: {} for each in NAMES}
        alive = [each for each in self.records.values() if each.alive]
        assert sorted(each.cid for each in found) == sorted(each.cid for each in alive), self.steps
        for each in found:
            expected = self.records[each.name, str(each.cid)]
            expected.own_urls_public = expected.copied or expected.own_urls_public
            self.entries[each.name][expected.cid] = expected
        self._reconcile()

    def reconcile_all(self, name: str) -> None:
        """The ledger learns what it lost."""
        self._reconcile()

    def retract_it(self, name: str) -> None:
        """Take back what is published under a name, sometimes with its copies."""
        shards, every = self.random.random() < 0.3, self.random.random() < 0.5
        ledger = state_of(self.index).ledger
        how = {"ledger": ledger, "store": self.store, "index": self.index, "shards": shards, "all_versions": every}
        try:
            plan = plan_retraction(name, self.client, **how)
        except KeyError:
            return
        retract(plan, self.client, ledger, self.store, index=self.index)
        gone = {record.uri for record in plan.entries}
        for each in self.records.values():
            if self._uri(each) in gone:
                each.alive = False
        self.held.add(name)
        self.known.discard(name)

    def _words(self) -> dict[str, Any]:
        said: dict[str, Any] = {}
        if self.random.random() < 0.7:
            said["license"] = self.random.choice(SAID_LICENSES)
        if self.random.random() < 0.4:
            said["tags"] = self.random.choice([["table"], ["a", "b"], []])
        if self.random.random() < 0.4:
            said["description"] = self.random.choice(["first", "second", ""])
        return said

    def _promote(self, name: str, store: S3DataStore | None, **said: Any) -> None:
        try:
            entry = self.index.get_entry_by_name(name)
        except EntryNotFoundError:
            assert not self.entries[name], self.steps
            return
        error = None
        try:
            promote_to_atmosphere(entry, self.index, self.client, data_store=store, **said)
        except AtdataError as refused:
            error = refused
        self._promoted(name, entry.cid, store, said, error)

    # -- what people expect -----------------------------------------------------------------------

    def _promoted(
        self, name: str, cid: str, store: S3DataStore | None, said: dict[str, Any], error: Exception | None
    ) -> None:
        assert cid == list(self.entries[name])[-1], self.steps
        entry = self.entries[name][cid]
        expected = self.records.setdefault((name, cid), entry)
        expected.own_urls_public = expected.own_urls_public or entry.own_urls_public
        said, keep = dict(said), said.get("keep_urls")
        said.pop("keep_urls", None)
        keep = self.keeps.get(name, False) if keep is None else keep
        last = self.last.get(name)
        # New data, or some whose copies were removed, in the place of what strangers could read.
        hides = last is not None and last.public and not expected.alive and not expected.own_urls_public
        if error is not None:
            assert isinstance(error, RefusedError), (self.steps, error)
            assert store is None, (self.steps, error)
            assert not keep, (self.steps, error)
            assert hides, (self.steps, error)
            self.refused.add(name)
            return
        if keep:
            copied = False
        elif store is not None:
            copied = True
        else:
            copied = expected.copied if expected.alive or last is expected else False
            assert copied or not hides, self.steps
        if not expected.alive and expected is not last:
            expected.inherited = {} if last is None else last.said
            expected.own = {}
        expected.own |= said
        expected.alive, expected.copied = True, copied
        self.keeps[name], self.last[name] = keep, expected
        self.held.discard(name)
        self.refused.discard(name)
        self.known.add(name)

    def _forget(self) -> None:
        """What the ledger alone told is gone; what a record says that its metadata do not say, was said."""
        labelled = {uri for label in self.client.iter_records(LABEL) if (uri := label.value.get("datasetUri"))}
        for key, each in list(self.records.items()):
            if not each.alive:
                del self.records[key]
                continue
            values = each.values
            cleared = {name: "" for name in FIELDS if name not in values and each.metadata.get(name)}
            each.own = {name: value for name, value in values.items() if value != each.metadata.get(name)} | cleared
            each.inherited = {}
        self.last = {each.name: each for each in self.records.values() if self._uri(each) in labelled}
        # Where a record names no copies, nobody knows any more whether that was said.
        self.keeps = {name: not each.copied and not each.own_urls_public for name, each in self.last.items()}
        self.known, self.held = set(), set()
        self.refused.clear()

    def _reconcile(self) -> None:
        reconcile(self.index, self.client, state_of(self.index).ledger)
        for name in NAMES:
            last = self.last.get(name)
            if (
                last is not None
                and last.alive
                and last.cid in self.entries[name]
                and self._label(name) == self._uri(last)
            ):
                self.known.add(name)

    def _uri(self, expected: Expected) -> str:
        rkey = Publication(self.client.did, expected.name, expected.cid).rkey
        return f"at://{self.client.did}/{ENTRY}/{rkey}"

    def _label(self, name: str) -> str | None:
        label = self.client.find_record(LABEL, label_rkey(self.client.did, name))
        return None if label is None else label.value["datasetUri"]

    # -- what must be true ------------------------------------------------------------------------

    def look(self) -> None:
        """Look at everything as anybody can: records, shards, samples; and at what ``status`` says."""
        records = {record.uri: record for record in self.client.iter_records(ENTRY)}
        alive = {self._uri(each): each for each in self.records.values() if each.alive}
        assert records.keys() == alive.keys(), self.steps
        for uri, record in records.items():
            self._look_at(record, alive[uri])
        for name in NAMES:
            self._look_at_status(name)

    def _look_at(self, record: Record, expected: Expected) -> None:
        found = {name: record.value[name] for name in FIELDS if name in record.value}
        assert found == expected.values, (self.steps, expected)
        if expected.public:
            for shard in record.value["storage"]["shards"]:
                assert httpx.head(shard["url"]).status_code == 200, (self.steps, expected)
        if record.cid not in self.read:
            opened = AtmosphereIndex(AtmosphereClient(self.place.pds_url)).open_dataset(record.uri)
            assert [sample.number for sample in opened.ordered()] == expected.numbers, self.steps
            self.read.add(record.cid)

    def _look_at_status(self, name: str) -> None:
        try:
            state = status_of(name, self.index, state_of(self.index).ledger, self.client.did).state
        except EntryNotFoundError:
            assert not self.entries[name], self.steps
            return
        if not self.entries[name]:
            assert state == "removed", (self.steps, state)
            return
        current = self.entries[name][list(self.entries[name])[-1]]
        published = self.records.get((name, current.cid))
        if name in self.held:
            expected = {"blocked"}
        elif name in self.refused:
            expected = {"failed", "retries exhausted"}
        elif published is not None and published.alive and name in self.known and self.last[name] is published:
            expected = {"published"}
        else:
            expected = {"due"}
        assert state in expected, (self.steps, name, state, expected)

    def verify(self) -> None:
        """Everything that stands is what its record says, and private only where somebody wanted it so."""
        for each in self.records.values():
            if each.alive:
                found = verify_dataset(self._uri(each), client=AtmosphereClient(self.place.pds_url))
                assert (found.state, found.findings) == ("ok" if each.public else "private", ()), (self.steps, each)
