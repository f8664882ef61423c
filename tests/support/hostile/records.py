"""Hostile records, schemas and what Redis gives back: JSON with the wrong things in it."""

from __future__ import annotations

import json
from functools import partial
from random import Random
from typing import Any

from hypothesis import strategies as st

from atdata_core.atmosphere.published_shards import PublishedShards
from atdata_core.atmosphere.record_format.build import entry_record, label_record, schema_record
from atdata_core.atmosphere.record_format.lexicon import check, problems
from atdata_core.atmosphere.record_format.parse import read_entry_record, read_schema_record
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA
from atdata_core.errors import AtdataError
from atdata_core.local import LocalDatasetEntry, LocalIndex, schema_registry
from atdata_core.local.shard_claims import ShardClaims
from atdata_core.promotion.options import Values
from atdata_core.promotion.stages.copy_stage import recall_copies
from atdata_core.promotion.stages.inventory_stage import recall_inventory
from atdata_core.promotion.stages.publish import PublishedRecord
from atdata_core.protocols import ShardFacts
from atdata_core.samples.compatibility import compare
from atdata_core.samples.json_schema import from_json_schema
from atdata_core.samples.schema import check_names, decode, schema_of
from atdata_core.state.facts import LAST_RESULT, CopiedShards, Inventory, PublicationId, RecordResult
from atdata_core.state.ledger import KeyPattern
from atdata_core.state.redis_state import RedisLedger
from hostile.binary import Reading, Target
from hostile.mutation import hurt, spliced

AT = "2026-01-01T00:00:00.000Z"
URI = f"at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/{ENTRY}/2222222222222"
LOCAL = schema_of(Reading)
FACTS = (ShardFacts("s3://bucket/0.tar", 10, "0" * 64, "1" * 32, 3, "e", "https://public.example", "us-east-1"),)
_VALUES: dict[str, Any] = {"description": "d", "tags": ["t"], "license": "MIT", "metadata": {"a": 1}}
RECORD = entry_record(name="n", schema_uri=URI, shards=FACTS, created_at=AT, **_VALUES)
HTTP = {"$type": "science.alt.dataset.storageHttp", "shards": [{"url": "https://public.example/0.tar"}]}
BLOBS = {
    "$type": "science.alt.dataset.storageBlobs",
    "blobs": [{"blob": {"$type": "blob", "ref": {"$link": "bafkreiabcdef"}, "mimeType": "a/b", "size": 1}}],
}
OLD = {
    "$type": "ac.foundation.dataset.sampleSchema",
    "name": "Old",
    "version": "1.0.0",
    "fields": [
        {"name": "a", "fieldType": {"$type": "x#array", "items": {"kind": "primitive", "primitive": "str"}}}
    ],
}
SEEDS: tuple[dict[str, Any], ...] = (
    RECORD,
    {**RECORD, "storage": HTTP},
    {**RECORD, "storage": BLOBS},
    {**RECORD, "storage": {"$type": "x.storageExternal", "urls": ["s3://b/{0..3}.tar"]}},
    schema_record(LOCAL, created_at=AT),
    label_record(name="n", dataset_uri=URI, version="1.0.0", created_at=AT),
    OLD,
    LOCAL,
)

_NAMES = (
    "__class__", "__init__", "__dict__", "__module__", "__reduce__", "__getattr__", "__sample_fields__", "packed",
    "as_wds", "from_bytes", "__annotations__", "__rebuilt_from__", "class", "lambda: 0", "a; import os", "x" * 3000,
    "__import__('os').system('touch /tmp/evil')", "{0.__class__}", "%s%n", "a\nimport os", "\ud800", "ａ", "é",
    "None", "True", "self", "cls", "_", "__debug__", "os.system", "..", "/etc/passwd", "__proto__", "$type", "",
)  # fmt: skip
_TEXTS = (
    *_NAMES,
    "at://did:plc:x/y/z", URI, "did:web:127.0.0.1", "https://127.0.0.1/", "s3://b/k", "file:///etc/passwd",
    "pipe:cat /etc/passwd", "s3://b/{0..99999999999999999999}", "{" * 500, "{a,b}" * 60, "1.0.0-" + "0" * 500,
    "1" * 5000, "9" * 20 + ".0.0", "science.alt.dataset.storageS3", "local#ndarray", "local#array",
    "V99999999999999",
    "S99999999999999999999", "M8[99999999999999999999s]", "a", "O", "object", "T", "void", "<U4294967296", "null",
)  # fmt: skip


def _nested(depth: int, inner: Any, key: str | None) -> Any:
    for _ in range(depth):
        inner = [inner] if key is None else {key: inner}
    return inner


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from((2**53, 2**63, 2**64, -(2**64) - 1, 0, -1, 1e308, float("nan"), float("inf")))
    | st.builds(pow, st.just(10), st.just(4000))
    | st.text(max_size=20)
    | st.sampled_from(_TEXTS)
)
_KEYS = st.sampled_from(("$type", "$bytes", "$link", "$ref", "name", "type", "items", "fields", "ref", *_NAMES))
JUNK = st.one_of(
    _SCALARS,
    st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4)),
    st.builds(
        _nested,
        st.sampled_from((50, 400, 900, 5000)),
        _SCALARS,
        st.sampled_from((None, "items", "a", "anyOf", "content")),
    ),
    # A record has a million bytes at most, and Redis gives back what was once one.
    st.builds(
        lambda text, times: [text] * min(times, 500_000 // (len(text) + 3)),
        st.sampled_from(_TEXTS),
        st.sampled_from((300, 20_000)),
    ),
    st.builds(lambda times: {f"k{n}": {"type": "string"} for n in range(times)}, st.sampled_from((300, 5_000))),
)
"""What stands where something else should."""


def hostile_record(rng: Random, junk: Any) -> Any:
    """A record with something wrong in it."""
    found = spliced(rng.choice(SEEDS), junk, rng)
    return spliced(found, rng.choice(_TEXTS), rng) if rng.random() < 0.3 else found


def read_record(value: Any) -> None:
    """In every way in which a record is read, checked and made use of."""
    if not isinstance(value, dict):
        return
    for read in (
        lambda: _look(read_entry_record(URI, "cid", value, service_of=lambda did: "https://public.example")),
        lambda: _types(read_schema_record(value)),
        lambda: _types(from_json_schema(value, name="n", version="1.0.0")),
        lambda: _types(value),
        lambda: problems(ENTRY, value) + problems(SCHEMA, value) + problems(LABEL, value),
        lambda: check(ENTRY, "2222222222222", value, did="did:plc:abc"),
        lambda: check(SCHEMA, "a.B:1.0.0", value, did="did:plc:abc"),
        lambda: Values.from_json(value) if value.get("$type") == ENTRY else None,
    ):
        try:
            read()
        except AtdataError as error:
            str(error)


def _look(entry: Any) -> None:
    reader = PublishedShards(entry.shards)
    for shard in entry.shards[:2]:
        for act in (reader.stat_shard, reader.open_shard):
            try:
                act(shard.url)
            except AtdataError as error:
                str(error)


def _types(schema: Any) -> None:
    decode(schema)
    check_names(schema)
    compare(schema, LOCAL)
    compare(LOCAL, schema)


# -- what Redis gives back ------------------------------------------------------------------------

_FACTS = FACTS[0].to_json()
_ENTRY: Any = LocalDatasetEntry("n", "ref", ["s3://bucket/0.tar"], cid="cid")
_INVENTORY = Inventory("n", "cid", "ref", LOCAL, FACTS, ("read",)).to_json()
_COPIES = CopiedShards("cid", "claim", None, FACTS, ("etag",)).to_json()
_PUBLISHED = RecordResult(
    *PublishedRecord(URI, "cid", "created").parts,
    PublicationId("did:plc:abc", "n", "cid"),
    "0" * 64,
    1,
    "all",
    None,
    {"url": "s3://bucket/0.tar", "endpoint": None},
).to_json()
_STORED = (_FACTS, _INVENTORY, _COPIES, _PUBLISHED, LOCAL, {"description": "d", "tags": ["a"], "order": 1})


class Damaged:
    """A Redis whose every value is the same damaged one."""

    def __init__(self, value: bytes) -> None:
        self._value = value
        self.connection_pool = self
        self.connection_kwargs: dict[str, Any] = {}

    def hget(self, *_: object) -> bytes:
        """Any field."""
        return self._value

    def get(self, *_: object) -> bytes:
        """Any key."""
        return self._value

    def hgetall(self, *_: object) -> dict[bytes, bytes]:
        """Any hash."""
        return {b"s3://bucket/0.tar": self._value}

    def hmget(self, _key: object, fields: list[object]) -> list[bytes]:
        """Any fields."""
        return [self._value] * len(fields)

    def mget(self, *keys: object) -> list[bytes]:
        """Any keys."""
        return [self._value] * 2

    def eval(self, *_: object) -> int:
        """Writes nothing."""
        return 1


def stored(rng: Random, junk: Any) -> bytes:
    """JSON of ours, damaged."""
    value = spliced(rng.choice(_STORED), junk, rng)
    try:
        text = json.dumps(value).encode()
    except (ValueError, RecursionError):
        text = b"[" * 5000
    return hurt(text, rng) if rng.random() < 0.5 else text


def read_stored(value: bytes) -> None:
    """As claims, as facts of the ledger, as a schema."""
    redis = Damaged(value)
    ledger = RedisLedger(redis)
    index = LocalIndex(redis)
    for read in (
        lambda: ShardClaims(redis).read("cid"),
        lambda: ShardClaims(redis).record("cid", FACTS),
        *(partial(ledger.get, pattern("a", *pattern.names)) for pattern in KeyPattern.every),
        lambda: ledger.get_all("dataset", "a"),
        lambda: ledger.update(LAST_RESULT("a"), lambda known: known),
        lambda: recall_inventory(_ENTRY, index, ledger),
        lambda: recall_copies(_ENTRY, index, ledger),
        lambda: _types(schema_registry.get(redis, "local://schemas/a.B@1.0.0")),
    ):
        try:
            read()
        except AtdataError as error:
            str(error)


RECORDS = Target("records", hostile_record, read_record)  # type: ignore[arg-type]
STORED = Target("redis", stored, read_stored)  # type: ignore[arg-type]
