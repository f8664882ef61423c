"""What people said of a name holds for the entries that follow under it."""

import pytest

from atdata_core.atmosphere.record_format.record_keys import LABEL
from atdata_core.promote import promote_many
from atdata_core.promotion.operations.status import status_of
from atdata_core.promotion.options import Values
from atdata_core.state.index_state import state_of

pytestmark = pytest.mark.filterwarnings("ignore::atdata_core.errors.NotPublicWarning")


@pytest.fixture
def values(atmosphere):
    """Description, tags and license of a record."""

    def read(uri):
        record = atmosphere.client.get_record(uri).value
        return tuple(record.get(name) for name in ("description", "tags", "license"))

    return read


def lose(index):
    for key in index.redis.scan_iter("atdata:ledger:*"):
        index.redis.delete(key)


SAID = {"description": "first", "tags": ["table"], "license": "CC0-1.0"}
ALL = ("first", ["table"], "CC0-1.0")


def test_new_data_keep_what_was_said(lab, publish, values, atmosphere):
    publish(lab.insert("cells"), **SAID)
    second, third = lab.insert("cells", start=50), None
    assert values(publish(second)) == ALL
    third = lab.insert("cells", start=90)
    (outcome,) = promote_many([third], lab.index, atmosphere.client)
    assert values(outcome.uri) == ALL
    found = status_of("cells", lab.index, state_of(lab.index).ledger, atmosphere.client.did)
    assert found.values == SAID


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"license": "MIT"}, ("first", ["table"], "MIT")),
        ({"tags": [], "description": ""}, (None, None, "CC0-1.0")),
        ({"license": 3, "n": 1}, ALL),
    ],
)
def test_the_new_entrys_own_metadata_count_more(lab, publish, values, metadata, expected):
    publish(lab.insert("cells"), **SAID)
    assert values(publish(lab.insert("cells", start=50, metadata=metadata))) == expected


def test_what_is_said_of_the_new_entry_counts_most_and_holds_on(lab, publish, values):
    publish(lab.insert("cells"), **SAID)
    second = lab.insert("cells", start=50, metadata={"license": "MIT"})
    assert values(publish(second, license="CC-BY-4.0", tags=[])) == ("first", None, "CC-BY-4.0")
    assert values(publish(lab.insert("cells", start=90))) == ("first", None, "CC-BY-4.0")


def test_a_value_that_was_cleared_stays_cleared_also_against_a_default(lab, publish, values):
    default = Values.of(license="CC-BY-4.0")
    publish(lab.insert("cells"), license="", defaults=default)
    assert values(publish(lab.insert("cells", start=50), defaults=default))[2] is None


def test_a_default_is_not_inherited_as_if_it_were_said(lab, publish, values):
    publish(lab.insert("cells"), defaults=Values.of(license="CC-BY-4.0"))
    assert values(publish(lab.insert("cells", start=50)))[2] is None


def test_an_older_entry_is_not_changed_by_what_was_said_of_a_newer_one(lab, publish, values):
    first = lab.insert("cells")
    publish(first, description="first")
    uri = publish(lab.insert("cells", start=50), description="second", license="MIT")
    assert values(publish(first)) == ("first", None, None)
    assert values(uri) == ("second", None, "MIT")


def test_names_do_not_inherit_from_each_other(lab, publish, values):
    entry = lab.insert("cells")
    publish(entry, **SAID)
    assert values(publish(entry, name="other")) == (None, None, None)
    assert values(publish(lab.insert("more", start=50))) == (None, None, None)


@pytest.mark.parametrize("together", [False, True])
def test_a_lost_ledger_loses_no_word(lab, publish, values, atmosphere, together):
    publish(lab.insert("cells", metadata={"n": 1}), **SAID)
    lose(lab.index)
    second = lab.insert("cells", start=50)
    if together:
        (outcome,) = promote_many([second], lab.index, atmosphere.client)
        assert values(outcome.uri) == ALL
    else:
        assert values(publish(second)) == ALL


def test_what_only_the_earlier_entrys_metadata_said_is_not_inherited_after_a_lost_ledger(lab, publish, values):
    publish(lab.insert("cells", metadata={"license": "MIT", "description": "of the metadata"}), tags=["a"])
    lose(lab.index)
    assert values(publish(lab.insert("cells", start=50))) == (None, ["a"], None)


def test_a_retraction_forgets_no_word(lab, publish, values, take_back):
    publish(lab.insert("cells"), **SAID)
    take_back("cells")
    assert values(publish(lab.insert("cells", start=50))) == ALL


def test_what_was_refused_is_not_inherited(lab, publish, values, atmosphere, point_type):
    first = lab.insert("cells")
    uri = publish(first, description="first")
    record = atmosphere.client.get_record(uri)
    edited = {**record.value, "description": "by hand"}
    atmosphere.client.replace("science.alt.dataset.entry", uri.rpartition("/")[2], edited, swap=record.cid)
    with pytest.raises(ValueError, match="edited elsewhere"):
        publish(first, license="MIT")
    assert values(publish(lab.insert("cells", start=50))) == ("first", None, None)


def test_the_label_points_at_the_entry_with_the_inherited_values(lab, publish, values, atmosphere):
    publish(lab.insert("cells"), **SAID)
    uri = publish(lab.insert("cells", start=50))
    (label,) = atmosphere.records(LABEL)
    assert label.value["datasetUri"] == uri
    assert values(uri) == ALL
