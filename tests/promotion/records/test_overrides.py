"""Explicit values win over earlier ones, those over the entry's metadata; empty ones clear."""

from atdata_core.promotion.copies.layout import tails
from atdata_core.promotion.options import Values, explicit_values, from_metadata


def test_what_is_said_now_wins_and_what_is_not_said_stays():
    earlier = Values.of("old", ["a"], "MIT")
    assert Values.of(tags=["b"]).over(earlier) == Values("old", ("b",), "MIT")


def test_an_empty_value_clears_and_is_remembered_as_said():
    cleared = Values.of("", [], "").over(Values.of("old", ["a"], "MIT"))
    assert cleared == Values("", (), "")
    assert Values.from_json(cleared.to_json()) == cleared


def test_metadata_of_other_types_is_not_taken_for_a_value():
    assert from_metadata({"description": 3, "tags": "a,b", "license": None}) == Values()
    assert from_metadata({"description": "d", "tags": ["a"], "license": "MIT"}) == Values("d", ("a",), "MIT")
    assert from_metadata(None) == Values()


def test_a_single_tag_may_be_a_plain_string():
    assert Values.of(tags="one").tags == ("one",)


def test_copies_keep_their_file_names_and_grow_only_where_they_clash():
    assert tails(["s3://b/x/0.tar", "s3://b/x/1.tar"]) == ["0.tar", "1.tar"]
    assert tails(["s3://b/train/0.tar", "s3://b/test/0.tar", "s3://b/test/1.tar"]) == [
        "train/0.tar",
        "test/0.tar",
        "1.tar",
    ]


def test_a_record_tells_what_a_person_must_have_typed():
    given = Values.of("from metadata", ["m"], "MIT")
    assert explicit_values(given, given) == Values()
    assert explicit_values(Values.of("typed", [], None), given) == Values("typed", (), "")
    assert explicit_values(Values(), Values()) == Values()
