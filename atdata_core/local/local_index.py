"""``LocalIndex``: the datasets and schemas of a lab, in Redis."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any, TypeVar, cast

from ..common.names import check_dataset_name, near, quoted
from ..common.urls import refuse_credentials
from ..errors import EntryNotFoundError, StrayFilesError
from ..protocols import AbstractDataStore, ShardFacts
from ..samples.metadata import pack
from ..samples.schema import decode, schema_of
from ..shards.dataset import Dataset, check_can_be_named, files_beside
from ..shards.packed_samples import warn_of_files
from ..shards.tar_samples import suffixes_told
from ..state.redis_errors import address
from ..state.redis_state import connect, reaching
from ..stores.local_files import name_files
from . import schema_registry
from .entry import LocalDatasetEntry, StoredEntry
from .foreign_entries import resolve
from .loaded_types import LoadedTypes
from .registry import Found, Position, Registry, Removal
from .shard_claims import ShardClaims

T = TypeVar("T")
_CID = re.compile("b[a-z2-7]{58}")
"""A CID of version 1 with a SHA-256, in base 32: what entries of ours and of upstream have."""


class LocalIndex:
    """Datasets by name and by CID, schemas by reference.

    Every method raises ``ServiceUnavailableError`` where Redis does not answer, and
    ``ServiceRefusedError`` where it refuses.

    Attributes:
        redis: The Redis client.
        data_store: Where ``insert_dataset`` writes shards, if anywhere; its credentials read them too.
        types: What ``load_schema`` loaded, by name: ``index.types.MySample``.
    """

    def __init__(self, redis: Any = None, *, data_store: AbstractDataStore | None = None, **redis_kwargs: Any):
        """Name the server; nothing is sent yet.

        Args:
            redis: A client of redis-py, or the URL of a server. None: made from ``redis_kwargs``, else from
                ``ATDATA_REDIS_URL``, else for localhost:6379.
            data_store: See above.
            **redis_kwargs: As ``redis.Redis`` takes them; they count more than what the URL says.

        Raises:
            RefusedError: the client is one of a cluster or of asyncio, or decodes its answers; or what should be
                a URL of Redis is none.
        """
        self.redis = connect(redis, **redis_kwargs)
        self.data_store = data_store
        self.types = LoadedTypes()
        self._registry = Registry(self.redis)

    def add_entry(
        self,
        ds: Dataset[Any],
        *,
        name: str,
        schema_ref: str | None = None,
        metadata: dict[Any, Any] | None = None,
    ) -> LocalDatasetEntry:
        """Register a dataset where its shards lie; nothing is copied or read.

        Another entry of that name stays reachable by its CID. The same name and data once more is a new
        claim on what the shards hold.

        Args:
            ds: The dataset; its URLs are kept as they were given.
            name: 1 to 200 bytes of UTF-8, see ``atdata_core.common.names``.
            schema_ref: Where the schema is found; None: as ``schema_ref_for`` finds it.
            metadata: Whatever msgpack holds; None: the dataset's own.

        Raises:
            SchemaConflictError: as ``schema_ref_for``; nothing was written.
            DatasetNameError, MetadataError: they cannot be kept.
            StorageError: a URL carries a password or a signature.
            RefusedError: the shards hold another type than that of the dataset (``as_type``), or only its source
                knows what their names stand for.
        """
        check_dataset_name(name)
        check_can_be_named(ds)
        urls = [ds.url] if isinstance(ds.url, str) else list(ds.url)
        return self._register(ds, urls, name, schema_ref, metadata, store=ds.data_store)

    def insert_dataset(
        self,
        ds: Dataset[Any],
        *,
        name: str,
        schema_ref: str | None = None,
        metadata: dict[Any, Any] | None = None,
        prefix: str | None = None,
        **keywords: Any,
    ) -> LocalDatasetEntry:
        """Register a dataset; an index with a ``data_store`` writes its samples there first.

        They go below ``prefix``, the name where none is given; ``keywords`` (``maxcount``, ``maxsize``,
        ``cache_local``) are those of the store's ``write_shards``.

        Without a store this is ``add_entry``, and nothing is written. Raises as that does, and as the store's
        ``write_shards``; and ``StrayFilesError`` where files lie beside the samples, and a store of one's own
        does not say that it keeps them (``keeps_files = True``), or does not.
        """
        store = self.data_store
        if store is None:
            return self.add_entry(ds, name=name, schema_ref=schema_ref, metadata=metadata)
        check_dataset_name(name)
        metadata = ds.metadata if metadata is None else metadata
        _packed(metadata)
        schema_ref = self.schema_ref_for(ds.sample_type) if schema_ref is None else schema_ref
        prefix = name if prefix is None else prefix
        self.ping()
        facts: list[ShardFacts] | None = None
        beside: Counter[str] = Counter()
        write_with_facts = getattr(store, "write_shards_with_facts", None)
        if write_with_facts is None:
            beside = files_beside(ds)
            if not getattr(store, "keeps_files", False):
                _refuse_lost(beside, name, type(store).__name__)
            urls = store.write_shards(ds, prefix=prefix, **keywords)
        else:
            facts = cast("list[ShardFacts]", write_with_facts(ds, prefix=prefix, **keywords))
            urls = [shard.url for shard in facts]
        try:
            if beside:
                written: Any = Dataset[ds.sample_type](urls, data_store=store)
                _refuse_lost(beside - files_beside(written), name, type(store).__name__)
                warn_of_files(beside, repr(ds))
            return self._register(ds, urls, name, schema_ref, metadata, store=store, facts=facts)
        except BaseException:
            remove = getattr(store, "remove_shards", None)
            if remove is not None:
                remove(urls)
            raise

    def register(
        self, entry: LocalDatasetEntry, *, claims: Iterable[ShardFacts] | None = None
    ) -> LocalDatasetEntry:
        """Keep an entry as the current one of its name, with what is known of its shards; the entry.

        Files of this machine that it names may be published by this process from then on.

        Raises:
            DatasetNameError, MetadataError, StorageError: as ``add_entry``.
        """
        check_dataset_name(entry.name)
        for url in entry.data_urls:
            refuse_credentials(url)
        stored = StoredEntry(entry.schema_ref, entry.data_urls, _packed(entry.metadata))
        with self._reaching():
            self._registry.insert(entry.name, entry.cid, stored, claims)
        name_files(entry.data_urls)
        return entry

    def get_entry(self, cid: str) -> LocalDatasetEntry:
        """The entry of a CID, current or not; ``EntryNotFoundError`` (a ``KeyError``) where there is none.

        Where several names have the same data, it has the name that was written last.
        """
        with self._reaching():
            entry = self._registry.by_cid(cid)
        if entry is None:
            raise EntryNotFoundError(
                f"The index at {address(self.redis)} has no entry {cid}. list_datasets() shows what it has.",
                ref=cid,
            )
        return entry

    def get_entry_by_name(self, name: str) -> LocalDatasetEntry:
        """The newest entry of a name; ``EntryNotFoundError`` (a ``KeyError``) where there is none.

        A name that is known costs one round trip, however many entries there are. A newer entry that another
        program wrote under it counts at once where that program labelled it (atdata 0.7 does). One without a
        label is found by a scan that all lookups and sensors share. A lookup takes a step of 1,000 entries of
        other programs, at most every half second: so up to 1,000 are looked at in one go, again after ten
        seconds, and 100,000 in a hundred such lookups or ten looks of a sensor; ``list_datasets()`` looks at
        all. A name that is not known is looked for among all of theirs at once.
        """
        with self._reaching():
            entry = self._registry.current(name) or self._labelled(name)
        if entry is None:
            raise self._no_dataset(name)
        return entry

    def current_cids(self, names: Sequence[str]) -> list[str | None]:
        """The CID of the newest entry of each name, as ``get_entry_by_name`` finds it; many in one round trip.

        None for a name that the index has no entry of its own for.
        """
        with self._reaching():
            return self._registry.current_cids(names)

    def get_dataset(self, ref: str) -> LocalDatasetEntry:
        """The entry of a CID or a name; ``EntryNotFoundError`` (a ``KeyError``) where there is none."""
        if _CID.fullmatch(ref):
            # First: a name that is not known is looked for among all entries.
            with suppress(EntryNotFoundError):
                return self.get_entry(ref)
        try:
            return self.get_entry_by_name(ref)
        except EntryNotFoundError as error:
            try:
                return self.get_entry(ref)
            except EntryNotFoundError:
                raise error from None

    def removal_of(self, name: str) -> Removal:
        """What ``remove`` would take from the index, and what it would leave; nothing is removed.

        Raises:
            EntryNotFoundError: (a ``KeyError``) there is no dataset of that name; it tells those that are near.
        """
        return self._removal(name, self._registry.entries_of)

    def remove(self, name: str) -> Removal:
        """Remove a dataset from the index: every entry of its name, its labels here, and what its shards held.

        The shards stay where they are, and so does what is published of it: the answer names the records and
        labels, and ``atdata-pipelines retract NAME`` takes them back. Another name of the same data keeps it. A
        promotion that holds an entry of it still is refused.

        Raises:
            EntryNotFoundError: As ``removal_of``; nothing was removed.
        """
        return self._removal(name, self._registry.remove)

    def was_deleted(self, name: str, cid: str) -> bool:
        """Whether the index has had this entry under this name, and somebody deleted it since."""
        with self._reaching():
            return self._registry.was_deleted(name, cid)

    @property
    def entries(self) -> Iterator[LocalDatasetEntry]:
        """Every entry of every name, older versions too; a damaged one is left out with a warning."""
        with self._reaching():
            self._registry.foreign.scan_all()
            yield from self._registry.versions()

    @property
    def all_entries(self) -> list[LocalDatasetEntry]:
        """``entries`` as a list."""
        return list(self.entries)

    def list_datasets(self) -> list[LocalDatasetEntry]:
        """The newest entry of every name, by name; a damaged one is left out with a warning."""
        with self._reaching():
            self._registry.foreign.scan_all()
            return list(self._registry.currents())

    def names(self) -> Iterator[str]:
        """The name of every dataset, in order; no entry is read, beyond those that other programs wrote since."""
        with self._reaching():
            self._registry.foreign.scan_all()
            for page in self._registry.names():
                yield from self._registry.having_entries(page)

    def news(self, since: Position, *, events: int = 500, names: int = 500) -> tuple[dict[str, Found], Position]:
        """What came in since a position, and the next few of all names, round and round.

        Two round trips, at the first look three, where nothing that other programs wrote is new. What they
        wrote is found by a scan, of which each look takes two steps of some 6,500 entries: among 100,000 of
        them all are looked at within ten looks. How far it is stands in Redis, and a step is done once what it
        found is indexed: one that was broken off is taken again.

        Args:
            since: ``Position()`` at first, then what the look before gave.
            events: How many that came in are taken at most.
            names: How many of all names are taken at most.

        Returns:
            By name the newest entry, or the ``MetadataError`` for one that cannot be read (by its key, where
            it has no readable name); and the next position.
        """
        with self._reaching():
            return self._registry.news(since, events=events, names=names)

    def publish_schema(self, sample_type: type, *, version: str = "1.0.0", description: str | None = None) -> str:
        """Keep the schema of a sample type; its reference, ``local://schemas/{module.Class}@{version}``.

        The same fields once more give the same reference.

        Args:
            sample_type: A class made with ``@packable``.
            version: A semantic version.
            description: For people; None: the class's docstring, or what was given before.

        Raises:
            SchemaConflictError: this class and version is there with other fields; nothing was written.
            SchemaError: the class cannot be described.
        """
        record = schema_of(sample_type, version=version, description=description)
        with self._reaching():
            return schema_registry.publish(self.redis, record, describe=description is not None)

    def schema_ref_for(self, sample_type: type) -> str:
        """The reference that an entry of this sample type is given: the newest version here with its fields.

        Versions are of the same ``module.Class``, ordered as semantic versions are; one that another program wrote
        without a module counts, too. Where there is none at all it is version 1.0.0, to be published later.

        Raises:
            SchemaConflictError: there are versions of that class, all with other fields; the error names the
                call that publishes these.
        """
        with self._reaching():
            return schema_registry.reference_for(self.redis, sample_type)

    def add_schema(self, record: dict[str, Any]) -> str:
        """Keep a schema record, such as one that was read from the network; its reference.

        Raises:
            SchemaConflictError: this class and version is there with other fields; nothing was written.
        """
        with self._reaching():
            return schema_registry.publish(self.redis, {"module": None, **record}, describe=False)

    def get_schema(self, ref: str) -> dict[str, Any]:
        """The schema record of a reference, which stands in it as ``$ref``.

        Raises:
            SchemaNotFoundError: (a ``KeyError``) there is none.
            SchemaError: it is no reference, or the record is damaged.
        """
        with self._reaching():
            return schema_registry.get(self.redis, ref)

    def list_schemas(self) -> list[dict[str, Any]]:
        """All schema records, each once."""
        with self._reaching():
            return schema_registry.listing(self.redis)

    def decode_schema(self, ref: str) -> type:
        """A sample type rebuilt from a schema; raises ``SchemaError`` where it cannot be, and as ``get_schema``."""
        return decode(self.get_schema(ref))

    def decode_schema_as(self, ref: str, type_hint: type[T]) -> type[T]:
        """As ``decode_schema``; ``type_hint`` tells a type checker which fields the type has."""
        return cast("type[T]", self.decode_schema(ref))

    def load_schema(self, ref: str) -> type:
        """As ``decode_schema``; from then on ``types`` has it by its name."""
        loaded = self.decode_schema(ref)
        self.types.add(loaded)
        return loaded

    def shard_claims(self, entry_cid: str) -> dict[str, ShardFacts]:
        """What the shards of an entry held when first seen, by URL (patterns expanded)."""
        with self._reaching():
            return ShardClaims(self.redis).read(entry_cid)

    def record_claims(self, entry_cid: str, facts: Iterable[ShardFacts]) -> dict[str, ShardFacts]:
        """Keep facts of shards; the first digest of each stands. All claims that stand afterwards."""
        with self._reaching():
            return ShardClaims(self.redis).record(entry_cid, facts)

    def replace_claims(
        self, entry_cid: str, facts: Iterable[ShardFacts], *, standing: Mapping[str, ShardFacts]
    ) -> bool:
        """Make ``facts`` the claims of an entry, in one step; the earlier ones go.

        False, and nothing is done, where other digests are claimed by now than ``standing`` says.
        """
        with self._reaching():
            return ShardClaims(self.redis).replace(entry_cid, facts, standing)

    def ping(self) -> None:
        """Raises where Redis cannot be used, before anything else is begun."""
        with self._reaching():
            self.redis.ping()

    def __repr__(self) -> str:
        return f"LocalIndex({address(self.redis)})"

    def _register(
        self,
        ds: Dataset[Any],
        urls: list[str],
        name: str,
        schema_ref: str | None,
        metadata: dict[Any, Any] | None,
        *,
        store: Any,
        facts: list[ShardFacts] | None = None,
    ) -> LocalDatasetEntry:
        entry = LocalDatasetEntry(
            name,
            self.schema_ref_for(ds.sample_type) if schema_ref is None else schema_ref,
            urls,
            ds.metadata if metadata is None else metadata,
            data_store=store,
        )
        return self.register(entry, claims=facts)

    def _removal(self, name: str, entries_of: Callable[[str], tuple[str, ...]]) -> Removal:
        # The ledger stands above the index, and only it knows what is published.
        from ..state.facts import published_uris
        from ..state.index_state import state_of

        published = tuple(published_uris(state_of(self).ledger, name))
        with self._reaching():
            # Else an older entry of the name that another program wrote would come up with the next look.
            self._registry.foreign.scan_all()
            entries = entries_of(name)
        if not entries:
            raise self._no_dataset(name, near(name, self.names()))
        return Removal(name, entries, published)

    def _no_dataset(self, name: str, hint: str = "") -> EntryNotFoundError:
        return EntryNotFoundError(
            f"No entry with name {quoted(name)}: the index at {address(self.redis)} has no dataset {quoted(name)}. "
            f"Insert it with Repo.insert() or LocalIndex.add_entry(); list_datasets() shows what is there.{hint}",
            ref=name,
        )

    def _labelled(self, name: str) -> LocalDatasetEntry | None:
        """The entry that a label of another program names, under that name."""
        cid = resolve(self.redis, name)
        entry = None if cid is None else self._registry.by_cid(cid)
        return None if entry is None else replace(entry, name=name)

    def _reaching(self) -> AbstractContextManager[None]:
        return reaching(self.redis)


def _packed(metadata: dict[Any, Any] | None) -> bytes | None:
    return None if metadata is None else pack(metadata)


def _refuse_lost(lost: Counter[str], name: str, store: str) -> None:
    """Raise where a store has not written files that lie beside the samples of a dataset."""
    if lost:
        raise StrayFilesError(
            f"{store}.write_shards does not keep {lost.total():,} files beside the samples of dataset {name!r} "
            f"({suffixes_told(dict(lost.most_common(10)), lost.total())}). Insert it with Repo.insert(), which "
            "keeps them; or take the files out of the tars first. A store that keeps them has keeps_files = True.",
            count=lost.total(),
            suffixes=dict(lost),
        )
