from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from atdata_core.errors import SchemaError
from atdata_core.promotion.scheduling.due import due, due_of_all
from atdata_core.promotion.scheduling.retry_policy import metadata_digest
from atdata_core.promotion.stages.publish import PublishedRecord
from atdata_core.state.facts import LAST_RESULT, OVERRIDES, OverrideLog, PublicationId, RecordResult
from atdata_core.state.ledger import MemoryLedger

DID = "did:plc:abc"


@dataclass
class Entry:
    name: str = "points"
    schema_ref: str = "local://schemas/m.Point@1.0.0"
    data_urls: list = field(default_factory=lambda: ["s3://b/k.tar"])
    metadata: dict | None = None
    cid: str = "bafyone"


@pytest.fixture
def index():
    return SimpleNamespace(get_schema=lambda ref: {"name": "Point"})


@pytest.fixture
def published():
    """A ledger that knows of one promotion of an entry."""

    def ledger(entry, *, did=DID, name="points"):
        made = MemoryLedger()
        record = PublishedRecord("at://x", "bafyrecord", "created")
        named, shard = PublicationId(did, name, entry.cid), {"url": "s3://lab/0.tar", "endpoint": None}
        fact = RecordResult(*record.parts, named, metadata_digest(entry), 0, "all", None, shard)
        made.put(LAST_RESULT("points"), fact)
        return made

    return ledger


def test_a_dataset_never_published_is_due(index):
    assert due(Entry(), index, MemoryLedger(), DID).state == "promote"


def test_a_published_and_unchanged_dataset_is_not_due_under_whatever_name(index, published):
    assert due(Entry(), index, published(Entry()), DID).state == "published"
    assert due(Entry(), index, published(Entry(), name="other"), DID).state == "published"


@pytest.mark.parametrize(
    ("now", "reason"),
    [(Entry(cid="bafytwo"), "has a new entry"), (Entry(metadata={"license": "MIT"}), "has new metadata")],
)
def test_a_changed_dataset_is_due(index, published, now, reason):
    found = due(now, index, published(Entry()), DID)
    assert (found.state, found.reason) == ("promote", reason)


def test_each_account_publishes_for_itself(index, published):
    found = due(Entry(), index, published(Entry(), did="did:plc:other"), DID)
    assert (found.state, found.reason) == ("promote", "is not known to be published by this account")


def test_a_dataset_without_a_schema_waits(published):
    def missing(ref):
        raise KeyError(ref)

    index = SimpleNamespace(get_schema=missing)
    assert due(Entry(), index, MemoryLedger(), DID).state == "waiting"
    assert due(Entry(), index, published(Entry()), DID).state == "published"


def test_what_was_said_under_the_published_name_counts_whatever_that_name_is(index, published):
    ledger = published(Entry(), name="other")
    ledger.put(OVERRIDES("points", DID, "other", "bafyone"), OverrideLog({}, 1, {"order": 1}, ()))
    found = due(Entry(), index, ledger, DID)
    assert (found.state, found.reason) == ("promote", "has values that are not published yet")


def test_of_many_datasets_each_has_its_own_answer_and_a_schema_is_read_once(published):
    asked = []

    def get_schema(ref):
        asked.append(ref)
        if "Damaged" in ref:
            raise SchemaError("it is damaged", ref=ref)
        if "Missing" in ref:
            raise KeyError(ref)
        return {}

    def entry(name, kind):
        return Entry(name, f"local://schemas/m.{kind}@1.0.0")

    entries = [Entry()] + [
        entry(f"{kind}-{number}", kind) for number in range(600) for kind in ("Damaged", "Missing", "Good")
    ]
    found = due_of_all(entries, SimpleNamespace(get_schema=get_schema), published(Entry()), DID)
    assert [getattr(each, "state", "error") for each in found] == [
        "published",
        *["error", "waiting", "promote"] * 600,
    ]
    assert len(asked) == 3
