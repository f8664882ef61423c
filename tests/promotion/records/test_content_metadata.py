"""What a dataset is cited and found by: given, checked, written once, read by name."""

import pytest

from atdata_core.atmosphere import AtmosphereIndex
from atdata_core.atmosphere.record_format import content_metadata
from atdata_core.atmosphere.record_format.content_metadata import told_sizes
from atdata_core.atmosphere.record_format.record_keys import ENTRY, SCHEMA
from atdata_core.errors import MetadataError
from atdata_core.promote import plan_promotion, promote_to_atmosphere
from atdata_core.protocols import ShardFacts

GIVEN = {
    "creators": [{"name": "Ada Lovelace", "orcid": "https://orcid.org/0000-0002-1825-0097"}, "Blaise Pascal"],
    "doi": "https://doi.org/10.5281/Zenodo.1234567",
    "citation": "Lovelace, A.: Points. 2026.",
    "homepage": "https://lab.example.org/points",
    "keywords": ["geometry", "a tag"],
    "language": "de-CH",
    "shapes": {"at": [4]},
    "tags": ["a tag"],
}


@pytest.fixture
def promote(lab, atmosphere):
    """Promote a dataset at its own URLs; its at-uri."""
    return lambda entry, **asked: promote_to_atmosphere(
        entry, lab.index, atmosphere.client, **{"keep_urls": True, **asked}
    )


@pytest.fixture
def published(atmosphere):
    """The entry at an at-uri, and the record as it stands."""

    def read(uri):
        return AtmosphereIndex(atmosphere.client).get_dataset(uri), atmosphere.client.get_record(uri).value

    return read


def test_what_the_metadata_say_is_written_where_readers_look_and_read_by_name(lab, atmosphere, promote, published):
    entry, record = published(promote(lab.insert(metadata=GIVEN)))
    assert record["contentMetadata"]["creators"] == [
        {"name": "Ada Lovelace", "orcid": "0000-0002-1825-0097"},
        {"name": "Blaise Pascal"},
    ]
    assert record["tags"] == ["a tag", "geometry"]
    assert [str(each) for each in entry.creators] == ["Ada Lovelace <0000-0002-1825-0097>", "Blaise Pascal"]
    assert (entry.doi, entry.language) == ("10.5281/Zenodo.1234567", ("de-CH",))
    assert (entry.homepage, entry.citation) == (GIVEN["homepage"], GIVEN["citation"])
    assert entry.keywords == ("geometry", "a tag")
    assert entry.content.shapes == {"at": (4,)}
    assert sum(shard.size for shard in entry.shards) == entry.size
    schema = AtmosphereIndex(atmosphere.client).get_schema(record["metadataSchemaRef"])
    assert {field["name"] for field in schema["fields"]} >= record["contentMetadata"].keys()


def test_published_again_unchanged_nothing_is_written_and_the_schema_of_it_stands_once(lab, atmosphere, promote):
    first, second = lab.insert("one", metadata=GIVEN), lab.insert("two", start=50, metadata=GIVEN)
    promote(first)
    promote(second)
    commit = atmosphere.commit
    promote(first)
    promote(second)
    assert atmosphere.commit == commit
    assert len(atmosphere.records(SCHEMA)) == 2


def test_an_explicit_value_counts_more_and_stays_and_an_empty_one_clears(lab, promote, published):
    entry = lab.insert(metadata=GIVEN)
    promote(entry, doi="10.1000/182", creators=["Lab <did:plc:ewvi7nxzyoun6zhxrhs64oiz>"], citation="")
    found, record = published(promote(entry))
    assert (found.doi, found.creators[0].did) == ("10.1000/182", "did:plc:ewvi7nxzyoun6zhxrhs64oiz")
    assert "citation" not in record["contentMetadata"]


def test_a_record_of_an_earlier_release_is_left_as_it_is_until_there_is_something_to_say(
    lab, atmosphere, promote, published, monkeypatch
):
    entry = lab.insert()
    with monkeypatch.context() as earlier:
        earlier.setattr(content_metadata, "_ROOM", 0)
        uri = promote(entry)
    commit = atmosphere.commit
    assert "contentMetadata" not in published(uri)[1]
    promote(entry)
    assert atmosphere.commit == commit
    assert published(promote(entry, doi="10.1000/182"))[1]["contentMetadata"].keys() == {"doi", "shardSizes"}


def test_where_the_ledger_is_lost_the_record_stays_as_it_is(lab, atmosphere, promote):
    entry = lab.insert(metadata=GIVEN)
    promote(entry, keywords=["other"], tags=["mine"])
    commit = atmosphere.commit
    for key in lab.index.redis.scan_iter("atdata:*ledger*"):
        lab.index.redis.delete(key)
    promote(entry)
    assert atmosphere.commit == commit


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("doi", "11.5281/zenodo"),
        ("creators", ["Ada <0000-0002-1825-0098>"]),
        ("creators", ["Ada <did:plc>"]),
        ("creators", ["<0000-0002-1825-0097>"]),
        ("homepage", "javascript:alert(1)"),
        ("language", ["german language"]),
        ("keywords", ["two\nlines"]),
    ],
)
def test_a_malformed_value_is_refused_by_the_plan_which_names_its_key(lab, atmosphere, key, value):
    entry = lab.insert(metadata={key: value})
    with pytest.raises(MetadataError, match=f"^{key} cannot be published as") as refused:
        plan_promotion(entry, lab.index, atmosphere.client, keep_urls=True)
    assert refused.value.path == key
    assert atmosphere.records(ENTRY) == []
    # An explicit one takes its place.
    assert plan_promotion(entry, lab.index, atmosphere.client, keep_urls=True, **{key: ""}).entry == "create"


def test_a_malformed_shape_is_refused_by_the_plan(lab, atmosphere):
    entry = lab.insert(metadata={"shapes": {"at": "4"}})
    with pytest.raises(MetadataError, match=r"^shapes of the entry's metadata has '4' for 'at'"):
        plan_promotion(entry, lab.index, atmosphere.client, keep_urls=True)


def test_keywords_join_the_tags_only_as_far_as_there_is_room(lab, promote, published):
    words = [f"word {number}" for number in range(40)]
    entry, record = published(promote(lab.insert(metadata={"keywords": ["x" * 151, *words]})))
    assert record["tags"] == words[:30]
    assert len(entry.keywords) == 41


@pytest.mark.parametrize(("count", "length"), [(1_069, 830), (4_800, 90)])
def test_a_record_without_room_for_the_sizes_of_its_shards_is_not_refused_for_them(count, length):
    shards = [
        ShardFacts(f"https://a.example/{number:0{length - 18}d}", 10_240, "0" * 64) for number in range(count)
    ]
    assert told_sizes(shards) == ()
    assert told_sizes(shards[:100]) == (10_240,) * 100
