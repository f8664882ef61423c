"""Who can read what is published, and that it is there: probed last before an entry record is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from ...common.concurrency import concurrently, shard_in_memory
from ...common.plurals import number_of
from ...common.urls import displayed, scheme
from ...errors import (
    AtdataError,
    NotPublicError,
    PrivateAddressError,
    ServiceError,
    ServiceRefusedError,
    ShardChangedError,
    ShardForbiddenError,
    ShardMissingError,
    VisibilityError,
)
from ...protocols import ShardFacts, ShardStat
from ...state.index_state import state_of
from ...stores.opening import Probe, open_shard, probe
from ...stores.private_addresses import check_public, is_private
from ...stores.shard_streams import sha256_of
from ..copies.layout import BLOB
from ..copies.recent_looks import recent_looks
from ..copies.sources import Sources
from ..copies.usage import in_use
from ..inventory import accept_command
from .resolved_values import WAYS_OUT as PLACES

if TYPE_CHECKING:
    from ...atmosphere.record_format.parse import PublishedShard
    from ...protocols import AbstractIndex
    from ...state.facts import CopiedShards
    from .resolved_values import Resolved

NAMED = 3
"""Shards that a warning names; the others it counts."""

WAYS_OUT = (
    "Make them public, or copy them to where they are: data_store=S3DataStore(..., public_url=...), in the "
    "pipeline ATDATA_PUBLISH_BUCKET and ATDATA_PUBLISH_PUBLIC_URL."
)


class Unreadable(NamedTuple):
    """A shard that cannot be read anonymously."""

    url: str
    reason: str


@dataclass(frozen=True, slots=True)
class Visibility:
    """Every shard was seen where the record will say; some of them cannot be read anonymously.

    Of ``unseen`` shards that is not so: they may not be looked at, and are published on their recorded digests.
    """

    shards: int
    unreadable: tuple[Unreadable, ...] = ()
    unseen: int = 0

    @property
    def readers(self) -> str:
        """Who can read the shards, in words for people."""
        return readers(1 - len(self.unreadable) / self.shards if self.shards else 0.0)

    @property
    def summary(self) -> str:
        """``all``, or how many cannot be read and why."""
        if not self.unreadable:
            return "all"
        reasons = ", ".join(dict.fromkeys(reason for _, reason in self.unreadable))
        return f"{len(self.unreadable)} of {self.shards} cannot be read: {reasons}"

    @property
    def warning(self) -> str | None:
        """The same for people, with the first URLs and the way out; None where all can be read."""
        if not self.unreadable:
            return None
        named = ", ".join(f"{displayed(url)} ({reason})" for url, reason in self.unreadable[:NAMED])
        more = len(self.unreadable) - NAMED
        return (
            f"{len(self.unreadable):,} of {number_of(self.shards, 'shard')} cannot be read anonymously: {named}"
            f"{f' and {more} more' if more > 0 else ''}. {WAYS_OUT}"
        )

    def refuse(self) -> None:
        """Raises ``NotPublicError`` where there is something to warn of."""
        if self.warning is not None:
            raise NotPublicError(self.warning, urls=[displayed(url) for url, _ in self.unreadable])


def readers(share: float) -> str:
    """Who can read shards of which a share can be read anonymously, from 0 to 1."""
    return (
        "anybody"
        if share == 1
        else "those who have keys"
        if share == 0
        else "some shards anybody, the others those who have keys"
    )


class AnonymousReader:
    """People without keys, elsewhere; on our own network where the PDS is there too.

    Args:
        service: URL of the PDS that is published to.
    """

    def __init__(self, service: str) -> None:
        self._inside = is_private(service)

    def probe(self, shard: ShardFacts, *, doubtless: bool = False) -> tuple[Probe | None, str | None]:
        """What they get of a shard, or why they get nothing; ``doubtless``: trouble that may pass is an error.

        Raises ``ShardMissingError`` where a web server has nothing at a shard's address. (S3 also says that of
        what needs a key.)
        """
        try:
            return self._ask(shard), None
        except AtdataError as error:
            absent = isinstance(error, ShardMissingError) and scheme(shard.url) != "s3"
            if absent or (doubtless and error.transient):
                raise
            return None, _reason(error)

    def unreadable(self, shards: Iterable[ShardFacts], *, doubtless: bool = False) -> tuple[Unreadable, ...]:
        """Those of some shards that they cannot read."""
        shards = list(shards)
        probed = concurrently(partial(self.probe, doubtless=doubtless), shards)
        pairs = zip(shards, probed, strict=True)
        return tuple(Unreadable(shard.url, reason) for shard, (_, reason) in pairs if reason is not None)

    def out_of_reach(self, shards: Iterable[ShardFacts]) -> tuple[Unreadable, ...]:
        """Those whose address they cannot reach, whatever will lie there; nothing is asked of it."""
        reasons: dict[str | None, str | None] = {}
        found: list[Unreadable] = []
        for shard in shards:
            address = shard.endpoint if scheme(shard.url) == "s3" else shard.url
            host = None if address is None else urlsplit(address).netloc
            if host not in reasons:
                reasons[host] = self._why_out_of_reach(address)
            reason = reasons[host]
            found += [Unreadable(shard.url, reason)] if reason else []
        return tuple(found)

    def is_unforeseen(self, shard: ShardFacts) -> bool:
        """Whether nobody can say if they will read a shard that is to be written.

        It can be said where a web server tells them that nothing is there yet: one that keeps its files from them
        does not. S3 says neither to who has no key.
        """
        try:
            self._ask(shard)
        except ShardMissingError:
            return scheme(shard.url) == "s3"
        except AtdataError:
            return True
        return False

    def _ask(self, shard: ShardFacts) -> Probe:
        return probe(shard.url, shard.endpoint, shard.region, inside=self._inside)

    def _why_out_of_reach(self, address: str | None) -> str | None:
        if address is None or self._inside:
            return None
        try:
            check_public(address, environment=False)
        except PrivateAddressError as error:
            return _reason(error)
        except ServiceError:
            pass  # no answer now: what lies there is probed once it is written
        return None


def probe_published(resolved: Resolved, copies: CopiedShards, index: AbstractIndex, service: str) -> Visibility:
    """See every shard where the record will say that it lies, without keys and with our own.

    An anonymous probe proves a shard where it tells size and ETag, and so does what this process has seen at that
    address a moment ago. Else a shard that anybody gets over http(s) is read there: what a store shows by its keys
    may be another file. Any other is looked at with what is configured, and where that proves nothing either, it
    is read again. Copies that were seen stay
    until ``publish_record`` has named them: a retraction leaves them. Copies whose store is not named are looked at
    as shards that stay where they are.

    Args:
        resolved: What is to be published.
        copies: Its shards as they will be published.
        index: The index of the entry.
        service: URL of the PDS that is published to.

    Raises:
        ShardMissingError, ShardChangedError: A shard is not what is to be published.
        ShardForbiddenError: A copy may not be looked at. (Shards that stay where they are, are published on
            their recorded digests then.)
        NotPublicError: It cannot be read anonymously, and that is required.
        VisibilityError: They could read what is published now, and nobody asked for that.
        ServiceError: A service failed.
    """
    entry, options, data_store = resolved.entry, resolved.options, resolved.location.store
    anonymous = AnonymousReader(service)
    sources = Sources(entry, index, None, {shard.url: shard for shard in copies.shards})
    stat = sources.stat if data_store is None else data_store.stat_shard
    read = sources.open_shard if data_store is None else data_store.open_shard

    def probe_shard(shard: ShardFacts) -> tuple[Unreadable | None, bool]:
        """Who cannot read it, and whether it was seen."""
        was_seen = True
        try:
            found, reason = anonymous.probe(shard, doubtless=options.require_public)
        except ShardMissingError as error:
            raise error if data_store is None else _not_served(shard) from error
        if found is not None and _proven(entry.name, shard, found.size, found.etag):
            return None, True
        # Another ETag tells of other bytes, however short ago these were seen.
        if recent_looks.have(shard) and (found is None or not found.etag):
            return None if reason is None else Unreadable(shard.url, reason), True
        if found is not None and scheme(shard.url) != "s3":
            with shard_in_memory(shard.size), open_shard(shard.url) as stream:
                _require_same(entry.name, shard, "SHA-256", shard.sha256, sha256_of(stream))
        else:
            try:
                own: ShardStat = stat(shard.url)
                if not _proven(entry.name, shard, own.size, own.etag, own.sha256):
                    with shard_in_memory(shard.size), read(shard.url) as stream:
                        _require_same(entry.name, shard, "SHA-256", shard.sha256, sha256_of(stream))
            except ShardForbiddenError:
                if data_store is not None:
                    raise
                was_seen = False
        return None if reason is None else Unreadable(shard.url, reason), was_seen

    if data_store is not None and not data_store.shows_copies:
        # Shown to nobody before the record names them: what the store answered when they were sent proves them.
        visibility = Visibility(len(copies.shards), anonymous.out_of_reach(copies.shards))
        if options.require_public:
            visibility.refuse()
        refuse_to_hide(visibility, copies.shards, resolved, anonymous)
        return visibility
    stay = copies.destination is None
    with nullcontext() if stay else in_use(resolved.ledger, state_of(index).leases, copies.cid, options.run):
        probed = list(concurrently(probe_shard, copies.shards))
        unreadable = tuple(found for found, _ in probed if found is not None)
        visibility = Visibility(len(copies.shards), unreadable, sum(not was_seen for _, was_seen in probed))
        if options.require_public:
            visibility.refuse()
        refuse_to_hide(visibility, copies.shards, resolved, anonymous)
    return visibility


def refuse_to_hide(
    visibility: Visibility, planned: Sequence[ShardFacts], resolved: Resolved, anonymous: AnonymousReader
) -> None:
    """Refuse to publish shards that cannot be read anonymously in the place of some that can.

    Args:
        visibility: Who can read the shards as they would be published.
        planned: These shards.
        resolved: Tells what is published now, and whether anybody asked for that.
        anonymous: Probes what is published now, where that matters.

    Raises:
        VisibilityError: Anonymous readers would lose what they can read, and nobody asked for that.
    """
    if not visibility.unreadable or resolved.options.allow_private or not resolved.moves:
        return
    published = resolved.published_now()
    if published is None or {shard.url for shard in published.shards} == {shard.url for shard in planned}:
        return
    # Of what was retracted it is known whether they could.
    share = readable_share(published.shards, anonymous) if published.shards else float(published.readable)
    if share <= 1 - len(visibility.unreadable) / visibility.shards:
        return
    first, reason = visibility.unreadable[0]
    raise VisibilityError(
        f"What would take the place of {published.uri} cannot be read anonymously, as that can: "
        f"{len(visibility.unreadable):,} of {number_of(visibility.shards, 'shard')}, the first "
        f"{displayed(first)} ({reason}). "
        f"The record was not written. {PLACES} To publish them all the same: "
        "allow_private=True, or --allow-private.",
        urls=[displayed(url) for url, _ in visibility.unreadable],
    )


def readable_share(shards: Sequence[PublishedShard], anonymous: AnonymousReader) -> float:
    """The share of published shards that can be read anonymously, from 0 to 1; 0 where there are none.

    The blobs that a record names can.
    """
    if shards and all(shard.url.startswith(BLOB) for shard in shards):
        return 1.0
    there = [
        ShardFacts(shard.url, 0, shard.sha256 or "", endpoint=shard.endpoint, region=shard.region)
        for shard in shards
    ]
    return 1 - len(anonymous.unreadable(there)) / len(there) if there else 0.0


def _not_served(shard: ShardFacts) -> ShardMissingError:
    return ShardMissingError(
        f"The copy was written, but nothing is at {displayed(shard.url)}, which would be published. Mend "
        "public_url (in the pipeline ATDATA_PUBLISH_PUBLIC_URL), or wait until the bucket is served there.",
        url=displayed(shard.url),
    )


def _proven(dataset: str, shard: ShardFacts, size: int | None, etag: str | None, sha256: str | None = None) -> bool:
    """Whether what a server tells proves the recorded bytes; ``ShardChangedError`` where it disproves them."""
    if size is not None:
        _require_same(dataset, shard, "size in bytes", shard.size, size)
    if sha256 is not None:
        _require_same(dataset, shard, "SHA-256", shard.sha256, sha256)
        return True
    # An encrypted object or one of parts has an ETag that is no MD5: other than the recorded one, it means read.
    return size is not None and bool(etag) and etag in (shard.etag, shard.md5)


def _require_same(dataset: str, shard: ShardFacts, what: str, expected: object, found: object) -> None:
    if found != expected:
        raise ShardChangedError(
            f"{displayed(shard.url)} is not what is to be published any more: its {what} was {expected}, is now "
            f"{found}. Restore the shard and run again, or look at what changed: {accept_command(dataset)}.",
            url=shard.url,
            expected=expected,
            found=found,
        )


def _reason(error: AtdataError) -> str:
    """A few words on why an anonymous reader does not get a shard."""
    match error:
        case PrivateAddressError():
            return f"private address {error.facts.get('host')}"
        case ShardForbiddenError():
            return "needs a key"
        case ShardMissingError():
            return "not found without a key"
        case ServiceRefusedError():
            return f"refused with {error.facts.get('status') or error.facts.get('error')}"
        case ServiceError():
            return "no answer"
        case _:
            return "no address that can be asked"
