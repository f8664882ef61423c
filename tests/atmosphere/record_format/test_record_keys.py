import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdata_core.atmosphere.record_format.lexicon import is_record_key, is_tid
from atdata_core.atmosphere.record_format.record_keys import Publication, identity_tid, label_rkey, schema_rkey
from atdata_core.errors import PreflightError

ALPHABET = "234567abcdefghijklmnopqrstuvwxyz"
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


def number_of(tid):
    number = 0
    for character in tid:
        number = number * 32 + ALPHABET.index(character)
    return number


@given(st.lists(texts, max_size=5))
def test_an_identity_has_one_tid_and_its_time_lies_before_2006(parts):
    tid = identity_tid(*parts)
    assert is_tid(tid)
    assert tid == identity_tid(*parts)
    assert number_of(tid) >> 10 < 2**50  # microseconds


def test_the_keys_of_a_publication_stay_what_they_are():
    # Whoever changes these publishes every dataset a second time.
    assert Publication("did:plc:abc", "mnist", "bafyx").rkey == "2s6sqvdgrkhcw"
    assert label_rkey("did:plc:abc", "mnist") == "2eei4jgble3cg"
    assert label_rkey("did:plc:abc", "mnist", "1.0") == "2fkmybga3jssq"


def test_entries_and_labels_versions_and_names_have_keys_of_their_own():
    keys = [
        Publication("d", "n", "c").rkey,
        Publication("d", "nc", "").rkey,
        Publication("d", "n", "c2").rkey,
        Publication("d2", "n", "c").rkey,
        label_rkey("d", "n"),
        label_rkey("d", "n", ""),
        label_rkey("d", "n", "c"),
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("name", "version", "key"),
    [
        ("mymodule.ImageSample", "1.0.0", "mymodule.ImageSample:1.0.0"),
        ("__main__.S", "1.0.0-rc.1+build", "__main__.S:1.0.0-rc.1:2bbuild"),
        ("m.Größe", "1.0.0", "m.Gr:c3:b6:c3:9fe:1.0.0"),
        ("m.f.<locals>.S", "1.0.0", "m.f.:3clocals:3e.S:1.0.0"),
    ],
)
def test_a_schema_key_shows_module_class_and_version(name, version, key):
    assert schema_rkey(name, version) == key
    assert is_record_key(key)


def test_a_schema_key_that_would_be_too_long_is_refused():
    assert len(schema_rkey("m." + "x" * 504, "1.0.0")) == 512
    with pytest.raises(PreflightError, match="shorter name"):
        schema_rkey("m." + "x" * 505, "1.0.0")
