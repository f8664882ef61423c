"""A schema beside the version before it, and what a promotion can be asked to refuse."""

import pytest

from atdata_core.atmosphere.record_format.record_keys import SCHEMA
from atdata_core.errors import LicenseError, SchemaIncompatibleError
from atdata_core.local import LocalDatasetEntry
from atdata_core.promote import plan_promotion, promote_many, promote_to_atmosphere, verify_dataset
from atdata_core.promotion.options import PromotionOptions
from atdata_core.promotion.stages.copy_stage import copy_shards
from atdata_core.promotion.stages.inventory_stage import take_inventory
from atdata_core.promotion.stages.schema_stage import compatibility_of, publish_schema
from atdata_core.state.index_state import state_of
from atdata_core.state.ledger import MemoryLedger
from stages import publish_last

BROKEN = "label was removed"


@pytest.fixture
def version_of(lab, point_type):
    """The local schema of the points in another version, with other fields where they are given."""
    index = lab.index

    def make(version, *, without=(), name=None):
        index.publish_schema(point_type, version="1.0.0")
        schema = index.get_schema(index.publish_schema(point_type, version="1.0.0"))
        fields = [field for field in schema["fields"] if field["name"] not in without]
        return {**schema, "version": version, "fields": fields, "name": name or schema["name"]}

    return make


@pytest.fixture
def publish_version(version_of, atmosphere, lab):
    def publish(version, *, require_compatible=False, ledger=None, **more):
        schema = version_of(version, **more)
        ledger = ledger or state_of(lab.index).ledger
        return publish_schema(schema, atmosphere.client, ledger, require_compatible=require_compatible)

    return publish


def test_the_version_before_is_the_greatest_release_of_the_same_type(publish_version, version_of, atmosphere):
    first = publish_version("1.2.0").compatible
    assert (first.previous, first.kept) == (None, True)
    assert str(first).startswith("No earlier version of ")
    # By their keys 1.10.0 comes before 1.2.0, and another type of a longer name is no version of this one.
    publish_version("1.10.0")
    publish_version("1.11.0-rc.1")
    publish_version("1.11.0", name="Pointer")
    publish_version("1.0.0:x".replace(":x", "+x"))
    found = publish_version("1.12.0").compatible
    assert (found.previous, found.problems, found.kept) == ("1.10.0", (), True)
    between = compatibility_of(version_of("1.3.0"), atmosphere.client, atmosphere.client.did)
    assert between.previous == "1.2.0"


def test_what_breaks_is_told_and_a_new_major_version_may(publish_version):
    publish_version("1.0.0")
    minor = publish_version("1.1.0", without=["label"]).compatible
    assert (minor.previous, minor.problems, minor.kept) == ("1.0.0", (BROKEN,), False)
    assert "Publish it under a new major version such as 2.0.0." in str(minor)
    major = publish_version("2.0.0", without=["at"]).compatible
    assert major.previous == "1.1.0"
    assert major.problems == ("at was removed", "label is new and required")
    assert major.kept
    assert str(major).endswith("Its version says so.")


def test_a_schema_is_compared_once_when_it_is_written(publish_version, requests_of, lab):
    publish_version("1.0.0")
    results = []
    # Its own key, and the listing in which other programs' records are looked for; then it is written.
    assert requests_of(lambda: results.append(publish_version("1.1.0"))) == 3
    assert requests_of(lambda: results.append(publish_version("1.1.0"))) == 1
    assert requests_of(lambda: results.append(publish_version("1.1.0", require_compatible=True))) == 1
    assert {each.compatible for each in results} == {results[0].compatible}
    without = MemoryLedger()
    assert requests_of(lambda: results.append(publish_version("1.1.0", ledger=without))) == 1
    assert results[-1].compatible is None
    asked = {"ledger": without, "require_compatible": True}
    assert requests_of(lambda: results.append(publish_version("1.1.0", **asked))) == 2
    assert results[-1].compatible == results[0].compatible


def test_a_schema_that_breaks_is_refused_before_anything_is_written(publish_version, atmosphere):
    publish_version("1.0.0")
    commit = atmosphere.commit
    with pytest.raises(SchemaIncompatibleError, match=r"breaks with 1\.0\.0: label was removed") as refusal:
        publish_version("1.1.0", without=["label"], require_compatible=True)
    assert (refusal.value.previous, refusal.value.problems) == ("1.0.0", [BROKEN])
    assert atmosphere.commit == commit
    assert publish_version("2.0.0", without=["label"], require_compatible=True).created
    assert len(atmosphere.records(SCHEMA)) == 2


@pytest.fixture
def breaking(lab, publish_version):
    """Two datasets of a version that breaks with the one that is published: a field more is required."""
    publish_version("1.0.0", without=["label"])
    lab.insert("other", shards=1)
    lab.index.publish_schema(lab.type_of(lab.index.get_entry_by_name("other")), version="1.1.0")
    ref = lab.index.get_entry_by_name("other").schema_ref.replace("@1.0.0", "@1.1.0")
    urls = lab.index.get_entry_by_name("other").data_urls
    for name in ("one", "two"):
        lab.index.register(LocalDatasetEntry(name, ref, urls, None))
    return [lab.index.get_entry_by_name(name) for name in ("one", "two")]


class Plain:
    """A store that has no more than it must."""

    def __init__(self):
        self.written = []

    def write_shards(self, ds, *, prefix):
        self.written.append(prefix)
        raise AssertionError

    def read_url(self, url):
        return url

    def supports_streaming(self):
        return True


def test_a_promotion_asked_to_refuse_what_breaks_writes_nothing(lab, atmosphere, breaking, requests_of):
    entry, client, commit = breaking[0], atmosphere.client, atmosphere.commit
    store = Plain()
    for call in (promote_to_atmosphere, plan_promotion):
        for more in ({}, {"data_store": store}):
            with pytest.raises(SchemaIncompatibleError, match="label is new and required"):
                call(entry, lab.index, client, require_compatible=True, **more)
    assert (atmosphere.commit, store.written) == (commit, [])
    assert [each for each in plan_promotion(entry, lab.index, client).warnings if "breaks with 1.0.0" in each]
    outcomes = promote_many(breaking, lab.index, client, require_compatible=True)
    assert [(type(each.error), each.stage) for each in outcomes] == [
        (SchemaIncompatibleError, "published_schema")
    ] * 2
    assert atmosphere.commit == commit
    told = []
    promote_many(breaking, lab.index, client, report=told.append)
    schemas = [each.result for each in told if each.stage == "published_schema"]
    assert [each.compatible.kept for each in schemas] == [False, False]
    result = verify_dataset(told[-1].result.uri, client=client)
    assert (result.ok, result.compatibility.kept) == (True, False)
    assert [note for note in result.notes if "breaks with 1.0.0" in note]


@pytest.mark.parametrize(("license", "meant"), [("CC BY 4.0", "Write CC-BY-4.0"), (None, "No license is given")])
def test_a_promotion_asked_for_a_license_writes_nothing_without_a_known_one(lab, atmosphere, license, meant):
    entry = lab.insert(metadata={"license": license} if license else None)
    for call in (promote_to_atmosphere, plan_promotion):
        with pytest.raises(LicenseError, match=meant):
            call(entry, lab.index, atmosphere.client, require_license=True)
    [outcome] = promote_many([entry], lab.index, atmosphere.client, require_license=True)
    assert (type(outcome.error), outcome.stage) == (LicenseError, "published_schema")
    assert atmosphere.counts == [0, 0, 0]
    promote_to_atmosphere(entry, lab.index, atmosphere.client, license="MIT", require_license=True)
    # What was said stands: nobody has to say it again.
    promote_to_atmosphere(entry, lab.index, atmosphere.client, require_license=True)


def test_the_last_stage_alone_asks_for_the_license_too_and_forgets_what_was_refused(lab, atmosphere):
    from atdata_core.promotion.options import Values

    entry, ledger, client = lab.insert(), state_of(lab.index).ledger, atmosphere.client
    inventory = take_inventory(entry, lab.index, ledger)
    schema = publish_schema(inventory.schema, client, ledger)
    copies = copy_shards(entry, inventory, lab.index, ledger)
    options = PromotionOptions(values=Values.of("Said", license="mit?"), require_license=True)
    with pytest.raises(LicenseError, match="'mit\\?' is no SPDX license"):
        publish_last(entry, copies, schema.uri, lab.index, client, ledger, options=options)
    assert atmosphere.counts == [1, 0, 0]
    record = publish_last(entry, copies, schema.uri, lab.index, client, ledger)
    assert (record.summary.description, record.summary.license) == (None, None)
