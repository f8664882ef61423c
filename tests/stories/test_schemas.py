"""A record names the schema of its samples, and no other."""

from dataclasses import replace
from typing import Any

import pytest

import atdata_core as atdata
from atdata_core.atmosphere.record_format.record_keys import SCHEMA
from atdata_core.errors import SchemaConflictError
from tests.stories.conftest import Cell, Visibility

# Each story goes through the library, the command and Dagster, on the reference PDS.
pytestmark = pytest.mark.slow

NUMBERS = list(range(6))


@atdata.packable
class Word:
    """Samples of another kind."""

    text: str


def version(**annotations: Any) -> Any:
    """The class Cell, as it has other fields in another version of a lab's program."""
    made: Any = atdata.packable(type("Cell", (), {"__annotations__": annotations, "note": None}))
    made.__module__ = Cell.__module__
    return made


def test_new_fields_are_published_under_the_version_that_has_them(lab):
    team = lab.component()
    lab.insert("cells")
    assert lab.tick(team) == {"cells": True}
    standing = Visibility((None, None, None), "public", NUMBERS, "published", "all", "ok", True)
    assert lab.seen("cells") == standing
    first = lab.uri("cells")

    # The program is changed: nothing is stored until somebody publishes a schema with these fields.
    wider = version(number=int, note=str | None)
    before = lab.objects(lab.bucket)
    with pytest.raises(SchemaConflictError, match=r'publish_schema\(Cell, version="1.1.0"\)'):
        lab.insert("cells", 10, sample_type=wider)
    assert (lab.objects(lab.bucket), lab.seen("cells")) == (before, standing)

    # The two lines.
    lab.index.publish_schema(wider, version="1.1.0")
    entry = lab.insert("cells", 10, sample_type=wider)
    assert entry.schema_ref.endswith(".Cell@1.1.0")
    assert lab.tick(team) == {"cells": True}
    assert lab.seen("cells") == replace(standing, strangers=list(range(10, 16)))
    assert [lab.record(uri)["schemaRef"].rpartition(":")[2] for uri in (first, lab.uri("cells"))] == [
        "1.0.0",
        "1.1.0",
    ]
    assert lab.stranger(first) == NUMBERS
    # The old program goes on, under its own version.
    assert lab.insert("old", 20).schema_ref.endswith(".Cell@1.0.0")
    assert lab.bulk("old", settings=team)
    assert lab.seen("old") == replace(standing, strangers=list(range(20, 26)))
    assert len(list(lab.client.iter_records(SCHEMA))) == 2


def test_samples_of_another_schema_than_the_entry_names_are_published_by_no_way(lab):
    team = lab.component()
    words = lab.index.publish_schema(Word)
    entry = lab.insert("mislabelled", ref=words)
    lab.write_as_stranger("theirs", words, *entry.data_urls)
    assert lab.tick(team) == {"mislabelled": False, "theirs": False}
    assert not lab.bulk("mislabelled", "theirs", settings=team)
    for name in ("mislabelled", "theirs"):
        for command in ("plan", "promote"):
            assert "a field 'number' that Word has not" in lab.refusal(command, name)
        assert "a field 'number' that Word has not" in lab.status(name)["reason"]
        assert lab.seen(name) == Visibility(status="retries exhausted")
    assert (lab.names_published(), lab.objects()) == ([], [])
    assert list(lab.client.iter_records(SCHEMA)) == []

    # A claim that was made under one version counts for no other.
    lab.index.redis.delete(*lab.index.redis.keys("LocalDatasetEntry:*"))
    lab.insert("cells")
    lab.index.add_entry(
        atdata.Dataset[Cell](lab.index.get_dataset("cells").data_urls), name="cells", schema_ref=words
    )
    assert not lab.bulk("cells", settings=team)
    assert lab.names_published() == []
