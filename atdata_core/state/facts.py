"""Every fact that is remembered: its shape, and the key that it is kept under.

A fact belongs to a dataset, an entry or an account; the table at the end has them all. No key is spelled elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, Self

from ..protocols import ShardFacts
from .ledger import Fact, FactMap, Json, KeyPattern, Ledger
from .stage_names import CODE_VERSIONS

# -- of a dataset: the last result of each stage ------------------------------------------------------


@dataclass(frozen=True)
class ShardResult(Fact):
    """What a stage has found of the shards of an entry.

    ``accepted`` is a digest of other bytes, which a person accepted since. ``changed`` says for people what is
    other than the last time, None where there was none; it is not kept.
    """

    at: str | None = field(default=None, kw_only=True, compare=False)
    accepted: str | None = field(default=None, kw_only=True, compare=False)
    changed: tuple[str, ...] | None = field(default=None, kw_only=True, compare=False, metadata={"kept": False})


@dataclass(frozen=True)
class Inventory(ShardResult):
    """The shards of an entry, in order, patterns expanded.

    ``looks`` says of each shard how its digest is known: ``read`` (all bytes were read now), ``etag``
    (ETag and size are those of the claim) or ``claim`` (it could not be looked at: not re-checked).
    """

    CODE_VERSION: ClassVar[str] = CODE_VERSIONS["local_dataset"]
    """Of the stage that finds it: a fact of another one is found anew."""

    name: str
    cid: str
    schema_ref: str
    schema: Json
    shards: tuple[ShardFacts, ...]
    looks: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    code_version: str = field(default=CODE_VERSION, kw_only=True, compare=False)

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(shard.size for shard in self.shards)

    @property
    def samples(self) -> int | None:
        """Samples of all shards; None where one shard's number is not known."""
        counts = [shard.samples for shard in self.shards]
        return None if None in counts else sum(count for count in counts if count is not None)


@dataclass(frozen=True)
class SchemaResult(Fact):
    """The schema record of an entry as it was last seen; ``run`` names the run that saw it."""

    CODE_VERSION: ClassVar[str] = CODE_VERSIONS["published_schema"]
    """Of the stage that finds it: a fact of another one is found anew."""

    uri: str
    cid: str
    created: bool
    entry_cid: str
    did: str
    run: str | None
    code_version: str = field(default=CODE_VERSION, kw_only=True)


@dataclass(frozen=True)
class CopiedShards(ShardResult):
    """The shards as they will be published, in the order of the entry.

    ``proofs`` says of each how its bytes are known to lie there: ``server sha256``, ``etag md5`` or
    ``read back``; for shards that stay where they are, the look of the inventory. ``copied`` counts the
    shards that this call wrote and ``bytes_written`` their bytes. ``destination`` is None where URLs are
    kept. ``claim`` is one digest of what the entry's own shards hold.
    """

    CODE_VERSION: ClassVar[str] = CODE_VERSIONS["copied_shards"]
    """Of the stage that finds it: a fact of another one is found anew."""

    cid: str
    claim: str
    destination: str | None
    shards: tuple[ShardFacts, ...]
    proofs: tuple[str, ...]
    copied: int = 0
    bytes_written: int = 0
    code_version: str = field(default=CODE_VERSION, kw_only=True, compare=False)


class PublicationId(NamedTuple):
    """Account, published name and entry CID."""

    did: str
    name: str
    cid: str


@dataclass(frozen=True)
class RecordResult(Fact):
    """The records of a dataset as they were last written or found, and what was published with them.

    ``order`` is the number of the last override that it has, ``readers`` says who could read the shards,
    ``destination`` where they were copied to and ``shard`` (``url``, ``endpoint``) where the first of them lies.
    ``summary`` is the record in short, ``accepted`` as in ``ShardResult``.
    """

    CODE_VERSION: ClassVar[str] = CODE_VERSIONS["atmosphere_record"]
    """Of the stage that finds it: a fact of another one is found anew."""

    uri: str
    cid: str | None
    change: str
    label_uri: str | None
    label_cid: str | None
    label_change: str
    note: str | None
    version_label_uri: str | None
    publication: PublicationId
    metadata_sha256: str
    order: int
    readers: str | None
    destination: str | None
    shard: Json
    code_version: str = field(default=CODE_VERSION, kw_only=True)
    summary: Json | None = field(default=None, kw_only=True)
    accepted: str | None = field(default=None, kw_only=True)


# -- of a dataset: its publications -------------------------------------------------------------------


@dataclass(frozen=True)
class RecordNote(Fact):
    """A record that is published: the CIDs of its contents that were written or adopted, ``cid`` the last one."""

    uri: str
    cid: str
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True)
class FirstMade(Fact):
    """When a record was first made: ``at``."""


@dataclass(frozen=True)
class Intent(Fact):
    """The CIDs of contents of a record that were about to be written."""

    cids: tuple[str, ...]


@dataclass(frozen=True)
class OverrideLog(Fact):
    """What people said of a publication: what stands (``values``), and what that is made of.

    ``order`` is the number of the last override, ``base`` the older ones as one, ``said`` the others, and
    ``inherited`` what was said of the name for earlier entries; None where nothing was asked of that yet.
    """

    values: Json
    order: int
    base: Json
    said: tuple[Json, ...]
    inherited: Json | None = field(default=None, kw_only=True)

    def to_json(self) -> Json:
        """The fact as a JSON object."""
        kept = Fact.to_json(self)
        return {**kept.pop("values"), **kept}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``."""
        own = {each.name for each in fields(cls)}
        values = {key: data[key] for key in data if key not in own}
        return super().from_json({**data, "values": values})


@dataclass(frozen=True)
class NameState(Fact):
    """What was published last under a name, also when it is retracted; ``readable`` anonymously or not."""

    cid: str
    uri: str
    destination: str | None
    readable: bool


@dataclass(frozen=True)
class VersionTarget(Fact):
    """What the label of a version stands for."""

    name: str
    cid: str
    version: str


# -- of a dataset: whether it is to be promoted -------------------------------------------------------


@dataclass(frozen=True)
class Failure(Fact):
    """What went wrong last. ``attempts`` counts failures in a row, ``lasting`` those of them that do not pass, one
    that nobody can mend but with other data for as many as exhaust retries.

    ``of`` tells the entry and metadata that were attempted, ``run`` names the run.
    """

    stage: str
    reason: str
    transient: bool
    passes: bool
    of: str | None
    run: str | None
    attempts: int = 1
    lasting: int = 0


@dataclass(frozen=True)
class AttemptsReset(Fact):
    """What failed until then does not count any more."""


@dataclass(frozen=True)
class Block(Fact):
    """Why only a person may promote a dataset. ``kind``: ``retracted``, or ``gone`` (deleted elsewhere)."""

    kind: str
    reason: str
    did: str
    name: str


@dataclass(frozen=True)
class Outage(Fact):
    """Why nothing can be published at the moment."""

    reason: str
    attempts: int


@dataclass(frozen=True)
class NameOwner(Fact):
    """The dataset that a name was published from."""

    dataset: str


@dataclass(frozen=True)
class RetractedEntry(Fact):
    """At-uri of the entry that the last retraction of a name takes or took."""

    entry: str


@dataclass(frozen=True)
class CopiesLeft(Fact):
    """Copies of retracted entries that were not removed: nothing else tells where they lie."""

    copies: tuple[Json, ...]


@dataclass(frozen=True)
class SchemaListing(Fact):
    """How far schema records of other programs were listed, and the keys of those, by class and version."""

    cursor: str
    found: Json


@dataclass(frozen=True)
class SchemaComparison(Fact):
    """A version of a sample type beside the one before it."""

    type_name: str
    version: str
    previous: str | None
    problems: tuple[str, ...]


@dataclass(frozen=True)
class FirstClaim(Fact):
    """What the shards of an entry held when they were first copied."""

    digest: str


@dataclass(frozen=True)
class ChunkResult(Fact):
    """What a worker has copied: some shards of an entry; ``written`` are the bytes of each that ``run`` sent."""

    shards: tuple[ShardFacts, ...]
    proofs: tuple[str, ...]
    written: tuple[int, ...]
    run: str | None
    claim: str


@dataclass(frozen=True)
class SentCopy(Fact):
    """A copy that was sent to where nobody can look at it before a record names it, as in ``WriteProof``."""

    url: str
    proof: str
    etag: str | None


@dataclass(frozen=True)
class CopyUse(Fact):
    """A run is about to name copies in a record."""


@dataclass(frozen=True)
class CheckedClaims(Fact):
    """The claims that an account has checked on all shards of an entry, as one digest."""

    claims: str


# -- the table --------------------------------------------------------------------------------------

INVENTORY = KeyPattern(Inventory, "dataset", "inventory")
SCHEMA_RESULT = KeyPattern(SchemaResult, "dataset", "schema")
COPIES = KeyPattern(CopiedShards, "dataset", "copy")
LAST_RESULT = KeyPattern(RecordResult, "dataset", "record")
NAME_RESULT = KeyPattern(RecordResult, "dataset", "result:{did}:{name}")
ENTRY_NOTE = KeyPattern(RecordNote, "dataset", "record:{did}:{name}:{cid}")
LABEL_NOTE = KeyPattern(RecordNote, "dataset", "label:{did}:{name}")
VERSION_LABEL_NOTE = KeyPattern(RecordNote, "dataset", "version label:{rkey}")
CREATED = KeyPattern(FirstMade, "dataset", "created:{record}")
INTENT = KeyPattern(Intent, "dataset", "intent:{record}")
OVERRIDES = KeyPattern(OverrideLog, "dataset", "values:record:{did}:{name}:{cid}")
NAME_STATE = KeyPattern(NameState, "dataset", "published:{did}:{name}")
VERSION_TARGET = KeyPattern(VersionTarget, "dataset", "version:{rkey}")
FAILURE = KeyPattern(Failure, "dataset", "failure")
RESET = KeyPattern(AttemptsReset, "dataset", "reset")
BLOCK = KeyPattern(Block, "dataset", "block")

OUTAGE = KeyPattern(Outage, "account", "outage")
NAME_OWNER = KeyPattern(NameOwner, "account", "published:{name}")
RETRACTED = KeyPattern(RetractedEntry, "account", "retracted:{name}")
COPIES_LEFT = KeyPattern(CopiesLeft, "account", "left:{name}")
FOREIGN_SCHEMAS = KeyPattern(SchemaListing, "account", "foreign schemas")
CONTENT_SCHEMA = KeyPattern(FirstMade, "account", "content schema")
COMPATIBILITY = KeyPattern(SchemaComparison, "account", "compatible:{rkey}")

COPIES_AT = KeyPattern(CopiedShards, "entry", "copy:{destination}")
FIRST_CLAIM = KeyPattern(FirstClaim, "entry", "first claim")
CHUNK = KeyPattern(ChunkResult, "entry", "chunk:{start}-{stop}:{destination}")
SENT_COPY = KeyPattern(SentCopy, "entry", "sent:{sha256}:{destination}")
COPY_USE = KeyPattern(CopyUse, "entry", "using:{run}")
CHECKED_CLAIMS = KeyPattern(CheckedClaims, "entry", "checked:{did}")

RESULTS = (LAST_RESULT, NAME_RESULT)
RECORDS = (ENTRY_NOTE, LABEL_NOTE, VERSION_LABEL_NOTE)


def entries_of(found: FactMap) -> set[str]:
    """The CIDs of a dataset's entries that were ever published, also those that are retracted."""
    records = [key.name for key, _ in found.of(ENTRY_NOTE)] + [key.parts[0] for key, _ in found.of(CREATED)]
    keys = (ENTRY_NOTE.read("", name) for name in records)
    return {key.parts[2] for key in keys if key is not None}


def published_uris(ledger: Ledger, dataset: str) -> list[str]:
    """At-uris of the records and labels that are known to be published of a dataset, by whatever account."""
    found = ledger.get_all("dataset", dataset)
    return sorted({fact.uri for _, fact in [*found.of(*RECORDS), *found.of(*RESULTS)]})


def published_names(ledger: Ledger, dataset: str) -> list[str]:
    """The names under which a dataset is known to be published, by whatever account."""
    found = ledger.get_all("dataset", dataset)
    return sorted({result.publication.name for _, result in found.of(*RESULTS)})
